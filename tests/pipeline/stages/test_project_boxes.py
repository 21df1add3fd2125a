from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.geometry import rigid
from pipeline.kernels.project_boxes import NEAR_M, hidden_share, hull_px, occlusion_levels, see_boxes, wrapped
from pipeline.recipe import parse_recipe
from pipeline.sources import open_source
from pipeline.stage import StageInput
from pipeline.stages import project_boxes
from pipeline.stages.project_boxes import Params, kitti_type
from storage_schemas.layout import UnitData, check, rows
from tests.tiny_kitti import corners_of

K = np.array([[500.0, 0, 400], [0, 520.0, 200], [0, 0, 1]])
SIZE = {"height": 400, "width": 800}
CAM_FROM_EGO = np.array([[0.0, -1, 0], [0, 0, -1], [1, 0, 0]])  # x forward, y left, z up -> x right, y down, z forward


def placed(x: float, y: float, z: float, yaw: float = 0.0) -> np.ndarray:
    """Return the pose of an upright box: centre in the camera frame, heading turned by yaw from straight ahead to the left."""
    pose = np.eye(4)
    pose[:3, :3] = CAM_FROM_EGO @ rigid([0, 0, 0], [math.cos(yaw / 2), 0, 0, math.sin(yaw / 2)])[:3, :3]
    pose[:3, 3] = x, y, z
    return pose[None]


def seen(pose, half=(2.0, 0.8, 0.75)):
    return see_boxes(pose, np.array([half]), K, **SIZE)


@pytest.mark.parametrize(
    ("yaw", "rotation_y"), [(0.0, -math.pi / 2), (math.pi / 2, math.pi), (-math.pi / 2, 0.0), (math.pi, math.pi / 2)]
)
def test_rotation_when_a_car_drives_away_left_right_or_towards_then_as_kitti_counts(yaw, rotation_y):
    found = seen(placed(0, 1, 20, yaw))
    assert abs(wrapped(found.rotation_y_rad[0] - np.array(rotation_y))) < 1e-9
    np.testing.assert_allclose(found.location_m[0], [0, 1.75, 20])  # the bottom lies half the height below the centre


@settings(max_examples=60, deadline=None)
@given(
    x=st.floats(-8, 8), y=st.floats(-1, 2), z=st.floats(6, 60), yaw=st.floats(-3.1, 3.1),
    half=st.tuples(st.floats(0.3, 3), st.floats(0.3, 1.5), st.floats(0.3, 2)),
)  # fmt: skip
def test_box_when_upright_then_the_hull_is_that_of_kittis_own_corners(x, y, z, yaw, half):
    found = seen(placed(x, y, z, yaw), half)
    corners = corners_of((2 * half[2], 2 * half[1], 2 * half[0]), found.location_m[0], float(found.rotation_y_rad[0]))
    pixels = corners @ K.T
    pixels = pixels[:, :2] / pixels[:, 2:]
    whole = np.concatenate([pixels.min(axis=0), pixels.max(axis=0)])
    np.testing.assert_allclose(hull_px(placed(x, y, z, yaw), np.array([half]), K)[0], whole, atol=1e-6)
    clipped = np.clip(whole, 0, [799, 399, 799, 399])
    np.testing.assert_allclose(found.box_px[0], clipped, atol=1e-6)
    inside = np.prod(clipped[2:] - clipped[:2]) / np.prod(whole[2:] - whole[:2])
    assert found.truncation[0] == pytest.approx(1 - inside, abs=1e-9)
    alpha = found.rotation_y_rad[0] - math.atan2(found.location_m[0, 0], found.location_m[0, 2])
    assert math.cos(found.alpha_rad[0] - alpha) == pytest.approx(1, abs=1e-12)
    assert -math.pi <= found.alpha_rad[0] <= math.pi


def test_box_when_it_reaches_behind_the_camera_then_it_is_cut_and_not_turned_inside_out():
    beside = seen(placed(-3, 0, 1))  # from 1 m behind to 3 m in front, 2.2 m to the left
    left, top, right, bottom = beside.box_px[0]
    edge_px = 400 + 500 * (-3 + 0.8) / 3  # the inner front corner, 3 m ahead
    assert (left, top, bottom) == (0, 0, 399)
    assert right == pytest.approx(edge_px)
    assert 0.9 < beside.truncation[0] <= 1
    behind = see_boxes(placed(0, 0, -10), np.array([[2.0, 0.8, 0.75]]), K, **SIZE)
    assert np.isnan(behind.box_px).all()
    around = seen(placed(0, 0, 0), (NEAR_M, 1.0, 1.0))
    assert np.isfinite(around.box_px).all()


