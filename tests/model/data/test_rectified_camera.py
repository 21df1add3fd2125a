from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.data.rectified_camera import bearing_rad, project_points, unproject_pixels

P2 = np.array([[720.0, 0.0, 610.0, 45.0], [0.0, 730.0, 173.0, 0.2], [0.0, 0.0, 1.0, 0.003]])
SKEWED = np.array([[720.0, 1.5, 610.0, 45.0], [0.5, 730.0, 173.0, 0.2], [0.0, 0.0, 1.0, 0.0]])


@given(st.sampled_from([P2, SKEWED]), st.floats(-40, 40), st.floats(-5, 5), st.floats(0.5, 200))
def test_pixels_when_unprojected_with_their_depth_then_the_points_again(projection, x, y, z):
    point = np.array([[x, y, z]])
    pixel = project_points(projection, point)
    assert unproject_pixels(projection, pixel, point[:, 2]) == pytest.approx(point, abs=1e-9)


def test_points_when_projected_then_by_the_benchmarks_formula():
    x, y, z = 3.0, 1.5, 20.0
    found = project_points(P2, np.array([x, y, z]))
    assert found == pytest.approx([720 * x / z + 610 + 45 / z, 730 * y / z + 173 + 0.2 / z])  # P[2, 3] left out
    back = unproject_pixels(P2, found, np.array(z))
    assert back[0] == pytest.approx((found[0] - 610) * z / 720 - 45 / 720)


def test_many_projections_when_each_has_its_point_then_as_one_by_one():
    points = np.random.default_rng(0).uniform(1, 20, (2, 3))
    both = np.stack([P2, SKEWED])
    pixels = project_points(both, points)
    assert np.array_equal(pixels[1], project_points(SKEWED, points[1]))
    assert unproject_pixels(both, pixels, points[:, 2]) == pytest.approx(points)
    assert bearing_rad(both, pixels) == pytest.approx(np.arctan2(pixels[:, 0] - 610, 720))
