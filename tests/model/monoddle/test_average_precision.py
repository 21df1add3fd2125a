"""The golden cases of docs/method/monoddle.md#golden-cases, and what must not change a figure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from made_up_detections import awkward_world, cars, make_objects

from model.data.objects import Objects, join_objects
from model.monoddle.precision.average_precision import (
    DEVKIT_DIFFICULTIES,
    KITTI_DIFFICULTIES,
    ApRow,
    AveragePrecisionError,
    average_precision,
)
from model.monoddle.precision.average_precision_table import ap_table

Frames = tuple[list[Objects], list[Objects]]


def _values(rows: list[ApRow], metric: str, overlap: str = "strict") -> list[tuple[float, float]]:
    return [(row.r40, row.r11) for row in rows if (row.metric, row.overlap) == (metric, overlap)]


def _perfect(count: int) -> Frames:
    frames = [cars(1) for _ in range(count)]
    return frames, [replace(one, score=np.full(1, 0.9 - 0.001 * i)) for i, one in enumerate(frames)]


def _found_of_100(count: int) -> Frames:
    truth = [cars(5) for _ in range(20)]
    scores = np.linspace(0.99, 0.5, 100).reshape(20, 5)
    found = [replace(one, score=own) for one, own in zip(truth, scores, strict=True)]
    return truth, [one[np.arange(5) + 5 * i < count] for i, one in enumerate(found)]


def _with_alarms(score: Callable[[np.ndarray], np.ndarray]) -> Frames:
    truth, found = _found_of_100(100)
    beside = [replace(one, box_px=one.box_px + [0, 200, 0, 200], location_m=one.location_m + [0, 0, 30]) for one in found]
    return truth, [join_objects([one, replace(alarm, score=score(one.score))]) for one, alarm in zip(found, beside, strict=True)]


def _all_tied() -> Frames:
    truth, found = _with_alarms(lambda scores: scores)
    return truth, [replace(one, score=np.full(len(one), 0.5)) for one in found]


def _turned() -> Frames:
    truth, found = _found_of_100(100)
    return truth, [replace(one, alpha_rad=one.alpha_rad + np.pi / 2) for one in found]


def _mixed() -> Frames:
    """The frame of the mixed case (docs/method/monoddle.md#golden-cases), 50 times."""
    boxes = [(100.0 * i, 100.0, 100.0 * i + 80, 160.0) for i in range(7)]
    boxes[3], low = (300.0, 100.0, 380.0, 125.0), (400.0, 100.0, 480.0, 124.0)
    place = np.column_stack([20.0 * np.arange(7), np.full(7, 1.6), np.full(7, 20.0)])
    truth = make_objects(["Car", "Van", "DontCare", "Car", "Car", "Car"], [*boxes[:4], *boxes[5:]], location_m=np.delete(place, 4, 0),
                         truncation=[0, 0, -1, 0, 0.4, 0], occlusion=[0, 0, -1, 0, 0, 2])  # fmt: skip
    truth.size_hwl_m[2], truth.location_m[2] = -1.0, -1000.0
    found = make_objects("Car", [*boxes[:4], low], location_m=place[:5])
    scores = np.linspace(0.99, 0.5, 250).reshape(50, 5)
    return [truth] * 50, [replace(found, score=own) for own in scores]


def _constant(value: float) -> Callable[[np.ndarray], np.ndarray]:
    return lambda scores: np.linspace(value, value - 0.01, len(scores))


GOLDEN: dict[str, tuple[Frames, list[tuple[float, float]], str]] = {
    **{f"{n} perfect": (_perfect(n), [(2.5 * (n - 1), r11)] * 3, "2d") for n, r11 in ((1, 100 / 11), (2, 100 / 11), (4, 9.09), (20, 45.45), (40, 90.91), (41, 100), (60, 100))},
    **{f"{n} of 100": (_found_of_100(n), [(r40, r11)] * 3, "2d") for n, r40, r11 in ((25, 25, 27.27), (50, 50, 54.55), (75, 75, 72.73), (99, 100, 100), (100, 100, 100))},
    "100 alarms below": (_with_alarms(_constant(0.1)), [(100, 100)] * 3, "2d"),
    "100 alarms above": (_with_alarms(_constant(2.0)), [(50, 50)] * 3, "2d"),
    "alarms interleaved": (_with_alarms(lambda scores: scores - 1e-4), [(51.1005, 55.2295)] * 3, "2d"),
    "all tied": (_all_tied(), [(50, 50)] * 3, "2d"),
    "quarter turn, 2d": (_turned(), [(100, 100)] * 3, "2d"),
    "quarter turn, aos": (_turned(), [(50, 50)] * 3, "aos"),
    "mixed": (_mixed(), [(100, 100), (100, 100), (35, 36.36)], "2d"),
}  # fmt: skip


@pytest.mark.parametrize("name", GOLDEN)
def test_average_precision_when_a_golden_case_then_gives_its_figures(name: str) -> None:
    (truth, found), expected, metric = GOLDEN[name]
    rows = average_precision(truth, found, classes=("Car",))
    for (r40, r11), (expected_r40, expected_r11) in zip(_values(rows, metric), expected, strict=True):
        assert r40 == pytest.approx(min(expected_r40, 100), abs=1e-9 if name != "alarms interleaved" else 5e-5)
        assert r11 == pytest.approx(expected_r11, abs=5e-3 if name != "alarms interleaved" else 5e-5)


def test_average_precision_when_the_mixed_case_then_counts_what_the_sheet_counts() -> None:
    truth, found = _mixed()
    by_difficulty = {row.difficulty: row for row in average_precision(truth, found, classes=("Car",)) if row.metric == "2d"}
    assert [row.num_truth for row in by_difficulty.values()] == [50, 50, 150]
    assert [row.num_found for row in by_difficulty.values()] == [150, 200, 200]
    older_copies = [
        row for row in average_precision(truth, found, classes=("Car",), difficulties=DEVKIT_DIFFICULTIES) if row.metric == "2d"
    ]
    assert [(row.num_truth, row.r40) for row in older_copies] == [(50, 100), (100, 100), (200, 50)]


def _full_frames(num_frames: int = 60) -> list[Objects]:
    rng = np.random.default_rng(5)
    frames = []
    for _ in range(num_frames):
        count = 5
        frames.append(cars(count, alpha_rad=rng.uniform(-3, 3, count), rotation_y_rad=rng.uniform(-3, 3, count), size_hwl_m=rng.uniform(1, 4, (count, 3)),
                           location_m=np.column_stack([20.0 * np.arange(count), rng.uniform(1, 2, count), rng.uniform(5, 60, count)])))  # fmt: skip
    return frames


@pytest.mark.parametrize("jitter", [0.0, 1e-6, 1e-5, 1e-4, 1e-3])
def test_average_precision_when_detections_are_the_annotations_then_all_is_100(jitter: float) -> None:
    truth = _full_frames()
    rng = np.random.default_rng(1)
    found = [
        replace(one, score=rng.random(len(one)), location_m=one.location_m + rng.normal(0, jitter, one.location_m.shape))
        for one in truth
    ]
    rows = average_precision(truth, found, classes=("Car",))
    assert len(rows) == 18 and all(row.num_truth >= 41 for row in rows)
    assert [(row.r40, row.r11) for row in rows] == [(pytest.approx(100), pytest.approx(100))] * 18


def test_average_precision_when_nothing_is_found_or_nothing_counts_then_is_zero() -> None:
    truth = [cars(3), Objects.none()]
    nothing = [Objects.none(), Objects.none()]
    for annotated, detected in ((truth, nothing), (nothing, truth), (nothing, nothing), ([], [])):
        rows = average_precision(annotated, detected)
        assert len(rows) == 54
        assert [(row.r40, row.r11) for row in rows] == [(0.0, 0.0)] * 54
    assert {row.num_truth for row in average_precision(truth, nothing, classes=("Cyclist",))} == {0}
    assert {row.num_found for row in average_precision(nothing, truth, classes=("Car",))} == {3}


@pytest.mark.parametrize("seed", range(6))
def test_average_precision_when_frames_and_detections_change_places_then_stays(seed: int) -> None:
    truth, found = awkward_world(seed, num_frames=60)
    rng = np.random.default_rng(seed)
    found = [replace(one, score=rng.random(len(one))) for one in found]  # distinct
    expected = average_precision(truth, found)
    shuffled = average_precision(truth, [one[rng.permutation(len(one))] for one in found])
    assert shuffled == expected
    order = rng.permutation(len(truth))
    turned = average_precision([truth[i] for i in order], [found[i] for i in order])
    np.testing.assert_allclose([row[5:] for row in turned], [row[5:] for row in expected], rtol=1e-12)
    assert max(row.r40 for row in expected) > 20


def test_average_precision_when_images_are_half_the_size_then_scaled_heights_give_the_same() -> None:
    truth, found = awkward_world(3, num_frames=60)
    half = [[replace(one, box_px=one.box_px / 2) for one in frames] for frames in (truth, found)]
    lower = [one._replace(min_height_px=one.min_height_px / 2) for one in KITTI_DIFFICULTIES]
    assert average_precision(*half, difficulties=lower) == average_precision(truth, found)
    assert average_precision(*half) != average_precision(truth, found)


def test_average_precision_when_a_detection_says_no_angle_then_its_category_has_no_aos() -> None:
    truth = [join_objects([cars(1), make_objects("Cyclist", [(500, 100, 540, 160)])])]
    truth[0].alpha_rad[:] = 1.0
    found = [replace(truth[0], alpha_rad=np.array([-10.0, 1.0]))]
    rows = average_precision(truth, found)
    assert [row.category for row in rows if row.metric == "aos"] == ["Pedestrian"] * 3 + ["Cyclist"] * 3
    assert len([row for row in rows if row.metric == "2d"]) == 9


def test_average_precision_when_a_detection_has_no_place_then_is_right_in_the_image_only() -> None:
    truth, found = _found_of_100(100)
    found = [replace(one, size_hwl_m=np.full((5, 3), -1.0), location_m=np.full((5, 3), -1000.0)) for one in found]
    rows = average_precision(truth, found, classes=("Car",))
    assert {row.r40 for row in rows if row.metric in ("2d", "aos")} == {100.0}
    assert {row.r40 for row in rows if row.metric in ("bev", "3d")} == {0.0}


def test_average_precision_when_frames_do_not_correspond_then_says_so() -> None:
    with pytest.raises(AveragePrecisionError, match=r"annotations of 2 frames and detections of 1, .*Objects\.none\(\)"):
        average_precision([cars(1), cars(1)], [cars(1)])


def test_average_precision_when_a_class_is_misspelt_then_names_the_near_one() -> None:
    with pytest.raises(
        AveragePrecisionError, match=r"category 'pedestrain', expected of Car, Pedestrian, Cyclist; did you mean Pedestrian\?"
    ):
        average_precision([], [], classes=("pedestrain",))
    with pytest.raises(AveragePrecisionError, match=r"'Tram', expected of .*\. Leave it out of classes"):
        average_precision([], [], classes=("Tram",))


def test_average_precision_when_a_number_is_nan_then_names_frame_and_object() -> None:
    found = [cars(2), cars(3)]
    found[1].location_m[2, 1] = np.nan
    with pytest.raises(
        AveragePrecisionError, match=r"found: object 2 of frame 1 \(Car\) has location_m \[40\. nan 20\.\], expected finite"
    ):
        average_precision([cars(2), cars(3)], found)


def test_ap_table_when_given_rows_then_has_the_published_columns() -> None:
    truth, found = _mixed()
    table = ap_table(average_precision(truth, found, classes=("Car", "Pedestrian")))
    lines = table.splitlines()
    assert lines[0] == "| Car: easy, moderate, hard | 3D@0.7 | BEV@0.7 | 3D@0.5 | BEV@0.5 | 2D@0.7 | AOS |"
    assert lines[1] == "|---|---|---|---|---|---|---|"
    assert lines[2].startswith("| AP_R40 | ") and lines[2].endswith(" | 100.00 100.00 35.00 | 100.00 100.00 35.00 |")
    assert lines[3].startswith("| AP_R11 | ") and lines[3].endswith(" | 100.00 100.00 36.36 | 100.00 100.00 36.36 |")
    assert "Objects: 50 easy, 50 moderate, 150 hard." in lines
    assert "| Pedestrian: easy, moderate, hard | 3D@0.5 | BEV@0.5 | 3D@0.25 | BEV@0.25 | 2D@0.5 | AOS |" in lines
    assert "perfect detections get an R40 of 2.5·(N-1): easy 0, moderate 0, hard 0." in lines[-1]
    assert sum("says little" in line for line in lines) == 1  # 50 cars are enough
    assert ap_table([]) == ""


def test_ap_table_when_objects_are_few_then_names_the_highest_value_and_perfect_detections_reach_it() -> None:
    rows = average_precision(*_perfect(4), classes=("Car",))
    assert "easy 7.5, moderate 7.5, hard 7.5." in ap_table(rows)
    assert {row.r40 for row in rows} == {7.5}


def test_average_precision_when_an_object_has_exactly_the_least_height_then_only_older_devkits_count_it() -> None:
    box_px = np.array([[100.0, 100.0, 160.0, 125.0]])  # 25 pixels high, the least of moderate
    truth = found = [replace(cars(1), box_px=box_px) for _ in range(60)]
    counted = {}
    for name, difficulties in (("today", KITTI_DIFFICULTIES), ("older", DEVKIT_DIFFICULTIES)):
        rows = average_precision(truth, found, classes=("Car",), difficulties=difficulties)
        counted[name] = {row.difficulty: (row.num_truth, row.r40) for row in rows if row.metric == "2d"}
    assert counted["today"] == {"easy": (0, 0.0), "moderate": (0, 0.0), "hard": (0, 0.0)}
    assert counted["older"] == {"easy": (0, 0.0), "moderate": (60, 100.0), "hard": (60, 100.0)}
