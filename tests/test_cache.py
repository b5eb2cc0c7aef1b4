"""The local cache: used where it may be, never needed, never believed."""

import os
import stat
import time
from uuid import UUID

import numpy as np
import pytest

import vark
import vark.keys
from vark.cache import Cache, as_cache, cache_of_repository
from vark.cli import run as run_command
from vark.errors import InvalidArgumentError, VarkError

ROWS, DIM = 2500, 8
IDS = [UUID(int=0x018F_0000_0000_7000_8000_0000_0000_0000 + day) for day in range(3)]


@pytest.fixture(scope="module")
def days(tmp_path_factory):
    """Files of a graph on two days: some rows were updated through the library."""
    import hnswlib

    folder = tmp_path_factory.mktemp("days")
    vectors = np.random.default_rng(3).standard_normal((ROWS, DIM), dtype=np.float32)
    index = hnswlib.Index("l2", DIM)
    index.init_index(ROWS, M=8, random_seed=3)
    index.add_items(vectors, np.arange(ROWS), num_threads=1)
    paths = [folder / "first.hnswlib", folder / "second.hnswlib"]
    index.save_index(str(paths[0]))
    index.add_items(vectors[:40] + 1, np.arange(40) * 60, num_threads=1)
    index.save_index(str(paths[1]))
    return paths


def files(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_the_second_backup_decodes_no_links_of_the_first(days, tmp_path, monkeypatch):
    monkeypatch.setenv("VARK_CACHE", str(tmp_path / "cache"))
    repository = vark.Repository.create(tmp_path / "repository", encryption="none")
    first = repository.backup(days[0], name="graph")
    assert first.archives[0].write.cache.chunks_written == 1
    second = repository.backup(days[1], name="graph")
    assert second.archives[0].base is not None
    assert second.archives[0].write.cache.chunks_read >= 1
    folder = tmp_path / "cache" / repository.id
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert len(files(folder)) >= 2
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in files(folder))
    repository.restore("latest", tmp_path / "restored")
    assert (tmp_path / "restored").read_bytes() == days[1].read_bytes()


@pytest.mark.parametrize("harm", ["none", "lost", "emptied", "damaged", "exchanged"])
def test_an_archive_has_the_same_bytes_whatever_the_cache_holds(harm, days, tmp_path):
    def written(name, cache):
        full = tmp_path / f"{name}-full.vark"
        vark.write_archive(days[0], full, archive_id=IDS[0], fingerprint_key=bytes(32), cache=cache, sync=False)
        spoil(harm, tmp_path / "cache")
        delta = tmp_path / f"{name}.vark"
        with vark.open_archive(full) as base:
            options = {"archive_id": IDS[1], "fingerprint_key": bytes(32), "base": base, "cache": cache}
            report = vark.write_archive(days[1], delta, sync=False, **options)
        return delta.read_bytes(), report

    plain, report = written("plain", None)
    assert report.cache is None
    cached, report = written("cached", tmp_path / "cache")
    assert cached == plain
    assert report.cache.chunks_read >= 1
    assert report.cache.chunks_written == (1 if harm == "none" else 2)  # what was lost is there again


def spoil(harm, folder):
    paths = files(folder) if folder.exists() else []
    for path in paths:
        data = bytearray(path.read_bytes())
        if harm == "lost":
            path.unlink()
        elif harm == "emptied":
            path.write_bytes(b"")
        elif harm == "damaged":
            data[-70] ^= 1
            path.write_bytes(data)
        elif harm == "exchanged":
            path.write_bytes(data[:144] + data[:143:-1])


