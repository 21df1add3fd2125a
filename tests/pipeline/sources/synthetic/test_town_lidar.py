"""LiDAR files as nuScenes writes them: every slot in firing order, own car, empty slots, noise, motion within the turn."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import pytest

from pipeline.sources.synthetic import SyntheticParams, simulate
from pipeline.sources.synthetic.actors import Material, Surface
from pipeline.sources.synthetic.drive import make_drive
from pipeline.sources.synthetic.ground import on_ground
from pipeline.sources.synthetic.lidar.slots import NUM_SECTORS, TURN_US, Turn, own_car_m, scan, slot_directions, spinning
from pipeline.sources.synthetic.rays.raycast import Primitives
from pipeline.sources.synthetic.rig import LIDAR, build_rig
from pipeline.sources.synthetic.rigid import Pose
from pipeline.sources.synthetic.solids import Solids
from pipeline.sources.synthetic.world import make_world
from tests.world_statistics import lidar
from tests.world_statistics.sensor_frames import SensorFrame, read_rows, real_frames, simulated_frames

# Real: KF = the only file with ring and intensity (nuscenes-keyframe); R5 = five key frames (nuscenes-five-frames)
BANDS: Final = {
    "near_share": (0.2, 0.27),  # KF 0.23, R5 mean 0.21 and up to 0.26
    "returns": (21_400, 26_800),  # R5 21.4 to 26.8 thousand
    "range_q5": (3.0, 4.6),  # R5 3.2, KF 4.1
    "range_q25": (4.7, 6.4),  # R5 4.9, KF 5.8
    "range_q50": (7.8, 10.2),  # R5 8.3, KF 9.4
    "range_q75": (15.0, 21.0),  # R5 17, KF 18.8
    "range_q95": (37.0, 50.0),  # R5 40, KF 45
    "beyond_30m": (0.09, 0.135),  # R5 0.103, KF 0.127
}
INTENSITY: Final = {
    "intensity_q5": (1.0, 4.0),  # KF 3
    "intensity_q25": (5.0, 9.0),  # KF 7
    "intensity_q50": (9.0, 15.0),  # KF 12
    "intensity_q75": (18.0, 30.0),  # KF 24
    "intensity_q95": (45.0, 75.0),  # KF 60
    "intensity_q99": (75.0, 130.0),  # KF 89
    "intensity_max": (240.0, 255.0),  # KF 251
    "intensity_bright": (0.002, 0.02),  # KF 0.004
}
# shares of a ring's rows nearer than 1 m: own car, or no echo. KF 0.82, 0.47, at most 0.05, and 0.33; the town loses more on panes
RINGS: Final = {"ring 0": (0.6, 1.0), "ring 4": (0.3, 0.6), "most of rings 8 to 16": (0.0, 0.12), "rings 24 to 31": (0.3, 0.45)}
ROAD_NOISE_M: Final = ((0.003, 0.006), (0.006, 0.018))  # median, 90 %: KF 3.6 and 10 mm, R5 4.8 and up to 18 mm
AIRBORNE: Final = (0.0, 8.0)  # lone returns behind the car a sweep: R5 0 to 4


@pytest.fixture(scope="module")
def town() -> list[SensorFrame]:
    """Return three key frames of each of eight dry scenes of a town."""
    params = SyntheticParams(scenes=10, seconds=5.5, world="town", image_size=(800, 450))
    return [frame for index in (0, 1, 2, 4, 5, 6, 7, 9) for frame in simulated_frames(params, index, every=5)]


@pytest.fixture(scope="module")
def sweeps(town: list[SensorFrame]) -> list[np.ndarray]:
    return [frame.rows for frame in town if frame.rows is not None]


@pytest.fixture(scope="module")
def measured(sweeps: list[np.ndarray]) -> dict[str, float]:
    return lidar.of_sweeps(sweeps)


@pytest.fixture(scope="module")
def near_share(sweeps: list[np.ndarray]) -> np.ndarray:
    return lidar.near_share_of_rings(sweeps)


def test_lidar_of_a_town_when_a_file_is_read_then_holds_every_slot_in_firing_order() -> None:
    params = SyntheticParams(scenes=1, seconds=1.0, world="town", image_size=(64, 36))
    sweeps = [frame.rows for frame in simulated_frames(params, 0) if frame.rows is not None]
    assert {len(rows) for rows in sweeps} == {32 * 1084}
    assert all(lidar.in_firing_order(rows) for rows in sweeps)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*BANDS, *INTENSITY])
def test_lidar_of_a_town_when_its_rows_are_measured_then_lie_in_the_band_of_real_files(
    measured: dict[str, float], name: str
) -> None:
    low, high = {**BANDS, **INTENSITY}[name]
    assert low <= measured[name] <= high


@pytest.mark.slow
@pytest.mark.parametrize("rings", RINGS)
def test_lidar_of_a_town_when_slots_have_no_echo_then_lie_on_the_rings_where_real_ones_do(
    near_share: np.ndarray, rings: str
) -> None:
    low, high = RINGS[rings]
    assert low <= of_rings(near_share)[rings] <= high


def of_rings(share: np.ndarray) -> dict[str, float]:
    """Return the figures of `RINGS` of the share (32,) of each ring."""
    return dict(zip(RINGS, (float(share[0]), float(share[4]), float(share[8:17].max()), float(share[24:].mean())), strict=True))


@pytest.mark.slow
def test_lidar_of_a_town_when_it_looks_along_the_road_then_ranges_are_as_smooth_as_real_ones(sweeps: list[np.ndarray]) -> None:
    noise = np.median([lidar.road_noise_m(rows) for rows in sweeps], axis=0)
    assert all(low <= value <= high for value, (low, high) in zip(noise, ROAD_NOISE_M, strict=True))


@pytest.mark.slow
def test_lidar_of_a_town_when_it_is_dry_then_little_hangs_in_the_air_behind_the_car(sweeps: list[np.ndarray]) -> None:
    behind = [lidar.airborne(rows)[1] for rows in sweeps]
    assert AIRBORNE[0] <= np.mean(behind) <= AIRBORNE[1]


@pytest.mark.slow
def test_lidar_of_a_town_when_it_rains_then_returns_are_darker_and_the_wake_is_full_of_spray(sweeps: list[np.ndarray]) -> None:
    params = SyntheticParams(scenes=10, seconds=1.5, world="town", image_size=(800, 450))
    rain = [frame.rows for frame in simulated_frames(params, 3) if frame.rows is not None]
    dry, wet = lidar.of_sweeps(sweeps), lidar.of_sweeps(rain)
    assert wet["intensity_q50"] < 0.7 * dry["intensity_q50"]
    assert np.mean([lidar.airborne(rows)[1] for rows in rain]) > 50


@pytest.mark.real_data
def test_real_lidar_when_measured_the_same_way_then_lies_in_the_bands(shared: Path) -> None:
    key_frame = read_rows(next((shared / "data/nuscenes-keyframe/samples/LIDAR_TOP").glob("*.bin")))
    five = [frame.rows for frame in real_frames(shared / "data/nuscenes-five-frames") if frame.rows is not None]
    figures = lidar.of_sweeps([key_frame])
    assert lidar.in_firing_order(key_frame)
    assert all(low <= figures[name] <= high for name, (low, high) in {**BANDS, **INTENSITY}.items())
    rings = of_rings(lidar.near_share_of_rings([key_frame]))
    assert all(low <= rings[name] <= high for name, (low, high) in RINGS.items())
    several = lidar.of_sweeps(five)
    assert all(low <= several[name] <= high for name, (low, high) in BANDS.items())
    noise = np.median([lidar.road_noise_m(rows) for rows in five], axis=0)
    assert all(low <= value <= high for value, (low, high) in zip(noise, ROAD_NOISE_M, strict=True))
    assert AIRBORNE[0] <= np.mean([lidar.airborne(rows)[1] for rows in five]) <= AIRBORNE[1]


@pytest.mark.parametrize(("world", "num_rays"), [("street", 400), ("town", 15)])
def test_turning_hits_when_the_car_and_the_traffic_move_then_agree_with_the_plain_twin(world: str, num_rays: int) -> None:
    params = SyntheticParams(scenes=4, seconds=2.0, world=world, lidar="nuscenes", image_size=(64, 36))
    plan = make_drive(params, 2)
    town = make_world(params, plan, 2)
    drive = on_ground(plan, town)
    sensor = build_rig(params.cameras, radars=params.radars, image_size=(64, 36), calibration=None)[LIDAR]
    time_us = int(drive.sweep_us[10])
    times = np.linspace(time_us - TURN_US, time_us, NUM_SECTORS + 1).astype(int)
    turn = Turn(tuple(drive.world_from_ego.at(int(t)) @ sensor.ego_from_sensor for t in times))
    speeds = simulate.world_velocities(town, time_us) + np.array([3.0, -2.0, 0.4])
    spun = spinning(town.at(time_us), turn, actor_velocities_mps=speeds, azimuth_steps=360)
    slots = np.random.default_rng(0).choice(360 * 32, num_rays, replace=False)
    directions = slot_directions(360)[slots]
    fast = spun.hits(slots // 32, directions)
    plain_m, plain_hit = spun.hits_plain(slots // 32, directions)
    np.testing.assert_array_equal(fast.hit, plain_hit)
    np.testing.assert_allclose(fast.distance_m, plain_m, rtol=1e-9, atol=1e-9)
    assert len(np.unique(plain_hit)) > min(10, num_rays // 3)


def _bare_turn(*, ego_mps: float, wall_mps: float) -> np.ndarray:
    """Return the rows of one turn before a wall 20 m ahead at the stamp, from a car that drives towards it, without noise."""
    wall = np.array([[0.0, 20.5, 0.0, 30.0, 0.5, 10.0, 1.0, 0.0]])
    materials = np.array([Material.GROUND, Material.BUILDING])
    solids = Solids(
        Primitives(wall, np.empty((0, 5)), np.empty((0, 5)), ground_m=-50.0),
        materials, np.full((2, 3), 0.5), np.array([Surface.STATIC, Surface.MOVING], np.uint8), np.array([-1, 0]),
    )  # fmt: skip
    level = np.array([1.0, 0.0, 0.0, 0.0])
    poses = tuple(
        Pose(level, np.array([0.0, -ego_mps * ago_s, 0.0])) for ago_s in np.linspace(TURN_US * 1e-6, 0.0, NUM_SECTORS + 1)
    )
    return scan(
        solids, Turn(poses), actor_velocities_mps=np.array([[0.0, wall_mps, 0.0]]), azimuth_steps=360,
        laser_bias_m=np.zeros(32), spray=0.0, is_rain=False, rng=np.random.default_rng(1),
    )  # fmt: skip


def test_slots_when_only_the_car_moves_then_a_wall_stays_flat_and_empty_slots_lie_on_the_way_driven() -> None:
    rows = _bare_turn(ego_mps=10.0, wall_mps=0.0)
    np.testing.assert_allclose(rows[np.abs(rows[:, 1] - 20.0) < 1.0, 1], 20.0, atol=0.06)  # 4 mm of noise, seen at a slant
    empty = rows[(np.abs(rows[:, 0]) < 1e-4) & (np.abs(rows[:, 2]) < 1e-4)]
    assert len(empty) > 1000 and empty[:, 1].min() == pytest.approx(-0.5, abs=0.01) and empty[:, 1].max() <= 1e-6
    assert (np.diff(empty[:, 1]) >= -1e-6).all()  # firing by firing, up to the stamp


def test_slots_when_a_thing_moves_then_it_is_smeared_over_the_way_it_makes_in_a_turn() -> None:
    rows = _bare_turn(ego_mps=0.0, wall_mps=10.0)
    seen = rows[np.abs(rows[:, 1] - 20.0) < 1.0]
    left, right = seen[seen[:, 0] < -15.0, 1].mean(), seen[seen[:, 0] > 15.0, 1].mean()
    assert left < right - 0.05  # the turn starts at the left, when the wall was nearer
    assert seen[:, 1].max() < 20.05 and seen[:, 1].min() > 19.45


def test_own_car_when_seen_from_the_scanner_then_blocks_the_low_rings_as_in_the_real_file() -> None:
    blocked = (own_car_m(1084).reshape(-1, 32) < 2.5).mean(axis=0)
    # KF, own car only: 0.69, 0.62, 0.58, 0.52, 0.47, 0.39, 0.31, 0.15, 0.04
    real = np.array([0.69, 0.62, 0.58, 0.52, 0.47, 0.39, 0.31, 0.15, 0.04])
    assert np.abs(blocked[:9] - real).max() < 0.13
    assert blocked[12:].max() == 0.0


def test_annotation_counts_when_rows_of_the_own_car_lie_in_a_box_then_leave_them_out(tmp_path: Path) -> None:
    """Empty slots and the own car lie within a metre of the scanner: a box there, which no real one is, holds none of them."""
    params = SyntheticParams(scenes=1, seconds=1.0, lidar="nuscenes", image_size=(64, 36), lidar_azimuth_steps=90)
    drive = make_drive(params, 0)
    world = make_world(params, drive, 0)
    rig = build_rig(params.cameras, radars=params.radars, image_size=(64, 36), calibration=None)
    counted = simulate._record_lidar(params, drive, world, rig[LIDAR], tmp_path, 0)
    for key, points in zip(drive.key_sweeps, counted, strict=True):
        scanner = (drive.world_from_ego.at(int(drive.sweep_us[key])) @ rig[LIDAR].ego_from_sensor).translation_m
        assert np.linalg.norm(points - scanner, axis=1).min() > 1.0
        file = next(tmp_path.rglob(f"*{drive.sweep_us[key]}.pcd.bin"))
        near = lidar.ranges(read_rows(file)) < 1.0
        assert 0.1 < near.mean() < 0.5 and len(points) == (~near).sum()


@pytest.mark.parametrize("lidar_kind", ["plain", "nuscenes"])
def test_spray_when_it_grows_then_more_beams_return_from_the_air_behind_the_car(lidar_kind: str) -> None:
    behind = []
    for spray in (0.0, 0.2, 0.6):
        params = SyntheticParams(scenes=1, seconds=1.0, lidar=lidar_kind, spray=spray, image_size=(64, 36))
        rows = next(simulated_frames(params, 0)).rows
        assert rows is not None
        behind.append(lidar.airborne(rows)[1])
    assert behind[0] < 10 and 80 < behind[1] < behind[2]


def test_lidar_slots_when_simulated_again_then_are_the_same_bytes() -> None:
    params = SyntheticParams(scenes=2, seconds=1.0, lidar="nuscenes", lidar_azimuth_steps=90, image_size=(64, 36))
    first, second = ([frame.rows for frame in simulated_frames(params, 1)] for _ in range(2))
    assert [rows.tobytes() for rows in first if rows is not None] == [rows.tobytes() for rows in second if rows is not None]
