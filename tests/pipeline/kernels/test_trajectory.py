"""Smoothing of a trajectory: what must not change it, what it must take away, and how far it may go."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import expm

from pipeline.geometry import inverse, rigid
from pipeline.kernels.trajectory import exponential, logarithm, smooth
from pipeline.kernels.trajectory_twin import smooth_one

TIMES_US = 10**15 + np.arange(60) * 50_000
RULE = {"half_window_s": 0.15, "degree": 2, "max_m": 0.1, "max_deg": 0.15}


def circle(times_us: np.ndarray, *, speed_mps: float = 12.0, radius_m: float = 20.0, climb_mps: float = 0.3) -> np.ndarray:
    """Poses of a car that turns on a ramp at constant speed, heading along its path."""
    times_s = (times_us - TIMES_US[0]) / 1e6
    yaw = speed_mps / radius_m * times_s
    place = np.stack([500 + radius_m * np.sin(yaw), 900 - radius_m * np.cos(yaw), climb_mps * times_s], axis=1)
    return rigid(place, np.stack([np.cos(yaw / 2), 0 * yaw, 0 * yaw, np.sin(yaw / 2)], axis=1))


def jittered(poses: np.ndarray, seed: int, *, metres: float = 0.01, degrees: float = 0.02) -> np.ndarray:
    rng = np.random.default_rng(seed)
    twist = np.concatenate([rng.normal(0, metres, (len(poses), 3)), np.deg2rad(rng.normal(0, degrees, (len(poses), 3)))], axis=1)
    return poses @ exponential(twist)


def off(poses: np.ndarray, true: np.ndarray) -> tuple[float, float]:
    """Return the root mean square error in metres and degrees."""
    twist = logarithm(inverse(true) @ poses)
    return float(np.sqrt((twist[:, :3] ** 2).sum(1).mean())), float(np.rad2deg(np.sqrt((twist[:, 3:] ** 2).sum(1).mean())))


def test_pose_when_beside_a_straight_line_then_moves_as_worked_out_by_hand():
    poses = np.tile(np.eye(4), (7, 1, 1))
    poses[:, 0, 3] = 10.0 * np.arange(7) * 0.05  # 10 m/s straight on
    poses[3, 1, 3] = 0.07  # one pose lies beside the line
    found = smooth(TIMES_US[:7], poses, TIMES_US[:7], poses, half_window_s=0.15, degree=1, max_m=0.1, max_deg=0.15)
    # of the straight line through seven evenly spaced values the middle is their mean: the pose keeps a seventh
    assert found.world_from_ego[3, 1, 3] == pytest.approx(0.07 / 7)
    assert found.moved_m[3] == pytest.approx(0.06) and found.world_from_ego[3, 0, 3] == pytest.approx(1.5)
    assert found.is_alone.tolist() == [False] * 7  # the first has the three after it, and itself


def test_circle_when_driven_at_constant_speed_then_stays():
    poses = circle(TIMES_US)
    for degree in (1, 2, 3):
        found = smooth(TIMES_US, poses, TIMES_US, poses, **{**RULE, "degree": degree, "half_window_s": 0.3})
        np.testing.assert_allclose(found.world_from_ego, poses, atol=1e-9)
        assert not found.is_beyond.any() and not found.is_alone.any()


def test_jitter_when_smoothed_then_shrinks_and_that_of_the_images_too():
    sweeps_us = TIMES_US[0] + np.arange(600) * 50_000
    true = circle(sweeps_us)
    recorded = jittered(true, 0)
    found = smooth(sweeps_us, recorded, sweeps_us, recorded, **RULE)
    (before_m, before_deg), (after_m, after_deg) = off(recorded, true), off(found.world_from_ego, true)
    assert after_m < 0.75 * before_m and after_deg < 0.75 * before_deg
    image_us = sweeps_us[5:595:10] + 15_000  # between sweeps: its own pose is one of seven
    image, image_true = jittered(circle(image_us), 1), circle(image_us)
    every_us, every = np.concatenate([sweeps_us, image_us]), np.concatenate([recorded, image])
    order = np.argsort(every_us)
    placed = smooth(image_us, image, every_us[order], every[order], **RULE)
    assert off(placed.world_from_ego, image_true)[0] < 0.75 * off(image, image_true)[0]


def test_pose_when_it_jumps_then_stays_and_is_counted():
    poses = circle(TIMES_US)
    poses[30, :3, 3] += [0.0, 0.0, 0.5]
    found = smooth(TIMES_US, poses, TIMES_US, poses, **RULE)
    assert found.is_beyond[30] and not found.is_beyond[40:].any()
    np.testing.assert_array_equal(found.world_from_ego[30], poses[30])
    assert found.moved_m[30] == found.moved_deg[30] == 0.0


def test_poses_when_too_few_are_near_then_stay_and_are_counted():
    times_us = TIMES_US[0] + np.array([0, 100_000, 200_000, 5_000_000])
    poses = jittered(circle(times_us), 2)
    found = smooth(times_us, poses, times_us, poses, **RULE)
    assert found.is_alone.all()
    np.testing.assert_array_equal(found.world_from_ego, poses)
    nothing = smooth(times_us[:0], poses[:0], times_us[:0], poses[:0], **RULE)
    assert nothing.world_from_ego.shape == (0, 4, 4)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    degree=st.integers(1, 3),
    half_window_s=st.floats(0.01, 1.0),
    metres=st.sampled_from([0.0, 0.01, 0.3]),
    max_m=st.floats(0.001, 0.2),
)
def test_smoothing_when_anything_is_recorded_then_is_bounded_as_its_twin_and_does_not_depend_on_the_order(
    seed, degree, half_window_s, metres, max_m
):
    rng = np.random.default_rng(seed)
    times_us = TIMES_US[0] + np.sort(rng.integers(0, 2_000_000, 25))
    poses = jittered(circle(times_us), seed, metres=metres)
    rule = {"half_window_s": half_window_s, "degree": degree, "max_m": max_m, "max_deg": 0.15}
    found = smooth(times_us, poses, times_us, poses, **rule)
    assert (found.moved_m <= max_m).all() and (found.moved_deg <= 0.15).all()
    shift_m = np.linalg.norm(found.world_from_ego[:, :3, 3] - poses[:, :3, 3], axis=1)
    np.testing.assert_allclose(shift_m, found.moved_m, atol=1e-6)
    shuffled = rng.permutation(25)
    again = smooth(times_us[shuffled], poses[shuffled], times_us, poses, **rule)
    np.testing.assert_allclose(again.world_from_ego, found.world_from_ego[shuffled], atol=1e-9)
    for k in range(0, 25, 6):
        expected, done = smooth_one(int(times_us[k]), poses[k], times_us, poses, **rule)
        at_a_bound = abs(np.array([np.linalg.norm(expected[:3, 3] - poses[k, :3, 3]) - max_m])).min() < 1e-6
        if not at_a_bound and done != "beyond":
            np.testing.assert_allclose(found.world_from_ego[k], expected, atol=1e-6)
        assert done == "beyond" or bool(found.is_alone[k]) == (done == "alone")


@settings(max_examples=60, deadline=None)
@given(
    shift=st.tuples(*[st.floats(-50, 50)] * 3),
    axis=st.tuples(*[st.floats(-1, 1)] * 3),
    angle=st.sampled_from([0.0, 1e-9, 1e-7, 1e-5, 1e-3, 0.1, 1.0, 2.5]),
)
def test_logarithm_when_of_an_exponential_then_the_twist_and_the_exponential_is_that_of_the_matrix(shift, axis, angle):
    length = np.linalg.norm(axis)
    turn = np.array([0.0, 0.0, angle]) if length < 1e-3 else np.array(axis) / length * angle
    twist = np.concatenate([shift, turn])
    motion = exponential(twist)
    x, y, z = turn
    matrix = np.zeros((4, 4))
    matrix[:3, :3], matrix[:3, 3] = [[0, -z, y], [z, 0, -x], [-y, x, 0]], shift
    np.testing.assert_allclose(motion, expm(matrix), atol=1e-9)
    np.testing.assert_allclose(logarithm(motion), twist, atol=1e-7)
