from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import xarray as xr

from storage_schemas import catalog
from storage_schemas.errors import LayoutError, StoreError, UnitNotFoundError
from storage_schemas.layout import UnitData
from storage_schemas.lineage import Identity
from storage_schemas.store import Store, UnitPath, zarr_url
from storage_schemas.table import decode_table, encode_table


def identity(**changes) -> Identity:
    fields = {
        "stage": "project_lidar", "stage_version": 1, "layout": "depth_single", "layout_version": 1, "scene": "scene-0001",
        "camera": "CAM_FRONT", "params": {"lidar": "LIDAR_TOP"}, "inputs": {"frames": "ab"}, "source": None,
    }  # fmt: skip
    return Identity(**{**fields, **changes})


def depth_data(frames: int = 3, height: int = 8, width: int = 12) -> UnitData:
    steps = np.random.default_rng(0).integers(0, 3, (frames, height, width)).astype(np.uint16) * 2560
    return UnitData(
        arrays={
            "depth_m": steps,
            "num_measured": np.count_nonzero(steps, axis=(1, 2)).astype(np.int32),
            "timestamp_us": np.arange(frames, dtype=np.int64),
        }
    )


@pytest.mark.parametrize("kind", ["local", "memory"])
def test_unit_when_written_then_reads_back_the_same(kind, tmp_path):
    store = Store(tmp_path / "s" if kind == "local" else f"memory://test-{tmp_path.name}")
    data = depth_data()
    record = store.write_unit(identity(), data, seconds=1.0, counts={"frames": 3})
    path = UnitPath.of(identity())
    assert store.units("depth_single") == {path}
    back = store.read_unit(path)
    for name, values in data.arrays.items():
        assert np.array_equal(back.arrays[name], values)
    assert np.array_equal(store.open_unit(path).array("depth_m", 1), data.arrays["depth_m"][1])
    assert record.fingerprint == path.fingerprint
    assert store.damage(path) == []


def test_unit_when_opened_by_xarray_then_has_dims_units_and_masked_metres(tmp_path, recwarn):
    store = Store(tmp_path)
    data = depth_data()
    store.write_unit(identity(), data, seconds=0, counts={})
    opened = xr.open_zarr(zarr_url(store, UnitPath.of(identity())))
    assert opened["depth_m"].dims == ("frame", "y", "x")
    assert opened["depth_m"].attrs["units"] == "m"
    assert opened["timestamp_us"].attrs["units"] == "us"
    steps = data.arrays["depth_m"]
    expected = np.where(steps == 0, np.nan, steps / 256)
    np.testing.assert_array_equal(opened["depth_m"].values, expected)
    assert not [one for one in recwarn if "onsolidated" in str(one.message)]


@pytest.mark.parametrize("layout", catalog.LAYOUTS, ids=lambda one: one.name)
def test_every_layout_when_written_then_xarray_opens_it_with_dims_and_units(layout, tmp_path):
    sizes = {"frame": 2, "y": 4, "x": 5, "grid_y": 3, "grid_x": 4, "point": 7, "byte": 9}
    values = {
        "string": ["a", "b"],
        "bool": [True, False],
        "int32": [1, 2],
        "int64": [1, 2],
        "double": [0.5, 1.5],
        "list<double>": [[1.0], []],
    }
    arrays = {spec.name: np.ones([sizes[dim] for dim in spec.dims], spec.dtype) for spec in layout.arrays}
    tables = {spec.name: {column.name: values[column.type] for column in spec.columns} for spec in layout.tables}
    store, one = Store(tmp_path), identity(layout=layout.name)
    store.write_unit(one, UnitData(arrays, tables), seconds=0, counts={})
    opened = xr.open_zarr(zarr_url(store, UnitPath.of(one)))
    assert opened.attrs["layout"] == layout.name
    assert opened.attrs["tables"] == sorted(f"{spec.name}.parquet" for spec in layout.tables)
    assert set(opened.data_vars) == {spec.name for spec in layout.arrays}
    for spec in layout.arrays:
        assert opened[spec.name].dims == spec.dims
        assert opened[spec.name].attrs["units"] == spec.unit
    assert store.read_unit(UnitPath.of(one)).tables == tables


def test_unit_when_it_has_no_points_then_reads_back_empty(tmp_path):
    arrays = {
        spec.name: np.zeros([{"point": 0, "frame": 2}[dim] for dim in spec.dims], spec.dtype)
        for spec in catalog.RADAR_POINTS.arrays
    }
    store, one = Store(tmp_path), identity(layout="radar_points")
    store.write_unit(one, UnitData(arrays), seconds=0, counts={})
    assert store.read_unit(UnitPath.of(one)).arrays["u_px"].shape == (0,)


def test_unit_when_written_twice_then_bytes_are_equal(tmp_path):
    first = Store(tmp_path / "a").write_unit(identity(), depth_data(), seconds=1, counts={})
    second = Store(tmp_path / "b").write_unit(identity(), depth_data(), seconds=2, counts={})
    assert first.files == second.files


