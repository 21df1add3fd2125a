from __future__ import annotations

import numpy as np
import pytest

from pipeline.sources.nuscenes.files import parse_radar_pcd
from pipeline.stage import StageInput
from pipeline.stages.project_radar import Params, keep_valid, kernel, project_returns, radar_sweeps, sweeps_around
from storage_schemas.catalog import RADAR_POINTS
from storage_schemas.errors import SourceError
from storage_schemas.layout import UnitData, check
from tests.conftest import NEEDS_DEVKIT
from tests.tiny_nuscenes import radar_pcd, write_tiny_nuscenes


def test_parse_agrees_with_the_devkit_with_and_without_filter(tmp_path):
    theirs = pytest.importorskip("nuscenes.utils.data_classes", reason=NEEDS_DEVKIT).RadarPointCloud
    xyz = np.random.default_rng(0).uniform(-50, 50, (40, 3))
    path = tmp_path / "one.pcd"
    path.write_bytes(radar_pcd(xyz, np.random.default_rng(1)))
    points = parse_radar_pcd(path.read_bytes(), where="x")
    everything = theirs.from_file(str(path), invalid_states=range(18), dynprop_states=range(18), ambig_states=range(18))
    for row, name in enumerate(points):
        np.testing.assert_array_equal(points[name], everything.points[row].astype(points[name].dtype))
    default = theirs.from_file(str(path))
    kept = keep_valid(points, Params())
    assert default.points.shape[1] == len(kept["x"]) == 32
    np.testing.assert_array_equal(kept["rcs"], default.points[5].astype(np.float32))


def test_file_when_marked_empty_by_nan_then_has_no_points():
    assert len(parse_radar_pcd(radar_pcd(np.full((1, 3), np.nan), np.random.default_rng(0)), where="x")["x"]) == 0


def test_file_when_header_or_body_is_broken_then_says_what():
    whole = radar_pcd(np.ones((3, 3)), np.random.default_rng(0))
    with pytest.raises(SourceError, match="has a PCD header without its last line, DATA. It is cut short"):
        parse_radar_pcd(whole[:80], where="x")
    with pytest.raises(SourceError, match=r"holds 89 bytes of points, expected 129 for 3 points. It is cut short"):
        parse_radar_pcd(whole[:-41], where="x")
    with pytest.raises(SourceError, match=r"lacks field 'z' \(COUNT 1\); its fields: x, y, height, dyn_prop"):
        parse_radar_pcd(whole.replace(b" z ", b" height "), where="x")
    with pytest.raises(SourceError, match=r"1 of 3 points have a coordinate y like 1e\+30 m, expected less than 100000 m"):
        parse_radar_pcd(radar_pcd(np.array([[1, 1, 1], [1, 1e30, 1], [2, 2, 2]]), np.random.default_rng(0)), where="x")


def test_return_when_near_the_border_or_behind_then_is_left_out():
    pose = {"timestamp_us": 0, "world_from_ego_translation_m": [0, 0, 0], "world_from_ego_rotation_wxyz": [1, 0, 0, 0]}
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


def at_rest(time_us: int, *, x_m: float = 0.0) -> dict:
    """Pose columns of a sweep or key frame at a time, with the ego vehicle at x_m."""
    identity = {"translation_m": [0, 0, 0], "rotation_wxyz": [1, 0, 0, 0]}
    sensor = {f"ego_from_sensor_{name}": value for name, value in identity.items()}
    camera = {"ego_from_cam_translation_m": [0, 0, 0], "ego_from_cam_rotation_wxyz": [0.5, -0.5, 0.5, -0.5]}
    pose = {"world_from_ego_translation_m": [x_m, 0, 0], "world_from_ego_rotation_wxyz": [1, 0, 0, 0]}
    image = {"intrinsic_px": [100, 0, 50, 0, 100, 20, 0, 0, 1], "width": 100, "height": 40}
    return {"timestamp_us": time_us, **sensor, **camera, **pose, **image}


@pytest.mark.parametrize("lag_us", [400_000, -300_000])
def test_return_when_its_sweep_is_not_the_images_then_ego_motion_and_with_doppler_the_targets_are_taken_out(lag_us):
    """A car 30 m ahead of the image's place drives away at 5 m/s; the ego vehicle drives at 10 m/s; a pole stands at 20 m."""
    lag_s = lag_us * 1e-6
    sweep, keyframe = at_rest(1_000_000, x_m=-10.0 * lag_s), at_rest(1_000_000 + lag_us)
    car_m = 30.0 - 5.0 * lag_s + 10.0 * lag_s
    points = {
        "x": np.array([car_m, 20.0 + 10.0 * lag_s]), "y": np.zeros(2), "z": np.zeros(2), "rcs": np.ones(2),
        "vx_comp": np.array([5.0, 0.0]), "vy_comp": np.zeros(2),
    }  # fmt: skip
    ignored = project_returns(points, sweep, keyframe, Params())
    moved = project_returns(points, sweep, keyframe, Params(target_motion="doppler"))
    np.testing.assert_allclose(ignored["depth_m"], [30.0 - 5.0 * lag_s, 20.0])
    np.testing.assert_allclose(moved["depth_m"], [30.0, 20.0])
    np.testing.assert_allclose(moved["time_lag_s"], lag_s)
    assert moved["time_lag_s"].dtype == np.float32


