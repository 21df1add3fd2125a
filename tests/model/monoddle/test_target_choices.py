"""The choices of targets that the public code has as options, or has in name only."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch

from model.data.objects import Objects, join_objects
from model.monoddle.affine_view import centred_view
from model.monoddle.batch import stack_targets
from model.monoddle.config import MonoDdleTrainConfig
from model.monoddle.decode import decode_objects
from model.monoddle.kitti_files import read_labels
from model.monoddle.loss import detection_losses, foreground_weight
from model.monoddle.network_config import MonoDdleConfig
from model.monoddle.precision.average_precision import average_precision
from model.monoddle.projected_boxes import projected_boxes
from model.monoddle.targets import NOT_JUDGED, TargetRules, is_inside_grid
from storage_schemas.frozen_config import every_key
from tests.model.monoddle.made_up_cars import KITTI_P2, centres_px, made_up_cars, perfect_maps
from tests.model.monoddle.test_detection_loss import flat_maps, one_object
from tests.model.monoddle.test_targets import CONFIG, IMAGE, ZOOM, car, encode

SIMPLE_P2 = np.array([[100.0, 0, 50, 0], [0, 100, 40, 0], [0, 0, 1, 0]])
MERGED = TargetRules(heat_of={"Van": "Car", "Truck": "Car"})
DONT_CARE = {"category": ["DontCare"], "location_m": [[-1000.0] * 3], "size_hwl_m": [[-1.0] * 3], "alpha_rad": [-10.0]}


def box(location, *, rotation=0.0, size=(2.0, 2.0, 4.0)) -> Objects:
    return car(location_m=[location], rotation_y_rad=[rotation], size_hwl_m=[size])


def test_rules_when_left_out_then_name_what_they_named_before():
    assert list(TargetRules().model_dump()) == [
        "min_height_px", "max_truncation", "max_occlusion", "min_depth_m", "max_depth_m", "supervise_cropped",
    ]  # fmt: skip
    assert every_key(TargetRules())["heat_of"] == {}
    rules = {"heat_of": {"Van": "Car"}, "ignored": "regions"}
    assert TargetRules(**rules).model_dump().items() >= rules.items()


def test_van_when_it_draws_into_car_then_a_peak_there_and_no_slot():
    van = car(category=["Van"], location_m=[[-4.0, 1.5, 15.0]], box_px=[[370.0, 170.0, 470.0, 260.0]])
    both, alone = encode(join_objects([car(), van]), rules=MERGED), encode(car())
    as_car = encode(join_objects([car(), dataclasses.replace(van, category=np.array(["Car"]))]))
    assert np.array_equal(both.heatmap, as_car.heatmap)
    assert (both.heatmap[1] == 1).sum() == 2
    assert all(np.array_equal(one, other) for one, other in zip(both[1:], alone[1:], strict=True))
    assert np.array_equal(encode(join_objects([car(), van])).heatmap, alone.heatmap)  # not asked for


@pytest.mark.parametrize(
    "changes",
    [{"location_m": [[0.0, 1.0, 66.0]]}, {"occlusion": [3]}, {"box_px": [[660.0, 175.0, 750.0, 190.0]]}, {"category": ["Tram"]}],
)
def test_van_when_it_would_not_be_learned_as_a_car_then_draws_nothing(changes):
    assert not encode(car(**{"category": ["Van"], **changes}), rules=MERGED).heatmap.any()


def test_vans_when_more_than_slots_then_no_error():
    vans = made_up_cars(60, image_px=IMAGE, seed=1, category="Van")
    assert (encode(vans, rules=MERGED).heatmap == 1).sum() > 50


@pytest.mark.parametrize(
    ("heat_of", "message"),
    [
        ({"Bus": "Car"}, "targets.heat_of has 'Bus', which no object is of; expected of Car, Van, Truck"),
        ({"DontCare": "Car"}, "targets.heat_of has 'DontCare', which no object is of"),
        ({"Car": "Cyclist"}, "targets.heat_of has 'Car', which is learned itself"),
        ({"Van": "Lorry"}, "targets.heat_of draws Van as 'Lorry', which has no heat map"),
    ],
)
def test_heat_of_when_it_cannot_be_then_the_error_names_it(heat_of, message):
    with pytest.raises(ValueError, match=message):
        MonoDdleTrainConfig(targets=TargetRules(heat_of=heat_of))


def test_projected_box_when_worked_out_by_hand_then_equal():
    straight = projected_boxes(box((0, 1, 10)), SIMPLE_P2)  # x -2 to 2, y -1 to 1, z 9 to 11
    assert straight[0] == pytest.approx([50 - 200 / 9, 40 - 100 / 9, 50 + 200 / 9, 40 + 100 / 9])
    turned = projected_boxes(box((0, 1, 10), rotation=np.pi / 2), SIMPLE_P2)  # x -1 to 1, z 8 to 12
    assert turned[0] == pytest.approx([50 - 100 / 8, 40 - 100 / 8, 50 + 100 / 8, 40 + 100 / 8])
    beside = projected_boxes(box((3, 1, 10)), SIMPLE_P2)  # x 1 to 5: the near face ends at the right, the far one at the left
    assert beside[0] == pytest.approx([50 + 100 / 11, 40 - 100 / 9, 50 + 500 / 9, 40 + 100 / 9])


def test_projected_box_when_part_of_it_is_behind_the_camera_then_of_the_part_before_it():
    along = projected_boxes(box((0, 1, 1), rotation=np.pi / 2), SIMPLE_P2)  # z -1 to 3, cut at 0.1
    assert along[0] == pytest.approx([50 - 1000, 40 - 1000, 50 + 1000, 40 + 1000])
    for hopeless in (box((0, 1, -10)), car(**DONT_CARE)):
        assert projected_boxes(hopeless, SIMPLE_P2)[0] == pytest.approx(hopeless.box_px[0])
    assert projected_boxes(Objects.none(), SIMPLE_P2).shape == (0, 4)


@pytest.mark.real_data
def test_projected_boxes_when_of_real_labels_then_as_annotated(shared):
    overlaps = []
    for file in sorted((shared / "data/kitti-object/training/label_2").glob("*.txt")):
        labels = read_labels(file)
        cars = labels[(labels.category == "Car") & (labels.truncation == 0) & (labels.occlusion == 0)]
        lines = (file.parents[1] / "calib" / file.name).read_text().splitlines()
        p2 = np.array(next(line for line in lines if line.startswith("P2:")).split()[1:], float).reshape(3, 4)
        for one, other in zip(projected_boxes(cars, p2), cars.box_px, strict=True):
            width, height = np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2])
            areas = [np.prod(ends[2:] - ends[:2]) for ends in (one, other)]
            overlaps.append(width * height / (sum(areas) - width * height))
    assert len(overlaps) > 10
    assert min(overlaps) > 0.75 and np.median(overlaps) > 0.85


def test_targets_when_the_box_is_projected_then_its_box_is_learned_and_the_least_height_is_annotated():
    projected = projected_boxes(car(), KITTI_P2)[0]
    found = encode(car(), rules=TargetRules(box_2d="projected"))
    assert found.size_2d[0] == pytest.approx((projected[2:] - projected[:2]) * ZOOM / 4, rel=1e-5)
    assert found.cell_index[0] == encode(car()).cell_index[0]
    low = car(box_px=[[660.0, 175.0, 750.0, 190.0]])
    assert not encode(low, rules=TargetRules(box_2d="projected")).is_object.any()


def test_peak_when_at_the_centre_of_the_2d_box_then_offsets_are_counted_from_there():
    found = encode(car(), rules=TargetRules(peak_at="centre_2d"))
    x, y = 705 * ZOOM / 4, (203 - 1.2) * ZOOM / 4
    column, row = int(x), int(y)
    assert found.heatmap[1, row, column] == 1 and (found.heatmap == 1).sum() == 1
    assert found.cell_index[0] == row * 320 + column
    assert found.offset_2d[0] == pytest.approx([x - column, y - row], abs=1e-4)
    assert found.offset_3d[0] == pytest.approx([700 * ZOOM / 4 - column, (200 - 1.2) * ZOOM / 4 - row], abs=1e-4)


def test_object_when_its_2d_centre_alone_is_in_the_image_then_learned_from_there():
    aside = car(location_m=[[-20.0, 1.0, 20.0]], box_px=[[0.0, 175.0, 60.0, 231.0]])
    assert not encode(aside).is_object.any()
    found = encode(aside, rules=TargetRules(peak_at="centre_2d"))
    assert found.is_object.sum() == 1 and found.offset_3d[0, 0] < -20


@pytest.mark.parametrize("options", [{}, {"peak_at": "centre_2d"}, {"box_2d": "projected"}, {"ignored": "regions_and_objects"}])
def test_cars_when_encoded_and_decoded_with_any_choice_then_average_precision_is_100(options):
    rules, config = TargetRules(**options), MonoDdleConfig()
    truth, found = [], []
    for seed in range(20):
        cars = made_up_cars(6, image_px=IMAGE, seed=seed)
        if rules.box_2d == "projected":
            cars = cars[cars.location_m[:, 2] > 6]
        cars = _apart(cars)
        view = centred_view(IMAGE, config.input_px, is_flipped=bool(seed % 2), scale=(1.0, 1.1, 0.9)[seed % 3])
        targets = stack_targets([encode(cars, view, rules=rules)])
        (decoded,) = decode_objects(perfect_maps(targets, config), [view], projections=KITTI_P2[None], config=config)
        expected = cars if rules.box_2d == "annotated" else dataclasses.replace(cars, box_px=projected_boxes(cars, KITTI_P2))
        truth.append(expected[is_inside_grid(cars, KITTI_P2, view=view, config=config, rules=rules)])
        found.append(decoded)
    rows = average_precision(truth, found, classes=("Car",))
    assert min(row.num_truth for row in rows) > 41
    assert all(row.r40 == pytest.approx(100) and row.r11 == pytest.approx(100) for row in rows)


def _apart(cars: Objects) -> Objects:
    """Leave out cars whose centres, of either kind, come near another's."""
    keep = np.ones(len(cars), dtype=bool)
    for centre in (centres_px(cars), (cars.box_px[:, :2] + cars.box_px[:, 2:]) / 2):
        near = (np.abs(centre[:, None] - centre) < 10).all(axis=2)
        keep &= ~np.triu(near, k=1).any(axis=0)
    return cars[keep]