def test_write_when_it_stops_half_way_then_reader_sees_nothing(tmp_path, monkeypatch):
    store = Store(tmp_path)
    real = store.files.put
    written = []

    def put(key, data):
        if len(written) == 3:
            raise KeyboardInterrupt
        written.append(key)
        real(key, data)

    monkeypatch.setattr(store.files, "put", put)
    with pytest.raises(KeyboardInterrupt):
        store.write_unit(identity(), depth_data(), seconds=0, counts={})
    assert store.candidates("depth_single")
    assert store.units("depth_single") == set()
    with pytest.raises(UnitNotFoundError, match=r"is not in store .* \(no lineage.json\). Run the recipe that makes it"):
        store.open_unit(UnitPath.of(identity()))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda d: d.arrays.pop("num_measured"), "array 'num_measured' is missing; layout depth_single v1 asks for it"),
        (lambda d: d.arrays.update(depth=d.arrays["depth_m"]), "unknown array 'depth'; layout depth_single v1 has"),
        (
            lambda d: d.arrays.update(depth_m=d.arrays["depth_m"].astype("f4")),
            "array 'depth_m' has dtype float32, expected uint16",
        ),
        (lambda d: d.arrays.update(depth_m=d.arrays["depth_m"][0]), "array 'depth_m' has 2 dimensions"),
        (
            lambda d: d.arrays.update(timestamp_us=np.zeros(9, "i8")),
            "dimension 'frame' is 9 in array 'timestamp_us' but 3 in 'depth_m'",
        ),
    ],
)
def test_write_when_content_breaks_the_layout_then_names_array_and_expectation(spoil, said, tmp_path):
    data = depth_data()
    spoil(data)
    with pytest.raises(LayoutError, match="depth_single/scene-0001/CAM_FRONT/") as caught:
        Store(tmp_path).write_unit(identity(), data, seconds=0, counts={})
    assert said in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_fingerprint_when_anything_that_matters_changes_then_changes():
    base = identity().fingerprint()
    changes = [
        {"stage_version": 2},
        {"layout_version": 2},
        {"params": {"lidar": "X"}},
        {"inputs": {"frames": "cd"}},
        {"scene": "s"},
    ]
    assert len({base, *(identity(**change).fingerprint() for change in changes)}) == 6
    assert identity().fingerprint() == base


def test_table_when_it_holds_a_null_or_lacks_a_column_then_says_which(tmp_path):
    store, one = Store(tmp_path), identity(layout="images")
    arrays = {"num_bytes": np.ones(1, "i4"), "timestamp_us": np.ones(1, "i8")}
    with pytest.raises(LayoutError, match="column 'sha256' of table 'files' has 1 nulls"):
        store.write_unit(
            one, UnitData(arrays, {"files": {"file": ["a"], "num_bytes": [1], "sha256": [None]}}), seconds=0, counts={}
        )
    with pytest.raises(LayoutError, match="table 'files' lacks column 'sha256'"):
        store.write_unit(one, UnitData(arrays, {"files": {"file": ["a"], "num_bytes": [1]}}), seconds=0, counts={})


def test_table_when_written_before_a_nullable_column_was_added_then_reads_as_none():
    now = catalog.MANIFEST.table("samples")
    then = dataclasses.replace(now, columns=tuple(c for c in now.columns if c.name != "unit_depth_interpolated"))
    written = encode_table(then, {c.name: [] for c in then.columns}, where="then")
    assert decode_table(now, written, where="now")["unit_depth_interpolated"] == []
    needed = dataclasses.replace(now, columns=(*now.columns, catalog.ColumnSpec("weight", "double", "1", "not nullable")))
    with pytest.raises(LayoutError, match="table 'samples' lacks column 'weight'"):
        decode_table(needed, written, where="now")


def test_read_when_stored_dtype_differs_from_layout_then_error(tmp_path, monkeypatch):
    store = Store(tmp_path)
    store.write_unit(identity(), depth_data(), seconds=0, counts={})
    arrays = tuple(dataclasses.replace(a, dtype="uint8") if a.name == "depth_m" else a for a in catalog.DEPTH_SINGLE.arrays)
    changed = dataclasses.replace(catalog.DEPTH_SINGLE, arrays=arrays)
    monkeypatch.setattr("storage_schemas.store.layout_named", lambda name: changed)
    with pytest.raises(LayoutError, match="array 'depth_m' has dtype uint16, expected uint8"):
        store.read_unit(UnitPath.of(identity()))


def test_store_when_url_scheme_is_unknown_then_says_what_to_install():
    with pytest.raises(StoreError, match=r"Install the fsspec backend of this URL scheme, for s3:// with: pip install .*\[s3\]"):
        Store("nope://bucket/x").units("frames")
