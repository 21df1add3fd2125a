from __future__ import annotations

import shutil

import numpy as np
import pytest

from model.data.rectified_camera import project_points
from model.monoddle.lidar_points import LidarPoints
from tests.model.data.made_up_store import write_store

PROJECTION = np.array([[30.0, 0.0, 13.0, 2.0], [0.0, 31.0, 9.0, -1.0], [0.0, 0.0, 1.0, 0.003]])


@pytest.fixture
def made(tmp_path):
    return write_store(tmp_path / "store", frames=(3, 2), without={"scene-0001": ("depth_single",)})


def test_points_when_projected_again_then_they_are_the_pixels_that_were_measured(made):
    lidar = LidarPoints(made.manifest)
    for row in made.manifest.rows()[:3]:
        steps = made.depth[row["frame_key"], "depth_single"]
        points = lidar.of(row["frame_key"], PROJECTION)
        pixels = project_points(PROJECTION, points.astype(np.float64))
        drawn = np.zeros_like(steps)
        drawn[np.floor(pixels[:, 1]).astype(int), np.floor(pixels[:, 0]).astype(int)] = np.rint(points[:, 2] * 256)
        assert len(points) == np.count_nonzero(steps) and np.array_equal(drawn, steps)


def test_points_when_a_frame_has_no_sweep_or_its_unit_is_gone_then_none(made, tmp_path):
    key = made.manifest.rows()[-1]["frame_key"]
    assert LidarPoints(made.manifest).of(key, PROJECTION).shape == (0, 3)
    shutil.rmtree(tmp_path / "store/depth_single")
    assert LidarPoints(made.manifest).of(made.manifest.rows()[0]["frame_key"], PROJECTION).shape == (0, 3)
