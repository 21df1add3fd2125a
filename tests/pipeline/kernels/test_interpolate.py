from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.kernels.interpolate import fill_triangles, fill_triangles_plain, triangulate

HEIGHT, WIDTH = 24, 40


def pixels(seed: int, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    rows, columns = np.divmod(np.sort(rng.choice(HEIGHT * WIDTH, count, replace=False)), WIDTH)
    return columns, rows, rng.uniform(1, 80, count)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10_000), count=st.integers(3, 60))
def test_fill_when_compared_with_the_plain_twin_then_agrees_pixel_by_pixel(seed, count):
    columns, rows, values = pixels(seed, count)
    triangles = triangulate(columns, rows)
    fast, plain = np.zeros((HEIGHT, WIDTH)), np.zeros((HEIGHT, WIDTH))
    fill_triangles(columns, rows, values, triangles, fast)
    fill_triangles_plain(columns, rows, values, triangles, plain)
    np.testing.assert_array_equal(fast > 0, plain > 0)
    np.testing.assert_allclose(fast, plain, rtol=1e-9)


def test_fill_when_compared_with_scipy_then_agrees_inside_the_hull_and_is_empty_outside():
    from scipy.interpolate import LinearNDInterpolator
    from scipy.spatial import Delaunay

    columns, rows, values = pixels(7, 90)
    triangulation = Delaunay(np.stack([columns, rows], axis=1).astype(float))
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    theirs = LinearNDInterpolator(triangulation, values, fill_value=0.0)(x, y)
    ours = np.zeros((HEIGHT, WIDTH))
    fill_triangles(columns, rows, values, triangulation.simplices, ours)
    inside = theirs > 0
    np.testing.assert_allclose(ours[inside], theirs[inside], rtol=1e-9)
    assert (
        np.count_nonzero(ours[~inside]) <= 0.01 * ours.size
    )  # scipy drops pixels on the hull's edge that its rounding puts outside


@pytest.mark.parametrize("points", [[(3, 4)], [(3, 4), (9, 4)], [(1, 1), (2, 2), (5, 5)], [(7, 0), (7, 3), (7, 20)]])
def test_triangulate_when_pixels_span_no_area_then_there_are_no_triangles(points):
    columns, rows = np.array(points).T
    assert triangulate(columns, rows).shape == (0, 3)
