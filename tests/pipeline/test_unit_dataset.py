"""Datasets of a manifest and of one unit know when, by which camera and from where their frames were taken."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import depthmill
from pipeline.exporters.semodepth import export_semodepth, import_semodepth
from storage_schemas.errors import UnitNotFoundError
from storage_schemas.manifest import Manifest, open_manifest
from storage_schemas.store import Store


@pytest.fixture(scope="module")
def manifest(tiny_store: Path) -> Manifest:
    return open_manifest(Store(tiny_store))


def test_unit_when_opened_alone_then_frames_have_the_time_camera_and_pose_of_the_manifest(manifest):
    dataset = depthmill.open_unit(manifest.store.root, "depth_clean/scene-0103/CAM_FRONT")
    assert (str(dataset.scene.values), str(dataset.camera.values)) == ("scene-0103", "CAM_FRONT")
    of_scene = [row for row in manifest.rows() if row["scene"] == "scene-0103"]
    assert dataset.sizes["frame"] == 3 and len(of_scene) == 2
    for row in of_scene:
        frame = dataset.isel(frame=row["frame"])
        assert frame.time.values == np.datetime64(row["timestamp_us"], "us")
        np.testing.assert_allclose(frame.intrinsic_px.values.ravel(), row["intrinsic_px"])
        np.testing.assert_allclose(frame.world_from_cam.values.ravel(), row["world_from_cam"])
        steps = manifest.store.open_unit(manifest.unit_of(row, "depth_clean")).array("depth_m", row["frame"])
        np.testing.assert_array_equal(np.nan_to_num(frame.depth_m.values), steps / 256)
    assert dataset.depth_m.chunks[0] == (1, 1, 1) and np.isnan(dataset.depth_m.values).any()


def test_unit_when_its_key_has_the_fingerprint_or_is_wrong_then_opened_or_said_what_there_is(manifest):
    path = manifest.unit_of(manifest.rows()[0], "radar_points")
    dataset = depthmill.open_unit(manifest.store.root, path.key)
    assert dataset.attrs["unit"] == path.key and dataset.sizes["frame"] == 3 and "world_from_cam" in dataset.coords
    with pytest.raises(UnitNotFoundError, match=r"expected <store>/<scene>/<camera>, e.g. depth_clean/scene-0061/CAM_FRONT"):
        depthmill.open_unit(manifest.store.root, "depth_clean/scene-0061/CAM_BACK")
    with pytest.raises(UnitNotFoundError, match="is not in store"):
        depthmill.open_unit(manifest.store.root, f"depth_clean/scene-0061/CAM_FRONT/{'0' * 16}")


def test_manifest_when_opened_then_has_the_same_coordinates(manifest):
    dataset = depthmill.open_dataset(manifest.store.root)
    row = manifest.rows()[3]
    frame = dataset.isel(frame=3)
    assert frame.time.values == np.datetime64(row["timestamp_us"], "us")
    np.testing.assert_array_equal(frame.intrinsic_px.values.ravel(), row["intrinsic_px"])
    np.testing.assert_array_equal(frame.world_from_cam.values.ravel(), row["world_from_cam"])


def test_manifest_when_nothing_is_known_of_its_cameras_then_opens_without_those_coordinates(manifest, tmp_path):
    export_semodepth(manifest, None, tmp_path / "public")
    imported = import_semodepth(tmp_path / "public", Store(tmp_path / "imported"))
    dataset = depthmill.open_dataset(tmp_path / "imported")
    assert "intrinsic_px" not in dataset.coords and dataset.sizes["frame"] == 4
    unit = depthmill.open_unit(tmp_path / "imported", imported.unit_of(imported.rows()[0], "depth_single").key)
    assert unit.sizes["frame"] and "world_from_cam" not in unit.coords
