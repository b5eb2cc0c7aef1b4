"""Binding of the Rust engine. Private: use `vark`. Reports cross as JSON text; buffers cross without a copy."""

from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from typing import Protocol, TypeAlias, final

from typing_extensions import Buffer

__version__: str
debug_build: bool

# A source of bytes: ("file", path) | ("buffers", [contiguous buffers, one after another]) | ("pipe", file descriptor)
Bytes: TypeAlias = tuple[str, str | int | Sequence[Buffer]]
# Called at most ten times a second on the calling thread: done bytes, total bytes or None. An exception cancels.
Progress: TypeAlias = Callable[[int, int | None], None] | None

class Ranges(Protocol):
    """What a volume is read from that is no file; called from threads of the engine, several at once.

    One that has other copies of its bytes also has `read_elsewhere(copy, offset, byte_count)`: the same range of
    another copy, counted from 0, or None when there are no more. It is asked when a checksum is another.
    """

    @property
    def name(self) -> str: ...
    @property
    def byte_count(self) -> int: ...
    def read(self, offset: int, byte_count: int) -> Buffer:
        """Just these bytes. Of an exception its `code` and `message` are kept."""

Volume: TypeAlias = str | PathLike[str] | Ranges

# Passphrase; age recipients (of a new archive) or contents of identity files (to open one); recovery code; slots of a
# KMS: id, secret, and of a new one provider, key and wrapped secret.
Secrets: TypeAlias = tuple[bytes | None, Sequence[bytes], str | None, Sequence[tuple[bytes, bytes, str, str, str]]]

# Name, Ed25519 public key, write only, when it was revoked (ms since 1970).
SignerEntry: TypeAlias = tuple[str, bytes, bool, int | None]

def new_identity() -> tuple[str, str]:
    """A random identity, as a line of an identity file of age, and its recipient."""

def new_recovery_code() -> str:
    """A random recovery code, as it is shown."""

def pack(
    target: str | int,
    members: Sequence[tuple[str, Bytes, str, str]],
    streams: Sequence[tuple[str, str, str, int, Bytes]],
    *,
    metadata: str,
    plan: str,
    compression: str,
    order: str,
    base: Reader | None,
    cache: tuple[str, int, tuple[bytes, bytes] | None, int] | None,
    id_index: int | None,
    fingerprint_key: bytes | None,
    archive_id: bytes | None,
    seal: Secrets | Keyring | Signer | None,
    replace: bool,
    sync: bool,
    threads: int,
    memory_bytes: int,
    digest_members: bool,
    attempts: int,
    progress: Progress,
) -> str:
    """Write one archive; return the report as JSON.

    target: path (written beside itself, then renamed) or an open file descriptor (written in one pass).
    members: (name, bytes, layout, facts JSON object); layout "auto" | "opaque" | "faiss" | "hnswlib" |
        "npy" | "usearch" | "diskann".
    streams: further streams (name, role, element type, elements in a row, bytes).
    metadata: JSON object, keys of spec section 8 that the caller knows (payload, probes, application, source kind).
    plan: JSON object with "folders" and "skipped" only.
    id_index: keep a sorted index of streams of more ids than this; -1 for none; None for those that the base has.
    compression: "auto" | "none". order: "exact" | "canonical" (lists of links sorted).
    base: an open archive that the new one is compared with; only new rows are stored.
    cache: folder of what is compared, the most bytes in it, of a sealed one its key and the repository's id, and the
        most bytes of the shadow that a write-only signer keeps of the archive there.
    fingerprint_key: 32 bytes: keep a fingerprint of each wide row, made with this key.
    archive_id: 16 bytes, or None for a new one.
    seal: encrypt it with one key slot for each secret, or as an archive of a repository; None with an encrypted base:
        with the keys of the base.
    memory_bytes: budget for buffers; 0 for the default (256 MiB). threads: 0 for the number of cores.
    attempts: how often a member file that changed while it was read is read again before it counts as partial.

    Report: {"archive_id", "archive_bytes", "source_bytes", "raw_bytes", "root", "partial", "seconds",
    "members": [{"name", "bytes", "layout", "warning", "facts"}], "skipped": [{"name", "reason"}],
    "streams": [{"name", "role", "element_type", "row_elements", "row_count", "raw_bytes", "stored_bytes",
    "chunk_count", "codecs": {"float32": 12}}],
    "delta": {"base", "rows", "rows_new", "chunks_same"} or null, "ancestors": [{"id", "bytes", "root"}]}
    """

