"""Bundles: the bytes of many commits and marks in one object, so that a remote store is not asked for each of them.

A bundle proves nothing and decides nothing: of its lines only those count whose digest names an object that was listed.
One that is lost, old or damaged costs requests.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping

from vark.errors import VarkError
from vark.repository.digest import digest_hex
from vark.repository.layout import COMMITS, MARKS, bundle_name, content_of_name, is_bundle
from vark.repository.objects import now_unix_ms
from vark.stores import ObjectEntry, RemoteStore, Store
from vark.stores.base import read_limited

BUNDLE_BYTES_MAX = 4 << 20
KEPT = 2  # a reader may have listed the one before the newest
RECORDS_MIN = 4


def read_bundle(store: Store, entries: Iterable[ObjectEntry]) -> dict[str, bytes]:
    """Return digest -> bytes of the records in the newest bundle of a listing; nothing where there is none."""
    bundles = [entry for entry in entries if is_bundle(entry.name)]
    if not bundles or not isinstance(store, RemoteStore):
        return {}
    newest = max(bundles, key=lambda entry: (entry.modified_unix_ms, entry.name))
    with contextlib.suppress(VarkError):
        data = read_limited(store, newest.name, BUNDLE_BYTES_MAX)
        if isinstance(data, bytes):
            return {digest_hex(line): line for line in data.split(b"\n")}
    return {}


def write_bundle(store: Store, records: Mapping[str, bytes]) -> None:
    """Write a bundle of records (name -> bytes), the newest months where they are too many. It may fail: no harm."""
    names = [name for name in records if content_of_name(name) is not None and name.startswith((COMMITS, MARKS))]
    if not isinstance(store, RemoteStore) or len(names) < RECORDS_MIN:
        return
    lines: list[bytes] = []
    left = BUNDLE_BYTES_MAX
    for name in sorted(names, key=lambda name: name.partition("/")[2], reverse=True):
        left -= len(records[name]) + 1
        if left >= 0 and b"\n" not in records[name]:
            lines.append(records[name])
    data = b"\n".join(lines)
    with contextlib.suppress(VarkError):
        store.create(bundle_name(data, now_unix_ms(store)), data)


def old_bundles(entries: Iterable[ObjectEntry]) -> list[str]:
    """Return the bundles that nobody needs any more."""
    bundles = sorted((entry.modified_unix_ms, entry.name) for entry in entries if is_bundle(entry.name))
    return [name for _, name in bundles[:-KEPT]]
