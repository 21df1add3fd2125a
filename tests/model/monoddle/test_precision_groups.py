"""Recall, precision and errors by distance, occlusion and height: hand-made cases, and sums over the groups."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from made_up_cars import KITTI_P2
from made_up_detector import CAMERA, Errors, detected, street
from test_oracle import analysed
from test_oracle_matches import seen_at

from model.data.objects import Objects, join_objects
from model.monoddle.analysis.oracle_matches import match_by_centre
from model.monoddle.precision.average_precision import KITTI_DIFFICULTIES
from model.monoddle.precision.overlap_pairs import joined_world
from model.monoddle.precision.precision_groups import GroupRow, group_rows

HARD = KITTI_DIFFICULTIES[2]
ERRORS = Errors(depth=0.02, centre_px=2.0, size=0.05, heading_rad=0.1, box_px=2.0, missed=0.2, twice=0.2, alarms=0.4)


def groups_of(truth: list[Objects], found: list[Objects], **names: str) -> list[GroupRow]:
    return [row for row in analysed(truth, found).groups if all(getattr(row, name) == value for name, value in names.items())]


def car_at(depth_m: float, *, height_px: float = 50.0, occlusion: int = 0, **moved: object) -> Objects:
    one = seen_at(400.0 + 10 * depth_m, depth_m=depth_m, height_px=height_px)
    return replace(one, occlusion=np.array([occlusion]), **moved)


def test_groups_when_made_by_hand_then_objects_recall_and_errors_are_those_counted_by_hand():
    truth = join_objects([car_at(5.0), car_at(15.0), car_at(18.0), car_at(45.0)])
    size = truth.size_hwl_m[0]
    deeper = car_at(16.5)
    deeper = replace(deeper, location_m=seen_at(400.0 + 10 * 15.0, depth_m=16.5).location_m)
    larger = replace(car_at(45.0), size_hwl_m=(size + [0.1, 0.2, 0.4])[None])
    larger = replace(
        larger, location_m=larger.location_m + [0.0, 0.05, 0.0], rotation_y_rad=larger.rotation_y_rad + math.radians(10)
    )
    found = replace(join_objects([car_at(5.0), deeper, larger]), score=np.array([0.9, 0.8, 0.7]))
    rows = {row.group: row for row in groups_of([truth], [found], by="distance")}
    assert [row.num_truth for row in rows.values()] == [1, 2, 0, 0, 1, 0, 0]
    near, middle, far = rows["below 10 m"], rows["10 to 20 m"], rows["40 to 50 m"]
    assert (near.recall_image, near.recall_3d_strict, near.depth_mae_m) == (100.0, 100.0, pytest.approx(0.0))
    assert (middle.num_matched, middle.recall_image, middle.recall_3d_loose) == (1, 50.0, 0.0)
    assert (middle.depth_bias_m, middle.depth_mae_percent) == (pytest.approx(1.5), pytest.approx(10.0))
    assert middle.centre_mae_px == pytest.approx(0.0, abs=1e-9) and middle.lateral_mae_m == pytest.approx(0.0, abs=1e-9)
    assert (far.height_mae_m, far.width_mae_m, far.length_mae_m) == pytest.approx((0.1, 0.2, 0.4))
    assert (far.heading_mae_deg, far.turned_percent, far.depth_mae_m) == (pytest.approx(10.0), 0.0, pytest.approx(0.0))
    assert math.isnan(rows["20 to 30 m"].recall_image) and math.isnan(rows["20 to 30 m"].depth_mae_m)


def test_groups_when_the_centre_is_off_then_pixels_and_metres_to_the_side_at_the_true_depth():
    truth = car_at(20.0)
    found = replace(seen_at(400.0 + 200.0 + 6.0, row=203.0, depth_m=25.0), rotation_y_rad=truth.rotation_y_rad + math.pi)
    (row,) = groups_of([truth], [replace(found, score=np.array([0.9]))], by="all")
    assert row.centre_mae_px == pytest.approx(math.hypot(6.0, 3.0))
    assert row.lateral_mae_m == pytest.approx(6.0 * 20.0 / KITTI_P2[0, 0])
    assert row.vertical_mae_m == pytest.approx(3.0 * 20.0 / KITTI_P2[1, 1])
    assert (row.depth_mae_m, row.turned_percent) == (pytest.approx(5.0), 100.0)


def test_occlusion_when_measured_then_recall_and_no_precision():
    truth = [join_objects([car_at(10.0), car_at(20.0, occlusion=1), car_at(30.0, occlusion=1), car_at(40.0, occlusion=3)])]
    found = [replace(join_objects([car_at(10.0), car_at(30.0), car_at(60.0)]), score=np.array([0.9, 0.8, 0.7]))]
    rows = groups_of(truth, found, by="occlusion")
    assert [(row.group, row.num_truth, row.recall_3d_strict) for row in rows[:2]] == [
        ("visible", 1, 100.0),
        ("partly hidden", 2, 50.0),
    ]
    assert rows[2].num_truth == 0 and all(math.isnan(row.r40_3d_strict) and math.isnan(row.r40_bev_loose) for row in rows)


def test_height_when_images_are_small_then_its_edges_are_scaled():
    truth = [join_objects([car_at(10.0, height_px=4.5), car_at(20.0, height_px=20.0)])]
    found = [replace(truth[0], score=np.array([0.9, 0.8]))]
    rows = [row for row in analysed(truth, found, height_scale=0.1).groups if row.by == "height"]
    assert [row.group for row in rows] == ["below 4 px", "4 to 6 px", "6 to 10 px", "10 to 16 px", "from 16 px"]
    assert [row.num_truth for row in rows] == [0, 1, 0, 0, 1]


def test_groups_when_an_alarm_is_far_then_near_objects_are_as_precise_as_without_it():
    near = [join_objects([car_at(12.0), car_at(16.0)]) for _ in range(30)]
    found = [replace(one, score=np.array([0.5, 0.6])) for one in near]
    alarms = [join_objects([one, replace(car_at(55.0), score=np.array([0.9]))]) for one in found]
    rows = {row.group: row for row in groups_of(near, alarms, by="distance")}
    every = groups_of(near, alarms, by="all")[0]
    assert rows["10 to 20 m"].r40_3d_strict == pytest.approx(100.0) and every.r40_3d_strict == pytest.approx(200 / 3)
    moved = [join_objects([one, replace(car_at(19.0), score=np.array([0.9]))]) for one in found]
    assert groups_of(near, moved, by="distance")[1].r40_3d_strict == pytest.approx(200 / 3)


@pytest.mark.parametrize("by", ["distance", "height", "occlusion"])
def test_groups_when_added_up_then_all_objects_and_all_hits(by):
    truth = [replace(street(seed, count=6), occlusion=np.arange(len(street(seed, count=6))) % 3) for seed in range(20)]
    found = [detected(one, ERRORS, seed)[0] for seed, one in enumerate(truth)]
    rows, (every,) = groups_of(truth, found, by=by), groups_of(truth, found, by="all")
    assert sum(row.num_truth for row in rows) == every.num_truth > 60
    assert sum(row.num_matched for row in rows) == every.num_matched
    for name in ("recall_image", "recall_3d_strict", "recall_3d_loose"):
        hits = sum(getattr(row, name) * row.num_truth / 100 for row in rows if row.num_truth)
        assert hits == pytest.approx(getattr(every, name) * every.num_truth / 100)
    errors = sum(row.depth_mae_m * row.num_matched for row in rows if row.num_matched)
    assert errors == pytest.approx(every.depth_mae_m * every.num_matched)


def test_group_of_all_when_measured_then_the_average_precision_of_the_table():
    truth = [street(seed) for seed in range(15)]
    found = [detected(one, ERRORS, seed)[0] for seed, one in enumerate(truth)]
    analysis = analysed(truth, found)
    (every,) = (row for row in analysis.groups if row.by == "all")
    wanted = [row.r40 for row in analysis.oracle if row.replaced == "nothing" and row.difficulty == "hard"][:4]
    assert [every.r40_3d_strict, every.r40_bev_strict, every.r40_3d_loose, every.r40_bev_loose] == wanted


def test_counts_when_made_by_hand_then_every_detection_is_one_of_them():
    van = seen_at(100.0, category="Van")
    truth = join_objects([car_at(10.0), car_at(20.0, height_px=30.0), car_at(40.0), van])
    low = replace(car_at(50.0), box_px=np.array([[0.0, 0.0, 50.0, 20.0]]))
    too_low = replace(car_at(40.0), box_px=low.box_px)
    found = join_objects([car_at(10.0), car_at(10.0), car_at(20.0), seen_at(101.0), seen_at(1100.0, depth_m=30.0), low, too_low])
    found = replace(found, score=np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3]))
    easy, moderate, _ = analysed([truth], [found[:6]]).counts
    assert easy[2:] == (2, 1, 1, 5, 2, 1, 1)
    assert moderate[2:] == (3, 2, 1, 5, 1, 1, 1)
    assert analysed([truth], [found]).counts[1][2:] == (3, 3, 0, 6, 1, 1, 1)  # too low a box, and yet it means the third car
    for row in (easy, moderate):
        assert row.num_found == row.num_matched + row.num_passed_over + row.num_duplicates + row.num_alarms


def test_rows_when_asked_for_another_difficulty_then_its_objects():
    truth, found = [car_at(10.0, height_px=30.0)], [replace(car_at(10.0), score=np.array([0.5]))]
    world = joined_world(truth, found)
    matches = match_by_centre(world, [CAMERA], ["Car"])
    for difficulty, wanted in ((HARD, 1), (KITTI_DIFFICULTIES[0], 0)):
        projections = KITTI_P2[None]
        rows = group_rows(world, matches, projections, classes=["Car"], difficulty=difficulty, height_scale=1.0)
        assert rows[0].num_truth == wanted and rows[0].difficulty == difficulty.name
