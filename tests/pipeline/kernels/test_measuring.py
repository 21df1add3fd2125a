from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pipeline.kernels.depth_errors import (
    NO_GROUP,
    ErrorCounts,
    ErrorReadings,
    Labels,
    add_groups,
    count_errors_twin,
    measure_map,
)


def steps(*rows_m: list[float]) -> np.ndarray:
    """Return metres as stored."""
    return (np.array(rows_m) * 256).astype(np.uint16)


def total(map_m: np.ndarray, reference: np.ndarray, *, zero_is_sky: bool = True) -> ErrorReadings:
    return measure_map(map_m, reference, zero_is_sky=zero_is_sky)["all", "all"]


def test_errors_when_each_kind_occurs_once_then_are_counted_as_defined():
    truth = steps([50, 50, 50, 50, 50, 50, 0, 50])
    depth = steps([39, 61, 48, 52, 50.25, 0, 30, 45])  # near, far, bad near, bad far, good, nothing, before the sky, bad near
    counts = total(depth, truth).plain
    assert (counts.pixels, counts.measured, counts.compared) == (8, 7, 7)
    assert (counts.near, counts.far) == (2, 1)
    assert (counts.bad_near, counts.bad_far) == (2, 1)
    assert counts.others == 4
    assert counts.mae_m == pytest.approx((2 + 2 + 0.25 + 5) / 4)
    assert counts.signed_m == pytest.approx((-2 + 2 + 0.25 - 5) / 4)
    assert counts.coverage == 7 / 8
    assert counts.gross_share == 3 / 7
    assert counts.bad_share == 3 / 4


def test_errors_when_they_equal_a_bound_then_the_pixel_is_on_the_good_side():
    truth = steps([100, 100, 100, 10, 10])
    depth = steps([90, 89.75, 103, 10.5, 10.75])  # 10 m is not more than 10 m; 3 % is not more than 3 %; half a metre likewise
    counts = total(depth, truth).plain
    assert (counts.near, counts.far, counts.bad_near, counts.bad_far) == (1, 0, 1, 1)


def test_errors_when_the_reference_is_a_sweep_then_zero_means_not_compared():
    counts = total(steps([30, 30]), steps([0, 30]), zero_is_sky=False).plain
    assert (counts.measured, counts.compared, counts.near) == (2, 1, 0)


def test_boundary_when_a_neighbour_has_the_depth_then_explains_the_error():
    truth = steps(*[[20.0] * 20 + [60.0] * 20] * 3)
    depth = np.zeros_like(truth)
    depth[1, 20], depth[1, 25] = 20 * 256, 20 * 256  # beside the edge, and five pixels from it
    errors = total(depth, truth)
    assert errors.plain.near == 2
    assert errors.boundary.near == 1
    assert errors.boundary.abs_steps == 0
    assert errors.gross_ambiguous == 0.5
    assert errors.gross_by_chance == 0.5  # 15 pixels to the left or right of pixel 20 is wall, and of pixel 25 (at 10) the front


def test_boundary_when_depth_lies_between_continuous_neighbours_then_is_no_error():
    slope = steps(*[[40.0, 42.0, 44.0]] * 3)
    depth = np.zeros_like(slope)
    depth[1, 1] = 43 * 256
    errors = total(depth, slope)
    assert errors.plain.abs_steps == 256
    assert errors.boundary.abs_steps == 0
    cliff = steps(*[[40.0, 42.0, 90.0]] * 3)  # between 42 and 90 there is no surface
    assert total(depth, cliff).boundary.abs_steps == 256


def test_boundary_when_a_neighbour_is_sky_then_counts_as_1000_m():
    truth = steps([0, 30, 30])
    depth = steps([30, 0, 0])
    errors = total(depth, truth)
    assert (errors.plain.near, errors.boundary.near) == (1, 0)


@st.composite
def maps(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    shape = draw(st.tuples(st.integers(1, 4), st.integers(1, 36)))
    values = st.one_of(st.just(0), st.integers(1, 65535), st.integers(2560, 2900))
    return draw(arrays(np.uint16, shape, elements=values)), draw(arrays(np.uint16, shape, elements=values))


@given(maps(), st.booleans())
def test_kernel_when_compared_with_the_readable_twin_then_counts_agree(pair, zero_is_sky):
    assert total(*pair, zero_is_sky=zero_is_sky) == count_errors_twin(*pair, zero_is_sky=zero_is_sky)


@given(maps(), st.booleans())
def test_groups_when_they_divide_the_pixels_then_add_up_to_the_total(pair, zero_is_sky):
    depth, reference = pair
    halves = Labels("half", ("left", "right"), (np.indices(depth.shape)[1] * 2 // depth.shape[1]).astype(np.uint8))
    groups = measure_map(depth, reference, [halves], zero_is_sky=zero_is_sky)
    parts = [errors for (grouping, _), errors in groups.items() if grouping == "half"]
    assert sum(parts, ErrorReadings()) == groups["all", "all"]


@given(maps(), st.booleans())
def test_other_readings_when_compared_with_the_plain_one_then_have_no_larger_errors(pair, zero_is_sky):
    errors = total(*pair, zero_is_sky=zero_is_sky)
    assert errors.boundary.near + errors.boundary.far <= errors.plain.near + errors.plain.far
    assert errors.chance.near + errors.chance.far <= errors.plain.near + errors.plain.far
    assert errors.boundary.compared == errors.chance.compared == errors.plain.compared


def test_counts_when_frames_are_added_in_any_order_then_are_equal():
    random = np.random.default_rng(0)
    frames = [random.integers(0, 20_000, (2, 3, 30)).astype(np.uint16) for _ in range(3)]
    groups = [measure_map(depth, truth, zero_is_sky=True) for depth, truth in frames]
    forward, backward = groups[0], groups[2]
    for more in groups[1:]:
        forward = add_groups(forward, more)
    for more in (groups[1], groups[0]):
        backward = add_groups(backward, more)
    assert forward == backward
    assert forward["all", "all"].plain.pixels == 3 * 90


def test_groups_when_a_label_means_none_then_the_pixel_is_in_no_group():
    label = np.array([[0, NO_GROUP]], np.uint8)
    groups = measure_map(steps([10, 10]), steps([10, 10]), [Labels("of", ("one",), label)], zero_is_sky=True)
    assert groups["of", "one"].plain.pixels == 1
    assert set(groups) == {("all", "all"), ("of", "one")}


def test_measure_when_shapes_differ_then_says_which():
    with pytest.raises(ValueError, match=r"one shape, got \(1, 2\) and \(1, 1\)"):
        measure_map(steps([1, 2]), steps([1]), zero_is_sky=True)


def test_counts_when_nothing_is_compared_then_shares_are_nan():
    assert np.isnan(ErrorCounts().coverage)
    assert np.isnan(ErrorReadings().gross_ambiguous)
