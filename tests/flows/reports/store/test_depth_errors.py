from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from flows.reports.store import depth_errors
from storage_schemas.catalog import SURFACES
from tests.flows.reports.store.made_up_report import (
    DEPTHS,
    NUM_FRAMES,
    fabricated_maps,
    plainly,
    same_as_plainly,
)


def test_compare_with_truth_when_counted_plainly_then_equal_in_total_and_in_every_group():
    maps = fabricated_maps(3)
    before, after, truth, surface = (maps[name] for name in (*DEPTHS[1:], "surface"))
    found = depth_errors.compare_with_truth(before, after, truth, surface)
    assert same_as_plainly(found.total, plainly(before, after, truth))
    for number, name in enumerate(SURFACES[1:], start=1):
        own = surface == number
        assert same_as_plainly(found.by_surface[name], plainly(before[own], after[own], truth[own]))
    for name, low, high in zip(depth_errors.RANGES, (0, 20, 40, 80), (20, 40, 80, 999), strict=False):
        own = (truth > 0) & (truth >= low * 256) & (truth < high * 256)
        assert same_as_plainly(found.by_range[name], plainly(before[own], after[own], truth[own]))
    assert found.by_range["sky"].before.gross_share == 1.0


def test_compare_with_truth_when_frames_are_added_then_equals_all_at_once():
    maps = fabricated_maps(4)
    stack = [maps[name] for name in (*DEPTHS[1:], "surface")]
    parts = [depth_errors.compare_with_truth(*(values[frame] for values in stack)) for frame in range(NUM_FRAMES)]
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    whole = depth_errors.compare_with_truth(*stack)
    for group, want in [(total.total, whole.total), *((total.by_range[name], whole.by_range[name]) for name in whole.by_range)]:
        assert np.array_equal(group.before.error_counts, want.before.error_counts)
        assert (group.num_good_lost, group.after.num_gross) == (want.num_good_lost, want.after.num_gross)


@pytest.mark.parametrize(
    ("depth_m", "truth_m", "expected"),
    [
        (40, 50, False),
        (39.9, 50, True),
        (110, 120, False),
        (131, 120, False),
        (133, 120, True),
        (5, 0, True),
        (0, 0, False),
        (0, 50, False),
    ],
)
def test_is_gross_when_at_the_border_then_both_conditions_must_exceed(depth_m, truth_m, expected):
    steps, truth = np.array([depth_m * 256], np.uint16), np.array([truth_m * 256], np.uint16)
    assert depth_errors.is_gross(steps, truth)[0] == expected


@settings(max_examples=50, deadline=None)
@given(arrays.arrays(np.uint16, st.integers(1, 40)), st.data())
def test_median_error_when_any_values_then_equals_numpy(steps, data):
    truth = data.draw(arrays.arrays(np.uint16, steps.shape))
    seen = (steps > 0) & (truth > 0)
    want = np.median(abs(steps.astype(int) - truth)[seen]) / 256 if seen.any() else np.nan
    found = depth_errors.compare_with_truth(steps, steps, truth).total
    assert found.before.median_error_m == pytest.approx(want, nan_ok=True)
    assert found.num_good_lost == found.num_gross_removed == 0


def test_compare_with_truth_when_shapes_differ_then_the_error_names_them():
    with pytest.raises(ValueError, match=r"one shape, got before \(2, 2\), after \(2, 3\)"):
        depth_errors.compare_with_truth(np.zeros((2, 2), "u2"), np.zeros((2, 3), "u2"), np.zeros((2, 2), "u2"))


def test_compare_with_sweep_when_maps_are_the_sweep_then_nothing_differs():
    single = fabricated_maps(1)["depth_single"]
    found = depth_errors.compare_with_sweep(single, single, single)
    assert found.before.num_measured == np.count_nonzero(single)
    assert found.before.num_gross == found.before.median_error_m == 0


def test_gross_errors_when_split_by_side_then_near_and_far_are_told_apart():
    truth = np.array([[40 * 256, 40 * 256, 40 * 256, 0, 40 * 256]], np.uint16)
    before = np.array([[10 * 256, 80 * 256, 41 * 256, 9 * 256, 0]], np.uint16)
    after = np.array([[0, 80 * 256, 41 * 256, 9 * 256, 0]], np.uint16)
    total = depth_errors.compare_with_truth(before, after, truth).total
    assert (total.before.num_gross, total.before.num_gross_near) == (3, 2)
    assert (total.after.num_gross, total.after.num_gross_near) == (2, 1)
    assert (total + total).before.num_gross_near == 4


def test_correct_share_when_some_pixels_are_off_or_not_measured_then_counts_only_those_within_a_metre():
    truth = np.full((1, 8), 20 * 256, np.uint16)
    steps = truth + np.array([[0, 255, 256, 300, 0, 0, 0, 0]], np.uint16)
    steps[0, 4:6] = 0  # not measured
    total = depth_errors.compare_with_truth(steps, np.zeros_like(steps), truth).total
    assert (total.before.correct_share, total.after.correct_share) == (4 / 8, 0.0)
