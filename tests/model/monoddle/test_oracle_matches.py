"""Which object a detection means: hand-made cases, and a twin of plain loops."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from made_up_cars import KITTI_P2, centres_px, made_up_cars
from made_up_detector import CAMERA, IMAGE_PX

from model.data.objects import Objects, join_objects
from model.data.rectified_camera import unproject_pixels
from model.monoddle.analysis.oracle_matches import NO_OBJECT, match_by_centre
from model.monoddle.measured_cameras import FrameCamera
from model.monoddle.precision.overlap_pairs import joined_world

CELL_PX = 1242 / 320
CATEGORIES = ("Car", "Pedestrian", "Cyclist")


def seen_at(
    column: float, *, row: float = 200.0, category: str = "Car", depth_m: float = 20.0, height_px: float = 40.0
) -> Objects:
    """One object whose centre is seen at this pixel."""
    (one,) = [made_up_cars(1, image_px=IMAGE_PX, seed=3, category=category)]
    location = unproject_pixels(KITTI_P2, np.array([[column, row]]), np.array([depth_m]))
    location[:, 1] += one.size_hwl_m[:, 0] / 2
    box = np.array([[column - 30, row - height_px / 2, column + 30, row + height_px / 2]])
    return replace(one, location_m=location, box_px=box)


def matches_of(truth: list[Objects], found: list[Objects], scores: list[float]) -> tuple[list[int], list[int]]:
    """Match in one frame; numbers of objects by detection, in the order given here."""
    every = replace(join_objects(found), score=np.array(scores))
    world = joined_world([join_objects(truth)], [every])
    matches = match_by_centre(world, [CAMERA], CATEGORIES)
    place = np.argsort(-every.score, kind="stable").argsort()
    return matches.nearest[place].tolist(), matches.truth[place].tolist()


@pytest.mark.parametrize(
    ("apart_px", "height_px", "wanted"),
    [
        (4.9 * CELL_PX, 40.0, 0),
        (5.1 * CELL_PX, 40.0, NO_OBJECT),
        (5.1 * CELL_PX, 100.0, 0),
        (24.9, 100.0, 0),
        (25.1, 100.0, NO_OBJECT),
    ],
)
def test_match_when_centres_are_apart_then_up_to_five_cells_or_a_quarter_of_the_height(apart_px, height_px, wanted):
    truth = [seen_at(500.0, height_px=height_px)]
    assert matches_of(truth, [seen_at(500.0 + apart_px)], [0.5])[1] == [wanted]
    assert matches_of(truth, [seen_at(500.0, row=200.0 - apart_px)], [0.5])[1] == [wanted]


def test_match_when_depth_size_and_heading_are_all_wrong_then_still_meant():
    (one,) = [seen_at(502.0, depth_m=60.0)]
    wrong = replace(one, rotation_y_rad=one.rotation_y_rad + 3.0, box_px=one.box_px + 900.0)
    assert matches_of([seen_at(500.0)], [wrong], [0.5]) == ([0], [0])


def test_match_when_several_mean_one_then_the_surest_is_its_match_and_none_takes_the_object_behind():
    truth = [seen_at(500.0), seen_at(512.0)]
    nearest, matched = matches_of(truth, [seen_at(501.0), seen_at(504.0), seen_at(511.0)], [0.4, 0.9, 0.1])
    assert nearest == [0, 0, 1] and matched == [NO_OBJECT, 0, 1]


def test_match_when_the_category_is_another_then_no_match_but_the_neighbour_that_is_passed_over():
    truth = [seen_at(500.0, category="Van"), seen_at(700.0, category="Truck"), seen_at(900.0, category="Person_sitting")]
    found = [
        seen_at(500.0),
        seen_at(700.0),
        seen_at(900.0),
        seen_at(900.0, category="Pedestrian"),
        seen_at(500.0, category="Cyclist"),
    ]
    assert matches_of(truth, found, [0.9, 0.8, 0.7, 0.6, 0.5])[1] == [0, NO_OBJECT, NO_OBJECT, 2, NO_OBJECT]


def test_match_when_something_has_no_place_then_it_means_and_is_meant_by_nothing():
    area = seen_at(500.0, category="DontCare")
    unknown = replace(seen_at(500.0), location_m=np.full((1, 3), -1000.0), size_hwl_m=np.full((1, 3), -1.0))
    assert matches_of([area, unknown, seen_at(700.0)], [seen_at(500.0), unknown], [0.9, 0.8])[1] == [NO_OBJECT] * 2


def test_match_when_the_image_is_small_then_a_cell_is_small_too():
    truth, found = seen_at(500.0, height_px=4.0), seen_at(504.0)
    world = joined_world([truth], [found])
    for width, wanted in ((320, 0), (200, NO_OBJECT)):
        assert match_by_centre(world, [FrameCamera(KITTI_P2, (100, width))], CATEGORIES).truth.tolist() == [wanted]


def test_matches_when_frames_are_crowded_then_those_of_plain_loops():
    rng = np.random.default_rng(0)
    truth, found = [], []
    for number in range(12):
        cars = made_up_cars(9, image_px=IMAGE_PX, seed=number)
        cars = replace(cars, category=rng.choice(["Car", "Van", "Cyclist", "DontCare"], len(cars)))
        again = cars[rng.integers(0, len(cars), 14)]
        moved = again.location_m + rng.normal(0, 0.4, (14, 3)) * np.array([1.0, 1.0, 4.0])
        category = rng.choice(["Car", "Cyclist", "Pedestrian"], 14)
        truth.append(cars)
        found.append(replace(again, location_m=moved, category=category, score=rng.choice(np.arange(9) / 9, 14)))
    world = joined_world(truth, found)
    matches = match_by_centre(world, [CAMERA] * 12, CATEGORIES)
    first_truth = np.cumsum([0, *(len(one) for one in truth)])
    place = 0
    for number in range(12):
        order = sorted(range(14), key=lambda j, of=found[number]: -of.score[j])
        taken = set()
        for j in order:
            meant = nearest_of(found[number], j, truth[number])
            assert matches.nearest[place] == (NO_OBJECT if meant is None else first_truth[number] + meant)
            assert (matches.truth[place] == NO_OBJECT) == (meant is None or meant in taken)
            taken.add(meant)
            place += 1
    assert 0 < np.count_nonzero(matches.is_duplicate) < np.count_nonzero(matches.truth != NO_OBJECT)


def nearest_of(found: Objects, j: int, truth: Objects) -> int | None:
    best, least = None, np.inf
    for i in range(len(truth)):
        if truth.category[i] not in (found.category[j], {"Car": "Van"}.get(found.category[j])) or found.location_m[j, 2] <= 0:
            continue
        apart = np.linalg.norm(centres_px(found[[j]])[0] - centres_px(truth[[i]])[0])
        most = max(5 * CELL_PX, (truth.box_px[i, 3] - truth.box_px[i, 1]) / 4)
        if apart <= most and apart < least:
            best, least = i, apart
    return best
