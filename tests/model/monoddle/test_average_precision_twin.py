"""The fast evaluator equals the readable one in worlds where every rule is at work."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up_detections import awkward_world, cars, make_objects

from model.data.objects import join_objects
from model.monoddle.precision.average_precision import DEVKIT_DIFFICULTIES, ApRow, Difficulty, average_precision
from model.monoddle.precision.average_precision_twin import average_precision_plain

ONE = (Difficulty("all", 25.0, 2, 0.5),)


def _assert_same(rows: list[ApRow], plain: list[ApRow]) -> None:
    assert [row[:5] + row[7:] for row in rows] == [row[:5] + row[7:] for row in plain]
    np.testing.assert_allclose([row[5:7] for row in rows], [row[5:7] for row in plain], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_average_precision_when_the_world_is_awkward_then_equals_the_twin(seed: int) -> None:
    truth, found = awkward_world(seed, num_frames=30)
    rows = average_precision(truth, found)
    _assert_same(rows, average_precision_plain(truth, found))
    assert len({row.r40 for row in rows}) > 12  # the world tells the rows apart


def test_average_precision_when_annotations_carry_scores_then_their_order_stays() -> None:
    truth, found = awkward_world(8, num_frames=30)
    scored = [replace(one, score=np.random.default_rng(len(one)).random(len(one))) for one in truth]
    assert average_precision(scored, found) == average_precision(truth, found)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(100, 10**6), num_frames=st.integers(0, 5))
def test_average_precision_when_any_world_then_equals_the_twin(seed: int, num_frames: int) -> None:
    truth, found = awkward_world(seed, num_frames=num_frames)
    _assert_same(
        average_precision(truth, found, difficulties=DEVKIT_DIFFICULTIES[1:2]),
        average_precision_plain(truth, found, difficulties=DEVKIT_DIFFICULTIES[1:2]),
    )


def test_both_when_a_low_detection_of_another_class_lies_on_a_car_then_the_car_is_passed_over() -> None:
    truth = [make_objects("Car", [(0, 100, 80, 127)])] * 50
    low = make_objects("Cyclist", [(0, 101, 80, 125.5)], score=[0.9])
    high = make_objects("Car", [(0, 100, 80, 127)], score=[0.5])
    low_only = average_precision(truth, [low] * 50, classes=("Car",), difficulties=ONE)
    _assert_same(low_only, average_precision_plain(truth, [low] * 50, classes=("Car",), difficulties=ONE))
    both = [join_objects([low, high])] * 50
    rows = average_precision(truth, both, classes=("Car",), difficulties=ONE)
    _assert_same(rows, average_precision_plain(truth, both, classes=("Car",), difficulties=ONE))
    # the low one has the highest score, so no threshold is ever found: the car is absorbed
    assert {row.r40 for row in rows} == {0.0} and {row.num_truth for row in rows} == {50}


@pytest.mark.parametrize(("order", "r40"), [([0, 1], 0.0), ([1, 0], 100.0)])
def test_both_when_scores_are_tied_then_the_first_detection_of_the_frame_is_taken(order: list[int], r40: float) -> None:
    truth = [make_objects("Car", [(0, 100, 80, 127)])] * 50
    tied = make_objects(
        ["Cyclist", "Car"], [(0, 101, 80, 125.5), (0, 100, 80, 127)], score=[0.5, 0.5], location_m=[[0.0, 1.6, 20.0]] * 2
    )
    found = [tied[order]] * 50
    rows = average_precision(truth, found, classes=("Car",), difficulties=ONE)
    _assert_same(rows, average_precision_plain(truth, found, classes=("Car",), difficulties=ONE))
    assert {row.r40 for row in rows} == {r40}


@pytest.mark.parametrize(("category", "neighbour"), [("Car", "Van"), ("Pedestrian", "Person_sitting"), ("Cyclist", None)])
def test_both_when_a_neighbour_is_taken_for_the_category_then_no_alarm_is_counted(category: str, neighbour: str | None) -> None:
    boxes = [(100.0 * i, 100.0, 100.0 * i + 80, 160.0) for i in range(2)]
    truth = [make_objects([category, neighbour or "Truck"], boxes)] * 50
    found = [make_objects(category, boxes, score=[0.5, 0.9])] * 50
    rows = average_precision(truth, found, classes=(category,), difficulties=ONE)
    _assert_same(rows, average_precision_plain(truth, found, classes=(category,), difficulties=ONE))
    assert {row.r40 for row in rows} == {100.0 if neighbour else 50.0}


def test_both_when_a_detection_lies_in_a_dont_care_area_then_it_is_excused_in_the_image_only() -> None:
    area = make_objects("DontCare", [(300, 0, 900, 300)], size_hwl_m=[[-1.0] * 3], location_m=[[-1000.0] * 3], occlusion=[-1])
    truth = [join_objects([cars(1), area, area])] * 50
    inside = make_objects("Car", [(400, 100, 480, 160)], score=[0.9], location_m=[[50.0, 1.6, 20.0]])
    found = [join_objects([replace(cars(1), score=np.array([0.5])), inside])] * 50
    rows = average_precision(truth, found, classes=("Car",), difficulties=ONE)
    _assert_same(rows, average_precision_plain(truth, found, classes=("Car",), difficulties=ONE))
    assert {row.metric: row.r40 for row in rows} == {"3d": 50.0, "bev": 50.0, "2d": 100.0, "aos": 100.0}
