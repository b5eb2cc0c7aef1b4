"""An open archive: look, read rows, restore, load, verify."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from uuid import UUID

from numpy.typing import NDArray

from vark import by_id
from vark import payload as payload_
from vark import probes as probes_
from vark._core import Keyring, Reader, Signer
from vark.adapters import LoadRequest, adapter_for_layout
from vark.arrays import read_npy
from vark.errors import InvalidArgumentError, LimitError, UnknownNameError
from vark.feeds import FeedGroup, ThreadFeed
from vark.keys import Secrets
from vark.selection import Selection, ids_of, select
from vark.stores.ranges import RangeReader
from vark.stores.urls import Ranges, is_url, ranges_at
from vark.tables import PayloadOf, misfit
from vark.target import write_published
from vark.types import Ancestor, MemberReport, ProbeReport, RestoreReport, Skipped, StreamTable, VerifyReport
from vark.units import format_bytes, parse_bytes
from vark.views import READ_BYTES, NamedBytes, StreamView, stream_info

ProgressCallback = Callable[[int, int | None], None]
Volume = str | PathLike[str] | Ranges  # a path, an address such as "s3://bucket/x.vark", or what reads ranges
MEMORY_DEFAULT = "256MiB"
# Roles of streams that belong to other streams.
OWN_ROLES = ("part", "map", "fingerprints", "id_index")


class Archive:
    """An open `.vark` archive; use `open_archive`. A context manager; may be used from several threads.

    `archive["vectors"]` is a StreamView. Opening takes one read of the end of the file; nothing else is read before
    it is asked for, and every row that comes out has passed its digest.
    """

    def __init__(
        self,
        path: Volume | Sequence[Volume],
        *,
        ancestors: Mapping[str, Sequence[Volume]] | None = None,
        secrets: Secrets | Keyring | Signer | None = None,
    ) -> None:
        volumes = volumes_of(path)
        self.path = volumes[0] if isinstance(volumes[0], str) else volumes[0].name
        self._places = places_of(ancestors)
        self._volumes = volumes
        self._reader = Reader.open(volumes, self._places, secrets)
        self._records = list(self._reader.streams)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the file. Views of this archive cannot be read afterwards."""
        self._reader.close()

    def __repr__(self) -> str:
        return (
            f"Archive({self.path!r}, {format_bytes(self.archive_bytes)}, {len(self.members)} members)\n{self.streams!r}"
        )

    def _repr_html_(self) -> str:
        return self.streams._repr_html_()

    @property
    def reader(self) -> Reader:
        """The engine's side of the archive; for `vark.api` and adapters, not part of the stable interface."""
        return self._reader

    @property
    def places(self) -> dict[str, list[str | Ranges]]:
        """Where this archive and those that were named as its ancestors lie: id -> volumes."""
        return {**self._places, str(self.archive_id): self._volumes}

    @property
    def is_remote(self) -> bool:
        """Whether any of it is read by ranges from a store."""
        return next(self._remote(), None) is not None

    @contextmanager
    def _filling(self, fills: bool) -> Iterator[None]:
        """Say whether what is read of remote stores is kept on this machine meanwhile."""
        for volume in self._remote():
            volume.fills = fills
        try:
            yield
        finally:
            for volume in self._remote():
                volume.fills = True

    def _remote(self) -> Iterator[RangeReader]:
        for volumes in self.places.values():
            yield from (volume for volume in volumes if isinstance(volume, RangeReader))

    @property
    def archive_id(self) -> UUID:
        """UUID version 7: its first 48 bits are the time of creation."""
        return UUID(bytes=bytes(self._reader.archive_id))

    @property
    def root(self) -> str:
        """The digest (hex) from which every byte of the archive hangs."""
        return bytes(self._reader.root).hex()

    @property
    def version(self) -> tuple[int, int]:
        """Format version: major, minor."""
        return self._reader.version

    @property
    def archive_bytes(self) -> int:
        """Length of the file."""
        return self._reader.archive_bytes

    @property
    def io_counts(self) -> tuple[int, int]:
        """Reads made since opening began, and bytes read."""
        return self._reader.io_counts()

    @property
    def ancestors(self) -> tuple[Ancestor, ...]:
        """The archives that rows of this one may lie in; none for an archive that stands alone."""
        return tuple(Ancestor(name, size, bytes(root).hex()) for name, size, root in self._reader.ancestors)

    @property
    def is_encrypted(self) -> bool:
        """Whether the archive is encrypted."""
        return self._reader.is_sealed

    @cached_property
    def streams(self) -> StreamTable:
        """All streams of the source. `codecs` is empty here; `archive[name].info` has it.

        What is kept beside them (maps, parts, fingerprints, an index of ids) is not; `archive["vectors//map"]` has it.
        """
        return StreamTable(stream_info(record, codecs={}) for record in self._records if record.role not in OWN_ROLES)

    @cached_property
    def metadata(self) -> dict[str, Any]:
        """The metadata object (specification, section 8)."""
        return dict(json.loads(self._reader.metadata))

    @cached_property
    def _plan(self) -> dict[str, Any]:
        text = self._reader.plan()
        return {} if text is None else dict(json.loads(text))

    @cached_property
    def members(self) -> tuple[MemberReport, ...]:
        """The files that a restore gives back."""
        return tuple(MemberReport.from_record(member) for member in self._plan.get("members", ()))

    @property
    def folders(self) -> tuple[str, ...]:
        """Empty folders of the source."""
        return tuple(self._plan.get("folders", ()))

    @property
    def skipped(self) -> tuple[Skipped, ...]:
        """What of the source was not captured, and why."""
        return tuple(Skipped(item["name"], item["reason"]) for item in self._plan.get("skipped", ()))

    @property
    def partial(self) -> bool:
        """Whether something of the source was not captured."""
        return bool(self.metadata.get("partial", False))

    def __contains__(self, name: object) -> bool:
        return any(record.name == name for record in self._records)

    def __getitem__(self, name: str) -> StreamView:
        """Return the stream `name`. Errors: UnknownNameError (a KeyError)."""
        for number, record in enumerate(self._records):
            if record.name == name:
                return StreamView(self._reader, number, record)
        known = ", ".join(record.name for record in self._records if record.role not in OWN_ROLES)
        raise UnknownNameError(f"stream {name!r}: not in {self.path}, which has {known}")

    def rows_by_id(self, name: str, ids: Any) -> NDArray[Any]:
        """Return the rows of stream `name` with these ids, in this order, as a new array.

        ids: integers, shape (n,), as in the stream of ids beside it (labels of hnswlib, ids of inverted lists); of an
        id that several rows have, the first (`select` gives all). Looks into the sorted index of those ids where there
        is one (`id_index`), else reads them from the front until all are found, and then the chunks that hold the rows.
        Errors: UnknownNameError for an id, a stream, or a stream of ids that is not there; DamagedError.
        """
        return by_id.rows_by_id(self.__getitem__, tuple(self.streams), name, ids)

    def select(self, name: str = "vectors", *, rows: Any = None, ids: Any = None, payload: bool = True) -> Selection:
        """Return rows of stream `name` with their ids and payload, to be had as numpy, Arrow or Parquet.

        rows: a slice, or integers; ids: integers: all rows that have one of them, in this order (what is not there
        stands in `missing`); neither: all rows. payload: take its columns along where the archive has one for these
        rows; `notes` says when it is of others. Reads only what is needed: ids as `rows_by_id`; a payload forward,
        keeping what was asked for. Errors: UnknownNameError (no such stream, no ids beside it), InvalidArgumentError.
        """
        view, beside = self[name], ids_of(name, tuple(self.streams))
        found, notes = None, []
        facts = self.metadata.get("payload")
        if payload and isinstance(facts, dict) and payload_.STREAM_NAME in self:
            why = misfit(facts, view, has_ids=beside is not None)
            found = PayloadOf(self[payload_.STREAM_NAME], facts) if why is None else None
            notes += [] if why is None else [f"the payload is left out: {why}"]
        of_ids = None if beside is None else self[beside]
        return select(view, of_ids, rows=rows, wanted=ids, payload=found, notes=tuple(notes))

    @cached_property
    def documents(self) -> NamedBytes:
        """Documents: name -> bytes, read when asked for."""
        return self._named("document")

    @cached_property
    def attachments(self) -> NamedBytes:
        """Attachments: name -> bytes, read when asked for."""
        return self._named("attachment")

    def _named(self, role: str) -> NamedBytes:
        prefix = f"{role}/"
        names = [record.name for record in self._records if record.role == role and record.name.startswith(prefix)]
        return NamedBytes({name.removeprefix(prefix): self[name] for name in names}, what=role)

    def extract(self, name: str, target: str | PathLike[str], *, replace: bool = False, sync: bool = True) -> Path:
        """Write a document or attachment to `target` (a file, or a folder to put it in); return the file's path.

        name: as listed, or "document/NAME", "attachment/NAME" where both exist. Errors: UnknownNameError,
        TargetExistsError, NoSpaceError.
        """
        view = self._view_of(name)
        path = Path(os.fspath(target))
        if path.is_dir():
            path = path / view.name.partition("/")[2]

        def write(descriptor: int) -> None:
            with open(descriptor, "wb", closefd=False) as file:
                file.writelines(view[first : first + READ_BYTES].data for first in range(0, len(view), READ_BYTES))

        write_published(path, write, replace=replace, sync=sync)
        return path

    def _view_of(self, name: str) -> StreamView:
        for role in ("document", "attachment"):
            full = name if name.startswith(f"{role}/") else f"{role}/{name}"
            if full in self:
                return self[full]
        known = ", ".join([*self.documents, *self.attachments]) or "none"
        raise UnknownNameError(f"{name!r}: no such document or attachment; the archive has {known}")

    def payload(self, *, rows: Any = None) -> Any:
        """Return the payload as a pyarrow Table, all or `rows` (a forward slice, or row numbers).

        Errors: UnknownNameError (no payload), InvalidArgumentError (no pyarrow), DamagedError.
        """
        return payload_.read_payload(self[payload_.STREAM_NAME], rows=rows)

    def restore(
        self,
        target: str | PathLike[str],
        *,
        replace: bool = False,
        member: str | Sequence[str] | None = None,
        sync: bool = True,
        threads: int | None = None,
        memory: str | int = MEMORY_DEFAULT,
        max_bytes: int | str | None = None,
        resume: bool | None = None,
        progress: ProgressCallback | None = None,
    ) -> RestoreReport:
        """Write the members back, byte for byte; the target appears when it is complete.

        target: the file for one member, a new folder for several. member: only these. sync: return when the disk has
        it. threads: None for all cores. memory: budget for buffers. max_bytes: refuse to write more.
        resume: when it is interrupted keep what is written, in a hidden folder beside the target, and go on with what
        an earlier call has left there, once it was read back and compared; None: where it is read from a remote store.
        Errors: TargetExistsError, NoSpaceError, LimitError, DamagedError, UnknownNameError.
        """
        chosen = None if member is None else self._member_numbers(member)
        with self._filling(chosen is not None):  # all of it is not what a cache is for
            text = self._reader.restore(
                os.fspath(target),
                members=chosen,
                replace=replace,
                sync=sync,
                threads=threads or 0,
                memory_bytes=parse_bytes(memory, name="memory"),
                max_bytes=None if max_bytes is None else parse_bytes(max_bytes, name="max_bytes"),
                resume=self.is_remote if resume is None else resume,
                progress=progress or _heartbeat,
            )
        report = json.loads(text)
        return RestoreReport(os.fspath(target), report["members"], report["bytes"], report["seconds"])

    def _member_numbers(self, wanted: str | Sequence[str]) -> list[int]:
        names = [member.name for member in self.members]
        asked = [wanted] if isinstance(wanted, str) else list(wanted)
        for name in asked:
            if name not in names:
                raise UnknownNameError(f"member {name!r}: not in {self.path}, which has {', '.join(names) or 'none'}")
        return [names.index(name) for name in asked]

    def load(
        self,
        *,
        space: str | None = None,
        member: str | None = None,
        writable: bool = True,
        max_bytes: str | int | None = None,
        threads: int | None = None,
        memory: str | int = MEMORY_DEFAULT,
    ) -> Any:
        """Return a member as a live object: a faiss or hnswlib index, or a numpy array. No file is written.

        The engine checks an index whole (links, degrees, list sizes) before its library sees a byte. space: "l2" |
        "ip" | "cosine", for an hnswlib file (a live index stored it). member: needed when there are several.
        writable: False lets faiss search the decoded bytes where they lie, which loads faster; such an index cannot be
        changed (its own `add`, `remove_ids` … raise InvalidArgumentError), its parts and clones share its memory, and
        it must outlive them: do not wrap it into another index and add to that, which ends the process in faiss.
        hnswlib indexes and arrays can be written in any case.
        max_bytes: refuse a member that is larger. memory: budget for buffers where the index is streamed; hnswlib and
        writable=False hold the decoded member whole, and a faiss index its links (up to this, or half of its vectors).
        Errors: DamagedError, InvalidArgumentError, LimitError, SourceError (the library refuses).
        """
        if member is None and len(self.members) != 1:
            names = ", ".join(item.name for item in self.members) or "none"
            raise InvalidArgumentError(f"member: the archive has {names}; name one of them")
        number = 0 if member is None else self._member_numbers(member)[0]
        found = self.members[number]
        limit = None if max_bytes is None else parse_bytes(max_bytes, name="max_bytes")
        if limit is not None and found.byte_count > limit:
            detail = f"{found.byte_count} bytes; the limit given (max_bytes) is {limit}"
            raise LimitError(f"member {found.name!r}: {detail}", code="limit-exceeded")
        budget = parse_bytes(memory, name="memory")
        # The engine keeps arrays that it does not split (big-endian, records …) as plain bytes; they load all the same.
        if found.layout.partition("/")[0] == "npy" or (found.layout == "opaque" and found.name.endswith(".npy")):
            return self._load_array(number, threads or 0, budget)
        adapter = adapter_for_layout(found.layout)
        if adapter is None:
            raise InvalidArgumentError(
                f"member {found.name!r}: layout {found.layout!r} cannot be loaded; "
                "restore the file and load it with its library"
            )
        record = self._plan["members"][number]
        return adapter.load(LoadRequest(self._reader, number, record, space, writable, threads or 0, budget))

    def _load_array(self, number: int, threads: int, memory_bytes: int) -> Any:
        def send(descriptor: int) -> None:
            self._reader.write_member(number, descriptor, threads=threads, memory_bytes=memory_bytes, progress=None)

        with FeedGroup() as feeds:
            descriptor = feeds.add(ThreadFeed(send, what="archive member"))
            try:
                with open(descriptor, "rb", closefd=False) as stream:
                    array = read_npy(stream)
            except ValueError as error:
                raise feeds.failure() or error from error
            feeds.finish()
            return array

    def verify(
        self,
        *,
        level: str = "full",
        own: bool = False,
        threads: int | None = None,
        progress: ProgressCallback | None = None,
    ) -> VerifyReport:
        """Read the archive and name every damage.

        level: "stored" compares checksums and decodes nothing; "full" compares the digests of all rows.
        own: only this archive's bytes, nothing that lies in its ancestors.
        What this machine keeps of an archive in a remote store is not looked at, and not used any more.
        """
        for volume in self._remote():
            volume.read_store_only()
        text = self._reader.verify(level=level, own=own, threads=threads or 0, progress=progress or _heartbeat)
        return VerifyReport.from_record(json.loads(text))

    def probes(self) -> probes_.Probes:
        """Return the stored probes. Errors: UnknownNameError when the archive has none."""
        facts = self.metadata.get("probes") or {}
        parts = [self[f"probe.{name}"] for name in ("queries", "ids", "distances")]
        queries, ids, distances = (view[:].reshape(len(view), -1) for view in parts)
        return probes_.Probes(
            queries, ids, distances, str(facts.get("metric", "l2")), str(facts.get("truth", "source"))
        )

    def check_probes(self, index: object) -> ProbeReport:
        """Ask a live index the stored queries and compare with the stored answers. Errors: UnknownNameError."""
        return probes_.check(self.probes(), index)