def plan_file(path: str, layout_name: str) -> str:
    """Parse an index file and return its member record (name, bytes, layout, facts, warning, runs) as JSON."""

def blake3(data: bytes) -> bytes:
    """The BLAKE3 of some bytes."""

def blake3_pieces(data: Buffer, piece_bytes: int) -> bytes:
    """The BLAKE3 of each piece of some bytes, one after another. Releases the GIL."""

def verify_path(
    volumes: Sequence[Volume],
    ancestors: Mapping[str, Sequence[Volume]],
    secrets: Secrets | Keyring | Signer | None,
    *,
    level: str,
    own: bool,
    threads: int,
    progress: Progress,
) -> str:
    """Verify an archive that may not even open; level "stored" | "full". Returns the report as JSON:

    own: only the bytes of this archive, nothing in its ancestors (the plan is not executed then).
    secrets: of an encrypted archive; level "stored" does without, and then looks at this archive only.

    {"level", "archive_bytes", "checked_bytes", "chunks", "seconds", "ok",
    "damage": [{"layer", "detail", "stream", "first_row", "row_count", "ancestor", "offset", "byte_count"}],
    "unread": [likewise, of places that could not be read], "archive_id", "root"}
    stream and rows are null where the damage is in no stream; ancestor is null unless it lies in one; archive_id and
    root, which the archive itself says, where its tables are damaged.
    """

def verify_rows(
    archives: Sequence[Sequence[Volume]],
    ancestors: Mapping[str, Sequence[Volume]],
    secrets: Secrets | Keyring | Signer | None,
    *,
    threads: int,
    progress: Progress,
) -> str:
    """Verify all rows of deltas that verifying their own bytes does not prove: {"archives": [a report as of
    `verify_path` for each], "blocks_decoded": those that several need count once, as long as they are kept}.
    """

def id_hashes(key: bytes, ids: Sequence[int]) -> bytes:
    """The hashes of ids (their bits as unsigned 64-bit numbers) under a key of 32 bytes, 16 bytes each."""

def survey(reader: Reader, lists: Sequence[tuple[bytes, bytes]]) -> str:
    """What an archive holds of ids. lists: key and hashes (one after another) of each list. JSON:

    {"members": [{"name", "layout", "rows", "row_count", "removes", "fault"}], "found": [[list, hash in hex]],
    "unknown": [{"name", "reason"}]}
    """

def erase_rows(
    reader: Reader,
    target: str | int,
    lists: Sequence[tuple[bytes, bytes]],
    *,
    streams: Sequence[tuple[str, str, str, int, Bytes]],
    dropped: Sequence[str],
    metadata: str,
    base: Reader | None,
    fingerprint_key: bytes | None,
    archive_id: bytes | None,
    seal: Keyring | None,
    sync: bool,
    threads: int,
    memory_bytes: int,
    progress: Progress,
) -> str:
    """Write an archive without the rows of the ids. streams: in the place of those of their names; dropped: names of
    streams that go; metadata: JSON object of the entries that these make otherwise.

    Report: {"archive": as of `pack`, "survey": as of `survey`, "streams": [{"name", "rows", "bytes"}]}
    """

