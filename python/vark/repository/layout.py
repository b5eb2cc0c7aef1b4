"""The names of the objects of a repository (spec/REPOSITORY.md, section 1), made and recognised in one place."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from vark.repository.digest import digest_hex

MARKER = "vark.json"
ARCHIVES, COMMITS, MARKS = "archives", "commits", "marks"
ROOTS, LISTS, SESSIONS, REPORTS, KEYS = "root", "condemned", "sessions", "reports", "keys"
PROBES = "doctor"
LOCKS = "locks"
KEY_COPIES = 3  # of each small key object: nothing else is so small and so dear
ERASURES = "erasures"
# Folders of small objects of a repository, in the order in which a mirror gets them; the marker stands for itself.
SMALL_ORDER = (KEYS, MARKER, ERASURES, LOCKS, COMMITS, MARKS, LISTS, ROOTS)
VOLUMES_MAX = 1_000_000
GENERATION_MAX = 10**9  # of keys: what is above it is not ours, so that nobody can use up the numbers

_UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_VOLUME = re.compile(rf"archives/({_UUID})/(\d{{6}})\.vark")
_RECORD = re.compile(r"(commits|marks|reports|erasures|doctor|locks)/\d{4}-\d{2}/([0-9a-f]{64})\.json")
_BUNDLE = re.compile(r"marks/\d{4}-\d{2}/[0-9a-f]{64}\.bundle")
_ROOT = re.compile(r"root/(\d{20})\.json")
_LIST = re.compile(r"condemned/([0-9a-f]{64})\.json")
_KEY = re.compile(r"keys/(\d{20})/(keyring|[0-9a-f]{32})-([0-2])\.json")
_SESSION = re.compile(r"sessions/([0-9a-f]{32})/intent\.json")


def volume_name(archive_id: str, number: int) -> str:
    """Return the object that holds one volume of an archive."""
    return f"{ARCHIVES}/{archive_id}/{number:06d}.vark"


def volume_of(name: str) -> tuple[str, int] | None:
    """Return (archive id, number) of a volume's name, or None."""
    match = _VOLUME.fullmatch(name)
    return None if match is None else (match[1], int(match[2]))


def record_name(folder: str, data: bytes, unix_ms: int) -> str:
    """Return the object that holds the record `data` of `folder`, in the month (UTC) of its time."""
    month = datetime.fromtimestamp(unix_ms / 1000, UTC).strftime("%Y-%m")
    return f"{folder}/{month}/{digest_hex(data)}.json"


def bundle_name(data: bytes, unix_ms: int) -> str:
    """Return the object that holds the bundle `data`: beside marks, which are listed first."""
    return record_name(MARKS, data, unix_ms).removesuffix(".json") + ".bundle"


def is_bundle(name: str) -> bool:
    """Return whether an object is a bundle."""
    return _BUNDLE.fullmatch(name) is not None


def small_order(name: str) -> int | None:
    """Return where a small object stands in `SMALL_ORDER`; None for volumes, bundles, and what speaks of one place."""
    folder = name.partition("/")[0]
    if folder not in SMALL_ORDER or is_bundle(name) or (folder == MARKER) != (name == MARKER):
        return None
    return SMALL_ORDER.index(folder)


def list_name(digest: str) -> str:
    """Return the object that holds a condemned or sweep list."""
    return f"{LISTS}/{digest}.json"


def root_name(generation: int) -> str:
    """Return the object that holds a generation of the administrative state."""
    return f"{ROOTS}/{generation:020d}.json"


def root_generation(name: str) -> int | None:
    """Return the generation that an object's name says, or None."""
    match = _ROOT.fullmatch(name)
    return None if match is None else int(match[1])


def key_name(generation: int, what: str, copy: int) -> str:
    """Return the object that holds one copy of a key slot (`what`: its id) or of the keyring (`"keyring"`)."""
    return f"{KEYS}/{generation:020d}/{what}-{copy}.json"


def key_of(name: str) -> tuple[int, str, int] | None:
    """Return (generation, slot id or "keyring", copy) of a key object's name, or None."""
    match = _KEY.fullmatch(name)
    if match is None or not 1 <= int(match[1]) <= GENERATION_MAX:
        return None
    return int(match[1]), match[2], int(match[3])


def content_of_name(name: str) -> str | None:
    """Return the digest that a content-named object promises, or None when it promises none."""
    match = _RECORD.fullmatch(name)
    if match is not None:
        return match[2]
    match = _LIST.fullmatch(name)
    return None if match is None else match[1]


def session_name(session: str) -> str:
    """Return the object that holds the intent of a running backup."""
    return f"{SESSIONS}/{session}/intent.json"


def session_of(name: str) -> str | None:
    """Return the session of an intent's name, or None."""
    match = _SESSION.fullmatch(name)
    return None if match is None else match[1]
