from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import storage_schemas
from storage_schemas.catalog import LAYOUTS, MANIFEST, catalog_page, layout_named
from storage_schemas.errors import LayoutError, UnknownLayoutError
from storage_schemas.layout import ColumnSpec, UnitData, check
from storage_schemas.table import decode_table, encode_table


def test_page_of_stores_when_a_layout_changed_then_must_be_written_again():
    page = Path(storage_schemas.__file__).with_name("README.md").read_text(encoding="utf-8")
    assert page == catalog_page(), "run: python -m storage_schemas"


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)
def test_every_layout_has_units_descriptions_and_unique_names(layout):
    names = [spec.name for spec in (*layout.arrays, *layout.tables)]
    assert len(set(names)) == len(names)
    for array in layout.arrays:
        assert array.unit
        assert array.description
        np.dtype(array.dtype)
    for table in layout.tables:
        assert all(column.description for column in table.columns)


def test_manifest_columns_when_no_plug_in_is_there_then_are_those_that_old_manifests_were_written_with():
    """The pins follow from the layouts; manifests must keep their bytes, and those of a finished training must open."""
    described = {
        "frame_key": ("string", "", "<scene>/<camera>/<timestamp_us>: unique"),
        "scene": ("string", "", "scene name"),
        "camera": ("string", "", "camera channel"),
        "frame": ("int32", "1", "index along 'frame' inside the scene's units"),
        "split": ("string", "", "train, val or test; empty if the scene is in no official split"),
        "is_night": ("bool", "1", "recorded at night"),
        "sample_token": ("string", "", "key frame"),
        "sample_data_token": ("string", "", "image"),
        "timestamp_us": ("int64", "us", "time of the image"),
        "file": ("string", "", "image path below the source's root"),
        "height": ("int32", "pixel", "image height"),
        "width": ("int32", "pixel", "image width"),
        "intrinsic_px": ("list<double>", "pixel", "3x3 camera matrix, row-major"),
        "world_from_cam": ("list<double>", "1", "4x4 pose of the camera at the image's time, row-major"),
    }
    nullable = {
        "coverage_single": ("double", "1", "share of pixels measured in depth_single"),
        "coverage_accumulated": ("double", "1", "share measured in depth_accumulated"),
        "coverage_clean": ("double", "1", "share measured in depth_clean"),
        "num_dropped": ("int32", "1", "pixels removed by clean_horizon"),
        "num_radar_points": ("int32", "1", "radar returns inside the image"),
        "num_boxes": ("int32", "1", "annotated objects, DontCare left out"),
        "unit_images": ("string", "", "fingerprint"),
        "unit_depth_single": ("string", "", "fingerprint"),
        "unit_depth_accumulated": ("string", "", "fingerprint"),
        "unit_depth_clean": ("string", "", "fingerprint"),
        "unit_depth_interpolated": ("string", "", "fingerprint"),
        "unit_depth_mono": ("string", "", "fingerprint"),
        "unit_depth_truth": ("string", "", "fingerprint"),
        "unit_radar_points": ("string", "", "fingerprint"),
        "unit_boxes": ("string", "", "fingerprint"),
        "unit_windows": ("string", "", "fingerprint; one unit for all cameras of a scene"),
    }
    samples = MANIFEST.table("samples")
    assert (MANIFEST.version, MANIFEST.arrays, len(MANIFEST.tables)) == (1, (), 1)
    assert samples.columns == (
        *(ColumnSpec(name, *rest) for name, rest in described.items()),
        *(ColumnSpec(name, *rest, is_nullable=True) for name, rest in nullable.items()),
    )


def test_layouts_say_what_there_is_one_unit_of():
    per = {layout.name: layout.per for layout in LAYOUTS if layout.per != "camera"}
    assert per == {"frames": "scene", "camera_sweeps": "scene", "windows": "scene", "objects": "scene", "manifest": "dataset"}


def test_table_when_it_is_open_then_takes_pins_beside_its_columns_and_nothing_else():
    samples = MANIFEST.table("samples")
    columns = {column.name: [] for column in samples.columns}
    read = decode_table(samples, encode_table(samples, {**columns, "unit_toy": []}, where="here"), where="here")
    assert list(read) == [*columns, "unit_toy"]
    check(MANIFEST, UnitData(tables={"samples": {**columns, "unit_toy": []}}), where="here")
    with pytest.raises(LayoutError, match="unknown column 'toy'"):
        check(MANIFEST, UnitData(tables={"samples": {**columns, "toy": []}}), where="here")
    files = next(layout for layout in LAYOUTS if layout.name == "images").table("files")
    assert files.with_open_columns(["unit_toy"]) is files


def test_layout_when_nobody_knows_its_name_then_error_says_so():
    with pytest.raises(UnknownLayoutError, match="store 'depth_cleam' is not known"):
        layout_named("depth_cleam")
