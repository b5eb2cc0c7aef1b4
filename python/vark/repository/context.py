"""What every part of a repository works with: its store, its marker, its engine and its reader of catalogs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from vark.errors import DamagedError, InvalidArgumentError, KeyNeededError, RepositoryNotFoundError
from vark.repository.base import volume_sizes_of
from vark.repository.catalog import Catalog, CatalogReader, Snapshot
from vark.repository.engine import Engine
from vark.repository.envelope import Envelope
from vark.repository.erasures import Erasure, read_erasures
from vark.repository.history import History
from vark.repository.keystore import OpenKeys
from vark.repository.layout import COMMITS, MARKER
from vark.repository.marks import write_mark
from vark.repository.objects import create_record, settle
from vark.repository.records import Ancestor, Commit
from vark.stores import Store


@dataclass(slots=True)
class Context:
    """An open repository, for its parts. id: empty where the marker is lost and only reading is possible.

    keys, history: of a sealed one. is_trusted: whether anything vouches for who made it.
    is_write_only: it can add snapshots, and read none.
    """

    store: Store
    id: str
    fingerprint_key: bytes
    volume_bytes: int | None
    engine: Engine
    envelope: Envelope
    keys: OpenKeys | None = None
    history: History | None = None
    is_trusted: bool = True
    is_write_only: bool = False
    reader: CatalogReader = field(init=False)

    def __post_init__(self) -> None:
        self.replace_envelope(self.envelope)

    def replace_envelope(self, envelope: Envelope) -> None:
        """Read and write records by other keys from now on."""
        self.envelope = envelope
        self.reader = CatalogReader(self.store, envelope, self.history)

    def sealed_keys(self) -> OpenKeys:
        """Return the keys. Errors: KeyNeededError (write-only), InvalidArgumentError (it is not encrypted)."""
        self.refuse_write_only()
        if self.keys is None:
            raise InvalidArgumentError("this repository is not encrypted; it has no keys")
        return self.keys

    def refuse_write_only(self) -> None:
        """Refuse what a client cannot do that reads nothing. Errors: KeyNeededError."""
        if self.is_write_only:
            raise KeyNeededError(
                "a write-only client can add snapshots, and read nothing back; open the repository with a key"
            )

    def writable(self, *, adds_only: bool = False) -> Context:
        """Return this, when it may be written to. adds_only: nothing but a snapshot is written.

        Errors: RepositoryNotFoundError (the marker is lost), InvalidArgumentError (nothing vouches for who made it).
        """
        if not adds_only:
            self.refuse_write_only()
        if not self.id:
            raise RepositoryNotFoundError(f"{MARKER}: damaged or lost; restore it from a copy before writing")
        if not self.is_trusted:
            raise InvalidArgumentError(
                "nothing vouches for the authority over the keys of this repository, which this client sees for the "
                "first time; compare it with what `vark key list` says where it was made and give it (--authority), or "
                "say that you trust it (--trust)"
            )
        return self

    def sizes_of(self, ancestors: tuple[Ancestor, ...]) -> dict[str, tuple[int, ...]]:
        """Return the bytes of the volumes of archives. Errors: DamagedError where one is not as its record says."""
        found = {}
        there = volume_sizes_of(self.store, [ancestor.id for ancestor in ancestors])
        for ancestor in ancestors:
            sizes = there[ancestor.id]
            if sum(sizes) != ancestor.bytes:
                raise DamagedError(
                    f"archive {ancestor.id}: {sum(sizes)} bytes, expected {ancestor.bytes}; "
                    "restore it from another copy, or use a snapshot that does not need it"
                )
            found[ancestor.id] = sizes
        return found

    def whole_catalog(self, what: str) -> Catalog:
        """Return the catalog for `what`, which needs every record. Errors: DamagedError where one cannot be used."""
        catalog = self.reader.read(strict=True)
        for place, error in catalog.faults.items():
            raise DamagedError(f"{what}: {place} cannot be used ({error}); restore it from another copy first")
        return catalog

    def mark(self, catalog: Catalog, action: str, snapshot: str, **fields: object) -> str:
        """Create a mark that wins over all that is known of the snapshot."""
        last = catalog.last_word_unix_ms(snapshot)
        digest = write_mark(self.store, self.envelope, action, snapshot, after_unix_ms=last, **fields)  # type: ignore[arg-type]
        if self.history is not None:
            self.history.remember_mark(digest, snapshot)
        return digest

    def create_commit(self, commit: Commit, data: bytes) -> str:
        """Create a commit record, `data`, and remember it: nobody may take it away unseen. Return its digest."""
        digest = create_record(self.store, COMMITS, data, commit.created_unix_ms)
        if self.history is not None:
            self.history.remember_commit(digest, commit)
        return digest

    def read_erasures(self) -> dict[str, Erasure]:
        """Return all erasures by digest. Errors: HistoryAlteredError (one is gone that was seen); `read_erasures`."""
        before = None if self.history is None else self.history.look()
        found = read_erasures(self.store, self.envelope)
        if self.history is not None and before is not None:
            self.history.check_erasures(found, before)
        return found

    def settle(self, catalog: Catalog, snapshots: Iterable[Snapshot]) -> None:
        """Make durable what is known of these snapshots: those who said it may have died before it was."""
        for snapshot in snapshots:
            for name in catalog.records_of(snapshot):
                settle(self.store, name)

    def safe(self, ancestors: tuple[Ancestor, ...]) -> bool:
        """Return whether none of these is dead by the state as it is now: step W4, for a commit that exists already."""
        dead = self.reader.administrations.read().dead
        return not any(ancestor.id in dead for ancestor in ancestors)
