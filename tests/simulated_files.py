"""A file system in memory that can lose what was not synced, and fail at every call: it stands in for the real one.

What a power cut may leave (stricter than any real file system, so that no luck is relied on):

* the content of a file since its last sync: lost, kept, cut short, any pages of it, or the size without the data;
* a name made, given or removed since the last sync of its folder: lost or kept, each for itself and in any order, so
  that a rename may leave both names or none. A synced file whose name is lost is lost; a folder takes all in it along;
* a sync that failed has dropped the content: later syncs of the file report success and keep nothing more. A failed
  sync of a folder drops nothing, for file systems keep names in a journal that stops for good when it fails.

A killed process loses nothing: `resume` goes on with everything that was done. Every call has a number; `stop_after`
raises SimulatedCrash when that call is done, and `on_point` is told of each call that changed something.
"""

import errno
import itertools
import math
import os
import random
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from simulated_nodes import PAGE_BYTES, SimulatedFile, SimulatedFolder
from vark.stores.files import FileStatus
from vark.stores.memory import anonymous_file, content_of


class SimulatedCrash(BaseException):
    """The run ends here; nothing that cleans up can touch the files any more."""


@dataclass(frozen=True, slots=True)
class Operation:
    number: int
    kind: str
    path: str
    changes: bool


@dataclass(frozen=True, slots=True)
class Fault:
    """What a call does instead: fail before or after it took effect, or (writes) take fewer bytes than given."""

    number: int = errno.EIO
    after: bool = False
    short: bool = False


@dataclass(frozen=True, slots=True)
class CrashState:
    """What is found after a power cut: absolute path -> content, and the folders."""

    files: dict[str, bytes]
    folders: frozenset[str]

    @property
    def key(self):
        """Equal for equal states."""
        return frozenset(self.files.items()), self.folders

    def materialise(self, folder) -> Path:
        """Write the state into a real folder, which stands for `/`."""
        base = os.fspath(folder)
        for path in sorted(self.folders):
            os.makedirs(base + path, exist_ok=True)
        for path, content in self.files.items():
            with open(base + path, "wb", buffering=0) as file:
                file.write(content)
        return Path(folder)


