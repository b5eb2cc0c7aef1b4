"""Bugs planted in the steps of the repository, each of which the campaign of power cuts, kills and others must find."""

import inspect

import pytest

import repository_campaign
from repository_campaign import Campaign, Violation
from test_repository_power_cuts import CHAIN, SCRIPT, SMALL_VOLUMES
from vark.errors import DamagedError
from vark.repository import backup, catalog, collect, compact, marking, objects, volumes
from vark.repository.context import Context
from vark.repository.marks import MarkState
from vark.repository.root import Administration, AdministrationReader
from vark.stores import LocalStore, MemoryStore

BUGS = []


def bug(how, *given, **settings):
    """Add a bug: a function that patches it in; and the part of the campaign that has to find it."""

    def add(plant):
        BUGS.append(pytest.param(plant, how, given, settings, id=plant.__name__))
        return plant

    return add


class WithoutFolderSync(LocalStore):
    """A store that acknowledges before names are durable."""

    def _sync_folder(self, folder):
        pass


def careless(store):
    """Return the same store, but one that does not wait for the disk."""
    return WithoutFolderSync(store.root, files=store.files)


def carelessly(store, *given):
    return objects.create_record(careless(store), *given)


def single_marks_always_count(patch):
    """Take away the rule that makes these bugs harmless: each must be found where it is alone to prevent a loss."""
    patch.setattr(
        MarkState, "forgotten", lambda self, commit, another: self.forgotten_commits.get(commit, self.forgotten_whole)
    )


def called_from(*names):
    return any(frame.function in names for frame in inspect.stack()[2:5])


@bug("power_cuts", SCRIPT)
def backup_is_acknowledged_before_its_commit_is_durable(patch):
    patch.setattr("vark.repository.context.create_record", carelessly)


@bug("power_cuts", SCRIPT)
def commit_comes_before_its_archives(patch):
    late = []

    def write(store, archive_id, write, **options):
        aside = MemoryStore()
        result = volumes.write_volumes(aside, archive_id, write, **options)
        late.extend((entry.name, aside.read(entry.name)) for entry in aside.list(""))
        return result

    def create(store, *given):
        digest = objects.create_record(store, *given)
        while late:
            store.create(*late.pop(0))
        return digest

    patch.setattr(backup, "write_volumes", write)
    patch.setattr("vark.repository.context.create_record", create)


@bug("power_cuts", SCRIPT)
def archives_are_not_made_durable(patch):
    class Store(LocalStore):
        def _sync_folder(self, folder):
            if "/archives/" not in folder:
                super()._sync_folder(folder)

    patch.setattr(repository_campaign, "LocalStore", Store)


@bug("power_cuts", SCRIPT)
def marks_are_not_made_durable(patch):
    patch.setattr(
        "vark.repository.marks.create_record", lambda store, *given: objects.create_record(careless(store), *given)
    )


@bug("power_cuts", SCRIPT)
def archives_are_deleted_before_the_sweep_root_is_durable(patch):
    original = AdministrationReader.advance

    def advance(self, found, phase, archives=None):
        kept = self.store
        self.store = careless(kept) if phase == "sweep" else kept
        try:
            return original(self, found, phase, archives)
        finally:
            self.store = kept

    patch.setattr(AdministrationReader, "advance", advance)


@bug("intrusions", [*CHAIN, "backup 9 full", "forget 3"], "gc 0", [["undelete 3"]])
def archives_are_deleted_without_a_sweep_root(patch):
    def to_sweep(context, request, found, run):
        collect_sweep(context, Administration(found.root, found.root_digest, {}, found.condemned, frozenset()), run)

    collect_sweep = collect._sweep
    patch.setattr(collect, "_to_sweep", to_sweep)


@bug("intrusions", CHAIN, "backup 4", [["forget 3", "gc 0"]])
def backup_does_not_look_again(patch):
    original = AdministrationReader.read

    def read(self):
        nothing = Administration(None, None, {}, {}, frozenset())
        return nothing if inspect.stack()[1].function == "backup" else original(self)

    patch.setattr(AdministrationReader, "read", read)


@bug("intrusions", [*CHAIN, "forget 3"], "undelete 3", [["gc 0"]])
def undelete_does_not_look_again(patch):
    patch.setattr(marking, "_check_alive", lambda context, snapshot: None)


@bug("intrusions", [*CHAIN, "forget 3"], "gc 0", [["undelete 3"]])
def collector_does_not_look_again(patch):
    def to_sweep(context, request, found, run):
        context.reader.administrations.advance(found, "sweep", found.condemned)

    patch.setattr(collect, "_to_sweep", to_sweep)


