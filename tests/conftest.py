"""Small seeded sources that many tests share."""

import os
import sys

import numpy as np
import pytest

import locked_suite
import vark

if locked_suite.is_on():
    locked_suite.install()

ROWS, DIM = 600, 16
os.environ["VARK_CACHE"] = ""  # tests leave nothing in anyone's home


@pytest.fixture(autouse=True)
def client_state(tmp_path_factory, monkeypatch):
    """What clients remember of repositories stays out of the home of whoever runs the tests."""
    monkeypatch.setenv("VARK_STATE", str(tmp_path_factory.mktemp("state")))


@pytest.fixture
def vectors():
    return np.random.default_rng(7).standard_normal((ROWS, DIM), dtype=np.float32)


@pytest.fixture
def archive_path(tmp_path, vectors):
    """An archive of one array with a document, an attachment and probes."""
    path = tmp_path / "array.vark"
    vark.write_archive(
        vectors,
        path,
        documents={"README.md": "# Königsberg\n"},
        attach={"model.bin": bytes(range(256)) * 40},
        probes={"queries": vectors[:20], "k": 5},
        application={"model": "e5", "revision": 3},
        sync=False,
    )
    return path


@pytest.fixture
def faiss_index(vectors):
    import faiss

    index = faiss.index_factory(DIM, "HNSW16")
    index.add(vectors)
    return index


@pytest.fixture
def hnswlib_index(vectors):
    import hnswlib

    index = hnswlib.Index("cosine", DIM)
    index.init_index(ROWS + 100, M=8, random_seed=3)
    index.add_items(vectors, np.arange(ROWS) * 3, num_threads=1)
    index.set_ef(77)
    return index


@pytest.fixture
def damaged_path(archive_path, tmp_path):
    """The archive with one byte of its first block changed: it opens, but rows cannot be read."""
    data = bytearray(archive_path.read_bytes())
    data[70] ^= 0x10
    path = tmp_path / "damaged.vark"
    path.write_bytes(data)
    return path


def pytest_collection_modifyitems(items):
    """Choose what runs on locked stores."""
    if locked_suite.is_on():
        locked_suite.choose(items)


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem):
    """End a test that has come to what a locked store refuses."""
    try:
        return (yield)
    except locked_suite.RefusalAssertedError:
        return True


@pytest.fixture(autouse=True)
def untouched():
    """On locked stores nothing is deleted or overwritten."""
    yield
    if locked_suite.is_on():
        locked_suite.check_untouched()


def pytest_terminal_summary(terminalreporter):
    """Name the servers that the run has started, and what ran on locked stores."""
    if locked_suite.is_on():
        terminalreporter.write_line(locked_suite.summary())
    started = getattr(sys.modules.get("store_servers"), "STARTED", [])
    if started:
        terminalreporter.write_line(f"servers: {', '.join(sorted(started))}")


@pytest.fixture(scope="session")
def servers(tmp_path_factory):
    """Servers of object stores, each started when a test first wants it."""
    from store_servers import Running

    running = Running(tmp_path_factory.mktemp)
    yield running
    running.stop()