@dataclass
class SimulatedFileSystem:
    """Stands for the FileSystem of vark.stores.files. `/` exists. Safe to use from several threads.

    fault: asked before every call. hard_links: False for a file system that can only rename.
    """

    seed: int = 0
    stop_after: int | None = None
    fault: Callable[[Operation], Fault | None] | None = None
    on_point: Callable[["SimulatedFileSystem"], None] | None = None
    piece_bytes: int = PAGE_BYTES
    start_unix_ms: int = 1_700_000_000_000
    hard_links: bool = True
    operations: list[Operation] = field(default_factory=list)
    stopped: bool = False
    materialised: Path | None = None

    def __post_init__(self):
        self._root = SimulatedFolder()
        self._lock = threading.RLock()

    @classmethod
    def from_state(cls, state: CrashState, *, materialise_in=None, **settings) -> "SimulatedFileSystem":
        """Return files that hold a crash state, all of it durable, as after starting the machine again.

        materialise_in: an empty real folder to write it to, so that `local_path` leads to the files of the state.
        """
        self = cls(**settings)
        made = {"": self._root}
        for path in sorted(state.folders):
            parent, _, name = path.rpartition("/")
            made[path] = made[parent].durable[name] = SimulatedFolder()
        for path, content in state.files.items():
            parent, _, name = path.rpartition("/")
            made[parent].durable[name] = SimulatedFile(content, 1_700_000_000_000)
        for folder in made.values():
            folder.current = dict(folder.durable)
        if materialise_in is not None:
            self.materialised = state.materialise(materialise_in)
        return self

    def fork(self, **settings) -> "SimulatedFileSystem":
        """Return files that are the same now and go their own way: what other processes find where this one dies."""
        with self._lock:
            other = SimulatedFileSystem(seed=self.seed, piece_bytes=self.piece_bytes, hard_links=self.hard_links)
            other.start_unix_ms = self.start_unix_ms
            for name, value in settings.items():
                setattr(other, name, value)
            other.operations = list(self.operations)
            other._root = self._root.copy({})
            return other

    def resume(self) -> None:
        """Let another process go on after a killed one: nothing is lost."""
        self.stopped, self.stop_after = False, None

    # The calls of vark.stores.files.FileSystem.

    def create(self, path):
        def effect():
            folder, name = self._place(path)
            if name in folder.current:
                raise _error(errno.EEXIST, path)
            file = SimulatedFile(modified=self._now())
            folder.set(name, file)
            return _OpenFile(self, path, file)

        return self._call("create", path, effect)

    def link(self, source, target):
        def effect():
            if not self.hard_links:
                raise _error(errno.EPERM, target)
            node = self._node(source)
            folder, name = self._place(target)
            if name in folder.current:
                raise _error(errno.EEXIST, target)
            folder.set(name, node)

        self._call("link", target, effect)

    def rename_exclusive(self, source, target):
        def effect():
            node = self._node(source)
            folder, name = self._place(target)
            if name in folder.current:
                raise _error(errno.EEXIST, target)
            folder.set(name, node)
            folder, name = self._place(source)
            folder.set(name, None)

        self._call("rename", target, effect)

    def replace(self, source, target):
        def effect():
            node = self._node(source)
            folder, name = self._place(target)
            folder.set(name, node)
            folder, name = self._place(source)
            folder.set(name, None)

        self._call("rename", target, effect)

    def same_file(self, first, second):
        return self._call("status", second, lambda: self._node(first) is self._node(second), changes=False)

    def unlink(self, path):
        def effect():
            if isinstance(self._node(path), SimulatedFolder):
                raise _error(errno.EISDIR, path)
            folder, name = self._place(path)
            folder.set(name, None)

        self._call("unlink", path, effect)

    def make_folder(self, path):
        def effect():
            folder, name = self._place(path)
            if name in folder.current:
                raise _error(errno.EEXIST, path)
            folder.set(name, SimulatedFolder())

        self._call("make folder", path, effect)

    def sync_folder(self, path):
        self._call("sync folder", path, lambda: self._folder(path).sync())

    def list_folder(self, path):
        def effect():
            return [_status(name, node) for name, node in self._folder(path).current.items()]

        return self._call("list", path, effect, changes=False)

    def status(self, path):
        return self._call("status", path, lambda: _status(path.rpartition("/")[2], self._node(path)), changes=False)

    def read(self, path, offset, byte_count):
        def effect():
            node = self._node(path)
            if isinstance(node, SimulatedFolder):
                raise _error(errno.EISDIR, path)
            return bytes(node.current[offset : None if byte_count is None else offset + byte_count])

        return self._call("read", path, effect, changes=False)

    def local_path(self, path):
        if self.materialised is None:
            return None
        found = self.materialised / path.lstrip("/")
        return found if found.exists() else None

    # What a power cut leaves.

    def now(self) -> CrashState:
        """Return the state that is seen now: all that was done is kept."""
        return next(self.crash_states(limit=1))

    def crash_states(self, limit: int = 64) -> Iterator[CrashState]:
        """Yield distinct states a power cut may leave now: all of them where they are few, else a seeded sample.

        The first keeps everything, the second loses all that was not synced. limit: how many are tried at most.
        """
        with self._lock:
            slots, settled = self._slots()
            seed = f"{self.seed} {len(self.operations)}"
        seen = set()
        for picks in _selections([(len(options), lost) for _, _, options, lost in slots], limit, random.Random(seed)):
            names, contents = {}, {}
            for (node, name, options, _), pick in zip(slots, picks, strict=True):
                if name is None:
                    contents[node] = options[pick]
                else:
                    names.setdefault(node, {})[name] = options[pick]
            files, folders = {}, []
            _collect(self._root, "", names, contents, settled, files, folders)
            state = CrashState(files, frozenset(folders))
            if state.key not in seen:
                seen.add(state.key)
                yield state

    def _slots(self):
        """Return what is undecided: (node, name or None, options, the lost one); and what is decided, by folder."""
        slots, settled = [], {}

        def visit(folder, path):
            files, folders, calm = {}, [], not folder.unsettled
            slots.extend((folder, *alternative) for alternative in folder.alternatives() if len(alternative[1]) > 1)
            for name, node in folder.possible():
                place = f"{path}/{name}"
                if isinstance(node, SimulatedFolder):
                    folders.append(place)
                    if node not in settled:
                        visit(node, place)
                    inside = settled[node]
                    calm = calm and inside is not None
                    if calm:
                        files.update(inside[0])
                        folders += inside[1]
                elif node.unsettled:
                    calm = False
                    if node not in torn:
                        torn.add(node)
                        options = node.contents(self.seed)
                        slots.append((node, None, options, options.index(node.durable)))
                else:
                    files[place] = node.durable
            settled[folder] = (files, folders) if calm else None

        torn = set()
        visit(self._root, "")
        # A file that was written but whose content is the same in every case is no choice.
        return [slot for slot in slots if len(slot[2]) > 1], settled

    # How a call is made.

    def _call(self, kind, path, effect, *, changes=True, dropped=None, shorter=None):
        with self._lock:
            if self.stopped:
                raise SimulatedCrash
            operation = Operation(len(self.operations), kind, path, changes)
            self.operations.append(operation)
            fault = None
            if self.fault is not None:
                # Another process may run here, whose engine reads by threads of its own: they must not wait for this one.
                self._lock.release()
                try:
                    fault = self.fault(operation)
                finally:
                    self._lock.acquire()
            if fault is not None and fault.short:
                effect = shorter or effect
            elif fault is not None and not fault.after:
                if dropped is not None:
                    dropped()
                raise _error(fault.number, path)
            result = effect()
            if changes and self.on_point is not None:
                self.on_point(self)
            if self.stop_after is not None and operation.number >= self.stop_after:
                self.stopped = True
                raise SimulatedCrash
            if fault is not None and fault.after:
                raise _error(fault.number, path)
            return result

    def _now(self):
        return self.start_unix_ms + len(self.operations)

    def _folder(self, path):
        node = self._node(path)
        if not isinstance(node, SimulatedFolder):
            raise _error(errno.ENOTDIR, path)
        return node

    def _place(self, path):
        parent, _, name = path.rpartition("/")
        return self._folder(parent), name

    def _node(self, path):
        node = self._root
        for name in path.split("/"):
            if name:
                if not isinstance(node, SimulatedFolder):
                    raise _error(errno.ENOTDIR, path)
                node = node.current.get(name)
                if node is None:
                    raise _error(errno.ENOENT, path)
        return node


