from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.geometry import rigid
from pipeline.kernels.accumulate import EMPTY
from pipeline.kernels.boxes import PlacedBox, PlacedBoxes
from pipeline.kernels.front_surface_twin import entry_depth
from pipeline.kernels.moving_mask import EntryDepths
from pipeline.kernels.project_surfaces import SurfaceRule, project_surfaces
from pipeline.kernels.scene_points import read_scene_points
from pipeline.poses import intrinsic_of, world_from_cam
from tests.pipeline.kernels.test_accumulate import HEIGHT, IDENTITY, WIDTH, Reader, boxes_of, keyframe_row, sweep_row


def placed(*boxes: tuple[np.ndarray, list[float]]) -> PlacedBoxes:
    poses, half = np.stack([pose for pose, _ in boxes]), np.array([size for _, size in boxes], np.float64)
    return PlacedBoxes(np.array([0, len(boxes)]), tuple(f"box{k}" for k in range(len(boxes))), poses, half)


def entries(boxes: PlacedBoxes, keyframe: dict, *, found: EntryDepths | None = None) -> np.ndarray:
    found = found or EntryDepths(height=HEIGHT, width=WIDTH)
    found.find(boxes, world_from_cam(keyframe), intrinsic_of(keyframe))
    return found.steps.reshape(HEIGHT, WIDTH)


def test_box_when_straight_ahead_then_rays_enter_at_its_grown_front_and_not_through_its_lowest_15_cm():
    keyframe = keyframe_row()  # the camera is at x = 601.7, 1.5 m high
    car = placed((rigid([621.7, 1600.0, 1.5], IDENTITY), [2.0, 1.0, 1.5]))
    found = entries(car, keyframe)
    front = 20.0 - 1.05 * 2.0
    assert found[24, 41] == int(256 * front)
    rows = np.flatnonzero(found[:, 41] != EMPTY)
    assert rows[0] == np.ceil(24.0 - 63 * 1.05 * 1.5 / front - 0.5)
    assert rows[-1] == np.floor(24.0 + 63 * 1.35 / front - 0.5)  # the road below is 1.5 m down, the box's end 1.35 m


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6))
def test_entry_depths_agree_with_the_twins_rays(seed):
    rng = np.random.default_rng(seed)
    keyframe = keyframe_row()
    boxes = placed(*[
        (rigid([601.7 + rng.uniform(-15, 40), 1600 + rng.uniform(-15, 15), rng.uniform(0, 3)], rng.normal(size=4)), list(rng.uniform(0.3, 6, 3)))
        for _ in range(3)
    ])  # fmt: skip
    found = entries(boxes, keyframe)
    rays = [PlacedBox(*fields) for fields in zip(boxes.instances, boxes.world_from_box, boxes.half_size_m, strict=True)]
    rows, columns = rng.integers(0, HEIGHT, 120), rng.integers(0, WIDTH, 120)
    twin = np.array(
        [min(entry_depth(box, keyframe, row=y, column=x) for box in rays) for y, x in zip(rows, columns, strict=True)]
    )
    fast = np.where(found[rows, columns] == EMPTY, np.inf, found[rows, columns] / 256)
    is_same = (fast == twin) | np.isclose(fast, twin, rtol=1e-4, atol=2 / 256)
    assert np.count_nonzero(~is_same) <= 2  # rays along an edge


def test_memory_when_used_for_the_next_image_then_nothing_of_the_last_one_is_left():
    found = EntryDepths(height=HEIGHT, width=WIDTH)
    ahead, aside = rigid([621.7, 1600.0, 1.5], IDENTITY), rigid([621.7, 1606.0, 1.5], IDENTITY)
    first = entries(placed((ahead, [2, 1, 1.5])), keyframe_row(), found=found).copy()
    entries(placed((aside, [2, 1, 1.5])), keyframe_row(), found=found)
    assert np.array_equal(entries(placed((ahead, [2, 1, 1.5])), keyframe_row(), found=found), first)


def test_box_when_around_the_camera_or_behind_it_then_hides_nothing():
    around = (rigid([601.7, 1600.0, 1.5], IDENTITY), [2.0, 2.0, 2.0])
    behind = (rigid([580.0, 1600.0, 1.5], IDENTITY), [2.0, 2.0, 2.0])
    assert (entries(placed(around, behind), keyframe_row()) == EMPTY).all()


def street_with_car(moving: str, rule: SurfaceRule, *, speed: float = 10.0, category: str = "vehicle.car"):
    """A car crosses before a wall; 21 sweeps of 50 ms, the image in the middle; the car is seen, and the wall where it is not."""
    keyframe = keyframe_row(timestamp_us=500_000, sample_index=1)
    rows, sweeps = [], []
    rng = np.random.default_rng(0)
    surface = np.stack([np.full(200, -1.0), rng.uniform(-2, 2, 200), rng.uniform(-0.7, 0.7, 200)], axis=1)
    for k in range(21):
        time_us = k * 50_000
        y = 1600.0 + 10.0 * (time_us / 1e6 - 0.5)
        wall = np.stack([np.full(4000, 660.0), rng.uniform(1570, 1630, 4000), rng.uniform(0, 6, 4000)], axis=1)
        world = np.concatenate([surface + [620.0, y, 0.8], wall])
        is_key = k % 10 == 0
        row = sweep_row(k, is_keyframe=is_key, sample_index=-(-k // 10), ego_from_sensor_rotation_wxyz=IDENTITY)
        local = world - row["world_from_ego_translation_m"] - row["ego_from_sensor_translation_m"]
        rows.append(row)
        sweeps.append(np.concatenate([local, np.zeros((len(local), 2))], axis=1).astype(np.float32))
    turned = [np.sqrt(0.5), 0.0, 0.0, np.sqrt(0.5)]  # the car's length along y
    boxes = boxes_of([[620.0, 1595.0, 0.8], [620.0, 1600.0, 0.8], [620.0, 1605.0, 0.8]], speed=speed, category=category)
    boxes._rotation_wxyz[:] = turned
    points = read_scene_points(Reader(sweeps), rows, boxes, moving=moving)
    return project_surfaces(points, [keyframe], [[range(21)]], rule, height=HEIGHT, width=WIDTH).steps[0] / 256


@pytest.mark.parametrize("is_front", [False, True])
def test_wall_when_behind_the_moving_car_at_the_images_time_then_is_blank_and_carried_returns_stay(is_front):
    shown = street_with_car("drop", SurfaceRule(is_front))
    hidden = street_with_car("drop", SurfaceRule(is_front, hides_behind_moving=True))
    columns, rows = slice(37, 44), slice(24, 26)  # the car is 4 m wide and 1.6 m high at 17 m
    assert (shown[rows, columns] > 50).mean() > 0.9
    assert (hidden[rows, columns] == 0).all()
    assert ((hidden == shown) | (hidden == 0)).all()  # it only removes
    assert np.count_nonzero(hidden) > 0.8 * np.count_nonzero(shown)
    carried = street_with_car("carry", SurfaceRule(is_front, hides_behind_moving=True))
    filled = carried[rows, columns]
    assert (filled > 0).mean() > 0.8
    assert filled[filled > 0].max() < 18.0


@pytest.mark.parametrize(("speed", "category"), [(0.1, "vehicle.car"), (10.0, "movable_object.barrier")])
def test_wall_when_the_box_stands_still_then_is_not_hidden(speed, category):
    rule = SurfaceRule(True, hides_behind_moving=True)
    assert np.array_equal(
        street_with_car("drop", rule, speed=speed, category=category),
        street_with_car("drop", SurfaceRule(True), speed=speed, category=category),
    )
