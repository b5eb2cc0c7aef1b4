"""Limits of bytes and requests a second: the arithmetic, what is measured, even flow, the relay and its refusals."""

import base64
import contextlib
import itertools
import json
import os
import socket
import threading
import time

import numpy as np
import obstore.store
import pytest
from hypothesis import given
from hypothesis import strategies as st

from faulty_proxy import FaultyProxy
from store_servers import SERVERS, plain_repository
from vark.cli import run
from vark.errors import InvalidArgumentError, StorageError, StoreUnavailableError
from vark.repository import Repository
from vark.stores import open_store
from vark.stores.pace import BURST_SECONDS, Limits, Pace
from vark.stores.relay import Relay
from vark.stores.urls import adopt_store

TOLERANCE = 0.10


def seconds(call):
    start = time.monotonic()
    call()
    return time.monotonic() - start


def takes(expected, call, *, slack=TOLERANCE):
    """Never faster than the limit allows; as slow as it says, but for a machine that is busy three times in a row."""
    for _ in range(3):
        found = seconds(call)
        assert found > expected * (1 - TOLERANCE) - BURST_SECONDS
        if found < expected * (1 + slack):
            return
    pytest.fail(f"{found:.2f} s, expected {expected:.2f}")


def together(*calls):
    """Run calls in threads of their own, all to their end."""
    failures = []

    def guarded(call):
        try:
            call()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=guarded, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive(), "a limit that never lets go"
    if failures:
        raise failures[0]


@given(
    rate=st.floats(1, 1e9),
    steps=st.lists(st.tuples(st.floats(0, 10), st.floats(0, 1e6)), min_size=1, max_size=30),
)
def test_never_more_than_the_rate(rate, steps):
    """Whoever waits as told has, at any moment, taken no more than rate x time and a burst."""
    now = 0.0
    pace = Pace(rate, now=lambda: now)
    taken = 0.0
    for pause, amount in steps:
        now += pause
        waited = pace.reserve(amount)
        taken += amount
        assert waited >= 0
        now += waited
        assert taken <= (rate * (now + BURST_SECONDS)) * (1 + 1e-9) + 1e-6


@given(rate=st.floats(1, 1e9), amounts=st.lists(st.floats(1, 1e6), min_size=1, max_size=30))
def test_never_less_than_the_rate(rate, amounts):
    """Who is always busy is not kept waiting longer than the rate says."""
    now = 0.0
    pace = Pace(rate, now=lambda: now)
    for amount in amounts:
        now += pace.reserve(amount)
    assert now <= sum(amounts) / rate * (1 + 1e-9) + 1e-6


@pytest.mark.parametrize(
    ("given_", "expected"),
    [
        ({"limit_upload": "10MB/s"}, Limits(10e6)),
        ({"limit_download": "2MiB"}, Limits(None, 2 << 20)),
        ({"limit_download": 1000}, Limits(None, 1000)),
        ({"limit_requests": 50}, Limits(requests=50)),
        ({"limit_requests": "30/m"}, Limits(requests=0.5)),
        ({"limit_requests": "2.5 / s"}, Limits(requests=2.5)),
        ({}, Limits()),
    ],
)
def test_limits_are_read(given_, expected):
    assert Limits.parse(given_) == expected


@pytest.mark.parametrize(
    "wrong",
    [
        {"limit_upload": "0"},
        {"limit_upload": 10**400},
        {"limit_upload": "9" * 400},
        {"limit_download": "fast"},
        {"limit_requests": 0},
        {"limit_requests": "1/d"},
        {"limit_requests": True},
    ],
)
def test_wrong_limits_are_refused(wrong):
    with pytest.raises(InvalidArgumentError):
        Limits.parse(wrong)


def test_a_memory_store_keeps_the_limits():
    rates = {"limit_upload": 8_000_000, "limit_download": 16_000_000, "limit_requests": 100}
    store = adopt_store(obstore.store.MemoryStore(), {**rates, "requests_max": 8})
    data = os.urandom(1_000_000)
    names = iter(f"a/{number}" for number in range(100))
    takes(1.0, lambda: together(*(lambda name=name: store.create(name, data) for name in itertools.islice(names, 8))))
    takes(1.0, lambda: together(*(lambda n=n: store.read(f"a/{n}") for n in range(8) for _ in range(2))))
    before = store.counts.total()
    takes(2.0, lambda: together(*(lambda n=n: [store.byte_count(f"a/{n}") for _ in range(25)] for n in range(8))))
    assert (store.counts.total() - before).heads % 200 == 0


