"""The fast ray caster agrees with its plain twin, and knows a few answers by heart."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.sources.synthetic.rays.raycast import GROUND, NOTHING, Primitives, cast_rays, cast_rays_plain


def _random_world(seed: int) -> Primitives:
    rng = np.random.default_rng(seed)
    yaw = rng.uniform(0, 2 * np.pi, 40)
    place = rng.uniform(-60, 60, (40, 2))
    boxes = np.c_[place, rng.uniform(0, 4, 40), rng.uniform(0.3, 8, (40, 3)), np.cos(yaw), np.sin(yaw)]
    cylinders = np.c_[rng.uniform(-60, 60, (30, 2)), rng.uniform(0.05, 0.6, 30), np.zeros(30), rng.uniform(1, 8, 30)]
    ellipsoids = np.c_[rng.uniform(-60, 60, (30, 2)), rng.uniform(2, 6, 30), rng.uniform(0.5, 3, (30, 2))]
    yaw = rng.uniform(0, 2 * np.pi, 60)
    size = np.c_[rng.uniform(1, 12, (60, 2)), rng.uniform(0.1, 0.6, 60)]
    slope = rng.uniform(-0.2, 0.2, (60, 2))
    slabs = np.c_[rng.uniform(-60, 60, (60, 2)), rng.uniform(-0.5, 0.5, 60), size, np.cos(yaw), np.sin(yaw), slope]
    return Primitives(boxes, cylinders, ellipsoids, slabs, ground_m=-0.8)


@pytest.mark.parametrize("seed", range(4))
def test_cast_rays_on_random_worlds_agrees_with_the_plain_twin(seed: int) -> None:
    world = _random_world(seed)
    rng = np.random.default_rng(100 + seed)
    directions = rng.normal(size=(5000, 3)) * [1.0, 1.0, 0.25]
    origin = np.array([*rng.uniform(-20, 20, 2), 1.7])
    fast_m, fast_hit = cast_rays(world, origin, directions, limit=80.0)
    plain_m, plain_hit = cast_rays_plain(world, origin, directions, limit=80.0)
    np.testing.assert_array_equal(fast_hit, plain_hit)
    np.testing.assert_allclose(fast_m, plain_m, rtol=1e-9, atol=1e-9)
    assert len(np.unique(fast_hit)) > 20


@pytest.mark.parametrize("narrow_deg", [3.0, 40.0, 100.0])
def test_cast_rays_of_a_narrow_view_steep_and_upright_agree_with_the_plain_twin(narrow_deg: float) -> None:
    """Bins are filled only towards the rays, and the steepest rises share a bin."""
    world = _random_world(7)
    rng = np.random.default_rng(8)
    azimuth, rise = np.deg2rad(rng.uniform(-narrow_deg / 2, narrow_deg / 2, 3000)) + 2.0, rng.uniform(-4.0, 2.0, 3000)
    directions = np.stack([np.cos(azimuth), np.sin(azimuth), rise], axis=1) * rng.uniform(0.5, 2.0, (3000, 1))
    directions[:2] = [[0.0, 0.0, -1.0], [0.0, 0.0, 1.0]]
    origin = np.array([3.0, -4.0, 6.5])
    fast_m, fast_hit = cast_rays(world, origin, directions, limit=70.0)
    plain_m, plain_hit = cast_rays_plain(world, origin, directions, limit=70.0)
    np.testing.assert_array_equal(fast_hit, plain_hit)
    np.testing.assert_allclose(fast_m, plain_m, rtol=1e-9, atol=1e-9)


def test_cast_rays_onto_a_sloping_slab_meet_its_plane_and_its_upright_sides() -> None:
    slab = np.array([[10.0, 0.0, 0.0, 5.0, 3.0, 0.25, 1.0, 0.0, 0.1, 0.0]])  # 4 to 14 m ahead, rising by 10 %
    nothing = np.empty((0, 5))
    world = Primitives(np.empty((0, 8)), nothing, nothing, slab, ground_m=-50.0)
    down = np.array([[0.0, 0.0, -1.0]])
    for x, top in ((6.0, -0.15), (10.0, 0.25), (14.0, 0.65)):
        distance, hit = cast_rays(world, np.array([x, 0.0, 5.0]), down, limit=100.0)
        assert hit[0] == 1
        assert distance[0] == pytest.approx(5.0 - top)
    distance, hit = cast_rays(world, np.array([0.0, 0.0, -0.5]), np.array([[1.0, 0.0, 0.0]]), limit=100.0)
    assert (distance[0], hit[0]) == (pytest.approx(5.0), 1)
    assert cast_rays(world, np.array([10.0, 3.5, 5.0]), down, limit=100.0)[1][0] == GROUND  # the plane 50 m below


def test_cast_rays_in_an_empty_world_meets_the_ground_or_nothing() -> None:
    empty = Primitives(np.empty((0, 8)), np.empty((0, 5)), np.empty((0, 5)))
    directions = np.array([[1.0, 0.0, -0.1], [1.0, 0.0, 0.1], [1.0, 0.0, -0.001]])
    distance, hit = cast_rays(empty, np.array([0.0, 0.0, 1.5]), directions, limit=100.0)
    np.testing.assert_array_equal(hit, [GROUND, NOTHING, NOTHING])
    np.testing.assert_allclose(distance, [15.0, np.inf, np.inf])


def test_cast_rays_with_unnormalised_directions_returns_depth() -> None:
    wall = np.array([[30.0, 0.0, 5.0, 1.0, 50.0, 5.0, 1.0, 0.0]])
    world = Primitives(wall, np.empty((0, 5)), np.empty((0, 5)))
    directions = np.array([[1.0, 0.0, 0.0], [1.0, 0.7, 0.1]])
    distance, _ = cast_rays(world, np.array([0.0, 0.0, 1.5]), directions, limit=255.0)
    np.testing.assert_allclose(distance, 29.0)