@bug("intrusions", CHAIN, "backup 4", [["forget 1", "forget 2", "forget 3", "gc 0"]])
def sweep_lists_are_dropped(patch):
    original = AdministrationReader._administration

    def administration(self, root):
        found = original(self, root)
        return Administration(found.root, found.root_digest, found.condemned, found.sweep, frozenset(found.sweep))

    patch.setattr(AdministrationReader, "_administration", administration)


@bug("kills", [*CHAIN, "compact 3", "forget 1", "forget 2"], "gc", [["gc"]])
def collector_trusts_a_root_that_it_found(patch):
    patch.setattr(collect, "settle", lambda store, name: None)


@bug("kills", CHAIN, "compact 3", [["gc"]])
def collector_trusts_a_commit_that_it_found(patch):
    single_marks_always_count(patch)
    original = Context.settle

    def settle(self, catalog, snapshots):
        if not called_from("_forget_superseded"):
            original(self, catalog, snapshots)

    patch.setattr(Context, "settle", settle)


@bug("kills", CHAIN, "forget 1", [["forget 1", "gc"]])
def forget_trusts_a_mark_that_it_found(patch):
    original = Context.settle

    def settle(self, catalog, snapshots):
        if not called_from("write_decisions"):
            original(self, catalog, snapshots)

    patch.setattr(Context, "settle", settle)


@bug("kills", CHAIN, "backup 4", [["backup 4", "gc"]])
def resuming_trusts_a_volume_that_it_found(patch):
    def keep(self):
        self.kept_count += 1

    patch.setattr(volumes.VolumeCutter, "_keep", keep)


@bug("kills", CHAIN, "backup 4 full", [["backup 4 full"]], volume_bytes=SMALL_VOLUMES)
def resuming_keeps_volumes_without_comparing(patch):
    def take(self, part):
        if self._writer is None:
            self._position += len(part)
        else:
            original(self, bytes(len(part)) if len(self._sizes) == 1 else part)

    original = volumes.VolumeCutter._take
    patch.setattr(volumes.VolumeCutter, "_take", take)


@bug("power_cuts", SCRIPT)
def compact_forgets_the_old_commit_before_the_new_one_is_durable(patch):
    single_marks_always_count(patch)
    patch.setattr("vark.repository.context.create_record", carelessly)


@bug("power_cuts", SCRIPT)
def compact_forgets_the_old_commit_first(patch):
    single_marks_always_count(patch)
    original = compact.compact

    def first(context, snapshot, **options):
        if snapshot.closure:
            context.mark(context.reader.read(), "forget", snapshot.id, commit=snapshot.commit, reason="compacted")
        return original(context, snapshot, **options)

    patch.setattr("vark.repository.repository.compact", first)


@bug("intrusions", CHAIN, "compact 3", [["gc 0"]])
def compact_takes_what_was_superseded_for_forgotten(patch):
    patch.setattr(compact, "_superseded", lambda context, digest: False)


@bug("intrusions", CHAIN, "look", [["compact 3", "forget 1", "forget 2", "gc"]])
def readers_look_once(patch):
    patch.setattr(catalog.CatalogReader, "read", lambda self, strict=False: self._read(strict=strict))


@bug("power_cuts", [*CHAIN, "hold 2", "backup 4 full", "forget 2", "gc", "backup 5"])
def a_hold_is_not_durable(patch):
    original = Context.mark

    def mark(self, catalog, action, snapshot, **fields):
        kept = self.store
        self.store = careless(kept) if action == "hold" else kept
        try:
            return original(self, catalog, action, snapshot, **fields)
        finally:
            self.store = kept

    patch.setattr(Context, "mark", mark)


@bug("power_cuts", ["create", "backup 1", "backup 2 full", "backup 3 full", "forget 1", "undelete 1", "gc 0"])
def collector_forgets_that_something_was_taken_back(patch):
    def live(catalog, request, now_ms):
        gone = {mark.snapshot for mark in catalog.marks.values() if mark.action == "forget"}
        kept = [snapshot for snapshot in catalog.snapshots if snapshot.id not in gone]
        return {archive.id for snapshot in kept for archive in snapshot.needed()}

    patch.setattr(collect, "live_archives", live)


@bug("power_cuts", [*CHAIN, "forget 1", "gc 0"])
def collector_overlooks_what_deltas_need(patch):
    def live(catalog, request, now_ms):
        kept = [snapshot for snapshot in catalog.snapshots if snapshot.usable]
        return {archive.id for snapshot in kept for archive in snapshot.archives}

    patch.setattr(collect, "live_archives", live)


@pytest.mark.parametrize(("plant", "how", "given", "settings"), BUGS)
def test_the_campaign_finds_a_planted_bug(plant, how, given, settings, monkeypatch):
    plant(monkeypatch)
    with pytest.raises((Violation, DamagedError)):
        getattr(Campaign(seed=1, states=6), how)(*given, **settings)


def test_there_are_enough_planted_bugs():
    assert len(BUGS) >= 20