def test_what_is_put_right_is_sent_no_faster_than_what_is_new(monkeypatch):
    store = adopt_store(obstore.store.MemoryStore(), {"limit_upload": 8_000_001})
    sent = []
    monkeypatch.setattr(store.paces, "send", sent.append)
    store.create("a/b", b"x" * 10)
    store.replace("a/b", b"y" * 12)
    assert sent == [10, 12]


@pytest.mark.parametrize("name", [name for name in SERVERS if name in ("moto", "seaweedfs")])
def test_a_server_is_sent_and_asked_no_more(name, servers):
    server = servers.get(SERVERS[name])
    rates = {"limit_upload": "4MB/s", "limit_download": "8MB/s"}
    store = open_store(server.bucket(), {**server.options(), **rates})
    data = os.urandom(2_000_000)
    names = iter(f"a/{number}" for number in range(100))
    busy = {"slack": 1.0}  # servers share the machine with the tests: only the memory store is held to the upper bound
    takes(2.0, lambda: together(*(lambda n=n: store.create(n, data) for n in itertools.islice(names, 4))), **busy)
    found = []
    takes(
        2.0,
        lambda: together(*(lambda n=n: found.append(store.read(f"a/{n}")) for n in range(4) for _ in range(2))),
        **busy,
    )
    assert set(found) == {data}


class Sink:
    """A server that takes any PUT and notes when its bytes came. `keeps`: it never replies."""

    def __init__(self, *, keeps=False):
        self.came = []
        self.heads = []
        self._keeps = keeps
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        with connection, connection.makefile("rb") as stream:
            while True:
                lines = []
                while line := stream.readline().strip():
                    lines.append(line.decode())
                if not lines:
                    return
                self.heads.append(lines)
                length = next(
                    (int(line.split(":")[1]) for line in lines if line.lower().startswith("content-length")), 0
                )
                while length:
                    data = stream.read1(min(length, 65536))
                    self.came.append((time.monotonic(), len(data)))
                    length -= len(data)
                if not self._keeps:
                    connection.sendall(b'HTTP/1.1 200 OK\r\nETag: "x"\r\nContent-Length: 0\r\n\r\n')

    def close(self):
        self._listener.close()


@pytest.fixture
def sink():
    made = Sink()
    yield made
    made.close()


def s3_at(port, **options):
    keys = {"access_key_id": "a", "secret_access_key": "b", "region": "us-east-1", "retry": "0s"}
    return open_store("s3://bucket/prefix", {**keys, "endpoint": f"http://127.0.0.1:{port}", **options})


def test_a_volume_flows_evenly(sink):
    """One large PUT comes in small parts: in no tenth of a second much more than its share."""
    store = s3_at(sink.port, limit_upload="10MB/s")
    store.create("a/b", os.urandom(10_000_000))
    start = sink.came[0][0]
    shares = {}
    for moment, size in sink.came:
        shares[int((moment - start) * 5)] = shares.get(int((moment - start) * 5), 0) + size
    assert len(shares) >= 4
    assert max(shares.values()) < 10_000_000 / 5 + 10_000_000 * BURST_SECONDS + 1_000_000
    assert not any("proxy" in line.lower() for head in sink.heads for line in head)


def test_a_proxy_of_the_caller_is_used_behind_the_relay(sink):
    second = Relay(up=None, down=None)
    store = s3_at(sink.port, limit_upload="50MB", client_options={"proxy_url": second.url})
    store.create("a/b", b"x" * 100_000)
    assert sum(size for _, size in sink.came) == 100_000


def test_options_of_connections_stand_anywhere(sink):
    """As the library has it; beside `client_options` its store would have no configuration that can be read."""
    second = Relay(up=None, down=None)
    for options in ({"proxy_url": second.url}, {"AWS_PROXY_URL": second.url, "timeout": "9s"}):
        store = s3_at(sink.port, limit_upload="55MB", allow_http="true", **options)
        store.create(f"a/{len(options)}", b"abc")
        assert store._store.config["bucket"] == "bucket"
        assert store._store.client_options.get("timeout") == options.get("timeout", "7d")
    assert sum(size for _, size in sink.came) == 6


@pytest.mark.parametrize(
    "options",
    [
        {"client_options": {"proxy_excludes": "127.0.0.1"}},
        {"client_options": {"PROXY_EXCLUDES": "127.0.0.1"}},
        {"proxy_excludes": "127.0.0.1"},
        {"AWS_Proxy_Excludes": "127.0.0.1"},
        {"aws_proxy_url": "socks5://127.0.0.1:9"},
        {"client_options": {"Proxy_URL": "socks5://me:secret@127.0.0.1:9"}},
        {"client_options": {"proxy_url": "https://me:secret@127.0.0.1:9"}},
        {"client_options": {"proxy_url": "http://me:secret@127.0.0.1:x"}},
    ],
)
def test_what_would_lead_around_the_relay_is_refused(options):
    """The library takes these by any case, and beside client_options, too; nothing would be limited then."""
    with pytest.raises(InvalidArgumentError, match="limit") as caught:
        s3_at(9, limit_upload="50MB", **options)
    assert "secret" not in str(caught.value)
    assert "proxy_" in str(caught.value)


