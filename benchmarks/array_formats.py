"""Formats that take rows as an array and give them back as one: Parquet, Lance, Blosc2, pcodec."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from sources import Source
from tool import Tool, missing_package

CORES = os.cpu_count() or 1
ROWS_ONLY = ("npy",)


def array_formats() -> list[Tool]:
    """Return the tools for sources that are rows and nothing else; they write from memory and read into memory."""
    parts = (
        ("Parquet BSS, zstd 1", _write_parquet, _read_parquet, missing_package("pyarrow", "pyarrow")),
        ("Lance", _write_lance, _read_lance, missing_package("lance", "pylance")),
        ("Blosc2 shuffle, zstd 1", _write_blosc2, _read_blosc2, missing_package("blosc2", "blosc2")),
        ("pcodec", _write_pcodec, _read_pcodec, missing_package("pcodec", "pcodec")),
    )
    return [
        Tool(name, write, lambda s, a, _, read=read: read(s, a), kinds=ROWS_ONLY, loads=True, needs=needs)
        for name, write, read, needs in parts
    ]


def _table(rows: Any) -> Any:
    """Return a table of one column of lists, as vectors are kept in columns; nothing is copied."""
    import pyarrow as pa

    return pa.table({"vectors": pa.FixedSizeListArray.from_arrays(pa.array(rows.reshape(-1)), rows.shape[1])})


def _rows_of(table: Any, dim: int) -> Any:
    return table["vectors"].combine_chunks().flatten().to_numpy(zero_copy_only=False).reshape(-1, dim)


def _write_parquet(source: Source, archive: Path) -> None:
    import pyarrow.parquet as pq

    coding = {"use_dictionary": False, "use_byte_stream_split": True}
    pq.write_table(_table(source.live), archive, compression="zstd", compression_level=1, **coding)


def _read_parquet(source: Source, archive: Path) -> Any:
    import pyarrow.parquet as pq

    return _rows_of(pq.read_table(archive), source.live.shape[1])


def _write_lance(source: Source, archive: Path) -> None:
    import lance

    lance.write_dataset(_table(source.live), str(archive))


def _read_lance(source: Source, archive: Path) -> Any:
    import lance

    return _rows_of(lance.dataset(str(archive)).to_table(), source.live.shape[1])


def _write_blosc2(source: Source, archive: Path) -> None:
    import blosc2

    coding = blosc2.CParams(
        codec=blosc2.Codec.ZSTD,
        clevel=1,
        typesize=4,
        filters=[blosc2.Filter.SHUFFLE],
        filters_meta=[0],
        nthreads=CORES,
    )
    blosc2.asarray(source.live, urlpath=str(archive), mode="w", cparams=coding)


def _read_blosc2(_: Source, archive: Path) -> Any:
    import blosc2

    return blosc2.open(str(archive), mode="r", dparams=blosc2.DParams(nthreads=CORES))[:]


def _write_pcodec(source: Source, archive: Path) -> None:
    from pcodec import ChunkConfig, standalone

    archive.write_bytes(standalone.simple_compress(source.live.reshape(-1), ChunkConfig()))


def _read_pcodec(source: Source, archive: Path) -> Any:
    from pcodec import standalone

    out = np.empty(source.live.size, np.float32)
    standalone.simple_decompress_into(archive.read_bytes(), out)
    return out.reshape(source.live.shape)
