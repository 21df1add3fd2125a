"""Objects of key frames as arrays, and which ground cells vehicles cover."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from model.uvtr.classes import CLASSES
from model.uvtr.objects import objects_of
from model.uvtr.segmentation_truth import RELEASED_GRID, CellCounts, GroundGrid, vehicles_on_ground
from storage_schemas.catalog import OBJECTS
from storage_schemas.errors import LayoutError
from storage_schemas.layout import columns_from_rows
from tests.model.uvtr.made_up_objects import made_up_objects

_ROW = {
    "annotation_token": "a", "instance_token": "i", "attribute": "", "x_m": 1.0, "y_m": 2.0, "z_m": 3.0, "width_m": 2.0,
    "length_m": 4.0, "height_m": 1.5, "yaw_rad": 0.5, "vx_mps": float("nan"), "vy_mps": 0.0, "visibility": "v40-60",
}  # fmt: skip


def _row(sample: int, category: str, lidar: int, radar: int) -> dict:
    return {**_ROW, "sample_index": sample, "category": category, "num_lidar_points": lidar, "num_radar_points": radar}


def test_objects_when_read_then_by_key_frame_with_labels_counts_and_racks_apart():
    objects = [
        _row(3, "vehicle.car", 2, 1),
        _row(1, "human.pedestrian.child", 0, 0),
        _row(1, "static_object.bicycle_rack", 0, 0),
        _row(1, "human.pedestrian.stroller", 5, 0),
        _row(1, "movable_object.barrier", -1, -1),
        _row(1, "vehicle.truck", -1, 4),
    ]
    rigs = [
        {"sample_index": index, "sample_token": f"k{index}", "timestamp_us": index, "world_from_rig": np.eye(4).ravel().tolist()}
        for index in (1, 2, 3)
    ]
    scene = objects_of(
        {"objects": columns_from_rows(OBJECTS.table("objects"), objects), "rigs": columns_from_rows(OBJECTS.table("rigs"), rigs)}
    )

    first, empty, last = scene.frames
    assert [CLASSES[label] for label in first.labels] == ["pedestrian", "barrier", "truck"]
    assert first.num_points.tolist() == [0, -1, 4] and first.has_returns.tolist() == [False, True, True]
    assert (len(first.racks), len(empty), len(empty.racks), len(last)) == (1, 0, 0, 1)
    assert last.centers_m.tolist() == [[1.0, 2.0, 3.0]] and last.sizes_wlh_m.tolist() == [[2.0, 4.0, 1.5]]
    assert np.isnan(last.velocities_mps[0, 0]) and last.num_points.tolist() == [3]
    assert scene.at("k3") is last and scene.world_from_rig.shape == (3, 4, 4)
    with pytest.raises(LayoutError, match="key frame 'k9' is not among the 3 of this scene's objects"):
        scene.at("k9")


def test_ground_when_vehicles_stand_on_it_then_their_footprints_are_covered_and_no_others():
    objects = made_up_objects(0, number=10, reach_m=40.0)
    objects = replace(objects, visibility=np.full(10, "v80-100"), sizes_wlh_m=np.tile([2.0, 4.0, 1.5], (10, 1)))
    covered = vehicles_on_ground(objects, RELEASED_GRID)

    vehicles = objects.where(~np.isin(objects.labels, [5, 8, 9]))  # barrier, pedestrian, traffic cone
    assert covered.shape == (200, 200)
    assert covered.sum() * 0.25 == pytest.approx(8.0 * len(vehicles), rel=0.1)
    for x, y, _ in vehicles.centers_m:
        assert covered[int((y + 50) / 0.5), int((x + 50) / 0.5)]
    hidden = replace(objects, visibility=np.full(10, "v0-40"))
    assert not vehicles_on_ground(hidden, RELEASED_GRID).any()
    assert vehicles_on_ground(replace(objects, visibility=np.full(10, "")), RELEASED_GRID).sum() == covered.sum()


def test_ground_when_a_vehicle_is_turned_or_at_the_edge_then_cells_are_those_whose_centre_lies_inside():
    one = made_up_objects(0, number=1)
    grid = GroundGrid((-4.0, -2.0), 1.0, (4, 8))
    place = replace(
        one, centers_m=np.array([[0.0, 0.0, 0.0]]), sizes_wlh_m=np.array([[1.9, 4.1, 1.0]]), visibility=np.array([""])
    )
    along = vehicles_on_ground(replace(place, yaws_rad=np.array([0.0])), grid)
    across = vehicles_on_ground(replace(place, yaws_rad=np.array([np.pi / 2])), grid)
    assert np.argwhere(along).tolist() == [[y, x] for y in (1, 2) for x in (2, 3, 4, 5)]
    assert np.argwhere(across).tolist() == [[y, x] for y in (0, 1, 2, 3) for x in (3, 4)]
    outside = replace(place, centers_m=np.array([[5.0, 0.0, 0.0]]), yaws_rad=np.array([0.0]))
    assert np.argwhere(vehicles_on_ground(outside, grid)).tolist() == [[1, 7], [2, 7]]


def test_cells_when_counted_over_key_frames_then_one_intersection_over_union():
    truth, said = np.array([[True, True], [False, False]]), np.array([[True, False], [True, False]])
    counts = CellCounts().with_frame(truth, said).with_frame(truth, truth)
    assert (counts.both, counts.either, counts.covered, counts.total) == (3, 5, 4, 8)
    assert counts.iou == 0.6 and np.isnan(CellCounts().iou)