def test_a_proxy_of_the_environment_that_the_relay_cannot_use_is_named(sink, monkeypatch):
    for name in ("http_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("ALL_PROXY", "socks5h://me:secret@127.0.0.1:9")
    with pytest.raises(InvalidArgumentError, match="the proxy of the environment: socks5h://…, expected") as caught:
        s3_at(sink.port, limit_upload="52MB")
    assert "secret" not in str(caught.value)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    store = s3_at(sink.port, limit_upload="52MB")
    store.create("a/b", b"abc")
    monkeypatch.delenv("NO_PROXY")  # it is asked for with each request
    with pytest.raises(StorageError, match=r"the proxy of the environment: socks5h://…, expected") as caught:
        store.create("a/c", b"abc")
    assert "secret" not in str(caught.value)
    assert sum(size for _, size in sink.came) == 3


def test_threads_that_open_stores_at_once_share_one_relay(monkeypatch):
    made = []

    class Slow:
        def __init__(self, **_options):
            made.append(self)
            time.sleep(0.05)
            self.url = "http://vark:x@127.0.0.1:9"

    monkeypatch.setattr("vark.stores.relay.Relay", Slow)
    together(*(lambda: s3_at(9, limit_upload="53MB") for _ in range(4)))
    assert len(made) == 1


def test_who_waits_for_a_turn_is_not_ended(sink, monkeypatch):
    """A limit so low that a part takes longer than what counts as standing still."""
    monkeypatch.setattr("vark.stores.relay.IDLE_SECONDS", 0.25)
    s3_at(sink.port, limit_upload=2500).create("a/b", b"x" * 3000)
    assert sum(size for _, size in sink.came) == 3000


def test_a_server_that_is_not_there_is_named_so():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(StoreUnavailableError, match="server: Connection refused"):
        s3_at(port, limit_upload="54MB").read("a/b")


def raw(relay, head, *, password=True):
    connection = socket.create_connection(("127.0.0.1", relay.port), 10)
    secret = base64.b64encode(relay.url.split("//")[1].split("@")[0].encode()).decode()
    lines = [head, *([f"Proxy-Authorization: Basic {secret}"] if password else []), "", ""]
    connection.sendall("\r\n".join(lines).encode())
    return connection


def test_the_relay_serves_its_own_process_only(sink):
    relay = Relay(up=Pace(1e6), down=Pace(1e6))
    for password, head, status in (
        (False, f"GET http://127.0.0.1:{sink.port}/ HTTP/1.1", b"407"),
        (False, f"CONNECT 127.0.0.1:{sink.port} HTTP/1.1", b"407"),
        (True, "CONNECT 127.0.0.1:9 HTTP/1.1", b"502"),
        (True, f"PUT http://127.0.0.1:{sink.port}/ HTTP/1.1\r\nTransfer-Encoding: chunked", b"501"),
    ):
        with raw(relay, head, password=password) as connection:
            assert connection.recv(100).split()[1] == status
    assert sink.heads == []
    for nonsense in ("\r\n", "one two", "GET http://[::1 HTTP/1.1", "GET " + "x" * 200_000):
        with raw(relay, nonsense) as connection, connection.makefile("rb") as stream:
            try:
                assert b" 200 " not in stream.read()
            except ConnectionError:
                pass
    with raw(relay, f"CONNECT 127.0.0.1:{sink.port} HTTP/1.1") as connection:  # as https does
        assert connection.recv(100).startswith(b"HTTP/1.1 200")
        connection.sendall(b"PUT /x HTTP/1.1\r\nContent-Length: 5\r\n\r\nabcde")
        assert connection.recv(100).startswith(b"HTTP/1.1 200")
    assert sum(size for _, size in sink.came) == 5


def test_what_does_not_move_is_ended(monkeypatch):
    monkeypatch.setattr("vark.stores.relay.IDLE_SECONDS", 0.3)
    keeping = Sink(keeps=True)
    store = s3_at(keeping.port, limit_upload="51MB", limit_download="51MB")
    start = time.monotonic()
    with pytest.raises(StoreUnavailableError):
        store.create("a/b", b"x")
    assert 0.2 < time.monotonic() - start < 10
    keeping.close()


def test_who_does_not_say_the_password_is_ended_sooner(sink, monkeypatch):
    """Also one that sends a byte now and then; a connection that has said it may rest."""
    monkeypatch.setattr("vark.stores.relay.STRANGER_SECONDS", 0.3)
    relay = Relay(up=None, down=None)
    address = "127.0.0.1", relay.port
    with raw(relay, f"GET http://127.0.0.1:{sink.port}/ HTTP/1.1") as known:
        assert known.recv(100).startswith(b"HTTP/1.1 200")
        with socket.create_connection(address, 10) as silent, socket.create_connection(address, 10) as slow:
            start = time.monotonic()
            with contextlib.suppress(ConnectionError):
                while time.monotonic() < start + 5:
                    slow.sendall(b"G")
                    threading.Event().wait(0.05)
            assert silent.recv(100) == b""
            assert 0.2 < time.monotonic() - start < 4
        known.setblocking(False)
        with pytest.raises(BlockingIOError):  # neither ended nor said anything
            known.recv(100)


def test_limits_beside_faults_never_stand_still(servers, monkeypatch):
    monkeypatch.setattr("vark.stores.remote._DELAY_SECONDS", 0.001)
    server = servers.get(SERVERS["moto"])
    proxy = FaultyProxy(server.port, share=0.2)
    limits = {"limit_upload": "20MB", "limit_download": "20MB", "limit_requests": 200, "requests_max": 2}
    options = {**server.options(), "endpoint": f"http://127.0.0.1:{proxy.port}", "retry": "60s"}
    store = open_store(server.bucket(), {**options, **limits})
    parts = {f"a/{number}": os.urandom(100_000) for number in range(12)}
    together(*(lambda name=name, data=data: store.create(name, data) for name, data in parts.items()))
    together(*(lambda name=name, data=data: check(store.read(name) == data) for name, data in parts.items()))
    proxy.close()


def check(is_true):
    assert is_true


def test_the_command_line_has_limits(tmp_path, servers, capsys, monkeypatch):
    server = servers.get(SERVERS["moto"])
    address, options = server.bucket(), server.options()
    for name in ("access_key_id", "secret_access_key", "region"):
        monkeypatch.setenv(f"AWS_{name.upper()}", options[name])
    monkeypatch.setenv("AWS_ENDPOINT_URL", options["endpoint"])
    np.save(tmp_path / "rows.npy", np.random.default_rng(1).random((16_000, 64), dtype=np.float32))
    assert run(["init", address, "--encryption", "none"]) == 0
    took = seconds(
        lambda: check(run(["backup", "-r", address, str(tmp_path / "rows.npy"), "--limit-upload", "3MB/s"]) == 0)
    )
    assert took > 1  # 3.6 MB stored
    monkeypatch.setenv("VARK_LIMIT_DOWNLOAD", "3MB")
    took = seconds(lambda: check(run(["restore", "latest", str(tmp_path / "back"), "-r", address, "--json"]) == 0))
    assert took > 1
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    assert lines[-1]["message_type"] == "traffic"
    assert lines[-1]["bytes_down"] > 3_000_000
    local = str(tmp_path / "local")
    assert run(["init", local, "--encryption", "none"]) == 0  # those of the environment are for other places
    assert run(["snapshots", "-r", local, "--limit-requests", "5"]) == 2
    assert run(["snapshots", "-r", address, "--limit-requests", "none"]) == 2
    assert run(["inspect", str(tmp_path / "rows.npy"), "--limit-download", "5MB"]) == 2
    assert "no remote store" in capsys.readouterr().err


def test_an_archive_by_address_says_what_it_cost(servers, capsys, monkeypatch):
    server = servers.get(SERVERS["moto"])
    address, options = server.bucket(), server.options()
    repository = plain_repository(address, store_options={**options, "limit_requests": 500})
    report = repository.backup(np.ones((1000, 8), np.float32), name="a")
    assert report.traffic.puts > 0
    for name in ("access_key_id", "secret_access_key", "region"):
        monkeypatch.setenv(f"AWS_{name.upper()}", options[name])
    monkeypatch.setenv("AWS_ENDPOINT_URL", options["endpoint"])
    archive = f"{address}/archives/{report.archives[0].archive_id}/000000.vark"
    assert run(["cat", archive, "vectors", "--rows", "0:1"]) == 0
    said = capsys.readouterr()
    assert said.out.split() == ["1.0"] * 8
    assert "requests: 0 PUT, 0 LIST, " in said.err
    assert run(["inspect", archive, "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["message_type"] for line in lines] == ["summary", "traffic"]
    with pytest.raises(InvalidArgumentError, match="belongs to the store object"):
        Repository.open(obstore.store.MemoryStore(), store_options={"endpoint": "x"})
