"""A proxy in front of a server of an object store that does to requests what networks and busy servers do."""

import http.client
import http.server
import random
import sys
import threading
import time

STATUSES = ("429", "500", "503", "409", "412")
KINDS = (*STATUSES, "drop", "lose", "truncate", "delay", "twice")


class FaultyProxy:
    """share: of requests that fail; kinds: how. `lose`: the server does it, the reply is lost. `twice`: it does it twice."""

    def __init__(self, port, *, kinds=KINDS, share=0.2, seed=1, delay_seconds=0.0):
        self.kinds = kinds
        self.share = share
        self.delay_seconds = delay_seconds  # of every reply
        self.came = dict.fromkeys(KINDS, 0)
        self._random = random.Random(seed)
        self._lock = threading.Lock()
        proxy = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = (
                True  # else a reply with a body waits 40 ms more for the acknowledgement of its head
            )

            def log_message(self, *_):
                pass

            def _handle(self):
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                kind = proxy.choose()
                if kind in STATUSES:
                    return self._reply(int(kind), {}, b"<Error><Code>Fault</Code></Error>")
                if kind == "drop":
                    return self._hang_up()
                for _ in range(2 if kind == "twice" else 1):
                    status, headers, data = self._forward(port, body)
                if kind == "lose":
                    return self._hang_up()
                if kind == "delay":
                    time.sleep(0.1)
                time.sleep(proxy.delay_seconds)
                self._reply(status, headers, data, cut=kind == "truncate" and len(data) > 1)
                return None

            def _forward(self, port, body):
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
                try:
                    connection.request(self.command, self.path, body, dict(self.headers))
                    reply = connection.getresponse()
                    return reply.status, dict(reply.getheaders()), reply.read()
                finally:
                    connection.close()

            def _reply(self, status, headers, data, *, cut=False):
                self.send_response(status)
                for name, value in headers.items():
                    if name.lower() not in ("content-length", "transfer-encoding", "connection", "date", "server"):
                        self.send_header(name, value)
                is_head = self.command == "HEAD"
                length = (
                    headers.get("Content-Length", headers.get("content-length", "0")) if is_head else str(len(data))
                )
                self.send_header("Content-Length", length)
                self.end_headers()
                if not is_head:
                    self.wfile.write(data[: len(data) // 2] if cut else data)
                if cut:
                    self._hang_up()

            def _hang_up(self):
                self.close_connection = True
                self.connection.close()

            do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = _handle

        class Quiet(http.server.ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_):
                pass

        self._server = Quiet(("127.0.0.1", 0), Handler)
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def choose(self):
        with self._lock:
            if self._random.random() >= self.share:
                return None
            kind = self._random.choice(self.kinds)
            self.came[kind] += 1
            return kind

    def close(self):
        self._server.shutdown()
        self._server.server_close()


if __name__ == "__main__":  # PORT MILLISECONDS: nothing fails, every reply is late; in a process of its own
    slow = FaultyProxy(int(sys.argv[1]), share=0, delay_seconds=int(sys.argv[2]) / 1000)
    print(slow.port, flush=True)
    sys.stdin.read()