def chain_of(num: int, *, keys: tuple[int, ...], breaks: tuple[int, ...] = ()) -> list[dict]:
    """Rows of one radar; sweep k is at k * 77 ms and, where it is in keys, the key frame's own."""
    return [
        {"timestamp_us": 77_000 * k, "is_keyframe": k in keys, "sample_index": sum(key < k for key in keys), "file": str(k),
         "chain": sum(start <= k for start in breaks)}
        for k in range(num)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("params", "sample", "expected"),
    [
        ({}, 1, ["7"]),
        ({"past_sweeps": 3}, 1, ["4", "5", "6", "7"]),
        ({"past_sweeps": 2, "future_sweeps": 1}, 1, ["5", "6", "7", "8"]),
        ({"past_sweeps": 5}, 0, ["0", "1"]),
        ({"future_sweeps": 9}, 2, ["13", "14", "15"]),
        ({"past_sweeps": 1, "future_sweeps": 1, "neighbors": "keyframes"}, 1, ["1", "7", "13"]),
        ({"past_sweeps": 1}, 3, []),
    ],
)
def test_sweeps_when_neighbors_are_asked_for_then_are_those_next_in_time(params, sample, expected):
    sweeps = chain_of(16, keys=(1, 7, 13))
    assert [sweep["file"] for sweep in sweeps_around(sweeps, sample, Params(**params))] == expected


def test_sweeps_when_the_chain_is_broken_then_the_other_side_is_left_out():
    sweeps = chain_of(16, keys=(1, 7, 13), breaks=(6,))
    assert [sweep["file"] for sweep in sweeps_around(sweeps, 1, Params(past_sweeps=4))] == ["6", "7"]


def test_sweeps_when_a_channel_has_no_file_then_error_names_it_and_the_others():
    sweeps = [{"channel": "LIDAR_TOP"}, {"channel": "RADAR_FRONT"}]
    with pytest.raises(
        SourceError,
        match=r"scene s-1 has no files of radar channel 'RADAR_BACK_LEFT'; radars there: RADAR_FRONT. Take it out of "
        r"stages.project_radar.channels",
    ):
        radar_sweeps(sweeps, channel="RADAR_BACK_LEFT", scene="s-1")


def test_params_when_the_later_ones_have_their_default_then_the_fingerprint_is_the_former_one():
    former = {"channels", "invalid_states", "dynamic_properties", "ambiguity_states", "min_depth_m", "border_px"}
    assert set(Params().model_dump(mode="json")) == former
    changed = Params(past_sweeps=2, target_motion="doppler")
    assert set(changed.model_dump(mode="json")) == {*former, "past_sweeps", "target_motion"}
    assert Params(**changed.model_dump()) == changed


def test_run_when_a_sweeps_file_is_empty_then_says_which_and_what_to_do(write_recipe, depthmill, tmp_path):
    root = write_tiny_nuscenes(tmp_path / "raw")
    recipe = write_recipe(root, stages={"project_radar": {"past_sweeps": 1}})
    victim = sorted((root / "samples/RADAR_FRONT").glob("tiny-scene-0103*"))[0]
    victim.write_bytes(b"")
    code, text = depthmill("run", recipe, "--no-prefect", "--workers", 1)
    assert code == 1
    assert f"file '{victim}' is empty (0 bytes)" in text


def test_units_when_sweeps_are_asked_for_then_have_a_time_lag_and_without_them_none(tiny_root, tmp_path):
    from pipeline.sources.nuscenes.config import NuScenesConfig
    from pipeline.sources.nuscenes.source import NuScenesSource

    def run(**params):
        unit = StageInput("scene-0061", "CAM_FRONT", {"frames": UnitData(tables=reader.scene_tables("scene-0061"))}, reader)
        return kernel(unit, Params(**params)).data

    reader = NuScenesSource(NuScenesConfig(kind="nuscenes", root=str(tiny_root), version="v1.0-mini"), tmp_path).reader()
    alone, around = run(), run(past_sweeps=1, future_sweeps=1)
    check(RADAR_POINTS, alone, where="test")
    check(RADAR_POINTS, around, where="test")
    assert "time_lag_s" not in alone.arrays
    lags = np.round(around.arrays["time_lag_s"].astype(float), 6)  # a key frame every 0.5 s, radar and image at the same time
    frames = around.arrays["frame_of_point"]
    assert [np.unique(lags[frames == k]).tolist() for k in range(3)] == [[-0.5, 0.0], [-0.5, 0.0, 0.5], [0.0, 0.5]]
    own = lags == 0
    np.testing.assert_array_equal(around.arrays["depth_m"][own], alone.arrays["depth_m"])
    assert (np.diff(frames) >= 0).all()
    np.testing.assert_array_equal(np.bincount(frames), around.arrays["num_points"])
