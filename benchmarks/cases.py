"""The cases: names of the command line -> what they measure."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator

from clocked import bare_vectors, graph_file, loading
from context import Bench
from figures import Figure, absent
from memory import peaks
from sizes import graph_links, inverted_lists, vectors

CASES: dict[str, Callable[[Bench], Iterator[Figure]]] = {
    "file": graph_file,
    "vectors": bare_vectors,
    "load": loading,
    "ratios": vectors,
    "links": graph_links,
    "lists": inverted_lists,
    "memory": peaks,
}


def run_cases(bench: Bench, names: Iterable[str]) -> tuple[list[Figure], list[str]]:
    """Return the figures of the named cases, and what failed: the others are measured all the same."""
    figures: list[Figure] = []
    failures = []
    for name in names:
        print(f"case {name}", file=sys.stderr)
        try:
            figures += CASES[name](bench)
        except Exception as error:
            failures.append(f"case {name}: {error!r}")
            figures.append(absent(name, "FAILED", None, repr(error)))
    return figures, failures
