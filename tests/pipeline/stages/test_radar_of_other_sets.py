"""Radar that is not nuScenes': other channels, other fields, velocities relative to a moving and turning radar."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.geometry import rotation_matrix
from pipeline.sources.nuscenes.config import NuScenesConfig
from pipeline.sources.nuscenes.source import NuScenesSource
from pipeline.stage import StageInput, StageResult
from pipeline.stages.project_radar import Params, kernel, over_ground, own_velocities, sensor_names
from storage_schemas.catalog import RADAR_CHANNELS, RADAR_POINTS
from storage_schemas.errors import SourceError
from storage_schemas.layout import UnitData, check
from tests.tiny_nuscenes import write_tiny_nuscenes
from tests.tiny_pcd import encode_pcd

OWN_MPS = np.array([5.0, 0.0, 0.0])  # of the car of the tiny database, which drives straight ahead


def sweeps_of_a_turn(*, num: int, seconds: float, offset_m: tuple[float, float, float], wxyz: tuple[float, ...]) -> list[dict]:
    """Sweeps of a radar on a car that drives 10 m/s round a circle of 50 m, in a world far from its origin."""
    sweeps = []
    for k in range(num):
        angle = 0.2 * seconds * k
        place = np.array([692_000 + 50 * np.sin(angle), 5_336_000 - 50 * np.cos(angle), 0.0])
        sweeps.append(
            {
                "timestamp_us": 1_600_000_000_000_000 + round(1e6 * seconds * k),
                "chain": 0,
                "world_from_ego_translation_m": place.tolist(),
                "world_from_ego_rotation_wxyz": [np.cos(angle / 2), 0.0, 0.0, np.sin(angle / 2)],
                "ego_from_sensor_translation_m": list(offset_m),
                "ego_from_sensor_rotation_wxyz": list(wxyz),
            }
        )
    return sweeps


@pytest.mark.parametrize("seconds", [0.05, 0.5])
def test_own_velocity_when_the_car_turns_then_the_radars_place_and_direction_count(seconds):
    offset, wxyz = (3.0, -1.2, 0.5), (np.cos(0.4), 0.0, 0.0, np.sin(0.4))
    found = own_velocities(sweeps_of_a_turn(num=9, seconds=seconds, offset_m=offset, wxyz=wxyz))
    in_ego = np.array([10.0, 0.0, 0.0]) + np.cross([0.0, 0.0, 0.2], offset)
    expected = rotation_matrix(wxyz).T @ in_ego
    assert found.shape == (9, 3)
    np.testing.assert_allclose(found[1:-1], np.tile(expected, (7, 1)), atol=0.02 if seconds == 0.5 else 3e-4)
    np.testing.assert_allclose(found[[0, -1]], np.tile(expected, (2, 1)), atol=1.2 * seconds)  # one side only: half a step off


def test_own_velocity_when_no_neighbour_is_near_then_is_unknown():
    sweeps = sweeps_of_a_turn(num=5, seconds=0.1, offset_m=(0, 0, 0), wxyz=(1, 0, 0, 0))
    sweeps[2]["chain"] = 1
    for sweep in sweeps[3:]:
        sweep["chain"] = 2
        sweep["timestamp_us"] += 60_000_000
    sweeps[4]["timestamp_us"] += 60_000_000
    assert np.isfinite(own_velocities(sweeps)).all(axis=1).tolist() == [True, True, False, False, False]
    assert np.isnan(own_velocities(sweeps[:1])).all()
    sweeps[1]["timestamp_us"] = sweeps[0]["timestamp_us"]
    assert np.isnan(own_velocities(sweeps[:2])).all()


def test_velocity_over_ground_when_relative_is_along_the_sight_then_what_stands_still_is_still():
    rng = np.random.default_rng(1)
    xyz = rng.normal(0, 30, (200, 3))
    own, target = np.array([20.0, -3.0, 0.5]), np.array([12.0, 1.0, 0.0])
    sight = xyz / np.linalg.norm(xyz, axis=1, keepdims=True)
    still = over_ground(xyz, -(sight @ own)[:, None] * sight, own)
    np.testing.assert_allclose(still, 0.0, atol=1e-12)
    moving = over_ground(xyz, (sight @ (target - own))[:, None] * sight, own)
    np.testing.assert_allclose(moving, (sight @ target)[:, None] * sight, atol=1e-12)


def test_velocity_over_ground_when_relative_is_a_whole_vector_then_the_whole_own_velocity_is_added():
    xyz = np.random.default_rng(1).normal(0, 30, (200, 3))
    own, target = np.array([20.0, -3.0, 0.5]), np.array([12.0, 9.0, 0.0])
    found = over_ground(xyz, np.tile(target - own, (200, 1)), own)
    np.testing.assert_allclose(found, np.tile(target, (200, 1)), atol=1e-12)


def test_velocity_over_ground_when_a_file_has_no_or_still_returns_then_is_finite():
    own = np.array([20.0, 0.0, 0.0])
    assert over_ground(np.zeros((0, 3)), np.zeros((0, 3)), own).shape == (0, 3)
    np.testing.assert_allclose(
        over_ground(np.array([[10.0, 0, 0], [0, 10.0, 0]]), np.zeros((2, 3)), own), [[20, 0, 0], [0, 0, 0]]
    )


def with_radar(root: Path, write) -> Path:
    """Write a tiny drive whose radar files are what ``write`` makes of columns x, y, z (n, 3)."""
    write_tiny_nuscenes(root, scenes=("scene-0061",))
    rng = np.random.default_rng(2)
    for file in sorted((root / "samples/RADAR_FRONT").iterdir()):
        file.write_bytes(encode_pcd(write(rng.uniform([5, -5, -0.4], [50, 5, 4], (40, 3)))))
    return root


def columns(xyz: np.ndarray, **further: object) -> np.ndarray:
    points = np.zeros(len(xyz), [(name, "<f4") for name in ("x", "y", "z", *further)])
    for name, values in zip("xyz", xyz.T, strict=True):
        points[name] = values
    for name, values in further.items():
        points[name] = values
    return points


def relative(xyz: np.ndarray) -> np.ndarray:
    sight = xyz / np.linalg.norm(xyz, axis=1, keepdims=True)
    of_still = -(sight @ OWN_MPS)[:, None] * sight
    return columns(xyz, vrel_x=of_still[:, 0], vrel_y=of_still[:, 1], vrel_z=of_still[:, 2], rcs=7.5)


def run(root: Path, cache: Path, **params: object) -> StageResult:
    reader = NuScenesSource(NuScenesConfig(kind="nuscenes", root=str(root), version="v1.0-mini"), cache).reader()
    unit = StageInput("scene-0061", "CAM_FRONT", {"frames": UnitData(tables=reader.scene_tables("scene-0061"))}, reader)
    made = kernel(unit, Params(**params))
    check(RADAR_POINTS, made.data, where="test")
    return made


def test_unit_when_velocities_are_relative_then_is_compensated_and_says_so_once(tmp_path):
    made = run(with_radar(tmp_path / "raw", relative), tmp_path)
    arrays = made.data.arrays
    assert len(arrays["u_px"]) > 60
    for name in ("vx_comp_mps", "vy_comp_mps"):
        np.testing.assert_allclose(arrays[name], 0.0, atol=1e-5)
    assert set(arrays["rcs_dbsm"].tolist()) == {7.5}
    assert made.message.endswith(
        "; no filter by ambig_state, dyn_prop, invalid_state, which files lack; velocities over ground computed from the poses"
    )
    assert set(made.counts) == {"frames", "points_per_frame"}
    moved = run(with_radar(tmp_path / "raw", relative), tmp_path, target_motion="doppler")
    np.testing.assert_allclose(moved.data.arrays["u_px"], arrays["u_px"], atol=1e-4)


def test_unit_when_only_places_are_given_then_the_rest_is_unknown_and_doppler_is_refused(tmp_path):
    root = with_radar(tmp_path / "raw", columns)
    made = run(root, tmp_path)
    for name in ("rcs_dbsm", "vx_comp_mps", "vy_comp_mps"):
        assert np.isnan(made.data.arrays[name]).all()
    assert "unknown for some or all returns: rcs, velocity" in made.message
    with pytest.raises(SourceError, match=r"has no velocities .* which stages.project_radar.target_motion: doppler needs"):
        run(root, tmp_path, target_motion="doppler")


def test_unit_when_one_state_is_given_then_it_filters(tmp_path):
    made = run(with_radar(tmp_path / "raw", lambda xyz: columns(xyz, ambig_state=np.arange(40) % 4)), tmp_path, min_depth_m=0)
    everything = run(with_radar(tmp_path / "raw", columns), tmp_path, min_depth_m=0)
    assert 0 < len(made.data.arrays["u_px"]) < len(everything.data.arrays["u_px"]) / 2
    assert "no filter by dyn_prop, invalid_state, which" in made.message


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (lambda xyz: columns(xyz, ambig_state=0), "3 frames, 0 returns a frame; 120 of 120 returns dropped by their states"),
        (lambda xyz: columns(xyz * [1, 1, np.nan]), "120 returns without coordinates (NaN) left out"),
        (lambda xyz: columns(xyz * [-1, 1, 1]), "3 frames, 0 returns a frame; 0 of 120 returns dropped by their states"),
    ],
)
def test_unit_when_no_return_is_left_then_says_where_they_went(tmp_path, write, said):
    made = run(with_radar(tmp_path / "raw", write), tmp_path)
    assert said in made.message
    assert (made.counts["returns"], made.counts["returns_read"]) == (0, 120)


def test_sensor_numbers_when_channels_are_others_then_follow_the_five_in_the_recipes_order(tmp_path):
    assert sensor_names(("RADAR_BACK_LEFT", "RADAR_FRONT")) == RADAR_CHANNELS
    assert sensor_names(("RADAR_LEFT_SIDE", "RADAR_FRONT", "RADAR_TOP"))[5:] == ("RADAR_LEFT_SIDE", "RADAR_TOP")
    root = write_tiny_nuscenes(tmp_path / "raw", scenes=("scene-0061",))
    assert run(root, tmp_path).provenance == {}
    sensors = root / "v1.0-mini/sensor.json"
    sensors.write_text(sensors.read_text().replace("RADAR_FRONT", "RADAR_TOP"))
    made = run(root, tmp_path, channels=("RADAR_TOP",))
    assert set(made.data.arrays["sensor"].tolist()) == {5}
    assert made.provenance["radar_sensors"].endswith("4 RADAR_BACK_RIGHT, 5 RADAR_TOP")


@pytest.mark.parametrize(
    ("channels", "said"),
    [
        (["RADAR_LEFT"], "unknown radar channel 'RADAR_LEFT'; expected some of RADAR_FRONT. Set it to []"),
        (["RADAR_FRONT", "RADAR_LEFT"], "unknown radar channel 'RADAR_LEFT'; expected some of RADAR_FRONT"),
        (["RADAR_BACK_LEFT"], "unknown radar channel 'RADAR_BACK_LEFT'; expected some of RADAR_FRONT"),
        (["RADAR_FRONT", "RADAR_FRONT"], "names 'RADAR_FRONT' twice"),
    ],
)
def test_plan_when_no_scene_has_the_radars_then_is_refused(write_recipe, depthmill, tmp_path, channels, said):
    root = write_tiny_nuscenes(tmp_path / "raw", scenes=("scene-0061",))
    code, text = depthmill("plan", write_recipe(root, stages={"project_radar": {"channels": channels}}))
    assert code == 2
    assert said in text


@pytest.mark.parametrize("stages", [{}, {"project_radar": {"channels": []}}])
def test_plan_when_no_radar_is_asked_for_and_none_is_there_then_has_none(write_recipe, depthmill, tmp_path, stages):
    root = write_tiny_nuscenes(tmp_path / "raw", scenes=("scene-0061",), with_radar=False)
    code, text = depthmill("plan", write_recipe(root, stages=stages))
    assert code == 0
    assert "project_radar  " not in text
    assert ("no radar file, so project_radar makes nothing" in text) == (not stages)


def test_plan_when_radars_have_other_names_and_the_recipe_names_none_then_is_refused(write_recipe, depthmill, tmp_path):
    root = write_tiny_nuscenes(tmp_path / "raw", scenes=("scene-0061",))
    sensors = root / "v1.0-mini/sensor.json"
    sensors.write_text(sensors.read_text().replace("RADAR_FRONT", "RADAR_TOP"))
    code, text = depthmill("plan", write_recipe(root))
    assert code == 2
    assert "unknown radar channel 'RADAR_FRONT'; expected some of RADAR_TOP" in text
