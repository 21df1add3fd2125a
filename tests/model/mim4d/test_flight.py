from __future__ import annotations

import numpy as np
import pytest

from model.mim4d.flight import AHEAD_M, ASIDE_M, LONGEST_DRIVE_M, LOOK_AT_M, flight_poses, forward_camera
from tests.model.mim4d.made_up_clips import YAWS_DEG, pose
from tests.model.mim4d.made_up_rig import cam_from_rig


def path(*places: tuple[float, float]) -> np.ndarray:
    """Poses (T, 4, 4) at (metres ahead, yaw), in a world that is turned and far away."""
    world = pose(1000.0, 0.7).double().numpy()
    world[1, 3] = -300.0
    return np.stack([world @ pose(*place).double().numpy() for place in places])


def test_flight_when_the_vehicle_drove_then_along_its_path_and_once_around():
    found = flight_poses(path((0.0, 0.0), (-2.0, 0.0), (-6.0, 0.0)), 24)
    assert found.shape == (24, 4, 4)
    drive, loop = found[:12], found[12:]
    np.testing.assert_allclose(drive[:, 0, 3], np.linspace(-6.0, 0.0, 12), atol=1e-9)  # at one speed, whatever the frames' was
    np.testing.assert_allclose(drive[:, 1:3, 3], 0.0, atol=1e-9)
    np.testing.assert_allclose(loop[-1], np.eye(4), atol=1e-9)
    assert loop[:, 0, 3].max() == pytest.approx(2 * AHEAD_M) and loop[:, 1, 3].max() == pytest.approx(ASIDE_M)
    assert loop[:, 1, 3].min() == pytest.approx(-ASIDE_M)


def test_flight_when_on_the_path_then_turned_as_the_vehicle_was():
    found = flight_poses(path((0.0, 0.0), (-1.0, 0.2), (-2.0, 0.4)), 10)
    yaw = np.arctan2(found[:5, 1, 0], found[:5, 0, 0])
    np.testing.assert_allclose(yaw, np.linspace(0.4, 0.0, 5), atol=1e-9)


def test_flight_when_in_the_loop_then_looks_at_one_point():
    for one in flight_poses(path((0.0, 0.0)), 7):
        target = np.linalg.inv(one) @ np.array([LOOK_AT_M, 0.0, 0.0, 1.0])
        assert target[0] > 5 and abs(target[1]) < 1e-9 and abs(target[2]) < 1e-9
        np.testing.assert_allclose(one[:3, :3] @ one[:3, :3].T, np.eye(3), atol=1e-12)


@pytest.mark.parametrize("places", [[(0.0, 0.0)], [(0.0, 0.0), (-0.1, 0.0)], [(0.0, 0.0), (0.0, 0.0), (0.0, 0.0)]])
def test_flight_when_the_vehicle_stood_still_then_only_the_loop(places):
    found = flight_poses(path(*places), 8)
    np.testing.assert_allclose(found, flight_poses(path((5.0, 0.3)), 8), atol=1e-9)
    assert found[0, 1, 3] > 0.5


def test_flight_when_the_vehicle_was_fast_then_only_the_last_metres():
    found = flight_poses(path((0.0, 0.0), (-20.0, 0.0), (-20.0, 0.0), (-40.0, 0.0)), 20)
    assert found[0, 0, 3] == pytest.approx(-LONGEST_DRIVE_M)


@pytest.mark.parametrize("num_frames", [0, 1, 2])
def test_flight_when_short_then_as_many_pictures(num_frames):
    assert flight_poses(path((0.0, 0.0), (-3.0, 0.0)), num_frames).shape == (num_frames, 4, 4)


def test_forward_camera_when_there_are_six_then_the_one_that_looks_ahead():
    for first in range(6):
        yaws = np.roll(YAWS_DEG, first)
        cameras = np.stack([cam_from_rig(yaw, (0.0, 0.0, 1.5)).numpy() for yaw in yaws.tolist()])
        assert yaws[forward_camera(cameras)] == 0.0