@final
class Keyring:
    """All keys of an encrypted repository; shows none of them. Thread safe."""

    generation: int
    suite: int
    epoch: int
    epochs: list[tuple[int, int]]
    slots: list[tuple[str, str, str, str]]
    signers: list[SignerEntry]
    authority: bytes

    @staticmethod
    def create(
        repository: bytes, secrets: Secrets, *, suite: int, unix_ms: int
    ) -> tuple[Keyring, list[tuple[str, bytes]], bytes]:
        """Keys of a new repository and what is to be written: (id, object) of each slot, then the keyring's object."""

    @staticmethod
    def open(
        repository: bytes, generation: int, keyring: bytes, slots: Sequence[bytes], secrets: Secrets, *, suite: int
    ) -> tuple[Keyring, str, bytes | None]:
        """Open one copy of a generation: keyring, slot that opened, authority that the slot's maker vouched for."""

    def next(
        self,
        number: int,
        slots: Sequence[bytes],
        *,
        unix_ms: int,
        add: Secrets | None,
        label: str,
        remove: Sequence[str],
        new_epoch: bool,
        signers: Sequence[SignerEntry] | None,
    ) -> tuple[Keyring, list[tuple[str, bytes]], bytes]:
        """Make the next generation, as `create`. slots: the objects of this one's."""

    def is_endorsed_by(self, authority: bytes) -> bool:
        """Whether trust in this authority is trust in the present one."""

    def new_signer(self, name: str, *, write_only: bool) -> tuple[SignerEntry, bytes]:
        """A new signer, and the content of its file, which is secret."""

    def signer_of(self, digest: bytes, key: bytes, signature: bytes) -> SignerEntry | None:
        """The signer of the commit with this digest: one that is entered, whether or not it was revoked since."""

    def name_tag(self, name: str) -> str:
        """What tells snapshots of one name without the name, 32 hexadecimal digits."""

    def new_record(self, record: bytes) -> NewRecord:
        """Begin to seal the record with this salt (16 bytes)."""

    def open_record(
        self,
        data: bytes,
        *,
        record: bytes,
        suite: int,
        epoch: int,
        salt: bytes,
        commitment: bytes,
        wrapped: bytes | None,
        public_digest: bytes,
    ) -> bytes:
        """The private part of a record."""

@final
class Signer:
    """A signer's file: signs commits; of a write-only writer it seals, too, under a session root of its own."""

    name: str
    repository: bytes
    key: bytes
    is_write_only: bool

    @staticmethod
    def parse(content: bytes) -> Signer:
        """Read the content of a signer's file; a write-only writer gets a fresh session root each time."""

    def sign(self, digest: bytes) -> bytes:
        """The signature of the commit with this digest."""

    def new_record(self, record: bytes) -> NewRecord:
        """As `Keyring.new_record`, under the session root."""

    def cache_tag(self, data: bytes) -> bytes:
        """A tag (32 bytes) of what is kept on this machine, which nobody makes without the writer's cache key."""

@final
class NewRecord:
    """A record that is being sealed."""

    suite: int
    epoch: int
    salt: bytes
    commitment: bytes
    wrapped: bytes | None

    def seal(self, public_digest: bytes, body: bytes) -> bytes:
        """Ciphertext and tag of the private part; once only."""

@final
class Stream:
    """One stream record (spec, section 5). All fields read only."""

    name: str
    role: str
    element_type: str
    row_elements: int
    row_bytes: int
    row_count: int
    chunk_rows: int
    chunk_count: int
    raw_bytes: int
    stored_bytes: int

