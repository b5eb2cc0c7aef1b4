"""Digests: the content name of a record, and the digest of a volume."""

from __future__ import annotations

from vark import _core

PIECE_BYTES = 1 << 20


def digest_bytes(data: bytes) -> bytes:
    """Return the BLAKE3 of `data`."""
    return _core.blake3(data)


def digest_hex(data: bytes) -> str:
    """Return the BLAKE3 of `data` as 64 hexadecimal digits."""
    return _core.blake3(data).hex()


class VolumeDigest:
    """The digest of a volume: the BLAKE3 of the BLAKE3s of its pieces of 1 MiB, so that it grows with the bytes."""

    def __init__(self) -> None:
        self._rest = bytearray(PIECE_BYTES)
        self._filled = 0  # of the rest
        self._pieces = bytearray()

    def update(self, data: bytes | memoryview) -> None:
        """Take the next bytes."""
        view = memoryview(data)
        if self._filled:
            view = view[self._keep(view) :]
            if self._filled < PIECE_BYTES:
                return
            self._pieces += _core.blake3_pieces(self._rest, PIECE_BYTES)
            self._filled = 0
        whole = len(view) - len(view) % PIECE_BYTES
        if whole:
            self._pieces += _core.blake3_pieces(view[:whole], PIECE_BYTES)
        self._keep(view[whole:])

    def hex(self) -> str:
        """Return the digest of all that was taken, 64 hexadecimal digits."""
        last = _core.blake3(bytes(self._rest[: self._filled])) if self._filled else b""
        return digest_hex(bytes(self._pieces) + last)

    def _keep(self, view: memoryview) -> int:
        """Put as much of some bytes aside as a piece lacks; return how many."""
        count = min(len(view), PIECE_BYTES - self._filled)
        self._rest[self._filled : self._filled + count] = view[:count]
        self._filled += count
        return count


def volume_digest(data: memoryview) -> str:
    """Return the digest of a volume that is in memory, as `VolumeDigest` does."""
    return digest_hex(_core.blake3_pieces(data, PIECE_BYTES))
