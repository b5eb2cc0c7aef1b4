"""The tests of repositories on locked stores: VARK_TEST_STORE=locked-memory, or locked-bucket (a SeaweedFS server).

Such a store keeps versions, has object lock with a rule that retains each new object, and takes no deletes from the
code under test. Stores in memory, and repositories in new folders, become such ones; what a test does itself to a store
is done by the owner of the storage. A collection asserts the documented refusal in the place of what it frees, and ends
the test, which is counted.
"""

import atexit
import os
import sys
import tempfile
import zlib
from collections.abc import MutableMapping
from pathlib import Path

import pytest

import vark.stores
from vark.stores import LockedMemoryStore, RemoteStore, open_store

KINDS = ("locked-memory", "locked-bucket")
HERE = str(Path(__file__).parent)
DAYS = 1
USED, REFUSED = set(), set()  # tests, by their ids
MADE = []  # stores of the test that runs, and of fixtures before it
PLACES = {}  # folder -> store
# Tests of a folder's own files, or with processes of their own: they stay on the disk.
FOLDERS = {
    "test_a_killed_backup_leaves_a_repository_that_goes_on",
    "test_a_list_that_cannot_be_read_lets_nothing_in",
    "test_a_live_hnswlib_index_touches_no_disk_on_its_way_into_an_encrypted_archive",
    "test_a_plain_repository_in_the_place_of_an_encrypted_one_is_an_alarm",
    "test_the_reference_reader_restores_every_day_by_every_way",
    "test_a_lost_or_damaged_marker_does_not_keep_anyone_from_restoring",
    "test_a_run_that_was_killed_is_completed_by_the_next",
    "test_a_snapshot_that_cannot_be_read_keeps_anything_from_being_written",
    "test_an_archive_that_is_missing_or_another_is_a_clean_error",
    "test_files_that_may_not_grow_are_told_by_the_command_line",
    "test_the_needles_would_be_found",
}
# Tests of every object that there is, or of requests in their order: a probe, as a collection makes it there, adds some.
NOT_HERE = {
    "test_an_old_object_under_a_new_content_name_is_noticed",
    "test_every_hidden_object_is_noticed_by_a_client_that_has_seen_it",
    "test_every_pair_of_objects_of_one_kind_put_in_each_others_place_is_noticed",
}
# In memory only: hundreds of runs of scripted steps, of which every one waits for the one before; damage of any object
# that there is, of which a bucket has bundles, too: they may be damaged, for they prove nothing; faults
# of a method that only a store in memory is read by; its name in a message.
NOT_IN_A_BUCKET = {
    "test_a_record_that_cannot_be_read_is_not_damaged",
    "test_damage_is_named_by_its_place_where_volumes_cannot_be_read_again",
    "test_damage_is_named_exactly",
    "test_exactly_the_damaged_objects_and_the_snapshots_that_need_them_are_named",
    "test_no_acknowledged_snapshot_is_lost_in_any_order_of_steps",
    "test_the_staged_check_finds_a_collector_that_does_not_look_again",
    "test_the_staged_check_finds_a_writer_that_does_not_look_again",
    "test_what_cannot_be_a_digest_is_refused_as_such",
}
PROCESSES = ("test_repository_cli.py", "test_repository_kills.py")


class RefusalAssertedError(BaseException):
    """A collection has said what the store keeps; what the test expects of it afterwards cannot be."""


def current():
    return os.environ.get("PYTEST_CURRENT_TEST", "").rpartition(" ")[0]


def asked_by_a_test():
    """Whether the call of a method, two frames up, comes from a test, through whatever store a test puts around it."""
    frame = sys._getframe(2)
    while frame is not None and frame.f_code.co_name == "delete" and frame.f_code.co_filename.startswith(HERE):
        frame = frame.f_back
    return frame is not None and frame.f_code.co_filename.startswith(HERE)


class Objects(MutableMapping):
    """The newest bytes by name, (bytes, time), as a store in memory has them; changes are those of the storage's owner."""

    def __init__(self, store):
        self._store = store

    def __getitem__(self, name):
        found = {entry.name: entry for entry in self._store.list("/".join(name.split("/")[:-1]))}
        if name not in found:
            raise KeyError(name)
        return self._store.read(name), found[name].modified_unix_ms

    def __setitem__(self, name, value):
        self._store.own(name, bytes(value[0]))

    def __delitem__(self, name):
        self._store.own(name, None)

    def __iter__(self):
        return iter([entry.name for entry in self._store.list("")])

    def __len__(self):
        return len(self._store.list(""))

    def items(self):
        return [(entry.name, (self._store.read(entry.name), entry.modified_unix_ms)) for entry in self._store.list("")]

    def copy(self):
        return dict(self.items())


class Owned:
    """What the owner of the storage does, whatever is locked. tampered: the names it was done to."""

    is_owner = False

    def _begin(self):
        self.tampered = set()
        MADE.append(self)
        USED.add(current())

    def collected_by_owner(self, collect):
        """Collect as the owner of the storage, past its locks: what fixtures make is made with such a one about."""
        locks = self.locks
        self.locks, self.is_owner = None, True
        try:
            return collect()
        finally:
            self.locks, self.is_owner = locks, False

    @property
    def _objects(self):
        return Objects(self)

    @_objects.setter
    def _objects(self, values):
        if not hasattr(self, "tampered"):
            return  # the one that MemoryStore makes for itself
        there = Objects(self).copy()
        for name in there.keys() - values.keys():
            self.own(name, None)
        for name, value in values.items():
            if there.get(name, (None,))[0] != value[0]:
                self.own(name, bytes(value[0]))


