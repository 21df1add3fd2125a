from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from flows.reports.html.colormap import depth_colors
from flows.reports.monoddle.bird_view import SIZE_PX, bird_view, reach_of
from flows.reports.monoddle.box_lines import EDGES, FRONT, NEAREST_M, corners, footprint, seen_lines
from flows.reports.monoddle.over_image import (
    DETECTED,
    TRUTH,
    boxes_in_image,
    boxes_in_space,
    doubt_range,
    heat_picture,
    lidar_picture,
    uncertainty_picture,
)
from flows.reports.monoddle.panels import detection_panels
from flows.reports.monoddle.pictures import chosen_words
from flows.reports.monoddle.rear_view import rear_view
from flows.reports.monoddle.sheet import SHEET_WIDTH_PX, frame_jpeg
from model.data.objects import Objects
from model.data.rectified_camera import project_points, unproject_pixels
from model.monoddle.affine_view import resting_view
from model.monoddle.detection_frames import BoxList, frame_of, frames_of, stacked_pictures
from tests.flows.reports.monoddle.made_up_detection_folder import IMAGE_PX, INPUT_PX, KEYS, picture, shifted
from tests.model.monoddle.made_up_cars import KITTI_P2, made_up_cars

WIDE = (720, 216)


def box(location=(0.0, 1.5, 20.0), size=(1.5, 1.6, 4.0), rotation=0.0, category="Car") -> BoxList:
    """One box, with the box in the image that its corners fill."""
    eight = corners(np.array(size), np.array(location), rotation)
    pixels = project_points(KITTI_P2, eight)
    return BoxList(
        np.array([category]),
        np.concatenate([pixels.min(axis=0), pixels.max(axis=0)])[None],
        np.array([size]),
        np.array([location]),
        np.array([rotation]),
        np.zeros(1),
    )


def objects_of(boxes: BoxList) -> Objects:
    flat = np.zeros(len(boxes))
    return Objects(
        boxes.category, flat, flat.astype(np.int64), flat, boxes.box_px, boxes.size_hwl_m, boxes.location_m, boxes.rotation_y_rad,
        boxes.score,
    )  # fmt: skip


def frame(truth: Objects, found: Objects | None = None, **arrays):
    return frame_of(KEYS[0], {**picture(truth, Objects.none() if found is None else found, lidar=False), **arrays})


def is_color(image: Image.Image, color) -> np.ndarray:
    return np.all(np.asarray(image) == color, axis=2)


def extent(mask: np.ndarray) -> tuple[int, int, int, int]:
    row, column = np.nonzero(mask)
    return column.min(), row.min(), column.max(), row.max()


def test_corners_when_a_box_looks_right_or_ahead_then_its_front_is_there():
    ahead, right = (corners(np.array([1.5, 1.6, 4.0]), np.array([3.0, 1.0, 10.0]), turn) for turn in (-np.pi / 2, 0.0))
    front = sorted({index for pair in FRONT for index in pair})
    assert np.allclose(right[front, 0], 5.0) and np.allclose(ahead[front, 2], 12.0)  # half of 4 m from the centre
    assert sorted(set(right[:, 1])) == [-0.5, 1.0]  # y points down, the location is at the bottom
    assert np.allclose(footprint(np.array([1.5, 1.6, 4.0]), np.array([3.0, 1.0, 10.0]), 0.0), right[:4][:, [0, 2]])


def test_seen_lines_when_a_box_reaches_behind_the_camera_then_its_lines_end_before_it():
    eight = corners(np.array([1.5, 1.6, 4.0]), np.array([2.0, 1.5, 0.5]), -np.pi / 2)  # from 1.5 m behind to 2.5 m ahead
    lines = seen_lines(eight, EDGES, KITTI_P2)
    assert len(lines) == 8  # four around the far face, four along; the near face is behind
    assert np.isfinite(lines).all()
    cut = project_points(KITTI_P2, np.array([1.2, 1.5, NEAREST_M]))
    assert np.isclose(lines.reshape(-1, 2), cut).all(axis=1).any()
    assert len(seen_lines(eight - [0, 0, 10], EDGES, KITTI_P2)) == 0


