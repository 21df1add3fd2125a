"""Flipped bits in every kind of stored file, as each reader meets them: an error that names the unit, or the very same values."""

from __future__ import annotations

import json

import numpy as np
import pytest
import xarray as xr

from storage_schemas.byte_ranges import RangeReader
from storage_schemas.checksum import REPAIR
from storage_schemas.errors import LayoutError, StoreError
from storage_schemas.frame_chunks import FrameChunks
from storage_schemas.layout import UnitData
from storage_schemas.store import Store, UnitPath
from tests.storage_schemas.test_store import depth_data, identity

FLIPS = 15
"""Bits that are flipped in each file, one at a time."""


def images_data(frames=3):
    rng = np.random.default_rng(3)
    return UnitData(
        arrays={
            "encoded": rng.integers(0, 256, (frames, 300)).astype(np.uint8),
            "num_bytes": np.full(frames, 290, np.int32),
            "timestamp_us": np.arange(frames, dtype=np.int64),
        },
        tables={
            "files": {
                "file": [f"{frame}.jpg" for frame in range(frames)],
                "num_bytes": [290] * frames,
                "sha256": [f"{frame:064d}" for frame in range(frames)],
            }
        },
    )


def whole_unit(store, path):
    return store.read_unit(path)


def frame_by_frame(store, path):
    unit = store.open_unit(path)
    found = whole_unit_of_metadata(unit)
    found.arrays[unit.array_names[0]] = np.stack(
        [unit.array(unit.array_names[0], frame) for frame in range(unit.shape(unit.array_names[0])[0])]
    )
    return found


def whole_unit_of_metadata(unit):
    names = unit.array_names[1:]
    return UnitData({name: unit.array(name) for name in names}, {t.name: unit.table(t.name) for t in unit.layout.tables})


def as_the_loader(store, path):
    name = store.open_unit(path).array_names[0]
    chunks = FrameChunks(store, path, name)
    frames = np.zeros((chunks.num_frames, *chunks.frame_shape), chunks.dtype)
    for frame, out in enumerate(frames):
        chunks.decode(RangeReader(store.files).read([chunks.byte_range(frame)])[0], out)
    return UnitData({name: frames}, {})


READERS = {"whole": whole_unit, "frames": frame_by_frame, "loader": as_the_loader}


@pytest.fixture(params=["depth", "images"])
def written(request, tmp_path):
    store = Store(tmp_path / "store")
    data, layout = (depth_data(), "depth_single") if request.param == "depth" else (images_data(), "images")
    unit = identity().model_copy(update={"layout": layout})
    store.write_unit(unit, data, seconds=0, counts={"frames": 3.0})
    return store, UnitPath.of(unit), data


def flips(store, path):
    """Yield a name for every flipped bit, while it is flipped."""
    rng = np.random.default_rng(0)
    folder = store.files.path(path.key)
    for name in [*store.lineage(path).files, "lineage.json"]:
        file = f"{folder}/{name}"
        with open(file, "rb") as stream:
            whole = stream.read()
        for place in rng.choice(len(whole), min(FLIPS, len(whole)), replace=False):
            damaged = bytearray(whole)
            damaged[place] ^= 1 << int(rng.integers(8))
            with open(file, "wb") as stream:
                stream.write(damaged)
            yield name, int(place)
        with open(file, "wb") as stream:
            stream.write(whole)


def is_same(found, data):
    arrays = all(np.array_equal(values, data.arrays[name]) for name, values in found.arrays.items())
    return arrays and all(columns == data.tables[name] for name, columns in found.tables.items())


@pytest.mark.parametrize("reader", READERS)
def test_flipped_bit_when_read_then_it_is_named_with_the_repair(written, reader):
    store, path, data = written
    found: dict[str, list[bool]] = {}
    for name, place in flips(store, path):
        try:
            content = READERS[reader](store, path)
            assert is_same(content, data), f"{name}, byte {place}: other values without an error"
            found.setdefault(name, []).append(False)
        except StoreError as error:
            assert path.key in str(error), error
            assert "Run depthmill verify --all --delete-damaged" in REPAIR
            assert REPAIR in str(error) or "Update depthmill" in str(error), error
            found.setdefault(name, []).append(True)
    first = next(name for name in found if "/c/" in name and data.arrays[name.split("/")[0]].ndim > 1)
    assert all(found[first]), f"{reader} reads every byte of {first}"
    assert all(found["lineage.json"])
    if reader == "whole":
        unread = {name for name, seen in found.items() if not all(seen)}
        assert unread <= {
            f"{array}/zarr.json" for array in data.arrays
        }  # the same metadata stand in the group's file, which is read
    assert is_same(READERS[reader](store, path), data)


