from __future__ import annotations

import numpy as np
import pytest

from pipeline.sources.raw_files import parse_radar_pcd
from pipeline.stages.project_radar import Params, keep_valid, project_returns
from storage_schemas.errors import SourceError
from tests.tiny_nuscenes import radar_pcd


def test_parse_agrees_with_the_devkit_with_and_without_filter(tmp_path):
    from nuscenes.utils.data_classes import RadarPointCloud

    xyz = np.random.default_rng(0).uniform(-50, 50, (40, 3))
    path = tmp_path / "one.pcd"
    path.write_bytes(radar_pcd(xyz, np.random.default_rng(1)))
    points = parse_radar_pcd(path.read_bytes(), where="x")
    everything = RadarPointCloud.from_file(str(path), invalid_states=range(18), dynprop_states=range(18), ambig_states=range(18))
    for row, name in enumerate(points):
        np.testing.assert_array_equal(points[name], everything.points[row].astype(points[name].dtype))
    default = RadarPointCloud.from_file(str(path))
    kept = keep_valid(points, Params())
    assert default.points.shape[1] == len(kept["x"]) == 32
    np.testing.assert_array_equal(kept["rcs"], default.points[5].astype(np.float32))


def test_file_when_marked_empty_by_nan_then_has_no_points():
    assert len(parse_radar_pcd(radar_pcd(np.full((1, 3), np.nan), np.random.default_rng(0)), where="x")["x"]) == 0


def test_file_when_header_or_body_is_broken_then_says_what():
    whole = radar_pcd(np.ones((3, 3)), np.random.default_rng(0))
    with pytest.raises(SourceError, match="has no 'DATA binary' header"):
        parse_radar_pcd(whole[:80], where="x")
    with pytest.raises(SourceError, match=r"holds 89 bytes of points, expected 129 for 3 points. It is cut short"):
        parse_radar_pcd(whole[:-41], where="x")
    with pytest.raises(SourceError, match="lacks field 'rcs'"):
        parse_radar_pcd(whole.replace(b" rcs ", b" rsc "), where="x")


def test_return_when_near_the_border_or_behind_then_is_left_out():
    pose = {"world_from_ego_translation_m": [0, 0, 0], "world_from_ego_rotation_wxyz": [1, 0, 0, 0]}
    sweep = {**pose, "ego_from_sensor_translation_m": [0, 0, 0], "ego_from_sensor_rotation_wxyz": [1, 0, 0, 0]}
    keyframe = {
        **pose, "ego_from_cam_translation_m": [0, 0, 0], "ego_from_cam_rotation_wxyz": [0.5, -0.5, 0.5, -0.5],
        "intrinsic_px": [100, 0, 50, 0, 100, 20, 0, 0, 1], "width": 100, "height": 40,
    }  # fmt: skip
    xyz = np.array([[10, 0, 0], [10, 4.95, 0], [0.9, 0, 0], [-5, 0, 0], [10, 0, 1.95]])
    points = {name: np.zeros(5, np.float32) for name in ("rcs", "vx_comp", "vy_comp")} | dict(zip("xyz", xyz.T, strict=True))
    found = project_returns(points, sweep, keyframe, Params())
    assert (found["u_px"].tolist(), found["v_px"].tolist(), found["depth_m"].tolist()) == ([50.0], [20.0], [10.0])
    assert len(project_returns(points, sweep, keyframe, Params(border_px=0, min_depth_m=0.5))["u_px"]) == 4
