"""The nuScenes metric: every case of the sheet by the devkit and by our own twin, and both alike on what is made up."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from model.uvtr.classes import CLASSES, class_of
from model.uvtr.detection_metric import (
    OFFICIAL,
    PRESENT,
    ClassFigures,
    class_curve,
    counts_of,
    figures_of,
    metric_rows,
    recall_curve,
)
from model.uvtr.frame_matches import ERRORS, MeasuredFrame, match_frames
from model.uvtr.nuscenes_metric import official_figures
from model.uvtr.world_boxes import about_z
from tests.conftest import NEEDS_DEVKIT
from tests.model.uvtr.made_up_boxes import boxes, changed, falling_scores, frame, random_frames

CARS = [10.0 * number for number in range(100)]
_TEN = [10.0 * number for number in range(10)]


def _ten_classes(x_off: float = 0.0, velocity: tuple[float, float] = (0.0, 0.0), *, swapped: bool = False) -> list[MeasuredFrame]:
    truth = boxes(_TEN, name=CLASSES)
    size, yaw = ((4.0, 2.0, 1.5), np.pi / 2) if swapped else ((2.0, 4.0, 1.5), 0.0)
    found = boxes([x + x_off for x in _TEN], name=CLASSES, scores=falling_scores(10), size=size, yaw_rad=yaw, velocity=velocity)
    return [frame(truth, found)]


def _cars(num_truth: int, x_m: Any, scores: Any = None, **changes: Any) -> list[MeasuredFrame]:
    found = boxes(x_m, scores=falling_scores(len(x_m)) if scores is None else scores, **changes)
    return [frame(boxes(CARS[:num_truth]), found)]


# name: key frames, class, AP at the four thresholds, errors by name
CASES: dict[str, tuple[list[MeasuredFrame], str, list[float], dict[str, float]]] = {
    "one perfect": (_cars(1, [0.0]), "car", [1] * 4, {"ate_m": 0, "ase": 0, "aoe_rad": 0, "ave_mps": 0, "aae": 0}),
    "ten perfect": (_cars(10, CARS[:10]), "car", [1] * 4, {"ate_m": 0}),
    "10 objects, 5 found": (_cars(10, CARS[:5]), "car", [40 / 90] * 4, {"ate_m": 0}),
    "10 objects, 1 found": (_cars(10, CARS[:1]), "car", [0] * 4, {"ate_m": 1, "ase": 1, "aoe_rad": 1, "ave_mps": 1, "aae": 1}),
    "9 objects, 1 found": (_cars(9, CARS[:1]), "car", [1 / 90] * 4, {"ate_m": 0}),
    "a false alarm above": (_cars(1, [50.0, 0.0]), "car", [0.2] * 4, {"ate_m": 0}),
    "a false alarm below": (_cars(1, [0.0, 50.0]), "car", [80.5 / 81] * 4, {"ate_m": 0}),
    "found twice": (_cars(1, [0.0, 0.1]), "car", [80.5 / 81] * 4, {"ate_m": 0}),
    "all off by exactly 0.5 m": (_cars(10, [x + 0.5 for x in CARS[:10]]), "car", [0, 1, 1, 1], {"ate_m": 0.5}),
    "all off by 0.75 m": (_cars(10, [x + 0.75 for x in CARS[:10]]), "car", [0, 1, 1, 1], {"ate_m": 0.75}),
    "the surer is exact": (_cars(2, [0.0, 11.0], [0.9, 0.8]), "car", [0.43827, 0.43827, 1, 1], {"ate_m": 25.5 * 0.5 / 90}),
    "the surer is 1 m off": (_cars(2, [0.0, 11.0], [0.8, 0.9]), "car", [0.10123, 0.10123, 1, 1], {"ate_m": 0.85833}),
    "scores are tied": (_cars(2, [0.0, 11.0], [0.9, 0.9]), "car", [0.10123, 0.10123, 1, 1], {"ate_m": 1.0}),
    "width and length swapped": (_cars(4, CARS[:4], size=(4.0, 2.0, 1.5)), "car", [1] * 4, {"ase": 2 / 3}),
    "sizes times 1.1": (_cars(4, CARS[:4], size=(2.2, 4.4, 1.65)), "car", [1] * 4, {"ase": 0.24869}),
    "turned by pi": (_cars(4, CARS[:4], yaw_rad=np.pi), "car", [1] * 4, {"aoe_rad": np.pi}),
    "a barrier turned by pi": (
        [frame(boxes([0.0], name="barrier"), boxes([0.0], name="barrier", scores=[0.5], yaw_rad=np.pi))],
        "barrier", [1] * 4, {"aoe_rad": 0, "ave_mps": np.nan, "aae": np.nan},
    ),
    "velocity off by (3, 4)": (_cars(4, CARS[:4], velocity=(3.0, 4.0)), "car", [1] * 4, {"ave_mps": 5}),
    "unknown velocity, then none": (
        [frame(changed(boxes([0.0, 10.0]), velocities_mps=np.array([[np.nan, np.nan], [0.0, 0.0]])),
               boxes([0.0, 10.0], scores=[0.9, 0.8]))],
        "car", [1] * 4, {"ave_mps": 0},
    ),
    "greedy, not best": (
        [frame(boxes([0.0, 1.0]), boxes([0.6, 1.0], scores=[0.9, 0.8]))], "car", [0.43827, 0.43827, 1, 1], {"ate_m": 0.485},
    ),
    "an alarm under each of 100 hits": (
        [frame(boxes(CARS), boxes([*CARS, *(x + 5.0 for x in CARS)], scores=[*falling_scores(100), *(s - 1e-4 for s in falling_scores(100))]))],
        "car", [0.44444] * 4, {"ate_m": 0},
    ),
    "predicted velocity is not known": (_cars(1, [0.0], velocity=(np.nan, np.nan)), "car", [1] * 4, {"ave_mps": 1}),
}  # fmt: skip


@pytest.fixture(autouse=True)
def _devkit() -> None:
    pytest.importorskip("nuscenes", reason=NEEDS_DEVKIT)


def _both(frames: list[MeasuredFrame]) -> tuple[ClassFigures, ClassFigures]:
    return official_figures(frames).classes, figures_of(match_frames(frames))


@pytest.mark.parametrize("case", CASES)
def test_metric_when_cases_of_the_sheet_are_measured_then_devkit_and_twin_agree_with_the_hand_values(case):
    frames, name, ap, errors = CASES[case]

    for figures in _both(frames):
        label = CLASSES.index(name)
        np.testing.assert_allclose(figures.ap[label], ap, atol=1e-5)
        for error, value in errors.items():
            np.testing.assert_allclose(figures.errors[label, ERRORS.index(error)], value, atol=1e-5, err_msg=error)


@pytest.mark.parametrize(
    ("frames", "nds", "mean_ap"),
    [(_ten_classes(), 1.0, 1.0), (_ten_classes(x_off=1.5), 0.65, 0.5), (_ten_classes(velocity=(2.0, 0.0)), 0.9, 1.0),
     (_ten_classes(swapped=True), 0.83333, 1.0)],
    ids=["perfect", "off by 1.5 m", "velocity off by 2", "swapped and turned"],
)  # fmt: skip
def test_nds_when_ten_classes_have_one_object_each_then_it_is_that_of_the_sheet(frames, nds, mean_ap):
    official, matches = official_figures(frames), match_frames(frames)

    row = metric_rows(figures_of(matches), *counts_of(matches))[0]
    np.testing.assert_allclose([official.nds, official.mean_ap], [nds, mean_ap], atol=1e-5)
    np.testing.assert_allclose([row.nds, row.ap], [nds, mean_ap], atol=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_twin_when_boxes_are_made_up_then_it_says_what_the_devkit_says(seed):
    frames = random_frames(seed)
    official, matches = official_figures(frames), match_frames(frames)

    figures = figures_of(matches)
    row = metric_rows(figures, *counts_of(matches))[0]
    np.testing.assert_allclose(figures.ap, official.classes.ap, atol=1e-12)
    np.testing.assert_allclose(figures.errors, official.classes.errors, atol=1e-12)
    np.testing.assert_allclose([row.ap, row.nds, *row[8:13]], [official.mean_ap, official.nds, *official.errors], atol=1e-12)


def test_figures_when_each_frame_counts_once_then_they_are_those_without_counts_and_a_frame_left_out_is_not_there():
    frames = random_frames(7)
    matches = match_frames(frames)
    times = np.ones(len(frames), int)
    times[3] = times[5] = 0

    without = figures_of(match_frames([one for number, one in enumerate(frames) if number not in (3, 5)]))
    drawn = figures_of(matches, times)
    np.testing.assert_allclose(figures_of(matches, np.ones(len(frames), int)).ap, figures_of(matches).ap, atol=0)
    np.testing.assert_allclose(drawn.ap, without.ap, atol=1e-12)
    np.testing.assert_allclose(drawn.errors, without.errors, atol=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_curve_when_frames_count_any_number_of_times_then_it_is_that_of_all_detections_one_by_one(seed):
    frames, generator = random_frames(seed, num_frames=8), np.random.default_rng(seed)
    matches = match_frames(frames)
    times = generator.integers(0, 3, len(frames)).astype(float)
    for label in np.unique(matches.found_label):
        curve = class_curve(matches, int(label))
        weight, num_truth = times[curve.frames], times[matches.truth_frame[matches.truth_label == label]].sum()
        for threshold in range(4):
            found = recall_curve(curve, threshold, weight, num_truth)
            is_there = weight > 0
            hits = np.cumsum((weight * (curve.taken[:, threshold] >= 0))[is_there])
            if not num_truth or not hits.size or not hits[-1]:
                assert found is None
                continue
            recalls, recall = np.linspace(0, 1, 101), hits / num_truth
            precision = np.interp(recalls, recall, hits / np.cumsum(weight[is_there]), right=0)
            np.testing.assert_array_equal(found.precision, precision)
            np.testing.assert_array_equal(found.score, np.interp(recalls, recall, curve.score[is_there], right=0))


def test_means_when_classes_are_absent_then_the_official_ones_fall_and_those_of_present_classes_do_not():
    found = boxes([0.0, 10.0], name=["car", "pedestrian"], scores=[0.9, 0.8])
    matches = match_frames([frame(boxes([0.0, 10.0], name=["car", "pedestrian"]), found)])

    official, present = metric_rows(figures_of(matches), *counts_of(matches))[:2]
    assert (official.name, present.name) == (OFFICIAL, PRESENT)
    np.testing.assert_allclose([official.ap, official.nds], [0.2, 0.212222], atol=1e-6)
    np.testing.assert_allclose([present.ap, present.nds], [1.0, 1.0], atol=1e-9)


def test_figures_when_nothing_is_found_or_nothing_is_there_then_they_are_those_of_no_hit():
    nothing = boxes([], scores=[])
    for truth, found in ((boxes([0.0]), nothing), (boxes([]), boxes([0.0], scores=[0.5])), (boxes([]), nothing)):
        official, twin = _both([frame(truth, found)])
        np.testing.assert_allclose(twin.ap, official.ap)
        np.testing.assert_allclose(twin.errors, official.errors)
        assert twin.ap.max() == 0.0


def test_classes_when_compared_with_the_devkit_then_categories_names_ranges_and_attributes_are_its():
    from nuscenes.eval.detection.config import config_factory
    from nuscenes.eval.detection.constants import ATTRIBUTE_NAMES, DETECTION_NAMES
    from nuscenes.eval.detection.utils import category_to_detection_name
    from nuscenes.utils.color_map import get_colormap

    from model.uvtr.world_boxes import ATTRIBUTES, CLASS_RANGE_M

    categories = [*get_colormap(), "vehicle.", "Car", ""]
    assert sum(class_of(category) is not None for category in categories) == 14
    for category in categories:
        label = class_of(category)
        assert (None if label is None else CLASSES[label]) == category_to_detection_name(category)
    assert sorted(CLASSES) == sorted(DETECTION_NAMES)
    assert config_factory("detection_cvpr_2019").class_range == CLASS_RANGE_M
    assert sorted(ATTRIBUTE_NAMES) == sorted(ATTRIBUTES)


def test_errors_when_a_box_is_turned_beyond_half_a_turn_then_the_angle_is_the_small_one():
    truth = changed(boxes([0.0]), rotations=about_z(np.array([3.0])))
    found = changed(boxes([0.0], scores=[0.5]), rotations=about_z(np.array([-3.0])))

    official, twin = _both([frame(truth, found)])
    np.testing.assert_allclose(twin.errors[0, 2], 2 * np.pi - 6.0, atol=1e-12)
    np.testing.assert_allclose(official.errors[0, 2], twin.errors[0, 2], atol=1e-12)
