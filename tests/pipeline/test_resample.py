from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.resample import resize_bilinear, resize_nearest, short_side_grid


@given(rows=st.integers(1, 9), columns=st.integers(1, 9), more=st.tuples(st.integers(0, 20), st.integers(0, 20)))
@settings(max_examples=40, deadline=None)
def test_bilinear_when_enlarged_then_equals_torch_without_aligned_corners(rows, columns, more):
    values = np.random.default_rng(rows * 10 + columns).random((rows, columns), np.float32)
    shape = (rows + more[0], columns + more[1])
    expected = torch.nn.functional.interpolate(torch.from_numpy(values)[None, None], shape, mode="bilinear", align_corners=False)
    assert np.allclose(resize_bilinear(values, shape), expected[0, 0].numpy(), atol=1e-5)


def test_bilinear_when_shrunk_then_every_pixel_counts():
    values = np.zeros((40, 60), np.float32)
    values[:, 31] = 1.0  # one column wide
    assert resize_bilinear(values, (4, 6))[:, 3].min() > 0.05


def test_nearest_when_enlarged_then_cells_are_whole_and_rows_stay_rows():
    values = np.array([[1, 2, 3], [4, 5, 6]])
    assert np.array_equal(resize_nearest(values, (4, 9)), values.repeat(2, 0).repeat(3, 1))


def test_grid_when_the_image_is_smaller_than_the_short_side_then_it_is_the_image():
    assert short_side_grid(900, 1600, 384) == (384, 683)
    assert short_side_grid(1600, 900, 384) == (683, 384)
    assert short_side_grid(36, 64, 384) == (36, 64)
