"""What callers of a repository were told, and whether a state of its files keeps all of it: for tests that break it."""

import contextlib
import copy
import os
import random
import time
from dataclasses import dataclass, field

import numpy as np

from simulated_files import CrashState, SimulatedFileSystem
from vark.errors import (
    ConflictError,
    InvalidArgumentError,
    NotFoundError,
    RefusedError,
    RepositoryNotFoundError,
    TargetExistsError,
    VarkError,
)
from vark.repository import Repository, sessions
from vark.repository.engine import Engine
from vark.repository.layout import MARKER, volume_name
from vark.repository.records import CommittedArchive, Marker
from vark.stores import LocalStore, MemoryStore

SEED = int(os.environ.get("VARK_SEED", str(random.SystemRandom().randrange(10**6))))
ROOT = "/disk/repository"
ROWS, COLUMNS = 512, 64


class Violation(AssertionError):
    """A promise of the repository was broken."""


def matrix(content):
    """Return rows that a content stands for: most of them are those of any other, some are changed, some added."""
    number = int(content)
    rows = np.random.default_rng(1).integers(0, 4, (ROWS, COLUMNS)).astype(np.float32)
    rows[[number % ROWS, number * 37 % ROWS]] += number + 1
    return np.concatenate([rows, rows[: number % 5] * 2])


@dataclass
class Word:
    """What may be found of a snapshot: sets of what was said, with more than one member while it is being said."""

    kept: set = field(default_factory=lambda: {True})
    held: set = field(default_factory=lambda: {False})
    mark: set = field(default_factory=lambda: {None})


class Promises:
    """What callers were told."""

    def __init__(self):
        self.made = {False}  # whether there is a repository
        self.begun = set()  # contents of backups that were begun
        self.words = {}  # snapshot -> Word

    @contextlib.contextmanager
    def saying(self, snapshot, kind, value):
        """Both is allowed while it is said, and afterwards where it failed."""
        word = self.words.setdefault(snapshot, Word({True, False}))
        setattr(word, kind, getattr(word, kind) | {value})
        yield
        setattr(word, kind, {value})

    @property
    def key(self):
        """Equal for equal promises."""
        words = frozenset(
            (name, frozenset(word.kept), frozenset(word.held), frozenset(word.mark))
            for name, word in self.words.items()
        )
        return words, frozenset(self.begun), frozenset(self.made)

    def found(self, catalog):
        """Return the promises of a repository that was found like this: all that is in it is durable."""
        other = Promises()
        other.made, other.begun = {True}, set(self.begun)
        other.words = {snapshot: Word({False}, {True, False}, word.mark) for snapshot, word in self.words.items()}
        for item in catalog.snapshots:
            held = item.held and not item.void
            other.words[item.id] = Word({item.usable}, {held}, {item.tags.get("mark")})
        return other