def volumes_of(path: Volume | Sequence[Volume]) -> list[str | Ranges]:
    """Return the volumes of an archive as the engine takes them."""
    if isinstance(path, (str, PathLike, Ranges)):
        path = [path]
    volumes = [_volume_of(volume) for volume in path]
    if not volumes:
        raise InvalidArgumentError("archive: an empty list of volumes; give at least one path")
    return volumes


def _volume_of(volume: Volume) -> str | Ranges:
    if isinstance(volume, Ranges):
        return volume
    if is_url(volume):
        return ranges_at(str(volume))
    return os.fspath(volume)


def from_store(volumes: list[str | Ranges]) -> list[str | Ranges]:
    """Return volumes that are read from where they lie, whatever this machine keeps of them."""
    for volume in volumes:
        if isinstance(volume, RangeReader):
            volume.read_store_only()
    return volumes


def places_of(ancestors: Mapping[str, Sequence[Volume]] | None) -> dict[str, list[str | Ranges]]:
    """Return the volumes of ancestors as the engine takes them."""
    return {name: volumes_of(volumes) for name, volumes in (ancestors or {}).items()}


def _heartbeat(done: int, total: int | None) -> None:
    """Called by the engine now and then: gives Python the chance to act on Ctrl-C."""


class Shadow:
    """What a write-only client kept of an archive: a base for the next, of which nothing can be read but by the engine.

    Errors: NotFoundError, DamagedError (it is not what this signer wrote).
    """

    def __init__(self, folder: Path, archive_id: str, signer: Signer) -> None:
        self.reader = Reader.open_shadow(str(folder), UUID(archive_id).bytes, signer)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close its files."""
        self.reader.close()

    @property
    def root(self) -> str:
        """The root of the archive (hex)."""
        return bytes(self.reader.root).hex()

    @property
    def archive_bytes(self) -> int:
        """Length of the archive."""
        return self.reader.archive_bytes

    @property
    def ancestors(self) -> tuple[Ancestor, ...]:
        """The archives that it points into."""
        return tuple(Ancestor(name, size, bytes(root).hex()) for name, size, root in self.reader.ancestors)