def test_hidden_share_when_nearer_boxes_cover_then_their_union_counts_once():
    boxes = np.array([[0.0, 0, 10, 10], [0, 0, 5, 10], [0, 0, 5, 5], [20, 20, 30, 30]])
    share = hidden_share(boxes, np.array([10.0, 5.0, 4.0, 1.0]))
    np.testing.assert_allclose(share, [0.5, 0.5, 0, 0], atol=0.01)
    assert hidden_share(boxes, np.array([1.0, 5.0, 4.0, 1.0]))[0] == 0  # what stands behind hides nothing
    assert hidden_share(boxes[:0], np.zeros(0)).shape == (0,)


@pytest.mark.parametrize(("covered_px", "level"), [(0.0, 0), (0.5, 0), (2.0, 1), (4.0, 1), (6.0, 2), (10.0, 2)])
def test_occlusion_when_a_tenth_or_half_is_hidden_then_the_level_rises(covered_px, level):
    boxes = np.array([[0.0, 0, 10, 10], [-5.0, 0, covered_px - 1e-6, 10]])
    assert occlusion_levels(boxes, np.array([20.0, 10.0]))[0] == level


@pytest.mark.parametrize(
    ("category", "kind"),
    [
        ("vehicle.car", "Car"),
        ("vehicle.emergency.police", "Car"),
        ("vehicle.bus.rigid", "Misc"),
        ("vehicle.bicycle", "Cyclist"),
        ("human.pedestrian.adult", "Pedestrian"),
        ("human.pedestrian.police_officer", "Pedestrian"),
        ("human.pedestrian.wheelchair", "Person_sitting"),
        ("human.pedestrian.stroller", "Misc"),
        ("movable_object.barrier", None),
        ("static_object.bicycle_rack", None),
        ("vehiclecar", None),
    ],
)
def test_category_when_of_nuscenes_then_the_longest_fitting_beginning_gives_the_type(category, kind):
    assert kitti_type(category) == kind


def unit_of(root, cache, scene="scene-0103", camera="CAM_FRONT") -> StageInput:
    source = {"kind": "nuscenes", "root": str(root), "version": "v1.0-mini"}
    reader = open_source(parse_recipe({"source": source, "store": "unused"}, where="test").source, cache).reader()
    return StageInput(scene, camera, {"frames": UnitData(tables=reader.scene_tables(scene))}, reader)


def test_stage_when_run_then_rows_follow_the_layout_and_keep_what_the_source_said(tiny_root, tmp_path):
    unit = unit_of(tiny_root, tmp_path)
    made = project_boxes.kernel(unit, Params(enabled=True))
    check(project_boxes.STAGE.writes, made.data, where="test")
    found = rows(made.data.tables["boxes"])
    assert {(row["category"], row["source_category"]) for row in found} <= {
        ("Car", "vehicle.car"),
        ("Pedestrian", "human.pedestrian.adult"),
    }
    assert found and all(row["instance_token"] for row in found)
    assert [row["z_m"] for row in found if row["frame"] == 0] == sorted(row["z_m"] for row in found if row["frame"] == 0)
    face_m, focal_px = 16.6 - 2, 0.8 * 64  # a car of 4 x 2 x 1.6 m straight ahead shows its near face; the camera is 1.5 m high
    sides = [32 - focal_px / face_m, 18 - 0.1 * focal_px / face_m, 32 + focal_px / face_m, 18 + 1.5 * focal_px / face_m]
    first = found[0]
    assert [first[name] for name in ("left_px", "top_px", "right_px", "bottom_px")] == pytest.approx(sides)
    assert [first[name] for name in ("x_m", "y_m", "z_m", "rotation_y_rad")] == pytest.approx([0, 1.5, 16.6, -math.pi / 2])
    assert (first["truncation"], first["occlusion"]) == (0, 0)
    projection = np.reshape(made.data.tables["calibration"]["projection_px"][0], (3, 4))
    np.testing.assert_array_equal(projection, np.c_[np.reshape(unit.keyframes[0]["intrinsic_px"], (3, 3)), np.zeros(3)])
    nearest = min(row["z_m"] for row in found)
    fewer = project_boxes.kernel(unit, Params(enabled=True, max_distance_m=nearest)).data.tables["boxes"]
    assert 0 < len(fewer["frame"]) < len(found)
    assert project_boxes.kernel(unit, Params(enabled=True, min_side_px=1000)).data.tables["boxes"]["frame"] == []


