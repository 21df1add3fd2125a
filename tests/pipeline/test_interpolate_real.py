"""Interpolation and the six cameras' batches on real LiDAR and real images."""

from __future__ import annotations

import numpy as np
import pytest

from model.semodepth.config import DataConfig
from model.semodepth.data import FrameLoader
from model.semodepth.dense import dense_batch
from pipeline.sources.nuscenes.config import NuScenesConfig
from pipeline.sources.nuscenes.source import NuScenesSource
from pipeline.stage import StageInput
from pipeline.stages import project_lidar
from pipeline.stages.interpolate_depth import Params, interpolate_frame
from storage_schemas.layout import UnitData
from storage_schemas.manifest import open_manifest
from storage_schemas.store import Store
from tests.flows.test_cli import BARE

pytestmark = pytest.mark.real_data

CAMERAS = ["CAM_FRONT", "CAM_FRONT_LEFT", "CAM_FRONT_RIGHT", "CAM_BACK", "CAM_BACK_LEFT", "CAM_BACK_RIGHT"]


@pytest.mark.parametrize(("linear_in", "median_m"), [("depth", 0.05), ("inverse_depth", 0.05)])
def test_pixels_when_left_out_of_a_real_sweep_then_interpolation_finds_most_of_them_again(shared, tmp_path, linear_in, median_m):
    config = NuScenesConfig(kind="nuscenes", root=str(shared / "data/kitti0001-as-nuscenes"), version="v1.0-mini")
    reader = NuScenesSource(config, tmp_path).reader()
    unit = StageInput("scene-0061", "CAM_FRONT", {"frames": UnitData(tables=reader.scene_tables("scene-0061"))}, reader)
    steps = project_lidar.kernel(unit, project_lidar.Params()).data.arrays["depth_m"][3]
    left_out = (steps > 0) & (np.random.default_rng(0).random(steps.shape) < 0.2)
    params = Params(of="depth_single", linear_in=linear_in, max_depth_ratio=1.3)
    found = interpolate_frame(np.where(left_out, 0, steps).astype(np.uint16), params)
    answered = left_out & (found > 0)
    assert answered.sum() > 0.85 * left_out.sum()
    error_m = np.abs(found[answered].astype(int) - steps[answered]) / 256
    assert np.median(error_m) < median_m
    assert (error_m < 0.05 * steps[answered] / 256).mean() > 0.9
    assert np.count_nonzero(found) > 4 * np.count_nonzero(steps)  # a 64-beam scanner in a small image


def test_real_keyframe_when_six_cameras_are_interpolated_then_one_batch_holds_all_six(shared, write_recipe, depthmill, tmp_path):
    stages = {
        "build_manifest": {"drop_last_keyframe": False},
        "interpolate_depth": {"of": "depth_single", "max_depth_ratio": 1.3},
    }
    recipe = write_recipe(shared / "data/nuscenes-keyframe", cameras=CAMERAS, stages=stages)
    code, text = depthmill("run", recipe, *BARE)
    assert code == 0, text
    manifest = open_manifest(Store(tmp_path / "store"))
    config = DataConfig(dense_target="depth_interpolated", radar=False, batch_size=6, order="manifest")
    with FrameLoader(manifest, config) as loader:
        batch = next(iter(loader))
    assert [key.split("/")[1] for key in batch.frame_keys] == CAMERAS
    dense = dense_batch(batch, max_depth_m=255.0)
    for row, target_m, sparse_m in zip(manifest.rows(), dense.target_m.numpy(), dense.sparse_m.numpy(), strict=True):
        assert target_m.shape == (900, 1600)
        np.testing.assert_array_equal(target_m[sparse_m > 0], sparse_m[sparse_m > 0])
        assert np.count_nonzero(target_m) > 50 * np.count_nonzero(sparse_m), row["camera"]
