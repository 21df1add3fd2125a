from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from model.data.objects import Objects, join_objects
from model.monoddle.frame_error import ErrorRule, FrameError
from model.monoddle.precision.average_precision import KITTI_DIFFICULTIES, average_precision, frame_entries
from model.monoddle.precision.matching import count_matches
from tests.model.monoddle.made_up_detections import awkward_world, cars, make_objects

MODERATE = KITTI_DIFFICULTIES[1]
RULE = ErrorRule(("Car",), "3d", "strict", MODERATE)


def found(objects: Objects, *, farther_m: float = 0.0) -> Objects:
    """The same objects, found with a score and so much too far."""
    return replace(objects, location_m=objects.location_m + [0, 0, farther_m], score=np.linspace(0.9, 0.5, len(objects)))


def test_error_when_every_object_is_found_where_it_is_then_none():
    assert RULE.error_of(cars(3), found(cars(3))) == FrameError(0, 0, 0.0)
    assert RULE.error_of(Objects.none(), Objects.none()) == FrameError(0, 0, 0.0)


def test_error_when_one_is_missed_one_false_and_one_too_far_then_counted():
    truth = cars(3)
    assert RULE.error_of(truth, found(truth[:2])) == FrameError(1, 0, 0.0)
    assert RULE.error_of(truth[:2], found(truth)) == FrameError(0, 1, 0.0)
    wrong = RULE.error_of(truth, found(truth, farther_m=7.5))  # right in the image, so that its depth can be compared
    assert wrong[:2] == (3, 3) and np.isclose(wrong.depth_m, 7.5)
    assert RULE._replace(metric="2d").error_of(truth, found(truth, farther_m=7.5))[:2] == (0, 0)


def test_error_when_boxes_are_low_or_lie_where_nobody_annotated_then_they_are_no_errors():
    low = make_objects("Car", [(0, 0, 30, 20)], location_m=[[-50.0, 1.6, 60.0]])  # 20 pixels: less than 25
    area = make_objects("DontCare", [(500, 90, 620, 180)], size_hwl_m=[[-1.0] * 3], location_m=[[-1000.0] * 3])
    inside = make_objects("Car", [(510, 100, 600, 170)], score=[0.7], location_m=[[90.0, 1.6, 20.0]])
    truth, seen = join_objects([low, cars(1), area]), join_objects([found(cars(1)), inside])
    for metric in ("2d", "bev", "3d"):
        assert RULE._replace(metric=metric).error_of(truth, seen) == FrameError(0, 0, 0.0)
    assert RULE.error_of(truth[:2], seen) == FrameError(0, 1, 0.0)
    assert RULE.error_of(low, Objects.none()) == FrameError(0, 0, 0.0)


@pytest.mark.parametrize("seed", range(3))
def test_error_when_summed_over_frames_then_the_counts_behind_the_average_precision(seed):
    truth, seen = awkward_world(seed)
    errors = [RULE.error_of(*pair) for pair in zip(truth, seen, strict=True)]
    row = next(
        row
        for row in average_precision(truth, seen, classes=("Car",))
        if row[1:3] == ("3d", "strict") and row.difficulty == "moderate"
    )
    entries = frame_entries(truth, seen, category="Car", metric="3d", overlap="strict", difficulty=MODERATE)
    hits = [int(count_matches(*entry, np.array([-np.inf]))[0][0]) for entry in entries]
    assert sum(error.num_missed for error in errors) == row.num_truth - sum(hits) > 0


def test_error_when_detections_come_in_any_order_then_the_same():
    (truth, *_), (seen, *_) = awkward_world(5)
    order = np.random.default_rng(0).permutation(len(seen))
    assert RULE.error_of(truth, seen[order]) == RULE.error_of(truth, seen)
    assert RULE.words == "Car 3D@0.7, moderate" and RULE._replace(overlap="loose", metric="bev").words == "Car BEV@0.5, moderate"
