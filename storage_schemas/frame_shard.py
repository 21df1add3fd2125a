"""The bytes of one shard that holds every frame of an array, made without Zarr's machinery; Zarr and xarray read them.

Why    Zarr takes as long again as zstd itself to put 900x1600 maps into a shard: tasks, copies and fresh memory for each chunk
Writes the Zarr v3 sharding format: chunks one after the other, each followed by its CRC-32C, then offset and length of each,
       then CRC-32C of that table
Twin   Zarr's own encoding of the same array gives the same bytes (a test compares them); ``frame_chunks`` is the reader
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numcodecs import zstd
from numpy.typing import NDArray

from storage_schemas.checksum import CRC_BYTES, crc_of

EMPTY_CHUNK = 2**64 - 1
"""Offset and length of a frame that is left out because every value is the fill value."""

ZSTD_LEVEL = 1
"""On 900x1600 maps the result is a third smaller than with lz4 and takes one millisecond more to read
(benchmarks/store_codec.py)."""


def frame_shard(values: NDArray[Any], fill_value: int, *, is_compressed: bool) -> tuple[bytes, ...]:
    """Encode an array (frame, ...) with one frame a chunk.

    Args:
        values: at least one frame, in the stored dtype.
        fill_value: a frame that holds nothing else is left out.
        is_compressed: zstd, or plain bytes.

    Returns:
        The shard in pieces, which are not joined: that would touch as much fresh memory again. Empty if every frame is left
        out, for then Zarr stores no shard.
    """
    index = np.full((len(values), 2), EMPTY_CHUNK, "<u8")
    chunks: list[bytes] = []
    at = 0
    for number, frame in enumerate(values):
        if _holds_only(frame, fill_value):
            continue
        plain = np.ascontiguousarray(frame, dtype=frame.dtype.newbyteorder("<"))
        chunk = zstd.compress(plain, ZSTD_LEVEL) if is_compressed else plain.tobytes()
        index[number] = at, len(chunk) + CRC_BYTES
        at += len(chunk) + CRC_BYTES
        chunks += [chunk, crc_of(chunk)]
    table = index.tobytes()
    return (*chunks, table, crc_of(table)) if chunks else ()


def _holds_only(frame: NDArray[Any], value: int) -> bool:
    is_other = frame.reshape(-1)[::997] != value  # a few values decide nearly every frame, without a look at the others
    return not (is_other.any() or (frame != value).any())
