from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from model.data.objects import Objects, join_objects
from model.data.rectified_camera import unproject_pixels
from model.monoddle.affine_view import AffineView, centred_view, resting_view
from model.monoddle.batch import stack_targets
from model.monoddle.network_config import MonoDdleConfig
from model.monoddle.targets import ObjectTargets, TargetRules, encode_objects
from tests.model.monoddle.made_up_cars import KITTI_P2, TINY, in_cells_of_their_own, made_up_cars

IMAGE = (375, 1242)
CONFIG = MonoDdleConfig()
PLAIN = resting_view(IMAGE, CONFIG.input_px)
ZOOM = 1280 / 1242


def car(**changes) -> Objects:
    """One easy car, 20 m away, its centre seen at (700, 200)."""
    location = unproject_pixels(KITTI_P2, np.array([[700.0, 200.0]]), np.array([20.0])) + [[0, 0.75, 0]]
    fields = {
        "category": np.array(["Car"]),
        "truncation": np.array([0.0]),
        "occlusion": np.array([0]),
        "alpha_rad": np.array([1.6]),
        "box_px": np.array([[660.0, 175.0, 750.0, 231.0]]),
        "size_hwl_m": np.array([[1.5, 1.6, 3.9]]),
        "location_m": location,
        "rotation_y_rad": np.array([1.7]),
        "score": np.array([0.0]),
    }
    return Objects(**{**fields, **{name: np.array(value) for name, value in changes.items()}})


def encode(objects: Objects, view: AffineView = PLAIN, **options) -> ObjectTargets:
    return encode_objects(objects, KITTI_P2, **{"view": view, "config": CONFIG, "frame_key": "s/CAM_2/7", **options})


def test_targets_when_of_one_car_then_as_worked_out_by_hand():
    found = encode(car())
    x, y = 700 * ZOOM / 4, (200 - 1.2) * ZOOM / 4
    column, row = int(x), int(y)
    assert found.heatmap.shape == (3, 96, 320)
    assert found.heatmap[1, row, column] == 1
    assert (found.heatmap == 1).sum() == 1
    assert not found.heatmap[[0, 2]].any()
    assert np.count_nonzero(found.heatmap) == (2 * 4 + 1) ** 2  # a box of 14.4 x 23.2 cells
    assert found.cell_index[0] == row * 320 + column
    assert found.offset_3d[0] == pytest.approx([x - column, y - row], abs=1e-5)
    assert found.offset_2d[0] == pytest.approx([705 * ZOOM / 4 - column, (203 - 1.2) * ZOOM / 4 - row], abs=1e-5)
    assert found.size_2d[0] == pytest.approx([90 * ZOOM / 4, 56 * ZOOM / 4])
    assert found.depth_m[0] == 20
    assert found.size_3d_m[0] == pytest.approx([1.5, 1.6, 3.9])
    assert (found.heading_bin[0], found.heading_rad[0]) == (3, pytest.approx(1.6 - np.pi / 2))
    assert (found.is_object[0], found.is_3d[0], found.class_index[0]) == (True, True, 1)
    assert found.is_object.sum() == found.is_3d.sum() == 1
    assert all(not np.any(values[1:]) for values in found[1:])
    assert all(len(values) == 50 for values in found[1:])


def test_targets_when_mirrored_then_those_of_the_mirrored_world():
    view = centred_view(IMAGE, CONFIG.input_px, is_flipped=True)
    cars = made_up_cars(20, image_px=IMAGE, seed=0)
    box = cars.box_px[:, [2, 1, 0, 3]] * [-1, 1, -1, 1] + [1242, 0, 1242, 0]
    mirrored = dataclasses.replace(cars, alpha_rad=np.pi - cars.alpha_rad, box_px=box, location_m=cars.location_m * [-1, 1, 1])
    p2 = resting_view(IMAGE, IMAGE).projection(KITTI_P2) * np.array([[1, 1, 1, -1], [1, 1, 1, 1], [1, 1, 1, 1]])
    p2[0, 2] = 1242 - p2[0, 2]
    expected = encode_objects(mirrored, p2, view=PLAIN, config=CONFIG, frame_key="s/CAM_2/7")
    for name, one, other in zip(ObjectTargets._fields, encode(cars, view), expected, strict=True):
        assert np.allclose(one, other, atol=2e-4), name
    assert expected.is_object.sum() > 15


