"""A relay of this process between the library that makes requests and the network, so that bytes flow at a pace.

The library sends a body whole and takes a reply as it comes; only at its sockets can either be slowed down evenly. It
is told that the relay is its proxy. Encrypted connections pass as they are (CONNECT); nothing of them is seen here.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hmac
import os
import secrets
import socket
import threading
import urllib.request
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from vark.stores.pace import PART_BYTES_MAX, Pace

IDLE_SECONDS = 60.0  # nothing in either direction: the other side has gone; the library repeats the request
STRANGER_SECONDS = 5.0  # for a first request with the password: the library sends it as soon as it is connected
CONNECT_SECONDS = 20.0
BUFFER_SECONDS = 0.25  # of a socket
BUFFER_BYTES_MAX = 4 << 20
_HOP = (b"proxy-authorization", b"proxy-connection")


@dataclass(frozen=True, slots=True)
class _Upstream:
    """A proxy that is used anyway. authorization: a header line, or nothing."""

    host: str
    port: int
    authorization: bytes


class _RefusedError(Exception):
    """A connection that is not served. status, why: what the library is told, and shows where it is not encrypted."""

    def __init__(self, status: str, why: str) -> None:
        super().__init__(status)
        self.status = status
        self.why = why


class Relay:
    """Listens on this machine, for this process only: whoever does not know its password is refused.

    up, down: paces, None for no limit. proxy: of the caller, in the place of that of the environment.
    """

    def __init__(self, *, up: Pace | None, down: Pace | None, proxy: str | None = None) -> None:
        self._up = up
        self._down = down
        self._proxy = proxy
        password = secrets.token_hex(16)
        self._authorization = b"Basic " + base64.b64encode(f"vark:{password}".encode())
        listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        _limit_buffer(listener, socket.SO_RCVBUF, up)  # those that it accepts inherit it
        _limit_buffer(listener, socket.SO_SNDBUF, down)
        self.port = listener.getsockname()[1]
        self.url = f"http://vark:{password}@127.0.0.1:{self.port}"
        self._loop = asyncio.new_event_loop()
        thread = threading.Thread(target=self._run, args=(listener,), name="vark-relay", daemon=True)
        thread.start()

    def _run(self, listener: socket.socket) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(asyncio.start_server(self._serve, sock=listener, limit=PART_BYTES_MAX))
        self._loop.run_forever()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = _Connection(reader, writer, self._up, self._down)
        watch = asyncio.ensure_future(connection.watch())
        try:
            while await self._exchange(connection):
                pass
        except _RefusedError as error:
            with contextlib.suppress(OSError):
                why = error.why.encode()
                head = f"HTTP/1.1 {error.status}\r\nContent-Length: {len(why)}\r\nConnection: close\r\n\r\n"
                writer.write(head.encode() + why)
                await writer.drain()
        except (OSError, EOFError, ValueError, OverflowError, TimeoutError, asyncio.LimitOverrunError):
            pass  # the library sees a broken connection, which is what it is
        finally:
            watch.cancel()
            connection.close()

    async def _exchange(self, connection: _Connection) -> bool:
        """Pass one request on; return whether another may follow on the connection."""
        head = await connection.head()
        if head is None:
            return False
        line, *fields = head.split(b"\r\n")
        headers = {
            name.strip().lower(): value.strip() for name, _, value in (field.partition(b":") for field in fields)
        }
        if not hmac.compare_digest(headers.get(b"proxy-authorization", b""), self._authorization):
            raise _RefusedError("407 Proxy Authentication Required", "this relay serves another process")
        connection.is_known = True
        method, target, version = line.split(b" ")
        if method == b"CONNECT":
            host, _, port = target.decode("ascii").rpartition(":")
            via = self._upstream("https", host.strip("[]"))
            await connection.open(via, host.strip("[]"), int(port), tunnel=True)
            connection.client.write(b"HTTP/1.1 200 OK\r\n\r\n")
            connection.begin_replies()
            await connection.pass_all()
            return False
        if b"transfer-encoding" in headers:
            raise _RefusedError("501 Not Implemented", "the relay knows no body in chunks")
        parts = urlsplit(target.decode("ascii"))
        host, via = parts.hostname or "", self._upstream("http", parts.hostname or "")
        await connection.open(via, host, parts.port or 80, tunnel=False)
        connection.begin_replies()
        if via is None:
            target = (parts.path or "/").encode() + (f"?{parts.query}".encode() if parts.query else b"")
        kept = [field for field in fields if field and field.partition(b":")[0].strip().lower() not in _HOP]
        if via is not None and via.authorization:
            kept.append(via.authorization)
        lines = [b" ".join((method, target, version)), *kept, b"", b""]
        await connection.send(b"\r\n".join(lines))
        await connection.pass_body(int(headers.get(b"content-length", b"0")))
        return True

    def _upstream(self, scheme: str, host: str) -> _Upstream | None:
        proxy = proxy_for(scheme, host) if self._proxy is None else self._proxy
        if not proxy:
            return None
        try:
            return _upstream_of(proxy)
        except ValueError as error:
            raise _RefusedError("501 Not Implemented", f"the proxy of the environment: {error}") from None


def proxy_for(scheme: str, host: str) -> str:
    """Return the proxy that the environment names for requests of a host, "" where it has none."""
    if urllib.request.proxy_bypass(host):
        return ""
    proxies = urllib.request.getproxies()
    return proxies.get(scheme) or proxies.get("all") or ""


def check_proxy(proxy: str) -> None:
    """Check that the relay can use a proxy. Errors: ValueError, without the address, which may have a password."""
    _upstream_of(proxy)


def _upstream_of(proxy: str) -> _Upstream:
    try:
        parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
        scheme, host, port = parts.scheme, parts.hostname, parts.port or 80
    except ValueError:
        raise ValueError("no address; expected http://HOST:PORT") from None
    if scheme != "http" or not host:
        raise ValueError(f"{scheme[:20]}://…, expected http://HOST:PORT, the only kind that limits of bytes know")
    user = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
    coded = base64.b64encode(user.encode())
    return _Upstream(host, port, b"Proxy-Authorization: Basic " + coded if parts.username else b"")


class _Connection:
    """One connection of the library, and the one beyond it."""

    def __init__(
        self, reader: asyncio.StreamReader, client: asyncio.StreamWriter, up: Pace | None, down: Pace | None
    ) -> None:
        self.client = client
        self.is_known = False  # until it has said the password
        self._reader = reader
        self._up = up
        self._down = down
        self._beyond: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._where: tuple[str, int] | None = None
        self._replies: asyncio.Task[None] | None = None
        self._moved = asyncio.get_running_loop().time()

    async def watch(self) -> None:
        """End the connection when nothing moves, in either direction, or when it does not say who it is."""
        now = asyncio.get_running_loop().time
        left = min(STRANGER_SECONDS, IDLE_SECONDS)
        while left > 0:
            await asyncio.sleep(left)
            left = self._moved + IDLE_SECONDS - now() if self.is_known else 0.0
        self.close()

    async def head(self) -> bytes | None:
        """Return the next request's head without its end; None when there is no other."""
        try:
            data = await self._reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            return None
        return data.removesuffix(b"\r\n\r\n")

    async def open(self, via: _Upstream | None, host: str, port: int, *, tunnel: bool) -> None:
        """Connect to a server, or keep the connection where it is the same one."""
        where = (host, port) if via is None else (via.host, via.port)
        if self._beyond is not None:
            if self._where == where:
                return
            raise _RefusedError("502 Bad Gateway", "another server on a connection that is in use")
        try:
            opening = asyncio.open_connection(*where, limit=PART_BYTES_MAX)
            self._beyond = await asyncio.wait_for(opening, CONNECT_SECONDS)
        except (OSError, TimeoutError) as error:
            number = error.errno or 0  # negative for names without an address, 0 for several that failed
            why = os.strerror(number) if number > 0 else "not reached"
            raise _RefusedError("502 Bad Gateway", f"{'server' if via is None else 'proxy'}: {why}") from None
        self._where = where
        beyond = self._beyond[1].get_extra_info("socket")
        _limit_buffer(beyond, socket.SO_SNDBUF, self._up)
        _limit_buffer(beyond, socket.SO_RCVBUF, self._down)
        if via is not None and tunnel:
            address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
            lines = [f"CONNECT {address} HTTP/1.1".encode(), f"Host: {address}".encode()]
            lines += [via.authorization] if via.authorization else []
            await self.send(b"\r\n".join([*lines, b"", b""]))
            status = await self._beyond[0].readuntil(b"\r\n\r\n")
            if status.split(b" ")[1:2] != [b"200"]:
                raise _RefusedError("502 Bad Gateway", "the proxy opens no connection")

    def begin_replies(self) -> None:
        """Pass on whatever comes from the server, from now on."""
        if self._replies is None and self._beyond is not None:
            self._replies = asyncio.ensure_future(self._pass_replies(self._beyond[0]))

    async def send(self, data: bytes) -> None:
        """Send to the server."""
        assert self._beyond is not None
        await self._write(self._beyond[1], data, self._up)

    async def pass_body(self, byte_count: int) -> None:
        """Pass so many bytes on to the server."""
        while byte_count:
            data = await self._reader.read(min(byte_count, PART_BYTES_MAX))
            if not data:
                raise EOFError
            await self.send(data)
            byte_count -= len(data)

    async def pass_all(self) -> None:
        """Pass all on to the server until the library has no more to say."""
        while data := await self._reader.read(PART_BYTES_MAX):
            await self.send(data)

    async def _pass_replies(self, source: asyncio.StreamReader) -> None:
        try:
            while data := await source.read(PART_BYTES_MAX):
                await self._write(self.client, data, self._down)
        except OSError:
            pass
        finally:
            self.close()  # also where the library still waits for a reply

    async def _write(self, writer: asyncio.StreamWriter, data: bytes, pace: Pace | None) -> None:
        part_bytes = PART_BYTES_MAX if pace is None else pace.part_bytes
        for start in range(0, len(data), part_bytes):
            part = data[start : start + part_bytes]
            if pace is not None:
                wait = pace.reserve(len(part))
                self._moved = asyncio.get_running_loop().time() + wait  # who waits for a turn is not idle
                await asyncio.sleep(wait)
            self._moved = max(self._moved, asyncio.get_running_loop().time())
            writer.write(part)
            await writer.drain()

    def close(self) -> None:
        """End both connections."""
        if self._replies is not None:
            self._replies.cancel()
        self.client.close()
        if self._beyond is not None:
            self._beyond[1].close()


def _limit_buffer(connection: socket.socket, which: int, pace: Pace | None) -> None:
    """Let no more wait in the system than flows in a moment: what lies there has not been slowed down."""
    if pace is not None:
        size = int(min(max(pace.rate * BUFFER_SECONDS, PART_BYTES_MAX), BUFFER_BYTES_MAX))
        connection.setsockopt(socket.SOL_SOCKET, which, size)