@pytest.mark.parametrize("place", [(0.0, 1.5, 20.0), (-6.0, 1.7, 30.0), (5.0, 1.6, 12.0)])
def test_panels_when_drawn_then_the_box_in_space_fills_the_box_in_the_image(place):
    truth = objects_of(box(place, rotation=0.4))
    view = resting_view(IMAGE_PX, INPUT_PX)
    expected = view.boxes_to_input(truth.box_px)[0] * WIDE[0] / INPUT_PX[1]
    one = frame(truth)
    in_space = extent(is_color(boxes_in_space(one, WIDE), TRUTH))
    assert np.abs(np.array(in_space) - expected).max() <= 2.5
    flat = boxes_in_image(one, WIDE)
    row = round((expected[1] + expected[3]) / 2)  # the box's name is above it, so look in the middle
    columns = np.flatnonzero(is_color(flat, TRUTH)[row])
    assert np.abs(np.array([columns.min(), columns.max()]) - expected[[0, 2]]).max() <= 2.5


def test_heat_when_drawn_then_it_is_hottest_where_the_centre_of_the_car_is_seen():
    truth = objects_of(box((4.0, 1.5, 18.0)))
    hot = np.asarray(heat_picture(frame(truth), frame(truth).class_heat["Car"], WIDE)).astype(int)
    row, column = np.unravel_index(np.argmax(hot[..., 0] - hot[..., 2]), hot.shape[:2])
    centre = resting_view(IMAGE_PX, INPUT_PX).to_input(project_points(KITTI_P2, np.array([4.0, 0.75, 18.0])))
    assert np.abs(np.array([column, row]) / WIDE[0] * INPUT_PX[1] - centre).max() < 4  # a cell


def test_bird_view_when_a_car_is_ahead_on_the_right_then_it_is_up_and_right_at_its_distance():
    boxes = [(box((8.0, 1.5, 24.0), rotation=-np.pi / 2), TRUTH)]
    points = np.array([[8.0, 1.0, 21.9], [0.0, 1.6, 200.0], [0.0, -9.0, 10.0]])  # the second is too far, the third too high
    image = bird_view(points, boxes, projection=KITTI_P2, image_px=(0.0, 1242.0))
    assert image.size == SIZE_PX and reach_of(boxes) == 30.0
    left, top, right, bottom = extent(is_color(image, TRUTH))
    scale = SIZE_PX[1] / 30.0
    expected = (360 + 7.2 * scale, 600 - 26 * scale, 360 + 8.8 * scale, 600 - 22 * scale)
    assert np.abs(np.array([left, top, right, bottom]) - expected).max() <= 2
    bright = np.asarray(image).min(axis=2) > 100
    assert bright[round(600 - 21.9 * scale) - 1 :, round(360 + 8 * scale) : round(360 + 8 * scale) + 2].any()
    assert not bright[round(600 - 10 * scale) - 4 : round(600 - 10 * scale) + 1, 355:363].any()
    assert reach_of([(box((0, 1.5, 200.0)), TRUTH)]) == 80.0
    assert reach_of([(box((36.0, 1.5, 20.0)), TRUTH)]) == 70.0  # 41 m to the side


def test_rear_view_when_a_point_is_in_a_box_then_it_is_drawn_there_and_what_is_farther_is_higher():
    place = np.array([[4.0, 0.8, 20.0]])
    empty, one = (rear_view(points, [], width_px=720) for points in (np.zeros((0, 3)), place))
    left, top, right, bottom = extent(np.any(np.asarray(empty) != np.asarray(one), axis=2))
    assert (right - left, bottom - top) == (1, 1) and left > 360  # right of the middle
    assert np.abs(np.asarray(one)[top, left].astype(int) - depth_colors(np.array([20.0]))[0]).max() == 0
    boxes = rear_view(np.zeros((0, 3)), [(box((4.0, 1.5, 20.0)), TRUTH), (box((4.0, 1.5, 40.0)), DETECTED)], width_px=720)
    around, beyond = extent(is_color(boxes, TRUTH)), extent(is_color(boxes, DETECTED))
    assert around[0] < left < around[2] and around[1] < top < around[3]
    assert beyond[3] < around[3] and beyond[2] - beyond[0] < around[2] - around[0]
    behind = rear_view(np.zeros((0, 3)), [(box((0.0, 1.5, -30.0)), TRUTH)], width_px=720)  # behind the viewer too
    assert not is_color(behind, TRUTH).any()


