from __future__ import annotations

import pytest

from pipeline.kernels.boxes import SceneBoxes
from pipeline.kernels.categories import kitti_type, moves, read_otherwise_before, unknown_categories
from tests.conftest import NEEDS_DEVKIT

NUSCENES = ["animal", "human.pedestrian.adult", "human.pedestrian.child", "human.pedestrian.construction_worker", "human.pedestrian.personal_mobility", "human.pedestrian.police_officer", "human.pedestrian.stroller", "human.pedestrian.wheelchair", "movable_object.barrier", "movable_object.debris", "movable_object.pushable_pullable", "movable_object.trafficcone", "static_object.bicycle_rack", "vehicle.bicycle", "vehicle.bus.bendy", "vehicle.bus.rigid", "vehicle.car", "vehicle.construction", "vehicle.emergency.ambulance", "vehicle.emergency.police", "vehicle.motorcycle", "vehicle.trailer", "vehicle.truck"]  # fmt: skip


@pytest.mark.parametrize("category", NUSCENES)
def test_category_when_it_is_one_of_nuscenes_then_is_read_as_ever_and_its_units_keep_their_names(category):
    assert moves(category) == category.startswith(("vehicle.", "human.", "animal"))
    assert unknown_categories([category]) == []
    assert read_otherwise_before([category]) == []


def test_categories_when_the_detection_benchmark_counts_them_as_car_truck_or_pedestrian_then_kittis_types_do_too():
    detection = pytest.importorskip("nuscenes.eval.detection.utils", reason=NEEDS_DEVKIT)
    same = [name for name in NUSCENES if detection.category_to_detection_name(name) in ("car", "truck", "pedestrian")]
    assert len(same) >= 6
    assert {kitti_type(name) for name in same} <= {"Car", "Van", "Truck", "Pedestrian"}


MOVING = {
    "Lyft level 5": ("car truck bus emergency_vehicle other_vehicle motorcycle bicycle pedestrian animal", "Car Truck Misc Misc Misc Misc Cyclist Pedestrian Misc"),
    "T4": ("car trailer pedestrian.adult pedestrian.wheelchair pedestrian.personal_mobility", "Car Misc Pedestrian Person_sitting Misc"),
    "KITTI": ("Car Van Truck Pedestrian Person_sitting Cyclist Tram Misc", "Car Van Truck Pedestrian Person_sitting Cyclist Tram Misc"),
    "Waymo": ("TYPE_VEHICLE TYPE_PEDESTRIAN TYPE_CYCLIST Vehicle", "Car Pedestrian Cyclist Car"),
    "aiMotive": ("CAR TRUCK/BUS VAN PICKUP MOTORCYCLE BICYCLE RIDER PEDESTRIAN TRAIN OTHER-RIDEABLE", "Car Truck Van Car Misc Cyclist Cyclist Pedestrian Misc Misc"),
    "man-truckscenes": ("vehicle.train vehicle.ego_trailer vehicle.other animal", "Misc Misc Misc Misc"),
    "Argoverse 2": ("REGULAR_VEHICLE LARGE_VEHICLE BOX_TRUCK SCHOOL_BUS WHEELED_DEVICE OFFICIAL_SIGNALER DOG", "Car Misc Truck Misc Misc Pedestrian Misc"),
    "PandaSet": ("Pickup_Truck Semi-truck Motorized_Scooter Emergency_Vehicle Pedestrian_with_Object", "Truck Truck Misc Misc Pedestrian"),
}  # fmt: skip


@pytest.mark.parametrize("data_set", MOVING)
def test_category_when_another_data_set_names_what_moves_then_it_moves_and_has_a_type(data_set):
    names, types = (text.split() for text in MOVING[data_set])
    assert [kitti_type(name) for name in names] == types
    assert [name for name in names if not moves(name)] == []
    assert [name for name in names if not moves(name.replace("_", " "))] == []


@pytest.mark.parametrize(
    "category",
    ["static_object.traffic_sign", "barrier", "traffic_cone", "traffic cone", "Cones", "TYPE_SIGN", "Road Barriers", "bicycle_rack",
     "STOP_SIGN", "BOLLARD", "traffic_light", "DontCare", "bus stop", "pushable_pullable", "generic_object", "noise", "static.manmade"],
)  # fmt: skip
def test_category_when_it_stands_still_then_is_known_and_has_no_type(category):
    assert not moves(category)
    assert kitti_type(category) is None
    assert unknown_categories([category]) == []


def test_unknown_categories_when_a_name_says_nothing_then_names_it_unless_the_recipe_says_that_it_moves():
    names = ["car", "Wagon.A", "wagon.b", "汽车", "", "car", "barrier", "TYPE_UNKNOWN"]
    assert unknown_categories(names) == ["", "TYPE_UNKNOWN", "Wagon.A", "wagon.b", "汽车"]
    assert unknown_categories(names, movable=("WAGON.", "汽车")) == ["", "TYPE_UNKNOWN"]
    assert not moves("car barrier", movable=())
    assert moves("car barrier", movable=("car",))


def test_light_vehicle_when_light_is_no_traffic_light_then_it_moves():
    assert moves("light_vehicle")
    assert not moves("TRAFFIC_LIGHT")


def test_read_otherwise_before_when_names_are_not_nuscenes_own_then_names_those_that_were_taken_for_walls():
    assert read_otherwise_before(["car", "barrier", "vehicle.car", "pedestrian", "car"]) == ["car", "pedestrian"]


@pytest.mark.parametrize(("category", "movable", "count"), [("car", (), 1), ("gokart", (), 0), ("gokart", ("go",), 1)])
def test_scene_boxes_when_category_is_of_another_data_set_then_it_is_in_the_moving_filter(category, movable, count):
    columns = {
        "instance_token": ["a"], "sample_index": [0], "sample_timestamp_us": [0], "category": [category], "center_m": [[0.0, 0.0, 0.0]],
        "size_wlh_m": [[2.0, 4.0, 1.5]], "world_from_box_wxyz": [[1.0, 0.0, 0.0, 0.0]], "speed_mps": [5.0],
    }  # fmt: skip
    boxes = SceneBoxes(columns, moving_mps=0.5, movable=movable)
    assert len(boxes.moving_at_sweep({"sample_index": 0, "is_keyframe": True, "timestamp_us": 0})) == count