def test_region_when_ignored_then_its_background_is_not_judged_in_any_map():
    region = car(**DONT_CARE, box_px=[[690.0, 190.0, 800.0, 260.0]])
    found = encode(join_objects([car(), region]), rules=TargetRules(ignored="regions")).heatmap
    plain = encode(car()).heatmap
    left, top, right, bottom = (np.array([690, 190 - 1.2, 800, 260 - 1.2]) * ZOOM / 4).tolist()
    row, column = np.mgrid[0:96, 0:320] + 0.5
    inside = (column >= left) & (column < right) & (row >= top) & (row < bottom)
    assert inside.sum() == 28 * 18
    for number in range(3):
        assert np.array_equal(found[number] == NOT_JUDGED, inside & (plain[number] == 0))
    assert np.array_equal(np.maximum(found, 0), plain)
    assert np.array_equal(encode(join_objects([car(), region])).heatmap, plain)


def test_objects_when_ignored_then_those_not_learned_in_the_map_of_their_class():
    far = car(location_m=[[0.0, 1.0, 66.0]], box_px=[[100.0, 175.0, 140.0, 205.0]])
    walker = car(category=["Pedestrian"], box_px=[[300.0, 175.0, 340.0, 230.0]])
    objects = join_objects([car(), far, walker])
    found = encode(objects, rules=TargetRules(ignored="regions_and_objects")).heatmap
    assert (found[1] == NOT_JUDGED).sum() == 10 * 8  # 40 x 30 pixels at 1.03 / 4
    assert not (found[[0, 2]] == NOT_JUDGED).any()
    assert not (encode(objects, rules=TargetRules(ignored="regions")).heatmap == NOT_JUDGED).any()
    both = MonoDdleConfig(train_classes=("Pedestrian", "Car"))
    hidden = join_objects([car(), dataclasses.replace(walker, occlusion=np.array([3]))])
    found = encode(hidden, config=both, rules=TargetRules(ignored="regions_and_objects")).heatmap
    assert (found[0] == NOT_JUDGED).any() and not (found[1] == NOT_JUDGED).any()