def test_bird_view_when_a_place_is_not_said_then_the_box_is_left_out():
    unknown = box()
    unknown.location_m[:] = -1000.0
    image = bird_view(np.zeros((0, 3)), [(unknown, DETECTED)], projection=KITTI_P2, image_px=(0.0, 1242.0))
    assert not is_color(image, DETECTED).any()


def test_points_of_when_a_map_is_the_plane_of_the_road_then_the_points_lie_on_it():
    one = frame(made_up_cars(1, image_px=IMAGE_PX, seed=0))
    view = resting_view(IMAGE_PX, INPUT_PX)
    rows = view.to_image(np.stack([np.zeros(24), (np.arange(24) + 0.5) * 4], axis=1))[:, 1]
    road = np.where(rows > 190, 1.65 * KITTI_P2[1, 1] / np.maximum(rows - KITTI_P2[1, 2], 1), 0)
    points = one.points_of(np.repeat(road[:, None], 80, axis=1).astype(np.float32))
    assert len(points) == 80 * np.count_nonzero(road)
    assert np.abs(points[:, 1] - 1.65).max() < 1e-3
    left, right = points[0, 0], points[79, 0]
    assert left < 0 < right


def test_detection_panels_when_teacher_or_uncertainty_are_absent_then_their_panels_are():
    cars = made_up_cars(3, image_px=IMAGE_PX, seed=1)
    arrays = picture(cars, shifted(cars), lidar=False)
    titles = [panel.title for panel in detection_panels(frame_of("k", arrays))]
    assert titles == [
        "Boxes in the image", "Boxes in space", "Centre heat: Car", "Centre heat: Cyclist", "Depth everywhere", "Teacher",
        "Uncertainty of the teacher", "From behind", "From above",
    ]  # fmt: skip
    bare = {**arrays, "teacher_m": arrays["teacher_m"] * 0, "log_scale": arrays["log_scale"] * np.nan}
    panels = {panel.title: panel for panel in detection_panels(frame_of("k", bare))}
    assert list(panels) == [title for title in titles if title not in ("Teacher", "Uncertainty of the teacher", "From behind")]
    assert panels["From above"].caption == "no LiDAR and no teacher, so no points"
    assert panels["Boxes in the image"].caption == "3 objects annotated, 3 found"


def test_frames_of_when_stacked_then_each_frame_gets_its_own_objects_and_points():
    cars = [made_up_cars(count, image_px=IMAGE_PX, seed=count) for count in (2, 0, 3)]
    stacked = stacked_pictures(KEYS, [picture(one, shifted(one), lidar=True) for one in cars])
    frames = frames_of(stacked)
    assert [len(one.truth) for one in frames] == [len(one.detections) for one in frames] == [2, 0, 3]
    for one, own in zip(frames, cars, strict=True):
        assert np.array_equal(one.truth.location_m, own.location_m) and np.allclose(one.lidar_m, own.location_m)
        assert np.array_equal(one.detections.score, shifted(own).score) and one.truth.category.tolist() == ["Car"] * len(own)
    with pytest.raises(ValueError, match="array 'points' is missing"):
        frames_of({name: array for name, array in stacked.items() if name != "points"})
    with pytest.raises(ValueError, match=r"truth is \(5, 11\), expected \(5, 12\)"):
        frames_of({**stacked, "truth": stacked["truth"][:, :11]})


def test_heat_when_a_class_is_trained_then_its_panel_has_its_own_heat():
    cars = made_up_cars(3, image_px=IMAGE_PX, seed=1)
    panels = {panel.title: panel for panel in detection_panels(frame(cars))}
    assert (
        panels["Centre heat: Car"].caption == "hottest cell 1.00"
        and panels["Centre heat: Cyclist"].caption == "hottest cell 0.30"
    )


