"""The table that sees no image, worked out by hand."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture(scope="module")
def table(request):
    folder = str(Path(__file__).resolve().parents[2] / "benchmarks")
    sys.path.insert(0, folder)
    request.addfinalizer(lambda: sys.path.remove(folder))
    import table_without_image

    return table_without_image


def test_median_when_pixels_are_measured_in_some_frames_then_of_those_alone(table):
    frames_m = np.array([[[10.0, 0.0, 4.0]], [[30.0, 0.0, 0.0]], [[20.0, 0.0, 8.0]]])
    median = table.median_of_measured((frames_m * 256).astype(np.uint16))
    np.testing.assert_array_equal(median, [[20.0, 0.0, 6.0]])  # of three, of none, and the mean of the middle two


def test_median_when_the_map_is_large_then_that_of_numpy(table):
    rng = np.random.default_rng(0)
    steps = rng.integers(0, 65536, (9, 41, 5)).astype(np.uint16) * (rng.random((9, 41, 5)) < 0.4)
    measured = np.where(steps == 0, np.nan, steps / 256.0)
    expected = np.array(
        [
            [np.median(pixel[~np.isnan(pixel)]) if (~np.isnan(pixel)).any() else 0 for pixel in row]
            for row in measured.transpose(1, 2, 0)
        ]
    )
    np.testing.assert_array_equal(table.median_of_measured(steps.astype(np.uint16)), expected.astype(np.float32))


def test_pixel_when_never_measured_then_takes_the_nearest_that_is(table):
    filled = table.filled_from_nearest(np.array([[5.0, 0.0, 0.0, 9.0], [0.0, 0.0, 0.0, 0.0]], np.float32))
    np.testing.assert_array_equal(filled[0], [5.0, 5.0, 9.0, 9.0])
    assert filled[1, 0] == 5.0 and filled[1, 3] == 9.0
    assert not table.filled_from_nearest(np.zeros((2, 2), np.float32)).any()
