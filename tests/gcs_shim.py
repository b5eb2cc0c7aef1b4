"""Google's XML interface in front of `fake-gcs-server`, whose own can only read: the two requests that `obstore` writes with.

A PUT becomes an upload of the JSON interface (`x-goog-if-generation-match` becomes its `ifGenerationMatch`), a DELETE
its delete; GET, HEAD and lists go to the server as they are, or are put together from the JSON interface. What is tried
so is the client: which requests it makes, and what it takes replies for. Google itself serves the XML interface.
"""

import base64
import http.client
import http.server
import json
import threading
import urllib.parse
from datetime import datetime
from email.utils import format_datetime
from xml.sax.saxutils import escape

MARK = "0123456789abcdef-a-part-ends-here-fedcba9876543210"


class GcsShim:
    def __init__(self, port):
        shim = self
        self.server_port = port

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def _answer(self, status, headers, data=b""):
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(headers.get("X-Length", len(data))))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(data)

            def _parts(self):
                address = urllib.parse.urlsplit(self.path)
                bucket, _, name = urllib.parse.unquote(address.path.lstrip("/")).partition("/")
                return bucket, name, dict(urllib.parse.parse_qsl(address.query))

            def do_PUT(self):
                bucket, name, _ = self._parts()
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                query = {"uploadType": "multipart"}  # the server looks at conditions of these only
                if "x-goog-if-generation-match" in self.headers:
                    query["ifGenerationMatch"] = self.headers["x-goog-if-generation-match"]
                path = f"/upload/storage/v1/b/{bucket}/o?{urllib.parse.urlencode(query)}"
                kind = "Content-Type: application/"
                head = f"--{MARK}\r\n{kind}json\r\n\r\n{json.dumps({'name': name})}\r\n--{MARK}\r\n{kind}octet-stream\r\n\r\n"
                body = head.encode() + body + f"\r\n--{MARK}--\r\n".encode()
                status, data = shim.ask("POST", path, body, {"Content-Type": f"multipart/related; boundary={MARK}"})
                self._answer(status, {"ETag": _tag(json.loads(data))} if status == 200 else {}, b"")

            def do_DELETE(self):
                bucket, name, _ = self._parts()
                status, _ = shim.ask("DELETE", _object(bucket, name))
                self._answer(status if status != 200 else 204, {})

            def do_HEAD(self):
                self.do_GET()

            def do_GET(self):
                bucket, name, query = self._parts()
                if not name:
                    return self._list(bucket, query)
                status, data = shim.ask("GET", _object(bucket, name))
                if status != 200:
                    return self._answer(404, {}, b"<Error><Code>NoSuchKey</Code></Error>")
                facts = json.loads(data)
                size = int(facts["size"])
                headers = {"ETag": _tag(facts), "Last-Modified": format_datetime(_time(facts), usegmt=True)}
                headers |= {"x-goog-generation": str(facts["generation"]), "X-Length": size}
                if self.command == "HEAD":
                    return self._answer(200, headers)
                _, content = shim.ask("GET", _object(bucket, name) + "?alt=media")
                span = self.headers.get("Range")
                if span is None:
                    return self._answer(200, headers, content)
                first, _, last = span.removeprefix("bytes=").partition("-")
                if int(first) >= size:
                    return self._answer(416, {}, b"<Error><Code>InvalidRange</Code></Error>")
                part = content[int(first) : int(last or size - 1) + 1]
                headers |= {"X-Length": len(part)}
                headers["Content-Range"] = f"bytes {first}-{int(first) + len(part) - 1}/{size}"
                return self._answer(206, headers, part)

            def _list(self, bucket, query):
                path = f"/storage/v1/b/{bucket}/o?{urllib.parse.urlencode({'prefix': query.get('prefix', ''), 'maxResults': 100000})}"
                status, data = shim.ask("GET", path)
                after = query.get("start-after", "") or query.get("continuation-token", "")
                items = sorted(json.loads(data).get("items", []), key=lambda item: item["name"])
                items = [item for item in items if item["name"] > after]
                page, rest = items[:1000], items[1000:]
                text = "".join(
                    f"<Contents><Key>{escape(item['name'])}</Key><Size>{item['size']}</Size>"
                    f"<LastModified>{_time(item).isoformat()}</LastModified><ETag>{escape(_tag(item))}</ETag></Contents>"
                    for item in page
                )
                more = f"<NextContinuationToken>{escape(page[-1]['name'])}</NextContinuationToken>" if rest else ""
                self._answer(status, {}, f"<ListBucketResult>{text}{more}</ListBucketResult>".encode())

        class Quiet(http.server.ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_):
                pass

        self._server = Quiet(("127.0.0.1", 0), Handler)
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def ask(self, method, path, body=None, headers=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.server_port, timeout=30)
        try:
            connection.request(method, path, body, headers or {})
            reply = connection.getresponse()
            return reply.status, reply.read()
        finally:
            connection.close()

    def close(self):
        self._server.shutdown()
        self._server.server_close()


def _object(bucket, name):
    return f"/storage/v1/b/{bucket}/o/{urllib.parse.quote(name, safe='')}"


def _tag(facts):
    return f'"{base64.b64decode(facts["md5Hash"]).hex()}"'


def _time(facts):
    return datetime.fromisoformat(facts["updated"])
