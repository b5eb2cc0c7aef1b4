"""numpy arrays as members: the bytes of the .npy file that numpy would write, without a copy of the array."""

from __future__ import annotations

import io
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from vark.errors import InvalidArgumentError, SourceError
from vark.feeds import FeedGroup, ThreadFeed

# A slab of a non-contiguous array that is copied at a time.
SLAB_BYTES = 4 << 20


def array_bytes(array: NDArray[Any], feeds: FeedGroup, *, what: str) -> tuple[str, Any]:
    """Return the bytes of `array` as the engine takes them. C- or Fortran-contiguous: not copied, else by slabs.

    Errors: InvalidArgumentError for dtypes that hold Python objects.
    """
    if array.dtype.hasobject:
        raise InvalidArgumentError(f"{what}: dtype {array.dtype} holds Python objects; convert it to numbers first")
    header = npy_header(array)
    if array.flags.c_contiguous or array.flags.f_contiguous:
        flat = array.reshape(-1, order="C" if array.flags.c_contiguous else "F")
        return "buffers", [header, as_plain_bytes(flat)]

    def write(descriptor: int) -> None:
        with open(descriptor, "wb", closefd=False) as pipe:
            pipe.write(header)
            pipe.writelines(as_plain_bytes(slab) for slab in slabs(array))

    return "pipe", feeds.add(ThreadFeed(write, what=what))


def npy_header(array: NDArray[Any]) -> bytes:
    """Return magic, version and header as numpy.save writes them."""
    buffer = io.BytesIO()
    fields = npy.header_data_from_array_1_0(array)
    try:
        npy.write_array_header_1_0(buffer, fields)
    except ValueError:
        buffer = io.BytesIO()
        npy.write_array_header_2_0(buffer, fields)
    return buffer.getvalue()


def as_plain_bytes(array: NDArray[Any]) -> memoryview:
    """Return the bytes of a contiguous array; works for dtypes that numpy does not export as buffers (dates)."""
    return array.reshape(-1).view(np.uint8).data if array.dtype.itemsize and array.size else memoryview(b"")


def slabs(array: NDArray[Any]) -> Any:
    """Yield C-contiguous copies of `array` in order, each about SLAB_BYTES."""
    if array.ndim == 0 or array.nbytes <= SLAB_BYTES:
        yield np.ascontiguousarray(array)
        return
    row_bytes = array.nbytes // array.shape[0]
    if row_bytes > SLAB_BYTES and array.ndim > 1:
        for row in array:
            yield from slabs(row)
        return
    step = max(1, SLAB_BYTES // max(1, row_bytes))
    for first in range(0, array.shape[0], step):
        yield np.ascontiguousarray(array[first : first + step])


def read_npy(stream: BinaryIO) -> NDArray[Any]:
    """Return the array of an .npy file that is read forward (a pipe will do). Errors: SourceError."""
    try:
        version = npy.read_magic(stream)
        read_header = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}[version]
        shape, fortran_order, dtype = read_header(stream)
    except (ValueError, KeyError) as error:
        raise SourceError(f"not an .npy file that can be loaded: {error}", code="malformed") from error
    if dtype.hasobject:
        raise SourceError("the .npy file holds Python objects; restore the file instead", code="malformed")
    array: NDArray[Any] = np.empty(shape, dtype, order="F" if fortran_order else "C")
    target = as_plain_bytes(array.reshape(-1, order="F" if fortran_order else "C"))
    filled = 0
    while filled < len(target):
        count = stream.readinto(target[filled:])  # type: ignore[attr-defined]
        if not count:
            raise SourceError(f".npy data: expected {len(target)} bytes, found {filled}", code="malformed")
        filled += count
    if stream.read(1):
        raise SourceError(f".npy data: more than the {len(target)} bytes that its header says", code="malformed")
    return array