class _OpenFile:
    """A file open for writing. The content of its descriptor, once asked for, is taken over piece by piece."""

    def __init__(self, files, path, file):
        self._files, self._path, self._file = files, path, file
        self._descriptor = -1

    def fileno(self):
        if self._descriptor < 0:
            self._descriptor = anonymous_file()
            os.pwrite(self._descriptor, self._file.current, 0)
            os.lseek(self._descriptor, 0, os.SEEK_END)
        return self._descriptor

    def write(self, data):
        return self._write(bytes(data[: self._files.piece_bytes]))

    def byte_count(self):
        self._take_over()
        return len(self._file.current)

    def sync(self):
        self._take_over()

        def drop():
            self._file.dropped = True

        self._files._call("sync", self._path, self._file.sync, dropped=drop)

    def close(self):
        try:
            self._take_over()
            self._files._call("close", self._path, lambda: None, changes=False)
        finally:
            self._release()

    def __del__(self):
        self._release()

    def _release(self):
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def _write(self, data):
        file = self._file

        def take(count):
            file.write(len(file.current), data[:count])
            file.modified = self._files._now()
            return count

        return self._files._call(
            "write", self._path, lambda: take(len(data)), shorter=lambda: take((len(data) + 1) // 2)
        )

    def _take_over(self):
        if self._descriptor < 0:
            return
        content = content_of(self._descriptor)
        if content == self._file.current:
            return
        if self._file.current:
            self._files._call("truncate", self._path, self._file.truncate)
        while len(self._file.current) < len(content):
            done = len(self._file.current)
            self._write(content[done : done + self._files.piece_bytes])


def _selections(sizes, limit, rng):
    """Yield which option each slot takes. sizes: (how many it has, which is the lost one); option 0 keeps."""
    kept, lost = [0] * len(sizes), [lost for _, lost in sizes]
    yield kept
    if limit < 2:
        return
    yield lost
    if math.prod(count for count, _ in sizes) <= limit:
        yield from itertools.product(*(range(count) for count, _ in sizes))
        return
    # One thing lost of all, and one kept of all, find most faults; chance finds the rest.
    single = [
        [*base[:slot], option, *base[slot + 1 :]]
        for base in (kept, lost)
        for slot, (count, _) in enumerate(sizes)
        for option in range(count)
    ]
    rng.shuffle(single)
    yield from single[: limit // 2]
    for _ in range(limit - 2 - min(len(single), limit // 2)):
        yield [rng.randrange(count) for count, _ in sizes]


def _collect(folder, path, names, contents, settled, files, folders):
    """Gather the files and folders below one, as chosen."""
    decided = settled[folder]
    if decided is not None:
        files.update(decided[0])
        folders += decided[1]
        return
    entries = folder.durable
    if folder in names:
        entries = {**entries, **names[folder]}
    for name, node in entries.items():
        place = f"{path}/{name}"
        if isinstance(node, SimulatedFolder):
            folders.append(place)
            _collect(node, place, names, contents, settled, files, folders)
        elif node is not None:
            files[place] = contents[node] if node in contents else node.durable


def _status(name, node):
    if isinstance(node, SimulatedFolder):
        return FileStatus(name, True, 0, 0)
    return FileStatus(name, False, len(node.current), node.modified)


def _error(number, path):
    return OSError(number, os.strerror(number), path)