@final
class Reader:
    """An open archive. Thread safe."""

    archive_id: bytes
    archive_bytes: int
    root: bytes
    version: tuple[int, int]
    metadata: str
    is_sealed: bool
    epoch: int | None
    streams: list[Stream]

    ancestors: list[tuple[str, int, bytes]]
    bytes_at_hand: int

    @staticmethod
    def open(
        volumes: Sequence[Volume], ancestors: Mapping[str, Sequence[Volume]], secrets: Secrets | Keyring | Signer | None
    ) -> Reader:
        """Open the archive that the volumes are, end to end. secrets: tried on an encrypted one.

        ancestors: volumes of each archive that rows may lie in, by the text of its id; others are looked for beside the
        first volume as ID.vark. Without one the archive opens, but rows that lie in it cannot be read.
        """
    @staticmethod
    def open_shadow(folder: str, archive_id: bytes, signer: Signer) -> Reader:
        """What a write-only signer kept of an archive: a base for `pack`; no row that it left out can be read."""

    def compact(
        self,
        target: str | int,
        *,
        archive_id: bytes | None,
        seal: Keyring | None,
        for_other: bool,
        replace: bool,
        sync: bool,
        threads: int,
        progress: Progress,
    ) -> str:
        """Write an archive with the same rows that needs no ancestor, out of stored blocks.

        for_other: for another repository, under the keys of `seal` (None: not encrypted), without fingerprints.
        Report: {"archive_id", "archive_bytes", "root", "seconds", "blocks_copied", "chunks_coded"}
        """
    def transcribe(
        self,
        target: str | int,
        pairs: Sequence[tuple[Reader, Reader]],
        *,
        archive_id: bytes | None,
        seal: Keyring | None,
        sync: bool,
        threads: int,
        progress: Progress,
    ) -> str:
        """Write a copy for another repository out of stored blocks, without fingerprints; a delta stays one.

        pairs: each ancestor that entries point into, and its copy there, to which those of the copy point.
        Report: {"archive_id", "archive_bytes", "root", "seconds", "blocks_copied", "blocks_shared",
        "ancestors": [{"id", "bytes", "root"}]}
        """
    def io_counts(self) -> tuple[int, int]:
        """Reads made since opening began, and bytes read."""
    def codecs(self, stream: int) -> dict[str, int]:
        """Codec name -> number of chunks. Reads the index blocks of the stream."""
    def read_rows(self, stream: int, first_row: int, row_count: int, out: Buffer, *, threads: int) -> None:
        """Fill `out` (writable, contiguous, row_count * row_bytes bytes). Reads only the chunks that hold the rows.

        Nobody may use `out` before the call returns. After an error its content means nothing.
        """
    def find_ids(self, stream: int, ids: Sequence[int]) -> tuple[list[int], list[int]] | None:
        """(numbers in `ids`, rows), ascending, of every row that has one of the ids; None without an index.

        ids: the bits of the ids as unsigned 64-bit numbers. Each row is compared with the stream of ids.
        """
    def equal_rows(self, stream: int, other: Reader, other_stream: int, out: Buffer) -> None:
        """Fill `out`, one byte for each row number that both streams have: 1 where the rows are equal by what index and
        maps say. Others may be equal all the same. Reads no rows.
        """
    def plan(self) -> str | None:
        """The split plan as checked JSON; None when the archive has no members."""
    def restore(
        self,
        target: str,
        *,
        members: Sequence[int] | None,
        replace: bool,
        sync: bool,
        threads: int,
        memory_bytes: int,
        max_bytes: int | None,
        resume: bool,
        progress: Progress,
    ) -> str:
        """Restore all members (None) or some. One member: `target` is the file. Several: a folder, made at once.

        resume: keep what was written when interrupted, and go on with what an earlier run has left.

        Report: {"members": n, "bytes": n, "seconds": s}
        """
    def write_member(self, member: int, fd: int, *, threads: int, memory_bytes: int, progress: Progress) -> int:
        """Write a member in order to an open file descriptor (a pipe will do); return the bytes."""
    def read_member(
        self, member: int, out: Buffer, layout: str, *, later: tuple[int, int], leaves_out: bool, threads: int
    ) -> tuple[str, bool]:
        """Fill `out` (writable, contiguous, as long as the member) and check what came as `check_member` does.

        later: start and end of bytes that the check is expected not to need: it begins before they are there.
        leaves_out: they are not read at all, unless the check or the member's digest asks for them.
        Returns the facts and whether all bytes are there.
        """
    def check_member(self, member: int, layout: str) -> str:
        """Parse the member as it will be restored and check links, degrees, levels, list sizes and ids.

        layout "faiss" | "hnswlib". Returns facts as JSON; raises DamagedError for an index unfit to load.
        """
    def verify(self, *, level: str, own: bool, threads: int, progress: Progress) -> str:
        """As verify_path."""
    def touched(self, blocks: Sequence[tuple[bytes, int]]) -> str:
        """Rows that cannot be read without the blocks (archive id, offset): [{"stream", "first_row", "row_count"}]."""
    def close(self) -> None: ...