def test_plan_when_boxes_are_not_asked_for_then_nothing_about_it_changes(tiny_root, write_recipe, depthmill):
    assert "project_boxes" not in depthmill("plan", write_recipe(tiny_root))[1]
    recipe = write_recipe(
        tiny_root, stages={"project_boxes": {"enabled": True}, "predict_mono_depth": {"teacher": "plane_and_boxes"}}
    )
    text = depthmill("plan", recipe)[1]
    assert "project_boxes" in text
    assert "pack_boxes" not in text


@pytest.mark.slow
def test_simulated_world_when_boxes_are_projected_then_they_hold_the_pixels_of_annotated_objects(tmp_path):
    from flows.run.bare_loop import BareLoop
    from flows.run.making import make_units
    from flows.run.opening import open_recipe
    from flows.settings import Settings
    from storage_schemas.manifest import open_manifest

    source = {
        "kind": "synthetic",
        "scenes": 1,
        "seconds": 3,
        "seed": 3,
        "image_size": [400, 225],
        "root": str(tmp_path / "world"),
    }
    stages = {
        "project_boxes": {"enabled": True, "min_side_px": 0.5, "max_distance_m": 300},
        "accumulate_lidar": {"num_sweeps": 1},
    }
    recipe = parse_recipe({"source": source, "store": str(tmp_path / "store"), "stages": stages}, where="test")
    opened = open_recipe(recipe, Settings(workers=1, cache_dir=tmp_path / "cache"))
    made = make_units(opened, BareLoop(), report=False)
    assert made.num_failed == 0
    manifest = open_manifest(opened.store)
    num_annotated = num_inside = 0
    for row in manifest.rows():
        surface = opened.store.open_unit(manifest.unit_of(row, "depth_truth")).array("surface", row["frame"])
        is_annotated, is_inside = (surface == 2) | (surface == 4), np.zeros(surface.shape, bool)
        for box in rows(opened.store.open_unit(manifest.unit_of(row, "boxes")).table("boxes")):
            if box["frame"] == row["frame"]:
                low = np.floor([box["top_px"], box["left_px"]]).astype(int)
                high = np.ceil([box["bottom_px"], box["right_px"]]).astype(int) + 1
                is_inside[low[0] : high[0], low[1] : high[1]] = True
        num_annotated += is_annotated.sum()
        num_inside += (is_annotated & is_inside).sum()
    assert num_annotated > 1000
    assert num_inside / num_annotated > 0.97  # the rest: boxes are annotated 35 ms after the image, and centres behind the camera


@pytest.mark.real_data
def test_real_key_frame_when_projected_then_lidar_in_the_middle_of_a_car_is_as_far_as_its_box(shared, tmp_path):
    from pipeline.stages import project_lidar

    unit = unit_of(shared / "data" / "nuscenes-keyframe", tmp_path, scene="scene-0061")
    depth = project_lidar.kernel(unit, project_lidar.Params()).data.arrays["depth_m"][0] / 256
    found = rows(project_boxes.kernel(unit, Params(enabled=True)).data.tables["boxes"])
    checked = 0
    for row in found:
        if row["category"] not in ("Car", "Truck") or row["occlusion"] != 0 or row["truncation"] > 0 or row["z_m"] > 45:
            continue
        inside = depth[round(row["top_px"]) : round(row["bottom_px"]), round(row["left_px"]) : round(row["right_px"])]
        own = inside[(inside > 0) & (np.abs(inside - row["z_m"]) < row["length_m"] / 2 + 0.5)]
        assert own.size >= 0.5 * np.count_nonzero(inside)
        checked += 1
    assert checked >= 1
