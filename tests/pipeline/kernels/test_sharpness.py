"""Thickness of the map on other poses, worked out by hand on walls."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.kernels.sharpness import NUM_SWEEPS, sampled_sweeps, thickness

NUM = 20


def walls(seed: int = 0) -> list[np.ndarray]:
    """Sweeps of a sensor at rest that sees two walls: y = 5.5 m and x = 10.5 m, their edges within cubes; exact and random on them."""
    rng = np.random.default_rng(seed)
    sweeps = []
    for _ in range(NUM):
        along, high = rng.uniform(-9.5, 9.5, 20_000), rng.uniform(0.2, 2.8, 20_000)
        one = np.stack([along, np.full(20_000, 5.5), high], axis=1)
        other = np.stack([np.full(20_000, 10.5), along, high], axis=1)
        sweeps.append(np.concatenate([one, other]).astype(np.float32))
    return sweeps


def poses(offset_m: np.ndarray) -> np.ndarray:
    """Poses (n, 4, 4) that are off by (n, 3)."""
    found = np.tile(np.eye(4), (len(offset_m), 1, 1))
    found[:, :3, 3] = offset_m
    return found


def test_thickness_when_every_second_pose_is_off_then_the_deviation_worked_out_by_hand():
    wrong_by = np.where(np.arange(NUM) % 2, 0.05, -0.05)[:, None] * np.array([1.0, 1.0, 0.0])
    found = thickness(walls(), poses(wrong_by), poses(0 * wrong_by))
    assert found.num_cubes > 100
    assert found.given_m == pytest.approx(0.05, rel=0.03)  # half of the returns 5 cm before the wall, half behind it
    assert found.other_m < 1e-6
    turned = thickness(walls(), poses(0 * wrong_by), poses(wrong_by))
    assert turned.given_m < 1e-6 and turned.other_m == pytest.approx(0.05, rel=0.03)  # neither side has an advantage


def test_thickness_when_both_poses_are_equal_then_equal():
    given = poses(np.random.default_rng(1).normal(0, 0.03, (NUM, 3)))
    found = thickness(walls(), given, given)
    assert found.given_m == found.other_m


def test_thickness_when_sweeps_come_in_another_order_then_the_same():
    given, other = (poses(np.random.default_rng(seed).normal(0, 0.03, (NUM, 3))) for seed in (1, 2))
    found = thickness(walls(), given, other)
    order = np.random.default_rng(3).permutation(NUM)
    sweeps = walls()
    again = thickness([sweeps[k] for k in order], given[order], other[order])
    assert again.num_cubes == found.num_cubes
    assert (again.given_m, again.other_m) == pytest.approx((found.given_m, found.other_m), rel=1e-9)


@pytest.mark.parametrize(
    "sweeps",
    [
        pytest.param([np.zeros((0, 3), np.float32)] * 4, id="nothing came back"),
        pytest.param([np.random.default_rng(0).uniform(-30, 30, (5000, 3)).astype(np.float32)] * 4, id="nothing is flat"),
        pytest.param(walls()[:1], id="one sweep"),
    ],
)
def test_thickness_when_too_little_is_flat_then_not_known(sweeps):
    given = poses(np.zeros((len(sweeps), 3)))
    assert np.isnan(thickness(sweeps, given, given).given_m)


def test_sampled_sweeps_when_there_are_many_then_even_and_with_both_ends():
    assert sampled_sweeps(3).tolist() == [0, 1, 2]
    many = sampled_sweeps(391)
    assert len(many) == NUM_SWEEPS and many[0] == 0 and many[-1] == 390
    assert len(sampled_sweeps(0)) == 0 or sampled_sweeps(0).tolist() == [0]
