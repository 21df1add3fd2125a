"""What a replaced quantity changes, and that precision with everything replaced is what misses and alarms leave."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from made_up_cars import KITTI_P2, centres_px
from made_up_detector import CAMERA, Errors, detected, street, with_errors
from test_oracle_matches import seen_at

from model.data.objects import Objects
from model.data.rectified_camera import bearing_rad
from model.monoddle.analysis.analysis import Analysis, analysis_of
from model.monoddle.analysis.oracle import REPLACEMENTS, ap_row_of, replaced, with_truth
from model.monoddle.analysis.oracle_matches import match_by_centre
from model.monoddle.heading import wrap_angle
from model.monoddle.measured_objects import MeasuredFrame, MeasuredObjects
from model.monoddle.precision.average_precision import KITTI_DIFFICULTIES, ApRow, average_precision
from model.monoddle.precision.overlap_pairs import joined_world

ALL_WRONG = Errors(depth=0.05, centre_px=3.0, size=0.1, heading_rad=0.2, box_px=4.0)
SHARED = ("truncation", "occlusion", "category")
MEASURED = {
    "depth": (Errors(depth=0.2), {"depth", "location"}),
    "centre": (Errors(centre_px=6.0), {"centre", "location"}),
    "size": (Errors(size=0.3), {"size"}),
    "heading": (Errors(heading_rad=0.8), {"heading"}),
}


def analysed(truth: list[Objects], found: list[Objects], height_scale: float = 1.0) -> Analysis:
    frames = {str(number): MeasuredFrame(*pair) for number, pair in enumerate(zip(truth, found, strict=True))}
    return analysis_of(MeasuredObjects(frames, height_scale), [CAMERA] * len(frames), ("Car",))


def pair(seed: int) -> tuple[Objects, Objects, np.ndarray]:
    truth = street(seed, count=6)
    found = with_errors(truth, ALL_WRONG, np.random.default_rng(seed + 100))
    return replace(found, score=np.linspace(1, 2, len(found))), truth, np.broadcast_to(KITTI_P2, (len(truth), 3, 4))


def unchanged(before: Objects, after: Objects, *but: str) -> bool:
    return all(
        np.array_equal(getattr(before, name), getattr(after, name)) for name in Objects.__dataclass_fields__ if name not in but
    )


def test_depth_when_replaced_then_the_box_moves_along_the_ray_of_its_centre():
    found, truth, projections = pair(0)
    after = replaced(found, truth, projections, REPLACEMENTS["depth"])
    assert np.array_equal(after.location_m[:, 2], truth.location_m[:, 2])
    assert np.abs(centres_px(after) - centres_px(found)).max() < 1e-9
    assert unchanged(found, after, "location_m")


def test_centre_when_replaced_then_depth_and_observation_angle_stay():
    found, truth, projections = pair(1)
    after = replaced(found, truth, projections, REPLACEMENTS["centre"])
    assert np.array_equal(after.location_m[:, 2], found.location_m[:, 2])
    assert np.abs(centres_px(after) - centres_px(truth)).max() < 1e-9
    assert unchanged(found, after, "location_m", "rotation_y_rad")
    assert_consistent(after)


def test_location_when_replaced_then_the_centre_is_the_truths_whatever_the_height():
    found, truth, projections = pair(2)
    after = replaced(found, truth, projections, REPLACEMENTS["location"])
    half = np.array([0, 0.5, 0])
    centres = after.location_m - half * after.size_hwl_m[:, :1]
    assert np.abs(centres - (truth.location_m - half * truth.size_hwl_m[:, :1])).max() < 1e-12
    assert unchanged(found, after, "location_m", "rotation_y_rad")
    assert_consistent(after)


def test_size_when_replaced_then_the_centre_stays_and_the_bottom_moves():
    found, truth, projections = pair(3)
    after = replaced(found, truth, projections, REPLACEMENTS["size"])
    assert np.array_equal(after.size_hwl_m, truth.size_hwl_m)
    assert np.abs(centres_px(after) - centres_px(found)).max() < 1e-9
    assert np.abs(after.location_m - found.location_m).max(axis=0)[[0, 2]].max() == 0.0
    assert np.abs(after.location_m[:, 1] - found.location_m[:, 1]).max() > 0.01
    assert unchanged(found, after, "location_m", "size_hwl_m")


def test_heading_when_replaced_then_the_place_stays_and_the_observation_angle_follows():
    found, truth, projections = pair(4)
    after = replaced(found, truth, projections, REPLACEMENTS["heading"])
    assert np.array_equal(after.rotation_y_rad, truth.rotation_y_rad)
    assert unchanged(found, after, "rotation_y_rad", "alpha_rad")
    assert_consistent(after)
    unknown = replace(found, alpha_rad=np.full(len(found), -10.0))
    assert set(replaced(unknown, truth, projections, REPLACEMENTS["heading"]).alpha_rad) == {-10.0}
    not_said = replace(truth, rotation_y_rad=np.full(len(truth), -10.0))
    assert unchanged(found, replaced(found, not_said, projections, REPLACEMENTS["heading"]))


def test_box_when_replaced_then_nothing_else_and_everything_is_the_truth_to_the_bit():
    found, truth, projections = pair(5)
    assert unchanged(found, replaced(found, truth, projections, REPLACEMENTS["nothing"]))
    after = replaced(found, truth, projections, REPLACEMENTS["box"])
    assert np.array_equal(after.box_px, truth.box_px) and unchanged(found, after, "box_px")
    after = replaced(found, truth, projections, REPLACEMENTS["everything"])
    assert unchanged(truth, after, "score") and np.array_equal(after.score, found.score)


def assert_consistent(cars: Objects) -> None:
    turn = wrap_angle(cars.alpha_rad + bearing_rad(KITTI_P2, centres_px(cars)) - cars.rotation_y_rad)
    assert np.abs(turn).max() < 1e-9


def test_detections_when_replaced_then_copies_and_what_is_no_match_stays():
    truth, found = seen_at(500.0), [seen_at(503.0, depth_m=30.0), seen_at(504.0, depth_m=40.0), seen_at(900.0)]
    every = replace(Objects(*(np.concatenate(column) for column in zip(*(vars(one).values() for one in found), strict=True))),
                    score=np.array([0.9, 0.5, 0.8]))  # fmt: skip
    world = joined_world([truth], [every])
    before = {name: getattr(world.detections, name).copy() for name in Objects.__dataclass_fields__}
    matches = match_by_centre(world, [CAMERA], ["Car"])
    after = with_truth(world, matches, np.broadcast_to(KITTI_P2, (3, 3, 4)), REPLACEMENTS["everything"])
    assert after.location_m[0].tolist() == truth.location_m[0].tolist()
    assert np.array_equal(after.location_m[1:], before["location_m"][1:]) and np.array_equal(
        after.box_px[1:], before["box_px"][1:]
    )
    assert after.score.tolist() == [0.9, 0.8, 0.5]
    assert all(np.array_equal(getattr(world.detections, name), values) for name, values in before.items())


@pytest.mark.parametrize("what", MEASURED)
def test_precision_when_one_quantity_is_wrong_then_only_its_replacement_gives_a_hundred(what):
    errors, cures = MEASURED[what]
    truth = [street(seed) for seed in range(30)]
    found = [detected(one, errors, seed)[0] for seed, one in enumerate(truth)]
    rows = {
        row.replaced: row.r40
        for row in analysed(truth, found).oracle
        if row[2:4] == ("3d", "strict") and row.difficulty == "hard"
    }
    assert rows["nothing"] < 60
    for name, value in rows.items():
        assert (value == pytest.approx(100.0)) == (name in cures | {"everything"}), name
    for name in ("depth", "size", "heading", "box"):
        if name not in cures:
            assert rows[name] == pytest.approx(rows["nothing"])


def test_rows_when_pairs_are_left_out_then_those_of_all_objects_replaced_frame_by_frame():
    truth = [street(seed, count=7) for seed in range(12)]
    found = [detected(one, ALL_WRONG._replace(missed=0.2, twice=0.3, alarms=0.4), seed)[0] for seed, one in enumerate(truth)]
    rows = analysed(truth, found).oracle
    for name, parts in REPLACEMENTS.items():
        changed = []
        for annotated, one in zip(truth, found, strict=True):
            world = joined_world([annotated], [one])
            matches = match_by_centre(world, [CAMERA], ["Car"])
            changed.append(with_truth(world, matches, np.broadcast_to(KITTI_P2, (len(one), 3, 4)), parts))
        wanted = average_precision(truth, changed, classes=["Car"])
        measured = [ap_row_of(row) for row in rows if row.replaced == name]
        assert [row[:5] + row[7:] for row in measured] == [row[:5] + row[7:] for row in wanted]
        assert [row.r40 for row in measured] == pytest.approx([row.r40 for row in wanted])


def counted_precision(hits: list[float], alarms: list[float], num_truth: int) -> float:
    """AP R40 in per cent of detections of which it is known which are right, by counting; no box is looked at."""
    falling, thresholds, wanted = sorted(hits, reverse=True), [], 0.0
    for place, score in enumerate(falling):
        recall, next_recall = (place + 1) / num_truth, (place + 2) / num_truth
        if place + 1 == len(falling) or next_recall - wanted >= wanted - recall:
            thresholds.append(score)
            wanted += 1 / 40
    right = [sum(score >= limit for score in hits) for limit in thresholds]
    precision = [n / (n + sum(score >= limit for score in alarms)) for n, limit in zip(right, thresholds, strict=True)]
    best = [max(precision[place:]) for place in range(len(precision))]
    return 100 * sum(best[1:41]) / 40


@pytest.mark.parametrize(
    "errors",
    [
        ALL_WRONG,
        ALL_WRONG._replace(missed=0.3),
        ALL_WRONG._replace(twice=0.5),
        ALL_WRONG._replace(alarms=0.7),
        ALL_WRONG._replace(missed=0.2, twice=0.3, alarms=0.5),
    ],
    ids=["all found", "some missed", "some twice", "alarms", "all of it"],
)
def test_precision_when_everything_is_replaced_then_what_misses_duplicates_and_alarms_leave(errors):
    truth = [street(seed) for seed in range(40)]
    detections = [detected(one, errors, seed) for seed, one in enumerate(truth)]
    analysis = analysed(truth, [found for found, _ in detections])
    for difficulty, least_px in (("easy", 40.0), ("moderate", 25.0), ("hard", 25.0)):
        num_truth = sum(int((heights(one) > least_px).sum()) for one in truth)
        assert num_truth > 100
        hits, alarms = list[float](), list[float]()
        for one, (found, car) in zip(truth, detections, strict=True):
            is_right = (car >= 0) & (heights(one)[car] > least_px)
            hits += found.score[is_right].tolist()
            alarms += found.score[(car < 0) & (heights(found) >= least_px)].tolist()
        wanted = counted_precision(hits, alarms, num_truth)
        if errors == ALL_WRONG:
            assert wanted == pytest.approx(100.0)
        rows = [row for row in analysis.oracle if row.replaced == "everything" and row.difficulty == difficulty]
        assert [row.metric for row in rows] == ["3d", "bev", "3d", "bev", "2d", "aos"]
        assert [row.r40 for row in rows] == pytest.approx([wanted] * 6, abs=1e-9)
        assert {row.num_truth for row in rows} == {num_truth}


@pytest.mark.parametrize("count", [1, 2, 5, 12])
def test_precision_when_few_objects_count_then_everything_gives_what_perfect_detections_get(count):
    truth = [seen_at(500.0 + 20 * number) for number in range(count)]
    found = [with_errors(one, ALL_WRONG, np.random.default_rng(number)) for number, one in enumerate(truth)]
    found = [replace(one, score=np.array([0.5 + 0.01 * number])) for number, one in enumerate(found)]
    rows = [row for row in analysed(truth, found).oracle if row.replaced == "everything" and row.difficulty == "hard"]
    assert [row.r40 for row in rows] == pytest.approx([2.5 * (count - 1)] * 6)


def test_rows_when_nothing_is_replaced_then_those_of_the_evaluations_table():
    truth = [street(seed) for seed in range(8)]
    found = [detected(one, ALL_WRONG, seed)[0] for seed, one in enumerate(truth)]
    rows: list[ApRow] = [ap_row_of(row) for row in analysed(truth, found).oracle if row.replaced == "nothing"]
    assert rows == average_precision(truth, found, classes=["Car"], difficulties=KITTI_DIFFICULTIES)


def heights(objects: Objects) -> np.ndarray:
    return objects.box_px[:, 3] - objects.box_px[:, 1]


def test_replacements_by_distance_when_depth_is_wrong_then_each_group_is_cured_and_empty_ones_are_no_number():
    truth = [seen_at(500.0, depth_m=15.0 if number < 45 else 35.0) for number in range(90)]
    found = [replace(seen_at(500.0, depth_m=one.location_m[0, 2] * 1.2), score=np.array([0.5])) for one in truth]
    rows = [row for row in analysed(truth, found).oracle_by_distance if row.overlap == "strict"]
    of_depth = {row.group: row.r40 for row in rows if row.replaced == "depth"}
    assert [group for group, value in of_depth.items() if value == pytest.approx(100.0)] == ["10 to 20 m", "30 to 40 m"]
    assert np.isnan(of_depth["below 10 m"])
    assert {row.group: row.num_truth for row in rows if row.num_truth} == {"10 to 20 m": 45, "30 to 40 m": 45}
    assert max(row.r40 for row in rows if row.replaced == "nothing" and row.num_truth) == 0.0
