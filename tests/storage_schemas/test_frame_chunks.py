from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage_schemas.byte_ranges import ByteRange, RangeReader, merged
from storage_schemas.errors import StoreError, UnitNotFoundError
from storage_schemas.frame_chunks import FrameChunks
from storage_schemas.store import Store, UnitPath
from tests.storage_schemas.test_store import depth_data, identity


@pytest.fixture(params=["local", "memory"])
def store(request, tmp_path):
    return Store(tmp_path / "s" if request.param == "local" else f"memory://chunks-{tmp_path.name}")


def test_frames_are_those_that_zarr_reads(store):
    data = depth_data(frames=5)
    data.arrays["depth_m"][2] = 0  # a frame that is not stored
    store.write_unit(identity(), data, seconds=0, counts={})
    path = UnitPath.of(identity())
    chunks, twin = FrameChunks(store, path, "depth_m"), store.open_unit(path)
    assert chunks.frame_shape == (8, 12)
    ranges = [chunks.byte_range(frame) for frame in (4, 0, 2, 1)]
    assert ranges[2] is None
    contents = iter(RangeReader(store.files).read([one for one in ranges if one is not None]))
    for frame, one in zip((4, 0, 2, 1), ranges, strict=True):
        out = np.full((8, 12), 7, np.uint16)
        chunks.decode(None if one is None else next(contents), out)
        np.testing.assert_array_equal(out, twin.array("depth_m", frame))


def test_unit_of_empty_frames_has_no_shard(tmp_path):
    store, data = Store(tmp_path), depth_data()
    data.arrays["depth_m"][...] = 0
    store.write_unit(identity(), data, seconds=0, counts={})
    chunks = FrameChunks(store, UnitPath.of(identity()), "depth_m")
    assert [chunks.byte_range(frame) for frame in range(3)] == [None] * 3


def test_frame_that_is_not_there_and_unit_that_is_not_there(tmp_path):
    store = Store(tmp_path)
    with pytest.raises(UnitNotFoundError, match="is not in store"):
        FrameChunks(store, UnitPath.of(identity()), "depth_m")
    store.write_unit(identity(), depth_data(), seconds=0, counts={})
    with pytest.raises(StoreError, match="has frames 0 to 2, not 3. Choose the manifest of this store"):
        FrameChunks(store, UnitPath.of(identity()), "depth_m").byte_range(3)
    with pytest.raises(StoreError, match="is not stored as one frame a chunk in one shard"):
        FrameChunks(store, UnitPath.of(identity()), "num_measured")


def test_damaged_index_is_noticed(tmp_path):
    store = Store(tmp_path)
    store.write_unit(identity(), depth_data(), seconds=0, counts={})
    shard = tmp_path / UnitPath.of(identity()).key / "depth_m/c/0/0/0"
    content = bytearray(shard.read_bytes())
    content[-8] ^= 1
    shard.write_bytes(content)
    with pytest.raises(
        StoreError, match="the index of array 'depth_m' of .* not those that were written .CRC-32C.. Run depthmill verify"
    ):
        FrameChunks(store, UnitPath.of(identity()), "depth_m")
    shard.write_bytes(content[:10])
    with pytest.raises(StoreError, match=r"ends before byte \d+: .* Run depthmill verify"):
        FrameChunks(store, UnitPath.of(identity()), "depth_m")


RANGES = st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 40), st.integers(1, 12)), min_size=1, max_size=12)


@pytest.mark.parametrize("kind", ["local", "memory"])
@given(wanted=RANGES, gap=st.integers(0, 9))
def test_ranges_are_read_in_order_in_the_fewest_pieces(kind, tmp_path_factory, wanted, gap):
    store = Store("memory://ranges" if kind == "memory" else tmp_path_factory.getbasetemp() / "ranges")
    files = {name: bytes(np.random.default_rng(ord(name)).integers(0, 255, 60, dtype=np.uint8)) for name in "ab"}
    for name, content in files.items():
        store.files.put(name, content)
    ranges = [ByteRange(name, start, start + size) for name, start, size in wanted]
    found = RangeReader(store.files).read(ranges)
    assert [bytes(view) for view in found] == [files[one.key][one.start : one.stop] for one in ranges]
    pieces = merged(ranges)
    covered = {(one.key, byte) for one in ranges for byte in range(one.start, one.stop)}
    assert sum(one.stop - one.start for one in pieces) == len(covered)
    assert all(left.key != right.key or left.stop + gap < right.start for left, right in pairwise(merged(ranges, gap=gap)))
    assert all(left.key != right.key or left.stop < right.start for left, right in pairwise(pieces))


def test_file_that_is_missing_says_so(store):
    with pytest.raises(StoreError, match="'.*/x/y' is missing: its unit was pruned or damaged. Run depthmill verify"):
        RangeReader(store.files).read([ByteRange("x/y", 0, 4)])