def test_flipped_bit_when_verified_then_it_is_found_in_every_file(written):
    store, path, _ = written
    for name, place in flips(store, path):
        try:
            assert store.damage(path), f"{name}, byte {place}"
        except StoreError:
            assert name == "lineage.json"


def test_flipped_bit_in_a_chunk_when_xarray_reads_then_it_raises_or_is_right(written):
    store, path, data = written
    num_found = 0
    for name, place in flips(store, path):
        if "/c/" not in name:
            continue  # xarray cannot know what stood in the metadata
        array = name.split("/")[0]
        try:
            opened = xr.open_zarr(store.files.path(path.key), consolidated=True, mask_and_scale=False, decode_times=False)
            values = opened[array].to_numpy()
        except (ValueError, RuntimeError):
            num_found += 1
            continue
        pytest.fail(f"{name}, byte {place}: {np.sum(values != data.arrays[array])} values differ without an error")
    assert num_found > FLIPS


@pytest.mark.parametrize("left", [b"", b"{", b'{\n "identity": {\n  "stage": "x"\n }', b"garbage"])
def test_commit_mark_when_cut_then_the_unit_is_not_committed_and_is_written_again(written, left):
    store, path, data = written
    store.files.put(f"{path.key}/lineage.json", left)
    assert not store.has(path)
    assert store.units(path.layout) == set()
    assert store.marked(path.layout) == {path}
    record = identity().model_copy(update={"layout": path.layout})
    store.write_unit(record, data, seconds=0, counts={})
    assert store.units(path.layout) == {path}
    assert is_same(store.read_unit(path), data)


def test_metadata_when_they_lie_about_a_shape_then_no_memory_is_taken(written, monkeypatch):
    store, path, _ = written
    monkeypatch.setattr("storage_schemas.store.refuse_changed", lambda *_: None)  # as if the digest had been forged, too
    file = f"{path.key}/zarr.json"
    name = store.open_unit(path).array_names[0]
    metadata = json.loads(store.files.get(file))
    metadata["consolidated_metadata"]["metadata"][name]["shape"][0] = 10**9
    store.files.put(file, json.dumps(metadata).encode())
    with pytest.raises(LayoutError, match="dimension 'frame' is 3 in array .* but 1000000000"):
        store.read_unit(path)


@pytest.mark.parametrize("name", ["inner chunk 0", "no codecs", "shape of floats"])
def test_unit_when_its_metadata_contradicts_itself_then_an_error_and_no_traceback(tmp_path, monkeypatch, name):
    store = Store(tmp_path / "store")
    store.write_unit(identity(), depth_data(), seconds=0, counts={})
    path = UnitPath.of(identity())
    lies = {
        "inner chunk 0": lambda told: told["codecs"][0]["configuration"].update(chunk_shape=[0, 0, 0]),
        "no codecs": lambda told: told.update(codecs=[]),
        "shape of floats": lambda told: told.update(shape=[1.5, 2.5, 3.5]),
    }
    for module in ("store", "frame_chunks"):  # whoever lies on purpose seals the lie
        monkeypatch.setattr(f"storage_schemas.{module}.refuse_changed", lambda *_: None)
    array, root = (tmp_path / "store" / path.key / file for file in ("depth_m/zarr.json", "zarr.json"))
    told, consolidated = json.loads(array.read_text()), json.loads(root.read_text())
    lies[name](told)
    consolidated["consolidated_metadata"]["metadata"]["depth_m"] = told
    array.write_text(json.dumps(told))
    root.write_text(json.dumps(consolidated))
    for read in READERS.values():
        with pytest.raises((StoreError, LayoutError)):
            read(store, path)
