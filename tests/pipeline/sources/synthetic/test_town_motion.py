"""How a car of a town drives, and its clocks, beside two real drives of nuScenes mini-val.

Bands hold what real drives show. R404 are 404 radar files of 10 scenes of nuScenes, from whose Doppler the speed of the car was
taken; they are not all at hand. The two drives of shared/data/nuscenes-trajectories are, and tests with `real_data` measure them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.sources.synthetic import SyntheticParams
from pipeline.sources.synthetic.drive import make_drive
from pipeline.sources.synthetic.route import route_along
from pipeline.sources.synthetic.town.motion import PLANS, plan_of
from tests.world_statistics.motion import Course, real_courses, simulated_courses, summary

PARAMS = SyntheticParams(scenes=40, motion="town", clocks="drawn")
SCENES = range(40)
BANDS = {
    # R404: quantiles 0, 0.2, 5.0, 8.6, 12.9 m/s; 25 % of frames stand, 3 of 10 scenes mostly
    "speed q5": (0.0, 0.1),
    "speed q25": (0.0, 0.6),
    "speed q50": (3.5, 6.5),
    "speed q75": (7.0, 10.0),
    "speed q95": (11.0, 14.5),
    "standing": (0.2, 0.3),
    "mostly standing drives": (0.1, 0.4),
    # one of the two drives turns, by 84 degrees; the target sheet asks for 5 % of scenes above 60 degrees
    "drives that turn": (0.03, 0.08),
}
BANDS_AT_HAND = {
    # the two drives: 2.9 degrees/s without a turn, 29.7 with one; pitch 1.0 and 1.9, roll 0.43 and 0.38 degrees
    "yaw rate q90, no turn": (1.5, 4.0),
    "yaw rate q99, turn": (20.0, 38.0),
    "pitch sd": (0.8, 2.0),
    "roll sd": (0.25, 0.6),
    "pitch sd above 0.5 Hz": (0.15, 0.3),
    "roll sd above 0.5 Hz": (0.12, 0.25),
    # key frames 399 to 600 ms apart, a tenth of them not 500; sweeps 47.6 to 52.6 ms, one lost in one of two drives
    "key interval low": (0.39, 0.46),
    "key interval high": (0.54, 0.61),
    "uneven key intervals": (0.03, 0.15),
    "sweep interval q1": (0.047, 0.0497),
    "sweep interval q99": (0.0503, 0.053),
    "lost sweeps a drive": (0.2, 1.0),
    # a radar's key scan is anywhere within half of its period of 77 ms; even in +-38 ms has a deviation of 22 ms
    "radar minus LiDAR low": (-0.041, -0.033),
    "radar minus LiDAR high": (0.033, 0.041),
    "radar minus LiDAR sd": (0.019, 0.025),
    "LiDAR minus camera": (0.034, 0.037),
    "LiDAR minus camera sd": (0.0003, 0.0015),
}


@pytest.fixture(scope="module")
def courses() -> list[Course]:
    return simulated_courses(PARAMS, SCENES)


@pytest.mark.parametrize("figure", [*BANDS, *BANDS_AT_HAND])
def test_motion_when_measured_over_forty_scenes_then_lies_in_the_band_of_real_drives(courses: list[Course], figure: str) -> None:
    low, high = (BANDS | BANDS_AT_HAND)[figure]
    assert low <= summary(courses)[figure] <= high


@pytest.mark.slow
def test_pitch_and_roll_when_the_car_is_on_slopes_then_are_near_those_of_real_drives() -> None:
    """More pitch would tilt the road out of its rows: their depth would then scatter more than that of real frames does."""
    params = PARAMS.model_copy(update={"ground": "graded"})
    found = summary(simulated_courses(params, range(10)))
    bands = {"roll sd": BANDS_AT_HAND["roll sd"], "pitch sd above 0.5 Hz": (0.15, 0.35)}
    for figure, (low, high) in {**bands, "pitch sd": (0.65, 2.0)}.items():
        assert low <= found[figure] <= high, f"{figure} {found[figure]}"


@pytest.mark.real_data
@pytest.mark.parametrize("figure", BANDS_AT_HAND)
def test_motion_when_real_drives_are_measured_then_they_lie_in_the_band_too(shared: Path, figure: str) -> None:
    low, high = BANDS_AT_HAND[figure]
    assert low <= summary(real_courses(shared))[figure] <= high


def test_plans_when_twenty_scenes_follow_each_other_then_each_occurs_as_often_as_listed() -> None:
    for block in range(3):
        assert sorted(plan_of(5, 20 * block + k) for k in range(20)) == sorted(PLANS)
    assert [plan_of(0, k) for k in range(20)] != [plan_of(1, k) for k in range(20)]


@pytest.mark.parametrize("index", range(20))
def test_lane_when_planned_then_reaches_far_beyond_the_drive_and_the_car_keeps_beside_it(index: int) -> None:
    drive = make_drive(PARAMS, index)
    assert drive.lane_m is not None
    steps = np.hypot(*np.diff(drive.lane_m, axis=0).T)
    np.testing.assert_allclose(steps, 1.0, atol=0.01)
    route = route_along(drive.lane_m, drive.lane_start)
    xy = drive.world_from_ego.translations_m[:, :2]
    distance = np.hypot(*(xy[:, None] - route.points_m[None]).transpose(2, 0, 1))
    s = route.s_m[distance.argmin(axis=1)]
    assert s[0] - route.s_m[0] >= 120 and route.s_m[-1] - s.max() >= 280
    assert distance.min(axis=1).max() < 1.7
    forward = drive.world_from_ego.quaternions
    yaw = 2 * np.arctan2(forward[:, 3], forward[:, 0])
    beside = np.rad2deg((yaw - route.yaw_at(s) + np.pi) % (2 * np.pi) - np.pi)
    assert np.abs(beside).max() < 8.0


def test_car_when_it_moves_then_looks_where_it_goes_and_changes_its_speed_as_cars_do() -> None:
    for index in range(20):
        motion = make_drive(PARAMS, index).world_from_ego
        velocity = np.diff(motion.translations_m[:, :2], axis=0) / 0.02
        speed = np.hypot(*velocity.T)
        assert speed.max() <= 15.5
        assert np.abs(np.diff(speed) / 0.02).max() < 4.0
        w, x, y, z = motion.quaternions[:-1].T
        ahead = np.stack([1 - 2 * (y * y + z * z), 2 * (x * y + w * z)], axis=1)
        across = ahead[:, 0] * velocity[:, 1] - ahead[:, 1] * velocity[:, 0]
        assert np.abs(np.arcsin(across / np.maximum(speed, 1.0))).max() < np.deg2rad(3.0)


def test_clocks_when_drawn_then_differ_between_scenes_radars_and_seeds_and_the_same_scene_is_the_same() -> None:
    params = PARAMS.model_copy(update={"radars": ("RADAR_FRONT", "RADAR_BACK_LEFT")})
    first, second = make_drive(params, 0), make_drive(params, 1)
    again = make_drive(params, 0)
    for channel in params.radars:
        np.testing.assert_array_equal(first.radar_us[channel], again.radar_us[channel])
    starts = {(drive.radar_us[c][0] - drive.sweep_us[0]) for drive in (first, second) for c in params.radars}
    assert len(starts) == 4
    paces = [np.diff(drive.radar_us[c]).mean() / 76_923 for drive in (first, second) for c in params.radars]
    assert len(set(paces)) == 4 and all(0.989 < pace < 1.011 for pace in paces)
    assert all(0 <= key < len(first.sweep_us) for key in first.key_sweeps)
    assert (np.diff(first.sweep_us) > 0).all()


def test_clocks_when_drawn_alone_then_the_steady_motion_stays_and_another_switch_changes_no_time() -> None:
    steady = make_drive(SyntheticParams(clocks="drawn"), 0)
    town = make_drive(SyntheticParams(clocks="drawn", motion="town"), 0)
    np.testing.assert_array_equal(steady.sweep_us, town.sweep_us)
    assert steady.lane_m is None and town.lane_m is not None
    speed = np.hypot(*np.diff(steady.world_from_ego.translations_m[:, :2], axis=0).T) / 0.02
    assert 7.5 < speed.min() < speed.max() < 9.5


@pytest.mark.parametrize("seconds", [1.0, 2.0])
def test_motion_and_clocks_when_a_scene_is_short_then_still_have_two_key_frames(seconds: float) -> None:
    for index in range(20):
        drive = make_drive(PARAMS.model_copy(update={"seconds": seconds}), index)
        assert len(drive.key_sweeps) == int(2 * seconds) == len(drive.key_radars["RADAR_FRONT"])
