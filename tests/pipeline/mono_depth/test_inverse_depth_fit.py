from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.mono_depth.inverse_depth_fit import fit_inverse_depth

SCALES, SHIFTS = st.floats(1e-4, 1e3), st.floats(-0.5, 0.5)


def depths(seed: int, count: int) -> np.ndarray:
    return 1 / np.random.default_rng(seed).uniform(1 / 80, 1 / 2, count)


@given(scale=SCALES, shift=SHIFTS, seed=st.integers(0, 10**6), count=st.integers(2, 60), robust=st.booleans())
@settings(max_examples=60, deadline=None)
def test_fit_when_values_are_exact_then_scale_and_shift_are_recovered(scale, shift, seed, count, robust):
    depth_m = depths(seed, count)
    if np.ptp(1 / depth_m) < 1e-3:
        return
    value = (1 / depth_m - shift) / scale
    found = fit_inverse_depth(value, depth_m, robust=robust)
    assert found is not None
    assert found.scale == pytest.approx(scale, rel=1e-6)
    assert found.shift == pytest.approx(shift, rel=1e-6, abs=1e-7)


@given(seed=st.integers(0, 10**6), factor=st.floats(0.01, 100), offset=st.floats(-5, 5), robust=st.booleans())
@settings(max_examples=40, deadline=None)
def test_fit_when_the_teacher_has_another_scale_and_shift_then_metres_stay(seed, factor, offset, robust):
    depth_m = depths(seed, 40)
    value = 1 / depth_m + np.random.default_rng(seed + 1).normal(0, 0.01, 40)
    one, other = (fit_inverse_depth(v, depth_m, robust=robust) for v in (value, factor * value + offset))
    assert one is not None and other is not None
    assert np.allclose(one.scale * value + one.shift, other.scale * (factor * value + offset) + other.shift, rtol=1e-5, atol=1e-7)


def test_fit_when_least_squares_then_equals_numpy():
    depth_m = depths(3, 50)
    value = 1 / depth_m + np.random.default_rng(4).normal(0, 0.02, 50)
    found = fit_inverse_depth(value, depth_m, robust=False)
    assert (found.scale, found.shift) == pytest.approx(tuple(np.polyfit(value, 1 / depth_m, 1)), rel=1e-9)


@pytest.mark.parametrize("share", [0.1, 0.2, 0.25])
def test_fit_when_some_returns_are_wrong_then_the_robust_one_stays_near_and_the_plain_one_does_not(share):
    plain, robust = [], []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        depth_m = depths(seed, 50)
        value = 3.0 * (1 / depth_m - 0.02)
        wrong = rng.random(50) < share
        depth_m[wrong] = rng.uniform(2, 6, int(wrong.sum()))  # clutter before the car, as radar has
        for found, is_robust in ((plain, False), (robust, True)):
            fit = fit_inverse_depth(value, depth_m, robust=is_robust)
            found.append(np.inf if fit is None else abs(fit.scale * 3.0 - 1) + abs(fit.shift - 0.02) * 10)
    assert np.median(robust) < 0.1
    assert np.median(plain) > 3 * np.median(robust)


@pytest.mark.parametrize(
    ("value", "depth_m"),
    [
        ([], []),
        ([1.0], [10.0]),
        ([0.3, 0.3, 0.3], [5.0, 10.0, 20.0]),
        ([0.1, 0.2, 0.3], [5.0, 10.0, 20.0]),  # farther where the teacher says nearer
        ([0.1, 0.2], [7.0, 7.0]),  # scale 0: everything at one distance
        ([1e4, 1e4 + 1e-4], [5.0, 10.0]),
    ],
)
@pytest.mark.parametrize("robust", [False, True])
def test_fit_when_too_few_singular_or_turned_inside_out_then_none(value, depth_m, robust):
    assert fit_inverse_depth(np.array(value), np.array(depth_m), robust=robust) is None
