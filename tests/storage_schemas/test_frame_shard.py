from __future__ import annotations

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from zarr.codecs import Crc32cCodec, ZstdCodec
from zarr.storage import MemoryStore

from storage_schemas.frame_shard import ZSTD_LEVEL, frame_shard


def shard_by_zarr(values, fill_value, *, is_compressed):
    memory: dict = {}
    array = zarr.create_array(
        MemoryStore(memory), shape=values.shape, dtype=values.dtype, chunks=(1, *values.shape[1:]), shards=values.shape,
        compressors=(*((ZstdCodec(level=ZSTD_LEVEL),) if is_compressed else ()), Crc32cCodec()), fill_value=fill_value, zarr_format=3,
    )  # fmt: skip
    array[...] = values
    found = memory.get("c" + "/0" * values.ndim)
    return b"" if found is None else found.to_bytes()


@pytest.mark.parametrize("is_compressed", [True, False])
@settings(max_examples=30, deadline=None)
@given(
    frames=st.integers(1, 9),
    shape=st.sampled_from([(3,), (5, 7), (40, 30), (1100, 2)]),
    dtype=st.sampled_from(["uint8", "uint16", "int32", "float32"]),
    fill=st.sampled_from([0, 7]),
    share=st.sampled_from([0.0, 0.01, 1.0]),
    seed=st.integers(0, 99),
)
def test_shard_when_made_here_then_zarr_makes_the_same_bytes(is_compressed, frames, shape, dtype, fill, share, seed):
    rng = np.random.default_rng(seed)
    values = np.where(rng.random((frames, *shape)) < share, rng.integers(0, 200, (frames, *shape)), fill).astype(dtype)
    values[rng.integers(frames)] = fill
    found = b"".join(frame_shard(values, fill, is_compressed=is_compressed))
    assert found == shard_by_zarr(values, fill, is_compressed=is_compressed)


def test_shard_when_one_pixel_of_a_frame_is_set_then_the_frame_is_kept():
    values = np.zeros((3, 90, 160), np.uint16)
    values[1, 45, 77] = 5
    assert b"".join(frame_shard(values, 0, is_compressed=True)) == shard_by_zarr(values, 0, is_compressed=True) != b""


def test_shard_when_frames_are_strided_views_then_bytes_are_those_of_a_copy():
    values = np.random.default_rng(0).integers(0, 9, (4, 20, 60)).astype(np.uint16)[:, ::2, ::3]
    assert frame_shard(values, 0, is_compressed=True) == frame_shard(values.copy(), 0, is_compressed=True)
