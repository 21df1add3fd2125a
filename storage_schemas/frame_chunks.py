"""The encoded frames of one array of a unit, found without Zarr's machinery: where each lies in its shard, and its decoding.

Why    Zarr reads one frame of 900x1600 in twice the time that zstd needs to decode it, and always into new memory. A loader
       reads many frames at once and into memory that it uses again and again.
Reads  ``<array>/zarr.json`` and the index at the end of the one shard, as ``store.write_unit`` makes them (Zarr v3 sharding)
Twin   ``StoredUnit.array(name, frame)``
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from numcodecs import zstd
from numpy.typing import NDArray

from storage_schemas.byte_ranges import ByteRange, RangeReader
from storage_schemas.catalog import layout_named
from storage_schemas.checksum import CRC_BYTES, REPAIR, without_crc
from storage_schemas.errors import StoreError
from storage_schemas.frame_shard import EMPTY_CHUNK
from storage_schemas.store import Store, UnitPath, refuse_changed


class FrameChunks:
    """Where the frames of one array lie.

    Args:
        store: an opened store.
        path: a committed unit.
        name: an array over ``frame`` with at least one more dimension.

    Raises:
        UnitNotFoundError: the unit is not committed.
        StoreError: the array is not stored as one frame a chunk in one shard, or its index is damaged.
    """

    def __init__(self, store: Store, path: UnitPath, name: str) -> None:
        layout_named(path.layout).array(name)
        record = store.lineage(path)
        sizes = {key: file.num_bytes for key, file in record.files.items()}
        self.where = f"array '{name}' of unit '{path.key}'"
        try:
            content = store.files.get(f"{path.key}/{name}/zarr.json")
        except FileNotFoundError as error:
            raise StoreError(f"{self.where} cannot be opened: {error}. {REPAIR}") from error
        refuse_changed(path, record, f"{name}/zarr.json", content)
        try:
            metadata = json.loads(content)
            self.shape: tuple[int, ...] = tuple(metadata["shape"])
            self.dtype = np.dtype(metadata["data_type"]).newbyteorder("<")
            self._fill_value = metadata["fill_value"]
            self._is_compressed, self._has_crc = _coding(metadata, where=self.where)
        except (LookupError, TypeError, AttributeError, RecursionError) as error:
            raise StoreError(f"{self.where} contradicts itself: {error}. {REPAIR}") from error
        self._shard = f"{path.key}/{name}/c" + "/0" * len(self.shape)
        num_bytes = sizes.get(f"{name}/c" + "/0" * len(self.shape))
        if num_bytes is None:  # every frame holds the fill value only, so there is no shard
            self._start = np.full(self.num_frames, EMPTY_CHUNK, np.uint64)
            self._length = self._start
        else:
            self._start, self._length = self._read_index(store, num_bytes)

    @property
    def num_frames(self) -> int:
        """Number of frames."""
        return self.shape[0]

    @property
    def frame_shape(self) -> tuple[int, ...]:
        """Shape of one frame."""
        return self.shape[1:]

    def byte_range(self, frame: int, num_bytes: int | None = None) -> ByteRange | None:
        """Return where a frame's bytes lie; None if it holds the fill value only.

        Args:
            frame: index along the first dimension.
            num_bytes: only so many of them are wanted. They come with the rest all the same if a checksum stands behind them all.
        """
        if not 0 <= frame < self.num_frames:
            raise StoreError(
                f"{self.where} has frames 0 to {self.num_frames - 1}, not {frame}. Choose the manifest of this store"
            )
        start, length = int(self._start[frame]), int(self._length[frame])
        if start == EMPTY_CHUNK:
            return None
        if num_bytes is not None and not self._has_crc:
            length = min(num_bytes, length)
        return ByteRange(self._shard, start, start + length)

    def decode(self, content: memoryview | None, out: NDArray[Any]) -> None:
        """Decode one frame's bytes (None: nothing is stored) into C-contiguous memory of its shape and dtype.

        Raises:
            StoreError: the bytes are damaged.
        """
        if out.shape != self.frame_shape or out.dtype != self.dtype:
            raise AssertionError(f"{self.where}: memory is {out.dtype} {out.shape}, a frame is {self.dtype} {self.frame_shape}")
        if content is None:
            out.fill(self._fill_value)
            return
        content = self.checked(content)
        try:
            if self._is_compressed:
                zstd.decompress(content, out.reshape(-1).view(np.uint8))
            else:
                out.reshape(-1).view(np.uint8)[:] = np.frombuffer(content, np.uint8)
        except (RuntimeError, ValueError) as error:
            raise StoreError(f"{self.where} cannot be decoded: {error}. {REPAIR}") from error

    def checked(self, content: memoryview) -> memoryview:
        """Return one frame's bytes without their checksum; StoreError if they are not those that were written."""
        return without_crc(content, what=self.where) if self._has_crc else content

    def _read_index(self, store: Store, num_bytes: int) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
        length = 16 * self.num_frames + CRC_BYTES  # offset and length of every frame, then a checksum
        content = RangeReader(store.files).read([ByteRange(self._shard, max(0, num_bytes - length), num_bytes)])[0]
        table = bytes(without_crc(content, what=f"the index of {self.where}"))
        index = np.frombuffer(table, "<u8").reshape(self.num_frames, 2)
        return index[:, 0], index[:, 1]


def _coding(metadata: dict[str, Any], *, where: str) -> tuple[bool, bool]:
    """Check that an array is stored as this module reads it; say whether its chunks are zstd, and whether each has a checksum."""
    shape = metadata["shape"]
    shard = metadata["codecs"][0]
    layout = shard.get("configuration", {})
    inner = [codec["name"] for codec in layout.get("codecs", [])]
    is_known = (
        shard["name"] == "sharding_indexed"
        and metadata["chunk_grid"]["configuration"]["chunk_shape"] == shape
        and layout["chunk_shape"] == [1, *shape[1:]]
        and layout["index_location"] == "end"
        and inner in (["bytes"], ["bytes", "zstd"], ["bytes", "crc32c"], ["bytes", "zstd", "crc32c"])
    )
    if not is_known:
        raise StoreError(
            f"{where} is not stored as one frame a chunk in one shard (codecs {shard['name']}, {inner}). "
            "Read it with Store.open_unit, or write the unit again with depthmill run"
        )
    return "zstd" in inner, "crc32c" in inner