def test_region_when_mirrored_then_its_mirror_is_not_judged():
    region = join_objects([car(), car(**DONT_CARE, box_px=[[690.0, 190.0, 801.0, 260.0]])])
    found = encode(region, rules=TargetRules(ignored="regions")).heatmap
    mirrored = encode(region, centred_view(IMAGE, CONFIG.input_px, is_flipped=True), rules=TargetRules(ignored="regions")).heatmap
    assert np.array_equal(mirrored == NOT_JUDGED, found[:, :, ::-1] == NOT_JUDGED)


def test_region_when_outside_the_view_then_nothing_of_it_is_there():
    region = car(**DONT_CARE, box_px=[[-300.0, -50.0, -200.0, 500.0]])
    assert not encode(region, rules=TargetRules(ignored="regions")).heatmap.any()
    whole = car(**DONT_CARE, box_px=[[-300.0, -50.0, 2000.0, 500.0]])
    assert (encode(whole, rules=TargetRules(ignored="regions")).heatmap == NOT_JUDGED).all()


def test_heat_loss_when_a_cell_is_not_judged_then_it_adds_nothing_and_gets_no_gradient():
    maps = flat_maps()
    maps["heatmap"].requires_grad_()
    found = detection_losses(maps, one_object(heatmap=[[[[1.0, 0.5], [0.0, NOT_JUDGED]]]]))["heatmap"]
    assert float(found.detach()) == pytest.approx(1.86727 + 0.01 * math.log(0.9), abs=1e-5)
    (gradient,) = torch.autograd.grad(found, maps["heatmap"])
    assert gradient[0, 0, 1, 1] == 0 and (gradient.flatten()[:3] != 0).all()


def test_foreground_when_a_cell_is_not_judged_then_it_weighs_as_background():
    heat = torch.tensor([[[[NOT_JUDGED, 0.0, 1.0]], [[NOT_JUDGED, NOT_JUDGED, NOT_JUDGED]]]])
    assert foreground_weight(heat, torch.ones(1, 1, 3, dtype=torch.bool))[0, 0].tolist() == [1.0, 1.0, 5.0]
    assert CONFIG.num_classes == 3
