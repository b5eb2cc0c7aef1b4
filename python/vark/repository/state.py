"""What a client remembers of a repository, outside of it: the state that a storage cannot take back (spec CRYPTO 9)."""

from __future__ import annotations

import contextlib
import json
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from vark.errors import DamagedError, InvalidArgumentError, VarkError, error_from_os
from vark.repository.digest import digest_hex

STATE = "VARK_STATE"
STATE_BYTES_MAX = 64 << 20
VERSION = 1
_REPOSITORY = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class Seen:
    """What was seen of one repository.

    commits: digest -> (its archives, when it was first seen). marks: digest -> snapshot. epoch: the newest, when all
    of these had been seen: what is of an earlier one and not among them came later. erasures, erasure_epoch: the same
    of erasures.
    """

    authority: str = ""
    key_generation: int = 0
    key_digest: str = ""
    root_generation: int = 0
    root_digest: str = ""
    commits: Mapping[str, tuple[tuple[str, ...], int]] = field(default_factory=dict)
    marks: Mapping[str, str] = field(default_factory=dict)
    epoch: int = 0
    erasures: tuple[str, ...] = ()
    erasure_epoch: int = 0


class ClientState:
    """The memory of one repository: a file that is replaced as a whole, by one process at a time.

    is_unproved: of a client that can prove nothing of what it sees; what it was shown must not excuse anything later.
    """

    def __init__(self, repository: str, folder: Path | None = None, *, is_unproved: bool = False) -> None:
        if not _REPOSITORY.fullmatch(repository):
            raise DamagedError(f"repository id {repository[:40]!r}: expected 32 hexadecimal digits", layer="record")
        name = f"{repository}.write-only.json" if is_unproved else f"{repository}.json"
        self.path = (folder or state_folder()) / "repositories" / name

    def read(self) -> Seen:
        """Return what is remembered. Errors: DamagedError (what was seen is not forgotten by mistake), StorageError."""
        try:
            with self.path.open("rb") as file:
                data = file.read(STATE_BYTES_MAX + 1)
        except FileNotFoundError:
            return Seen()
        except OSError as error:
            raise error_from_os(error, str(self.path)) from error
        try:
            return _decode(json.loads(data))
        except (ValueError, KeyError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
            raise DamagedError(
                f"{self.path}: not what was written there ({type(error).__name__}); it says what this client has seen "
                "of the repository. Delete it to trust what you find",
            ) from error

    @contextlib.contextmanager
    def changing(self) -> Iterator[_Change]:
        """Read and replace, with other processes kept out. What is set in `seen` is written at the end."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with (self.path.with_suffix(".lock")).open("w") as lock:
                _lock(lock.fileno())
                change = _Change(self.read())
                before = change.seen
                yield change
                if change.seen != before:
                    self._write(change.seen)
        except VarkError:
            raise
        except OSError as error:
            place = f"{self.path}: what this client has seen is kept there ({STATE} names another folder)"
            raise error_from_os(error, place) from error

    def _write(self, seen: Seen) -> None:
        data = json.dumps({"version": VERSION, **asdict(seen)}, sort_keys=True).encode()
        descriptor, name = tempfile.mkstemp(dir=self.path.parent, prefix=f".{self.path.stem}.")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(name, self.path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise


class Forgetful(ClientState):
    """The memory of a client that has seen nothing and keeps nothing: for mirrors that are behind, to look at."""

    def read(self) -> Seen:
        """Return that nothing was seen."""
        return Seen()

    @contextlib.contextmanager
    def changing(self) -> Iterator[_Change]:
        """Let nothing be kept."""
        yield _Change(Seen())


@dataclass(slots=True)
class _Change:
    seen: Seen

    def set(self, **values: Any) -> None:
        """Set fields of what is remembered."""
        self.seen = replace(self.seen, **values)


def state_folder() -> Path:
    """Return where clients remember: VARK_STATE, or the folder for state of the user."""
    if os.environ.get(STATE):
        return Path(os.environ[STATE])
    try:
        base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    except RuntimeError as error:
        raise InvalidArgumentError(
            f"there is no home folder to remember in what was seen of a repository; set {STATE} to a folder that stays"
        ) from error
    return Path(base) / "vark"


def was_sealed(repository: str, place: str) -> bool:
    """Return whether this client remembers an encrypted repository of this id, or at this place ("" for none)."""
    with contextlib.suppress(InvalidArgumentError, OSError):
        known = repository != "" and ClientState(repository).path.is_file()
        return known or (place != "" and _place_file(place).is_file())
    return False


def remember_place(place: str, *, is_sealed: bool) -> None:
    """Remember that an encrypted repository is, or is not any more, at a place. Errors: those of the file system."""
    if not place:
        return
    try:
        path = _place_file(place)
        if is_sealed and not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            path.touch(mode=0o600)
        elif not is_sealed:
            path.unlink(missing_ok=True)
    except (InvalidArgumentError, OSError) as error:
        if is_sealed:
            if isinstance(error, OSError):
                raise error_from_os(error, f"{state_folder()}: what this client has seen is kept there") from error
            raise


def _place_file(place: str) -> Path:
    return state_folder() / "places" / digest_hex(place.encode())


def _decode(values: Any) -> Seen:
    if values["version"] != VERSION:
        raise ValueError("written by a newer vark")
    commits = {str(key): (tuple(map(str, archives)), int(at)) for key, (archives, at) in values["commits"].items()}
    return Seen(
        authority=str(values["authority"]),
        key_generation=int(values["key_generation"]),
        key_digest=str(values["key_digest"]),
        root_generation=int(values["root_generation"]),
        root_digest=str(values["root_digest"]),
        commits=commits,
        marks={str(key): str(snapshot) for key, snapshot in values["marks"].items()},
        epoch=int(values["epoch"]),
        erasures=tuple(map(str, values["erasures"])),
        erasure_epoch=int(values["erasure_epoch"]),
    )


def _lock(descriptor: int) -> None:
    try:
        import fcntl
    except ImportError:  # without it the last one wins: an alarm less, never a false one
        return
    fcntl.flock(descriptor, fcntl.LOCK_EX)