class SuiteMemoryStore(Owned, LockedMemoryStore):
    def __init__(self):
        super().__init__(default=("governance", DAYS))
        self._begin()

    def own(self, name, data):
        self.tampered.add(name)
        self._versions.pop(name, None)
        if data is not None:
            self.add_version(name, data)

    def delete(self, name):
        if self.is_owner or asked_by_a_test():
            return self.own(name, None)
        return super().delete(name)

    def versions_of_all(self):
        return {name: len(self.of(name)) for name in self.names()}


class SuiteBucketStore(Owned, RemoteStore):
    """A prefix of one bucket, by credentials that may not delete."""

    _server = _address = None
    _count = 0

    def __init__(self):
        kind = SuiteBucketStore
        if kind._server is None:
            from store_servers import STARTED, LockedSeaweed

            kind._server = LockedSeaweed(tempfile.mkdtemp(prefix="vark-suite-")).start()
            atexit.register(kind._server.stop)
            STARTED.append(kind._server.version())
            kind._address = kind._server.locked_bucket()
            rule = {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": DAYS}}
            kind._server.client().put_object_lock_configuration(
                Bucket=kind._address.split("/")[2],
                ObjectLockConfiguration={"ObjectLockEnabled": "Enabled", "Rule": rule},
            )
            kind._client = kind._server.client()
        kind._count += 1
        address = f"{kind._address}/{kind._count}"
        self.__dict__.update(open_store(address, kind._server.writer_options()).__dict__)
        self._bucket, _, self._below = address.removeprefix("s3://").partition("/")
        self._begin()

    def own(self, name, data):
        self.tampered.add(name)
        key = f"{self._below}/{name}"
        self.spans = type(self.spans)(self.spans.limit_bytes)  # what was read before is not what is there
        found = self._client.list_object_versions(Bucket=self._bucket, Prefix=key)
        for item in found.get("Versions", []) + found.get("DeleteMarkers", []):
            if item["Key"] == key:
                self._client.delete_object(
                    Bucket=self._bucket, Key=key, VersionId=item["VersionId"], BypassGovernanceRetention=True
                )
        if data is not None:
            self._client.put_object(Bucket=self._bucket, Key=key, Body=data)

    def delete(self, name):
        if self.is_owner or asked_by_a_test():
            return self.own(name, None)
        return super().delete(name)

    def versions_of_all(self):
        counts = {}
        for item in self.locks.versions(""):
            counts[item.name] = counts.get(item.name, 0) + 1
        return counts


STORES = {"locked-memory": SuiteMemoryStore, "locked-bucket": SuiteBucketStore}


def is_on():
    return os.environ.get("VARK_TEST_STORE") in KINDS


def install():
    """Put locked stores in the place of those in memory and in new folders, before any test is imported."""
    kind = STORES[os.environ["VARK_TEST_STORE"]]
    vark.stores.MemoryStore = kind
    from vark.repository import opening, retaining
    from vark.stores.urls import is_url

    store_of, gc = opening.store_of, retaining.Retaining.gc

    def locked_store_of(place, options=None):
        if isinstance(place, (str, os.PathLike)) and not is_url(place):
            path = os.path.abspath(os.fspath(place))
            module, _, name = current().rpartition("/")[2].partition("::")
            if name.partition("[")[0] in FOLDERS or module in PROCESSES:
                return store_of(place, options)
            if path in PLACES or not os.path.exists(path):
                if path not in PLACES:
                    PLACES[path] = kind()
                return PLACES[path]
        return store_of(place, options)

    def content_gc(self, *, confirm=False, **options):
        if not isinstance(self.store, Owned):
            return gc(self, confirm=confirm, **options)
        if "(setup)" in os.environ.get("PYTEST_CURRENT_TEST", ""):
            return self.store.collected_by_owner(lambda: gc(self, confirm=confirm, **options))
        if not confirm:
            return ended_by_what_is_kept(gc(self, **options))
        before = {entry.name for entry in self.store.list("")}
        report = gc(self, confirm=True, **options)
        assert (report.archives, report.commits_removed, report.marks_removed) == ({}, 0, 0)
        assert before <= {entry.name for entry in self.store.list("")}
        return ended_by_what_is_kept(report)

    opening.store_of = locked_store_of
    retaining.Retaining.gc = content_gc


def choose(items):
    """Skip what has no meaning here; with VARK_ONE_OF=N keep about one test in N, chosen by VARK_SEED."""
    one_of, seed = int(os.environ.get("VARK_ONE_OF", "1")), os.environ.get("VARK_SEED", "1")
    left = []
    refused = NOT_HERE | (NOT_IN_A_BUCKET if os.environ["VARK_TEST_STORE"] == "locked-bucket" else set())
    for item in items:
        if item.originalname in refused:
            item.add_marker(pytest.mark.skip(reason="not on locked stores: see locked_suite.py"))
        if zlib.crc32(f"{seed} {item.nodeid}".encode()) % one_of == 0:
            left.append(item)
    items[:] = left


def ended_by_what_is_kept(report):
    """End the test where a collection says that the store keeps what it would free, and frees nothing of it."""
    if report.retained or report.refused:
        assert report.archives.keys().isdisjoint({*report.retained, *report.refused})
        REFUSED.add(current())
        raise RefusalAssertedError
    return report


def check_untouched():
    """Nothing that a test did not do itself was deleted or written a second time."""
    for store in MADE:
        wrong = {name: count for name, count in store.versions_of_all().items() if count > 1}
        assert wrong.keys() <= store.tampered, wrong
    MADE.clear()


def summary():
    where = os.environ["VARK_TEST_STORE"]
    return f"{where}: {len(USED)} tests on locked stores, {len(REFUSED)} of them ended at the refusal to free anything"
