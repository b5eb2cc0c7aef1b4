"""Files and folders of the simulated file system: what they hold now, and what of it is durable."""

import itertools
import random

SECTOR_BYTES, PAGE_BYTES = 512, 4096


class SimulatedFile:
    def __init__(self, content=b"", modified=0):
        self.durable = bytes(content)
        self.current = bytearray(content)
        self.cuts: list[int] = []  # where writes since the last sync ended
        self.dropped = False
        self.modified = modified
        self._torn = None

    @property
    def unsettled(self):
        return bool(self.cuts)

    def write(self, offset, data):
        self.current[offset : offset + len(data)] = data
        self.cuts.append(offset + len(data))
        self._torn = None

    def truncate(self):
        self.current.clear()
        self.cuts.append(0)
        self._torn = None

    def sync(self):
        if not self.dropped:
            self.durable = bytes(self.current)
            self.cuts.clear()
            self._torn = None

    def copy(self):
        """Return a file that can go its own way."""
        other = SimulatedFile()
        other.durable, other.current, other.cuts = self.durable, bytearray(self.current), list(self.cuts)
        other.dropped, other.modified, other._torn = self.dropped, self.modified, self._torn
        return other

    def contents(self, seed):
        """All contents that a power cut may leave: kept, lost, then torn ones. A sample where a file has many pages."""
        if self._torn is None:
            self._torn = torn_contents(self.durable, bytes(self.current), self.cuts, random.Random(seed))
        return self._torn


class SimulatedFolder:
    def __init__(self):
        self.durable: dict[str, SimulatedFile | SimulatedFolder] = {}
        self.current: dict[str, SimulatedFile | SimulatedFolder] = {}
        self.pending: dict[
            str, list[SimulatedFile | SimulatedFolder | None]
        ] = {}  # name -> what it meant after each change

    @property
    def unsettled(self):
        return bool(self.pending)

    def set(self, name, node):
        if node is None:
            del self.current[name]
        else:
            self.current[name] = node
        self.pending.setdefault(name, []).append(node)

    def sync(self):
        for name in self.pending:
            if name in self.current:
                self.durable[name] = self.current[name]
            else:
                self.durable.pop(name, None)
        self.pending.clear()

    def copy(self, copies):
        """Return a folder that can go its own way, with all that is in it. copies: node -> its copy."""
        if self not in copies:
            other = copies[self] = SimulatedFolder()

            def copied(node):
                if node is None or isinstance(node, SimulatedFolder):
                    return node and node.copy(copies)
                if node not in copies:
                    copies[node] = node.copy()
                return copies[node]

            other.durable = {name: copied(node) for name, node in self.durable.items()}
            other.current = {name: copied(node) for name, node in self.current.items()}
            other.pending = {name: [copied(node) for node in nodes] for name, nodes in self.pending.items()}
        return copies[self]

    def alternatives(self):
        """Yield (name, what it may mean after a power cut: first what it means now, which of them is the durable)."""
        for name, nodes in self.pending.items():
            durable = self.durable.get(name)
            distinct = list(dict.fromkeys([nodes[-1], *nodes, durable]))
            yield name, distinct, distinct.index(durable)

    def possible(self):
        """Every (name, node) that may be here after a power cut."""
        yield from self.durable.items()
        for name, nodes in self.pending.items():
            yield from ((name, node) for node in nodes if node is not None)


def torn_contents(durable, current, cuts, rng):
    """Return the contents a power cut may leave of a file: kept, lost, pages missing, cut short; a sample of many."""
    size = len(current)
    unit = SECTOR_BYTES if size <= PAGE_BYTES else PAGE_BYTES
    old = durable[:size].ljust(size, b"\0")
    differing = [start for start in range(0, size, unit) if old[start : start + unit] != current[start : start + unit]]
    found = [current, durable, old]
    if len(differing) <= 3:
        masks = list(itertools.product((False, True), repeat=len(differing)))
    else:
        masks = [[index != lost for index in range(len(differing))] for lost in (0, len(differing) - 1)]
        masks += [[rng.random() < 0.5 for _ in differing] for _ in range(4)]
    for mask in masks:
        content = bytearray(old)
        for start, kept in zip(differing, mask, strict=True):
            if kept:
                content[start : start + unit] = current[start : start + unit]
        found.append(bytes(content))
    ends = sorted({cut for cut in cuts if cut < size} | {1, size // 2, size - 1} if size else set())
    for end in ends if len(ends) <= 6 else rng.sample(ends, 6):
        found.append(current[:end] + durable[end:])
    return list(dict.fromkeys(found))