class Process:
    """Commands of one process (or of one each), and the promises that they make."""

    def __init__(self, files, promises, *, lasting=False, volume_bytes=None):
        self.files, self.promises = files, promises
        self.volume_bytes = volume_bytes
        self._store = LocalStore(ROOT, files=files) if lasting else None

    def run(self, script):
        """Run commands, each a text such as "backup 3 full"; a command that is refused changes no promise."""
        for command in script:
            name, *words = command.split()
            # What it was about may be gone, too; but a backup needs nothing that could be.
            gone = () if name in ("create", "backup", "gc") else (NotFoundError,)
            with contextlib.suppress(ConflictError, RefusedError, *gone):
                getattr(self, name)(*words)

    def open(self):
        return Repository.open(self._store or LocalStore(ROOT, files=self.files))

    def create(self):
        """Make the repository, with volumes far smaller than people may choose where that is asked for."""
        self.promises.made |= {True}
        store = LocalStore(ROOT, files=self.files)
        with contextlib.suppress(TargetExistsError):
            if self.volume_bytes is None:
                Repository.create(store, encryption="none")
            else:
                store.create(MARKER, Marker("ab" * 16, "cd" * 32, 1_700_000_000_000, self.volume_bytes).encode())
            self.promises.made = {True}

    def backup(self, content, *words):
        self.promises.begun.add(content)
        report = self.open().backup(
            matrix(content), name="n", tags={"content": content}, full="full" in words, threads=1
        )
        self.promises.words[report.snapshot] = Word()
        self.promises.made = {True}  # whoever made it may have died before saying so
        return report

    def gc(self, *words):
        return self.open().gc(confirm=True, trash=0, grace=0, min_redundancy=int(words[0]) if words else 1)

    def forget(self, content):
        for repository, snapshot in self._find(content):
            with self.promises.saying(snapshot.id, "kept", False):
                repository.forget(snapshot, confirm=True, min_redundancy=0)

    def undelete(self, content):
        for repository, snapshot in self._find(content):
            if snapshot.forgotten_unix_ms is not None:
                with self.promises.saying(snapshot.id, "kept", True):
                    repository.undelete(snapshot)

    def hold(self, content):
        for repository, snapshot in self._find(content):
            with self.promises.saying(snapshot.id, "held", True):
                repository.hold(snapshot)

    def release(self, content):
        for repository, snapshot in self._find(content):
            if snapshot.held:
                with self.promises.saying(snapshot.id, "held", False):
                    repository.release(snapshot)

    def tag(self, content, value):
        for repository, snapshot in self._find(content):
            with self.promises.saying(snapshot.id, "mark", value):
                repository.tag(snapshot, {"mark": value})

    def compact(self, content):
        for repository, snapshot in self._find(content):
            if snapshot.usable:
                with contextlib.suppress(InvalidArgumentError):  # it stands alone already
                    repository.compact(snapshot)

    def look(self):
        """See all snapshots that were promised before and after: whoever only looks is never told otherwise."""
        before = copy.deepcopy(self.promises.words)
        seen = {snapshot.id for snapshot in self.open().snapshots()}
        for name, word in self.promises.words.items():
            if name in before and before[name].kept == word.kept == {True} and name not in seen:
                raise Violation(f"snapshot {name} is kept, and was not seen")

    def verify(self):
        report = self.open().verify(threads=1)
        if not report.ok:
            raise Violation(f"verify calls a whole repository damaged: {report}")

    def _find(self, content):
        repository = self.open()
        found = [
            snapshot
            for snapshot in repository.snapshots(forgotten=True)
            if snapshot.tags["content"] == content and (snapshot.forgotten_unix_ms is None or not snapshot.void)
        ]
        return [(repository, found[-1])] if found else []


@contextlib.contextmanager
def another_process():
    """For a while this process counts as another one, so that the sessions of the first can be taken up."""
    active = set(sessions._ACTIVE)
    sessions._ACTIVE.clear()
    try:
        yield
    finally:
        sessions._ACTIVE.clear()
        sessions._ACTIVE.update(active)


def disk(**settings):
    """Return files with a durable folder above the repository's, of today: nothing in them is old."""
    start, now = CrashState({}, frozenset({"/disk"})), time.time_ns() // 1_000_000
    return SimulatedFileSystem.from_state(start, seed=SEED, start_unix_ms=now, **settings)


def visible(state):
    """Return what of a state is not hidden in temporary files."""
    return frozenset((path, data) for path, data in state.files.items() if not path.endswith(".vark-tmp"))


