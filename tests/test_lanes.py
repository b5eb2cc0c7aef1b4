"""How many requests run at once, against servers that are simulated: a line, a cap on connections, refusals."""

import heapq
import random
import threading

import obstore.store
import pytest

from faulty_library import FaultyLibrary
from vark.stores import RemoteStore
from vark.stores.lanes import WIDTH_MIN, Lanes

SIZE = 8 << 20
MOST = 16


class Line:
    """Requests of one size, always as many as there are lanes. seconds(busy): how long one takes that begins now."""

    def __init__(self, seconds, *, most=MOST, seed=1):
        self.now = 0.0
        self.seconds = seconds
        self.lanes = Lanes(most, now=lambda: self.now)
        self.done = 0
        self.widths = []
        self._running = []
        self._random = random.Random(seed)

    def run(self, until):
        """Go on for so long; return requests a second."""
        start, before = self.now, self.done
        while self.now < start + until:
            while len(self._running) < self.lanes.width:
                self.lanes.__enter__()
                took = self.seconds(len(self._running) + 1) * self._random.uniform(0.95, 1.05)
                heapq.heappush(self._running, (self.now + took, took))
            self.now, took = heapq.heappop(self._running)
            self.lanes.__exit__(None, None, None)
            self.lanes.note(took, SIZE)
            self.done += 1
            self.widths.append(self.lanes.width)
        return (self.done - before) / (self.now - start)


def shared(bytes_a_second, latency=0.02):
    """A line that all requests share: more of them come no faster."""
    return lambda busy: latency + busy * SIZE / bytes_a_second


def capped(bytes_a_second, latency=0.02):
    """A store that gives each connection so much: more of them bring more."""
    return lambda _: latency + SIZE / bytes_a_second


@pytest.mark.parametrize("seed", range(5))
def test_a_line_that_is_full_gets_fewer_requests_and_no_less(seed):
    line = Line(shared(200e6), seed=seed)
    first = line.run(5)
    line.run(200)
    assert line.run(60) > first * 0.93
    assert sum(line.widths[-100:]) / 100 < MOST * 0.6
    assert min(line.widths) >= WIDTH_MIN


@pytest.mark.parametrize("seed", range(5))
def test_a_store_that_caps_each_connection_gets_all(seed):
    line = Line(capped(30e6), seed=seed)
    line.run(200)
    assert set(line.widths) == {MOST}


def test_a_line_that_gets_better_is_used_again():
    line = Line(shared(200e6))
    line.run(200)
    narrow = line.lanes.width
    line.seconds = capped(30e6)
    line.run(2000)
    assert line.lanes.width > narrow
    assert line.lanes.width == MOST


def test_a_store_that_gets_slower_is_not_mistaken_for_a_full_line():
    """All requests take ten times as long, however few there are: steps that cost bytes are undone."""
    line = Line(capped(30e6))
    line.run(50)
    line.seconds = capped(3e6, latency=0.2)
    line.run(600)
    assert sum(line.widths[-500:]) / 500 > MOST * 0.7


def test_lanes_that_are_not_all_in_use_stay():
    line = Line(shared(200e6), most=64)
    line.lanes.width = 64
    now = [0.0]
    lanes = Lanes(64, now=lambda: now[0])
    for busy in (1, *[20] * 2000):
        with lanes:
            now[0] += 0.05
        lanes.note(shared(200e6)(busy), SIZE)
    assert lanes.width == 64


def test_refusals_halve_and_good_ones_widen_again():
    lanes = Lanes(8)
    lanes.slow_down()
    assert lanes.width == 4
    for _ in range(5):
        lanes.slow_down()
    assert lanes.width == 1
    for _ in range(16 * 20):
        with lanes:
            pass
        lanes.note(0.001, 0)
    assert lanes.width == 8


def test_a_store_that_refuses_gets_fewer_requests_and_all_arrives(monkeypatch):
    """SlowDown whenever more than three run: nothing is lost, and the store is soon left in peace."""
    monkeypatch.setattr("vark.stores.remote._DELAY_SECONDS", 0.002)
    library = FaultyLibrary(share=0)
    running, refused, lock = [0], [0], threading.Lock()
    honest = library.put

    def put(*arguments, **options):
        with lock:
            running[0] += 1
            too_many = running[0] > 3
            refused[0] += too_many
        try:
            threading.Event().wait(0.005)
            if too_many:
                raise RuntimeError("Generic S3 error: SlowDown: status code: 503")
            return honest(*arguments, **options)
        finally:
            with lock:
                running[0] -= 1

    library.put = put
    store = RemoteStore(obstore.store.MemoryStore(), place="test:", library=library)
    threads = [
        threading.Thread(target=lambda n=n: [store.create(f"a/{n}-{i}", b"x") for i in range(20)]) for n in range(16)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    assert len(store.list("a")) == 320
    assert store.lanes.width < 16
    assert refused[0] < 320