def test_nothing_is_kept_where_that_was_asked_for(days, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("VARK_CACHE")
    repository = vark.Repository.create(tmp_path / "repository", encryption="none")
    assert repository.backup(days[0], name="graph", cache=False).archives[0].write.cache is None
    monkeypatch.setenv("VARK_CACHE", "")
    assert repository.backup(days[0], name="graph").archives[0].write.cache is None
    assert not (tmp_path / "home").exists()
    monkeypatch.delenv("VARK_CACHE")
    assert repository.backup(days[0], name="graph").archives[0].write.cache is not None
    assert [path.name for path in (tmp_path / "home" / "vark").iterdir()] == [repository.id]
    repository.backup(days[0], name="graph", cache=tmp_path / "own")
    assert [path.name for path in (tmp_path / "own").iterdir()] == [repository.id]


def test_the_cache_of_an_encrypted_repository_is_encrypted_with_its_keys(days, tmp_path, monkeypatch):
    monkeypatch.setenv("VARK_CACHE", str(tmp_path / "cache"))
    place = tmp_path / "repository"
    repository = vark.Repository.create(place, recovery_code=vark.keys.new_recovery_code())
    first = repository.backup(days[0], name="graph")
    assert first.archives[0].write.cache.chunks_written == 1
    second = repository.backup(days[1], name="graph")
    assert second.archives[0].base is not None
    assert second.archives[0].write.cache.chunks_read >= 1
    links = days[0].read_bytes()[96 : 96 + 4 + 4 * 16]
    for path in files(tmp_path / "cache"):
        assert path.read_bytes()[10:12] == b"\x01\x00"
        assert links[:24] not in path.read_bytes()
    repository.restore("latest", tmp_path / "restored")
    assert (tmp_path / "restored").read_bytes() == days[1].read_bytes()


def test_nothing_that_is_erased_stays_in_the_cache(days, tmp_path, monkeypatch):
    monkeypatch.setenv("VARK_CACHE", str(tmp_path / "cache"))
    repository = vark.Repository.create(tmp_path / "repository", encryption="none")
    repository.backup(days[0], name="graph")
    assert files(tmp_path / "cache")
    repository.erase([7], name="graph", confirm=True)
    assert not files(tmp_path / "cache")
    assert repository.backup(days[1], name="graph").archives[0].write is not None
    assert not files(tmp_path / "cache")
    repository.lift_erasure("graph")
    repository.backup(days[1], name="graph")
    assert files(tmp_path / "cache")


def test_where_the_cache_is(tmp_path, monkeypatch):
    repository = "ab" * 16
    monkeypatch.delenv("VARK_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache_of_repository(repository).folder == tmp_path / "home" / ".cache" / "vark" / repository
    monkeypatch.setenv("VARK_CACHE", str(tmp_path / "asked"))
    assert cache_of_repository(repository, True).folder == tmp_path / "asked" / repository
    assert cache_of_repository("", True) is None  # a repository whose marker is lost
    assert cache_of_repository("../" * 10 + "ab") is None
    with pytest.raises(InvalidArgumentError, match="empty"):
        cache_of_repository(repository, "")
    with pytest.raises(InvalidArgumentError, match="folder"):
        as_cache(7)
    assert as_cache(Cache(tmp_path, key=bytes(32))).argument() == (
        str(tmp_path),
        4 << 30,
        (bytes(32), bytes(16)),
        16 << 30,
    )
    assert "key" not in repr(Cache(tmp_path, key=bytes(32)))


def test_a_folder_that_cannot_be_made_is_an_error_only_when_it_was_asked_for(days, tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.delenv("VARK_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    repository = vark.Repository.create(tmp_path / "repository", encryption="none")
    assert repository.backup(days[0], name="graph").archives[0].write.cache is None
    with pytest.raises(VarkError, match="cache"):
        repository.backup(days[0], name="graph", cache=tmp_path / "file" / "below")
    monkeypatch.setenv("VARK_CACHE", str(tmp_path / "file"))
    with pytest.raises(VarkError, match="cache"):
        repository.backup(days[0], name="graph")
    assert len(repository.snapshots()) == 1


def test_folders_of_repositories_that_are_long_gone_are_removed(tmp_path, monkeypatch):
    monkeypatch.setenv("VARK_CACHE", str(tmp_path))
    old, young, other = tmp_path / ("0" * 32), tmp_path / ("1" * 32), tmp_path / "photos"
    for folder in (old, young, other):
        folder.mkdir()
        (folder / "x.rows").write_bytes(b"x")
        os.utime(folder, (0, time.time() - (100 if folder != young else 10) * 86_400))
    cache_of_repository("2" * 32)
    assert not old.exists()
    assert young.exists()
    assert other.exists()


def test_the_command_line_says_where(days, tmp_path):
    def run(*arguments):
        return run_command([str(item) for item in arguments])

    repository = tmp_path / "repository"
    assert run("init", repository, "--encryption", "none") == 0
    assert run("backup", "-r", repository, days[0], "--name", "g", "--cache", tmp_path / "cache") == 0
    assert len(files(tmp_path / "cache")) == 1
    assert run("backup", "-r", repository, days[1], "--name", "g", "--no-cache") == 0
    assert len(files(tmp_path / "cache")) == 1
    both = run("backup", "-r", repository, days[1], "--name", "g", "--no-cache", "--cache", tmp_path / "cache")
    assert both == 2
