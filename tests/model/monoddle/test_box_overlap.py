"""Shared areas against shapely to 1e-9, where public float32 kernels fail and elsewhere."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from made_up_detections import cars

from model.monoddle.precision.average_precision_twin import Box, shared_ground_area_plain
from model.monoddle.precision.box_overlap import (
    Floats,
    overlap_2d,
    overlap_3d,
    overlap_bev,
    own_share_2d,
    shared_ground_area,
    solid_boxes,
)


def _polygons(boxes: Floats) -> np.ndarray:
    """shapely's rectangles seen from above, made by its own rotation."""
    made = []
    for x, _, z, _, width, length, turn in boxes:
        flat = shapely.box(-length / 2, -width / 2, length / 2, width / 2)
        # x' = cos x + sin z, z' = -sin x + cos z
        matrix = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
        made.append(shapely.transform(flat, lambda points, m=matrix, x=x, z=z: points @ m.T + [x, z]))
    return np.array(made)


def _random(count: int, seed: int) -> Floats:
    rng = np.random.default_rng(seed)
    return rng.uniform([-40, 0, 2, 1, 0.4, 0.5, -7], [40, 2, 70, 2, 3, 6, 7], (count, 7))


def _assert_as_shapely(first: Floats, second: Floats) -> None:
    shared = shapely.area(shapely.intersection(_polygons(first), _polygons(second)))
    joined = shapely.area(shapely.union(_polygons(first), _polygons(second)))
    np.testing.assert_allclose(shared_ground_area(first, second), shared, atol=1e-9)
    np.testing.assert_allclose(overlap_bev(first, second), shared / joined, atol=1e-9)
    np.testing.assert_allclose(shared_ground_area(second, first), shared, atol=1e-9)


@pytest.mark.parametrize("jitter", [0.0, 1e-6, 1e-5, 1e-4, 1e-3, 0.03, 1.0])
def test_shared_area_when_boxes_nearly_coincide_then_equals_shapely(jitter: float) -> None:
    first = _random(400, seed=1)
    second = first + np.random.default_rng(2).normal(0, jitter, first.shape) * [1, 1, 1, 0, 0.1, 0.1, 1]
    second[:, 3:6] = np.abs(second[:, 3:6])
    _assert_as_shapely(first, second)
    if jitter <= 1e-3:
        assert overlap_3d(first, second).min() > 0.95  # the public float32 kernel: 44 % below 0.7 at 1e-6


def test_overlap_when_boxes_are_identical_then_is_one() -> None:
    boxes = _random(2000, seed=3)
    for overlap in (overlap_bev, overlap_3d):
        np.testing.assert_allclose(overlap(boxes, boxes), 1.0, atol=1e-14)
    np.testing.assert_allclose(overlap_bev(boxes, boxes + [0, 0, 0, 0, 0, 0, np.pi]), 1.0, atol=1e-13)


CAR = [3.0, 1.6, 20.0, 1.5, 2.0, 4.0, 0.0]


@pytest.mark.parametrize(
    ("change", "shared"),
    [
        ([4, 0, 0, 0, 0, 0, 0], 0.0),  # touching at the short side
        ([0, 0, 2, 0, 0, 0, 0], 0.0),  # at the long side
        ([4, 0, 2, 0, 0, 0, 0], 0.0),  # at a corner
        ([3.5, 0, 0, 0, 0, 0, 0], 1.0),
        ([0, 0, 0, 0, -1, -2, 0], 2.0),  # contained
        ([1, 0, 0.5, 0, -1, -2, 0], 2.0),  # contained, two sides shared
        ([0, 0, 0, 0, 0, 0, np.pi / 2], 4.0),
        ([1, 0, 0, 0, 0, 0, np.pi / 2], 4.0),  # turned, a side shared
        ([500, 0, 0, 0, 0, 0, 1], 0.0),
    ],
)  # fmt: skip
def test_shared_area_when_boxes_stand_in_a_special_way_then_is_exact(change: list[float], shared: float) -> None:
    first = np.array([CAR])
    second = first + change
    _assert_as_shapely(first, second)
    assert shared_ground_area(first, second)[0] == pytest.approx(shared, abs=1e-12)
    turned = np.array([[0, 0, 0, 0, 0, 0, 0.7]])  # the same, seen from elsewhere
    x, z = np.cos(0.7), np.sin(0.7)
    rotation = np.array([[x, z], [-z, x]])
    pair = []
    for box in (first, second):
        moved = box + turned
        moved[:, [0, 2]] = box[:, [0, 2]] @ rotation.T
        pair.append(moved)
    assert shared_ground_area(*pair)[0] == pytest.approx(shared_ground_area(first, second)[0], abs=1e-9)


boxes_near_each_other = arrays(
    np.float64,
    (6, 7),
    elements=st.floats(0, 1, allow_subnormal=False).map(lambda value: round(value, 3)),  # coincidences are likely
).map(lambda unit: unit * [4, 2, 4, 2, 3, 5, 2 * np.pi] + [0, 0, 10, 0.1, 0.1, 0.1, -np.pi])


