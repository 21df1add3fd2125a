"""A relative map of the one real frame with radar and LiDAR, aligned by either, and judged by LiDAR pixels that nothing used."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.stages import project_lidar, project_radar
from pipeline.stages.align_mono_depth import Params, align_frame
from pipeline.stages.interpolate_depth import Params as InterpolateParams
from pipeline.stages.interpolate_depth import interpolate_frame
from tests.pipeline.test_real_radar import open_source, unit_of

pytestmark = pytest.mark.real_data


def test_relative_map_of_the_real_frame_when_aligned_by_lidar_then_right_where_radar_leaves_it_wrong(shared, tmp_path):
    unit = unit_of(open_source(shared / "data/nuscenes-keyframe-radar", tmp_path).reader(), "scene-0061")
    steps = project_lidar.kernel(unit, project_lidar.Params()).data.arrays["depth_m"][0]
    radar = project_radar.kernel(unit, project_radar.Params()).data.arrays
    is_judge = (steps > 0) & (np.random.default_rng(0).random(steps.shape) < 0.3)
    known = np.where(is_judge, 0, steps).astype(np.uint16)
    dense_m = interpolate_frame(known, InterpolateParams(of="depth_single", max_depth_ratio=1.3)) / 256
    is_shown = dense_m > 0
    value = np.where(is_shown, 0.8 / np.maximum(dense_m, 1e-3) + 0.05, 0.05).astype(np.float32)  # what a teacher might say

    def error(returns, **params):
        found = align_frame(value, "inverse_relative", None, returns, shape=steps.shape, p=Params(fit="robust", **params))
        assert found.fit is not None
        judged = is_judge & is_shown & (steps < 80 * 256) & (steps > 2 * 256)
        assert judged.sum() > 500
        return float(np.median(np.abs(found.depth_m[judged] / (steps[judged] / 256) - 1))), found

    row, column = np.nonzero(known)
    by_lidar, found = error((column.astype(float), row.astype(float), known[row, column] / 256), method="lidar")
    assert found.num_anchors > 1000 and by_lidar < 0.02
    assert found.fit.scale == pytest.approx(1 / 0.8, rel=0.02) and found.fit.shift == pytest.approx(-0.05 / 0.8, abs=0.002)
    at = np.rint(radar["v_px"]).astype(int).clip(0, 899), np.rint(radar["u_px"]).astype(int).clip(0, 1599)
    seen = is_shown[at]  # returns that the map says something of
    assert seen.sum() > 20
    by_radar, _ = error(tuple(radar[name][seen].astype(float) for name in ("u_px", "v_px", "depth_m")))
    assert by_radar > 3 * by_lidar