class Inspector:
    """Checks states. An archive is read by the engine once for each content, a snapshot restored once for each commit.

    So a state is checked by its bytes: each archive of each commit has to be one that the engine has found whole.
    """

    def __init__(self, store_class=LocalStore):
        self.store_class = store_class
        self.engine = Engine()
        self._whole = {}
        self._restored = {}
        self.restore_count = 0

    def check(self, state, promises, place):
        """Return the catalog of a state, or None where there is no repository yet. Errors: Violation."""
        place = f"seed {SEED}, {place}"
        store = self.store_class(ROOT, files=SimulatedFileSystem.from_state(state))
        try:
            repository = Repository.open(store)
        except RepositoryNotFoundError:
            if promises.made == {True} or store.list(""):
                raise Violation(f"{place}: there is no repository") from None
            return None
        catalog = repository._context.reader.read(strict=True)
        if catalog.faults:
            raise Violation(f"{place}: {catalog.faults}")
        data = MemoryStore()
        for entry in store.list("archives"):
            data._objects[entry.name] = (state.files[f"{ROOT}/{entry.name}"], 0)
        for digest, commit in catalog.commits.items():
            if not catalog.is_void(commit):
                for archive in commit.archives:
                    self._check_archive(data, archive, place)
                for ancestor in commit.closure:
                    sizes = [entry.byte_count for entry in data.list(f"archives/{ancestor.id}")]
                    archive = CommittedArchive(ancestor.id, "", tuple(sizes), ancestor.root, ancestor.bytes, None)
                    self._check_archive(data, archive, place)
                self._check_restore(data, repository, catalog, digest, place)
        self._check_words(catalog, promises, place)
        return catalog

    def _check_archive(self, data, archive, place):
        try:
            names = [volume_name(archive.id, number) for number in range(len(archive.volumes))]
            content = tuple(data.read(name) for name in names)
        except NotFoundError as error:
            raise Violation(f"{place}: {error}") from error
        if not content or len(data.list(f"archives/{archive.id}")) != len(content):
            raise Violation(f"{place}: archive {archive.id} has other volumes than were committed")
        key = archive.id, archive.root, content
        if key not in self._whole:
            report = self.engine.verify(data, archive, {}, level="full", own=True, threads=1)
            self._whole[key] = report.ok and self.engine.identity(data, archive) == (archive.id, archive.root)
        if not self._whole[key] or sum(map(len, content)) != archive.bytes:
            raise Violation(f"{place}: archive {archive.id} is not what was committed")

    def _check_restore(self, data, repository, catalog, digest, place):
        if digest not in self._restored:
            commit = catalog.commits[digest]
            (archive,) = commit.archives
            sizes = {
                item.id: [entry.byte_count for entry in data.list(f"archives/{item.id}")] for item in commit.closure
            }
            with self.engine.open(data, archive, sizes) as opened:
                rows = opened.load()
            self._restored[digest] = np.array_equal(rows, matrix(commit.tags["content"]))
            self.restore_count += 1
        if not self._restored[digest]:
            raise Violation(f"{place}: commit {digest} restores to other rows")

    def _check_words(self, catalog, promises, place):
        found = {snapshot.id: snapshot for snapshot in catalog.snapshots}
        for snapshot in found.values():
            if snapshot.usable and snapshot.tags["content"] not in promises.begun:
                raise Violation(f"{place}: snapshot {snapshot.id} was never begun")
        for name, word in promises.words.items():
            snapshot = found.get(name)
            kept = snapshot is not None and snapshot.usable
            held = snapshot is not None and snapshot.held and not snapshot.void
            there = snapshot is not None and not snapshot.void
            if kept not in word.kept:
                raise Violation(f"{place}: snapshot {name} is {'kept' if kept else 'lost'}, against what was said")
            if held not in word.held and (there or word.held == {True}):
                raise Violation(f"{place}: snapshot {name}: held {held}, allowed {word.held}")
            if there and snapshot.tags.get("mark") not in word.mark:
                raise Violation(f"{place}: snapshot {name}: tag {snapshot.tags}, allowed {word.mark}")