def test_lidar_when_a_point_is_seen_then_its_depth_is_there_and_of_two_the_nearest():
    arrays = picture(Objects.none(), Objects.none(), lidar=False)
    far, near = unproject_pixels(KITTI_P2, np.full((2, 2), 200.0), np.array([40.0, 20.0]))  # one behind the other
    arrays["points"] = np.array([far, near, [0.0, 0.0, -5.0], [900.0, 0.0, 5.0]], np.float32)  # the last two are not seen
    image = np.asarray(lidar_picture(frame_of("k", arrays), WIDE))
    column, row = resting_view(IMAGE_PX, INPUT_PX).to_input(np.array([200.0, 200.0])) * WIDE[0] / INPUT_PX[1]
    expected = depth_colors(np.array([20.0]))[0].astype(int)
    assert np.abs(image[int(row), int(column)].astype(int) - expected).max() <= 2
    colorful = image.max(axis=2).astype(int) - image.min(axis=2) > 30
    assert 1 <= np.count_nonzero(colorful) <= 25


def test_uncertainty_when_drawn_then_the_image_is_seen_through_it_and_the_key_says_its_ends():
    arrays = picture(Objects.none(), Objects.none(), lidar=False)
    arrays["log_scale"] = np.repeat(np.where(np.arange(80) < 40, -1.0, 2.0)[None], 24, axis=0).astype(np.float32)
    arrays["image_u8"][:, ::2] = 250  # stripes of the image
    one = frame_of("k", arrays)
    assert one.log_scale is not None and doubt_range(one.log_scale) == (-1.0, 2.0)
    image = np.asarray(uncertainty_picture(one, one.log_scale, (INPUT_PX[1], INPUT_PX[0]))).astype(int)
    believed, doubted = image[10, 20:60], image[10, 260:300]
    assert (believed[:, 2] > believed[:, 0]).all() and (doubted[:, 0] > doubted[:, 2]).all()  # blue, then red
    assert np.abs(np.diff(doubted.sum(axis=1))).min() > 100  # the stripes
    assert (image[-12:-8, 8:12] < 60).all()  # the key lies in the corner


def test_frames_of_when_a_former_version_wrote_them_then_they_are_shown_as_they_were():
    stacked = stacked_pictures(
        KEYS, [picture(one, shifted(one), lidar=True) for one in [made_up_cars(2, image_px=IMAGE_PX, seed=2)] * 3]
    )
    added = {"class_heat", "heat_classes", "reasons", "num_missed", "num_false", "depth_error_m", "error_of"}
    former = {name: array for name, array in stacked.items() if name not in added}
    assert len(former) == len(stacked) - len(added)
    frames = frames_of(former)
    assert [panel.title for panel in detection_panels(frames[0])][2:4] == ["LiDAR in the image", "Centre heat"]
    assert chosen_words(frames) == "Frames spread evenly over the split, at the network's input."
    assert len(frame_jpeg(frames[0])) > 1000
    with pytest.raises(ValueError, match="class_heat is of 2 frames, frame_keys of 3"):
        frames_of({**stacked, "class_heat": stacked["class_heat"][:2]})


def test_chosen_words_when_frames_were_asked_for_and_bad_then_said():
    cars = made_up_cars(1, image_px=IMAGE_PX, seed=4)
    frames = [frame(cars, **{"reasons": np.array(reasons)}) for reasons in ("named", "named+worst", "spread")]
    assert chosen_words(frames) == (
        "3 frames at the network's input: 2 asked for by name, 1 with the most missed and false objects (Car 3D@0.7, moderate), "
        "1 spread evenly over the split."
    )


@pytest.mark.parametrize("input_px", [INPUT_PX, (288, 512)])
def test_sheet_when_a_frame_has_no_annotation_then_a_picture_without_their_colour(input_px):
    cars = made_up_cars(2, image_px=IMAGE_PX, seed=4)
    bare = frame(Objects.none(), shifted(cars), image_u8=np.full((*input_px, 3), 90, np.uint8))
    image = Image.open(io.BytesIO(frame_jpeg(bare)))
    assert image.width == SHEET_WIDTH_PX == 1280 and image.height > 800
    near = np.abs(np.asarray(image)[82:260].astype(int) - TRUTH).max(axis=2) < 40  # the boxes, in the image and in space
    assert not near.any()