def test_targets_when_zoomed_then_depth_times_a_and_only_box_and_heading_are_learned():
    view = centred_view(IMAGE, CONFIG.input_px, scale=1.25, shift_px=(5.0, -30.0))
    found, plain = encode(car(), view), encode(car())
    assert found.depth_m[0] == 25
    assert found.size_2d[0] == pytest.approx(plain.size_2d[0] / 1.25)
    assert found.size_3d_m[0] == pytest.approx(plain.size_3d_m[0])
    assert (found.is_object[0], found.is_3d[0]) == (True, False)
    assert encode(car(), view, rules=TargetRules(supervise_cropped=True)).is_3d[0]
    assert encode(car(), centred_view(IMAGE, CONFIG.input_px, is_flipped=True)).is_3d[0]


@pytest.mark.parametrize(
    ("changes", "is_learned"),
    [
        ({"category": ["Van"]}, False),
        ({"category": ["Pedestrian"]}, False),
        ({"category": ["DontCare"], "location_m": [[-1000.0] * 3], "alpha_rad": [-10.0]}, False),
        ({"box_px": [[660.0, 175.0, 750.0, 198.9]]}, False),  # 23.9 + 1 pixels high
        ({"box_px": [[660.0, 175.0, 750.0, 199.0]]}, True),
        ({"truncation": [0.51]}, False),
        ({"truncation": [0.5]}, True),
        ({"truncation": [-1.0]}, True),
        ({"occlusion": [3]}, False),
        ({"occlusion": [2]}, True),
        ({"location_m": [[0.0, 1.0, 1.99]]}, False),
        ({"location_m": [[0.0, 1.0, 2.0]]}, True),
        ({"location_m": [[0.0, 1.0, 65.01]]}, False),
        ({"location_m": [[0.0, 1.0, 65.0]]}, True),
        ({"location_m": [[-20.0, 1.0, 20.0]]}, False),  # its centre is left of the image
        ({"size_hwl_m": [[-1.0, -1.0, -1.0]]}, False),
        ({"alpha_rad": [-10.0]}, False),
    ],
)
def test_object_when_of_some_kind_then_learned_or_background(changes, is_learned):
    found = encode(car(**changes))
    assert found.is_object.sum() == is_learned
    assert found.heatmap.any() == is_learned


def test_object_when_rules_are_for_small_images_then_learned():
    small = car(box_px=[[660.0, 175.0, 700.0, 183.0]])
    assert not encode(small).is_object.any()
    assert encode(small, rules=TargetRules(min_height_px=6.25)).is_object.any()
    assert encode(car(category=["Cyclist"]), config=MonoDdleConfig(train_classes=("Cyclist", "Car"))).class_index[0] == 2


def test_centre_when_up_to_a_cell_before_the_first_then_in_the_first():
    location = unproject_pixels(KITTI_P2, np.array([[-2.0, 200.0], [-4.5, 200.0]]), np.array([20.0, 20.0])) + [0, 0.75, 0]
    two = join_objects([car(location_m=location[:1]), car(location_m=location[1:])])
    found = encode(two)
    assert found.is_object.sum() == 1
    assert found.cell_index[0] % 320 == 0
    assert found.offset_3d[0, 0] == pytest.approx(-2 * ZOOM / 4, abs=1e-5)


def test_size_when_differences_to_the_mean_are_learned_then_both_are_told():
    found = encode(car(), config=MonoDdleConfig(mean_shape=True))
    assert found.size_3d_m[0] == pytest.approx([1.5 - 1.5256, 1.6 - 1.6286, 3.9 - 3.5259], abs=1e-6)
    assert found.whole_size_m[0] == pytest.approx([1.5, 1.6, 3.9])


def test_objects_when_more_than_slots_then_an_error_that_names_frame_count_and_key():
    cars = in_cells_of_their_own(made_up_cars(80, image_px=IMAGE, seed=1), cell_px=4.5)
    assert len(cars) > 50
    with pytest.raises(
        ValueError,
        match=rf"frame 's/CAM_2/7' has {len(cars)} objects to learn and the network has max_objects 50; set train.network.max_objects to {len(cars)} or more",
    ):
        encode(cars)
    assert encode(cars[:50]).is_object.all()
    assert encode(join_objects([cars[:50], car(category=["Van"])])).is_object.all()  # only what is learned counts


def test_no_object_when_encoded_then_zeros_of_the_same_shapes():
    found = encode(Objects.none())
    assert [values.shape for values in found] == [values.shape for values in encode(car())]
    assert [values.dtype for values in found] == [values.dtype for values in encode(car())]
    assert not any(values.any() for values in found)


def test_targets_when_stacked_then_one_axis_more():
    batch = stack_targets([encode(car()), encode(Objects.none())])
    assert batch.heatmap.shape == (2, 3, 96, 320)
    assert batch.is_object.sum(dim=1).tolist() == [1, 0]
    assert batch.depth_m[0, 0] == 20
    assert TINY.grid_px == (24, 80)