class Campaign:
    """Power cuts at any moment: counts and checks the states, and lets some of them go on."""

    def __init__(self, *, states=8, seed=SEED, go_on_share=0.0, inspector=None):
        self.states, self.go_on_share = states, go_on_share
        self.rng = random.Random(f"{seed}")
        self.inspector = inspector or Inspector()
        self.points = self.went_on = 0
        self.begin_seconds = time.perf_counter()
        self.distinct, self.distinct_visible = set(), set()
        self._checked = set()
        self._fresh = 100

    def cut(self, files, promises, place, *, states=None):
        """Cut the power now: check what may be left, all of it or a sample with the extremes."""
        self.points += 1
        said = hash(promises.key)
        for state in files.crash_states(states or self.states):
            key = hash(state.key)
            if (key, said) in self._checked:
                continue
            self._checked.add((key, said))
            self.distinct.add(key)
            shown = hash(visible(state))
            new = shown not in self.distinct_visible
            self.distinct_visible.add(shown)
            catalog = self.inspector.check(state, promises, place)
            if new and self.rng.random() < self.go_on_share:
                self.go_on(state, promises, catalog, place)

    def go_on(self, state, promises, catalog, place):
        """After the power cut: a collection and a further backup work and lose nothing, whatever was found.

        Now and then the power is cut again after each call of theirs.
        """
        self.went_on += 1
        self._fresh += 1
        share, self.go_on_share = self.go_on_share, 0.0
        files = SimulatedFileSystem.from_state(state, seed=SEED)
        after = copy.deepcopy(promises) if catalog is None else promises.found(catalog)
        script = ["gc", f"backup {self._fresh}", "gc"]
        script = script if catalog is not None else ["create", *script]
        if self._fresh % 8 == 0:
            self.others(files, after, script, place)
        else:
            with another_process():
                Process(files, after).run(script)
            for left in files.crash_states(2):
                self.inspector.check(left, after, f"{place}, then {script}")
        self.go_on_share = share

    # Each part below starts from what `before` leaves, and gives what another process is told to the same checks.

    def begin(self, before, **settings):
        """Return files and promises after a script that nothing disturbs."""
        files, promises = disk(), Promises()
        Process(files, promises, **settings).run(before)
        return files, promises

    def power_cuts(self, script, **settings):
        """Cut the power after each call of a script."""
        promises = Promises()
        files = disk(on_point=lambda files: self.cut(files, promises, last(files)))
        process = Process(files, promises, **settings)
        for command in script:
            process.run([command])
            self.cut(files, promises, f"{command} acknowledged")

    def kills(self, before, command, scripts, *, share=1.0, **settings):
        """Kill a process after each call of a command; others go on with each of the scripts; cut the power then."""
        start, promises = self.begin(before, **settings)
        killed = []

        def point(files):
            if settles(files.operations[-1]):
                killed.extend(
                    (files.fork(), copy.deepcopy(promises), script) for script in scripts if self.rng.random() < share
                )

        files = start.fork(on_point=point)
        Process(files, promises, **settings).run([command])
        for left, said, script in killed:
            self.others(left, said, script, f"{command!r} killed {last(left)}, then {script}")

    def others(self, files, promises, script, place):
        """Run a script in another process; cut the power after each call that gives or takes a name."""

        def point(files):
            if settles(files.operations[-1]):
                self.cut(files, promises, f"{place}, {last(files)}", states=3)

        with another_process():
            files.on_point = point
            for command in script:
                Process(files, promises).run([command])
                self.cut(files, promises, f"{place}, {command} acknowledged", states=3)
            files.on_point = None

    def intrusions(self, before, command, scripts, *, share=1.0, **settings):
        """Before each call of a command, reading ones included, let another process run a whole script."""
        start, said = self.begin(before, **settings)
        for script in scripts:
            number, more = len(start.operations), True
            while more:
                if self.rng.random() < share:
                    more = self._intrude(start.fork(), copy.deepcopy(said), number, command, script)
                number += 1

    def _intrude(self, files, promises, number, command, script):
        """Return whether the command had a call of this number."""
        came = []

        def before_call(operation):
            if operation.number == number and not came:
                came.append(operation)
                self.others(files, promises, script, f"{command!r} before {operation}: {script}")

        files.fault = before_call
        process = Process(files, promises)
        process.run([command])
        self.cut(files, promises, f"{command!r} with {script} before {came}", states=3)
        process.run(["gc 0"])
        self.cut(files, promises, f"{command!r} with {script} before {came}, and gc", states=3)
        return bool(came)

    def failures(self, before, command, fault, *, share=1.0, lasting_fault=False, **settings):
        """Let each call of a command fail that `fault` gives a fault for; the error is clean, nothing is lost, and the next run works.

        lasting_fault: what fails goes on failing, as on a disk that stays full. Yields the errors.
        """
        start, said = self.begin(before, **settings)
        number, more = 0, True
        while more:
            if self.rng.random() < share or number == 0:
                error, more = self._fail(start.fork(), copy.deepcopy(said), number, command, fault, lasting_fault)
                if error is not None:
                    yield error
            number += 1

    def _fail(self, files, promises, number, command, fault, lasting_fault):
        """Return the error of the command, and whether it had so many calls that may fail."""
        came, error = [], None

        def fail(operation):
            found = fault(operation)
            if found is not None:
                came.append(operation)
            return found if len(came) == number + 1 or (lasting_fault and len(came) > number) else None

        files.fault = fail
        with another_process():
            try:
                Process(files, promises).run([command])
            except VarkError as caught:
                error = caught
        place = f"{command!r} with {came[number : number + 1]} failing: {error!r}"
        files.fault = None
        self.cut(files, promises, place, states=3)
        with another_process():
            Process(files, promises).run(
                [command, "backup 50", "gc"] if command != "create" else ["create", "backup 50"]
            )
        self.cut(files, promises, f"{place}, then again", states=2)
        return error, len(came) > number

    def __str__(self):
        return (
            f"{self.points} points, {len(self.distinct)} distinct states checked "
            f"({len(self.distinct_visible)} without temporary files), {self.went_on} went on with gc, backup, gc; "
            f"{self.inspector.restore_count} commits restored"
        )


def last(files):
    """Return what was done last, for messages."""
    operation = files.operations[-1]
    return f"after call {operation.number}, {operation.kind} {operation.path}"


def settles(operation):
    """Return whether a call gives or takes a name, or makes one durable."""
    return operation.kind in ("link", "make folder", "sync folder") or (
        operation.kind == "unlink" and not operation.path.endswith(".vark-tmp")
    )