@settings(max_examples=25, deadline=None)
@given(first=boxes_near_each_other, second=boxes_near_each_other)
def test_shared_area_when_any_boxes_then_equals_shapely_and_the_twin(first: Floats, second: Floats) -> None:
    _assert_as_shapely(first, second)
    plain = [shared_ground_area_plain(_plain(a), _plain(b)) for a, b in zip(first, second, strict=True)]
    np.testing.assert_allclose(plain, shared_ground_area(first, second), atol=1e-9)


def _plain(box: Floats) -> Box:
    x, y, z, height, width, length, turn = box.tolist()
    return Box("Car", 0.0, 0, 0.0, (0.0, 0.0, 0.0, 0.0), (height, width, length), (x, y, z), turn, 0.0)


@settings(max_examples=25, deadline=None)
@given(first=boxes_near_each_other, second=boxes_near_each_other)
def test_overlap_3d_when_any_boxes_then_is_the_shared_height_times_the_shared_area(first: Floats, second: Floats) -> None:
    ground = shapely.area(shapely.intersection(_polygons(first), _polygons(second)))
    height = np.minimum(first[:, 1], second[:, 1]) - np.maximum(first[:, 1] - first[:, 3], second[:, 1] - second[:, 3])
    shared = ground * np.maximum(height, 0)
    whole = first[:, 3:6].prod(axis=1) + second[:, 3:6].prod(axis=1) - shared
    found = overlap_3d(first, second)
    np.testing.assert_allclose(found, shared / whole, atol=1e-9)
    np.testing.assert_allclose(found, overlap_3d(second, first), atol=1e-12)


def test_overlap_3d_when_one_stands_on_the_other_then_is_zero_and_bev_one() -> None:
    low = np.array([CAR])
    high = low - [0, 1.5, 0, 0, 0, 0, 0]  # y points down: the upper one's bottom is the lower one's top
    assert overlap_3d(low, high)[0] == 0.0
    assert overlap_bev(low, high)[0] == pytest.approx(1.0, abs=1e-14)
    assert overlap_3d(low, low - [0, 0.5, 0, 0, 0, 0, 0])[0] == pytest.approx(1.0 / 2.0, abs=1e-14)


def test_overlap_when_a_size_is_not_said_then_is_zero() -> None:
    unsaid = np.array([[-1000.0, -1000.0, -1000.0, -1.0, -1.0, -1.0, -10.0]])
    for overlap in (overlap_bev, overlap_3d):
        assert overlap(unsaid, unsaid)[0] == 0.0
    flat = np.array([[3.0, 1.6, 20.0, 0.0, 2.0, 4.0, 0.0]])
    assert overlap_3d(flat, np.array([CAR]))[0] == 0.0


def test_overlap_2d_when_boxes_stand_in_a_special_way_then_is_exact() -> None:
    box = np.array([[0.0, 0.0, 10.0, 10.0]])
    for other, share, own in (
        ((0, 0, 10, 10), 1.0, 1.0), ((5, 0, 15, 10), 1 / 3, 0.5), ((10, 0, 20, 10), 0.0, 0.0), ((-5, -5, 15, 15), 0.25, 1.0),
        ((2, 2, 4, 4), 0.04, 0.04), ((3, 3, 3, 9), 0.0, 0.0), ((10, 10, 0, 0), 0.0, 0.0),
    ):  # fmt: skip
        assert overlap_2d(box, np.array([other], float))[0] == pytest.approx(share, abs=1e-15)
        assert own_share_2d(box, np.array([other], float))[0] == pytest.approx(own, abs=1e-15)
    empty = np.zeros((0, 4))
    assert overlap_2d(empty, empty).shape == own_share_2d(empty, empty).shape == (0,)


def test_overlap_when_there_are_no_pairs_then_is_empty_and_many_are_as_one_by_one() -> None:
    nothing = np.zeros((0, 7))
    assert overlap_bev(nothing, nothing).shape == overlap_3d(nothing, nothing).shape == (0,)
    first, second = _random(9000, seed=5), _random(9000, seed=6)
    second[:, :3] = first[:, :3] + np.random.default_rng(7).normal(0, 1.5, (9000, 3))
    together = overlap_3d(first, second)  # more than are clipped at once
    for i in range(0, 9000, 97):
        assert together[i] == pytest.approx(overlap_3d(first[i : i + 1], second[i : i + 1])[0], abs=1e-13)


def test_solid_boxes_when_objects_then_has_their_columns_in_order() -> None:
    np.testing.assert_array_equal(solid_boxes(cars(2)), [[0, 1.6, 20, 1.5, 1.6, 3.9, 0], [20, 1.6, 20, 1.5, 1.6, 3.9, 0]])
