from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.geometry import inverse, rigid
from pipeline.kernels.accumulate_twin import depth_of_sweeps
from pipeline.kernels.boxes import SceneBoxes
from pipeline.kernels.left_pack import pack_by_lanes, pack_one_by_one
from pipeline.kernels.project_frames import project_frames
from pipeline.kernels.scene_points import read_scene_points
from pipeline.kernels.take_in import BLOCK, bounds_of, take_sweep
from pipeline.lidar_windows import window_around

IDENTITY = [1.0, 0.0, 0.0, 0.0]
CAM_FORWARD = [0.5, -0.5, 0.5, -0.5]  # camera z along ego x
HEIGHT, WIDTH = 45, 80


class Reader:
    def __init__(self, sweeps: list[np.ndarray]) -> None:
        self.sweeps = sweeps

    def read_points(self, file: str) -> np.ndarray:
        return self.sweeps[int(file)]


def sweep_row(number: int, x: float = 0.0, wxyz=IDENTITY, **changes) -> dict:
    return {
        "file": str(number), "channel": "LIDAR_TOP", "timestamp_us": number * 50_000, "is_keyframe": False, "sample_index": 0, "chain": 0,
        "ego_from_sensor_translation_m": [0.9, 0.0, 1.8], "ego_from_sensor_rotation_wxyz": [0.7071, 0.0, 0.0, -0.7071],
        "world_from_ego_translation_m": [600.0 + x, 1600.0, 0.0], "world_from_ego_rotation_wxyz": wxyz, **changes,
    }  # fmt: skip


def keyframe_row(x: float = 0.0, **changes) -> dict:
    return {
        "timestamp_us": 0, "sample_index": 0, "height": HEIGHT, "width": WIDTH, "camera": "CAM_FRONT", "sample_token": "t",
        "intrinsic_px": [63.0, 0, 41.0, 0, 63.0, 24.0, 0, 0, 1],
        "ego_from_cam_translation_m": [1.7, 0.0, 1.5], "ego_from_cam_rotation_wxyz": CAM_FORWARD,
        "world_from_ego_translation_m": [600.0 + x, 1600.0, 0.0], "world_from_ego_rotation_wxyz": IDENTITY, **changes,
    }  # fmt: skip


def random_sweeps(seed: int, count: int, size: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    sweeps = []
    for _ in range(count):
        azimuth = np.sort(rng.uniform(-np.pi, np.pi, size))  # firing order: neighbours in the file are neighbours in space
        distance = rng.uniform(0.5, 120, size)
        xyz = np.stack([distance * np.sin(azimuth), distance * np.cos(azimuth), rng.uniform(-2, 6, size)], axis=1)
        sweeps.append(np.concatenate([xyz, np.zeros((size, 2))], axis=1).astype(np.float32))
    return sweeps


def project(sweeps, rows, keyframe, windows=None, boxes=None, moving="keep"):
    points = read_scene_points(Reader(sweeps), rows, boxes, moving=moving)
    return project_frames(points, [keyframe], [[windows or range(len(rows))]], height=HEIGHT, width=WIDTH)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 4), st.sampled_from([1, 3, BLOCK - 1, BLOCK, BLOCK + 1, 3000]))
def test_kernel_agrees_with_float64_twin_but_for_pixel_borders(seed, count, size):
    sweeps = random_sweeps(seed, count, size)
    rows = [sweep_row(k, x=0.5 * k, wxyz=[0.9997, 0.0, 0.0, 0.0245 * k]) for k in range(count)]
    keyframe = keyframe_row(x=1.0)
    fast = project(sweeps, rows, keyframe).steps[0].astype(int)
    twin = depth_of_sweeps(list(zip(rows, sweeps, strict=True)), keyframe, precision="float64").astype(int)
    differing = np.count_nonzero(np.abs(fast - twin) > 1)
    assert differing <= max(1, 0.002 * np.count_nonzero(twin))


def test_culling_never_loses_a_visible_point():
    rng = np.random.default_rng(1)
    for trial in range(20):
        sweeps = random_sweeps(trial, 1, 4 * BLOCK)
        keyframe = keyframe_row(world_from_ego_rotation_wxyz=[np.cos(trial), 0, 0, np.sin(trial)])
        whole = project(sweeps, [sweep_row(0)], keyframe).num_measured[0]
        shuffled = [sweeps[0][rng.permutation(len(sweeps[0]))]]  # blocks then span everything, so nothing is culled
        assert project(shuffled, [sweep_row(0)], keyframe).num_measured[0] == whole


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6))
def test_zbuffer_when_order_changes_then_result_does_not(seed):
    sweeps = random_sweeps(seed, 3, 700)
    rows = [sweep_row(k) for k in range(3)]
    order = np.random.default_rng(seed).permutation(3)
    first = project(sweeps, rows, keyframe_row())
    again = project([sweeps[k][::-1].copy() for k in order], [sweep_row(k) for k in range(3)], keyframe_row())
    assert np.array_equal(first.steps, again.steps)


def test_nearest_return_wins_and_bounds_are_those_of_the_specification():
    ahead = [[0.0, d, 0.3, 0, 0] for d in (30.0, 12.0, 60.0)]
    beyond = [[0.0, 300.0, 0.3, 0, 0], [0.0, 1.7, -0.3, 0, 0], [0.0, -9.0, 0.3, 0, 0], [np.nan, 5.0, 0.3, 0, 0]]
    found = project(
        [np.array(ahead + beyond, np.float32)],
        [sweep_row(0, ego_from_sensor_rotation_wxyz=[0.70710678, 0, 0, -0.70710678])],
        keyframe_row(),
    )
    depths = found.steps[found.steps > 0] / 256
    assert depths.min() == pytest.approx(12.0 + 0.9 - 1.7, abs=1 / 256)
    assert depths.max() < 255.996
    assert found.num_measured[0] == len(depths)


@pytest.mark.parametrize(("num_sweeps", "key", "expected"), [(160, 200, range(121, 281)), (1, 7, range(7, 8)), (2, 7, range(7, 9)), (30, 5, range(0, 21)), (160, 390, range(311, 400))])  # fmt: skip
def test_window_when_it_meets_the_scenes_end_then_is_cut(num_sweeps, key, expected):
    chain = [{"chain": 0}] * 400
    assert window_around(chain, key, num_sweeps) == expected


def test_window_when_the_chain_is_broken_then_stays_on_its_side():
    chain = [{"chain": 0}] * 10 + [{"chain": 1}] * 10
    assert window_around(chain, 9, 10) == range(5, 10)
    assert window_around(chain, 10, 10) == range(10, 16)


def boxes_of(centers: list[list[float]], *, speed: float | None, category: str = "vehicle.car") -> SceneBoxes:
    count = len(centers)
    return SceneBoxes(
        {
            "annotation_token": [f"a{k}" for k in range(count)], "instance_token": ["car"] * count, "sample_index": list(range(count)),
            "sample_timestamp_us": [k * 500_000 for k in range(count)], "category": [category] * count, "center_m": centers,
            "size_wlh_m": [[2.0, 4.0, 1.6]] * count, "world_from_box_wxyz": [IDENTITY] * count, "speed_mps": [speed] * count,
        },
        moving_mps=0.5,
    )  # fmt: skip


def test_moving_points_when_kept_dropped_carried_then_are_where_they_should_be():
    car_world = np.array([620.0, 1600.0, 0.8])
    rng = np.random.default_rng(0)
    surface = rng.uniform(-1, 1, (200, 3)) * [1.9, 0.9, 0.7]
    wall = np.stack([np.full(50, 50.0), rng.uniform(-8, 8, 50), rng.uniform(0, 4, 50)], axis=1) + [600, 1600, 0]
    rows, sweeps = [], []
    for k in range(11):  # 10 m/s towards the camera, one key frame at the start and one at the end
        rows.append(
            sweep_row(
                k,
                timestamp_us=k * 50_000,
                sample_index=0 if k == 0 else 1,
                is_keyframe=k in (0, 10),
                ego_from_sensor_rotation_wxyz=IDENTITY,
            )
        )
        world = np.concatenate([surface + car_world - [0.5 * k, 0, 0], wall])
        local = world - rows[-1]["world_from_ego_translation_m"] - rows[-1]["ego_from_sensor_translation_m"]
        sweeps.append(np.concatenate([local, np.zeros((len(local), 2))], axis=1).astype(np.float32))
    boxes = boxes_of([car_world.tolist(), (car_world - [5.0, 0, 0]).tolist()], speed=10.0)
    keyframe = keyframe_row()
    found = {
        moving: project(sweeps, rows, keyframe, boxes=boxes, moving=moving).steps[0] / 256 for moving in ("keep", "drop", "carry")
    }
    near = {moving: depth[(depth > 0) & (depth < 40)] for moving, depth in found.items()}
    assert len(near["drop"]) == 0
    assert np.array_equal(found["drop"][found["drop"] > 40], found["drop"][found["drop"] > 0])
    front = 20.0 - 1.7 - 2.0  # the car's bumper at the image's time, from the camera
    assert near["keep"].min() < front - 4.0  # smeared over the 5 m that the car drove
    assert len(near["carry"]) > 30
    assert near["carry"].min() > front - 0.1  # all on the car where it is at the image's time


@pytest.mark.parametrize(
    ("speed", "category", "is_dropped"),
    [(10.0, "vehicle.car", True), (0.4, "vehicle.car", False), (None, "vehicle.car", True), (5.0, "human.pedestrian.adult", True), (5.0, "animal", True), (5.0, "movable_object.barrier", False)],
)  # fmt: skip
def test_box_when_slow_or_of_the_static_world_then_its_points_stay(speed, category, is_dropped):
    boxes = boxes_of([[620.0, 1600.0, 0.8]], speed=speed, category=category)
    row = sweep_row(0, is_keyframe=True)
    assert bool(boxes.moving_at_sweep(row)) == is_dropped


def test_carried_object_when_not_annotated_near_the_image_then_is_left_out():
    boxes = boxes_of([[620.0, 1600.0, 0.8], [625.0, 1600.0, 0.8]], speed=10.0)
    assert len(list(boxes.at_time(["car"], 800_000, tolerance_us=250_000))) == 0
    assert boxes.at_time(["car"], 250_000, tolerance_us=0).world_from_box[0, 0, 3] == pytest.approx(622.5)
    assert boxes.at_time(["car"], 700_000, tolerance_us=250_000).world_from_box[0, 0, 3] == pytest.approx(627.0)


def track_of(samples: list[int], *, speed_mps: float = 15.0, step_us: int = 500_000) -> SceneBoxes:
    """A car at constant speed along x from x = 0 at time 0, annotated in some key frames."""
    times_us = [sample * step_us for sample in samples]
    count = len(samples)
    return SceneBoxes(
        {
            "annotation_token": [f"a{k}" for k in samples], "instance_token": ["car"] * count, "sample_index": samples,
            "sample_timestamp_us": times_us, "category": ["vehicle.car"] * count, "size_wlh_m": [[2.0, 4.0, 1.6]] * count,
            "center_m": [[speed_mps * time_us / 1e6, 0.0, 0.8] for time_us in times_us],
            "world_from_box_wxyz": [IDENTITY] * count, "speed_mps": [speed_mps] * count,
        },
        moving_mps=0.5,
    )  # fmt: skip


@pytest.mark.parametrize("time_us", [-250_000, -100_000, 0, 130_000, 500_000, 1_000_000, 1_100_000, 1_250_000])
def test_carried_car_when_at_the_ends_of_its_track_then_goes_on_with_its_velocity(time_us):
    placed = track_of([0, 1, 2]).at_time(["car"], time_us, tolerance_us=250_000)
    assert placed.world_from_box[0, 0, 3] == pytest.approx(15.0 * time_us / 1e6)  # it stood still: 3.75 m off after 0.25 s


@pytest.mark.parametrize(("time_us", "is_placed"), [
    (1_000_000, True), (1_250_000, True), (1_260_000, False), (3_400_000, False), (5_490_000, False), (5_500_000, True), (5_750_000, True),
])  # fmt: skip
def test_carried_car_when_nobody_annotated_it_for_4_75_seconds_then_it_is_placed_near_annotations_only(time_us, is_placed):
    boxes = track_of([0, 1, 2, 11.5, 12.5])
    placed = boxes.at_time(["car"], time_us, tolerance_us=250_000)
    assert len(placed.instances) == is_placed
    if is_placed:
        assert placed.world_from_box[0, 0, 3] == pytest.approx(15.0 * time_us / 1e6)


def test_carried_car_when_annotated_once_then_stands_within_the_tolerance():
    boxes = track_of([4])
    assert boxes.at_time(["car"], 2_200_000, tolerance_us=250_000).world_from_box[0, 0, 3] == pytest.approx(30.0)
    assert len(boxes.at_time(["car"], 2_300_000, tolerance_us=250_000).instances) == 0


def test_carried_car_when_key_frames_follow_each_other_far_apart_then_not_interpolated_between_them():
    boxes = track_of([0, 1], step_us=4_750_000)
    assert len(boxes.at_time(["car"], 2_000_000, tolerance_us=250_000).instances) == 0
    assert len(boxes.at_time(["car"], 100_000, tolerance_us=250_000).instances) == 1


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 6), st.integers(1, 700))
def test_points_in_boxes_agree_with_the_plain_test_of_every_point_and_box(seed, num_boxes, num_points):
    rng = np.random.default_rng(seed)
    raw = random_sweeps(seed, 1, num_points)[0]
    boxes = np.stack(
        [inverse(rigid(rng.uniform(-40, 40, 3) * [1, 1, 0.1], rng.normal(size=4)))[:3] for _ in range(num_boxes)]
        or [np.zeros((3, 4))]
    )
    boxes, half = boxes[:num_boxes], rng.uniform(0.3, 15, (num_boxes, 3))
    xyz, inside = np.zeros((3, num_points + 5), np.float32), np.full(num_points, -1, np.int32)
    num_blocks = -(-num_points // BLOCK)
    starts, bounds = np.empty(num_blocks, np.int64), np.empty((num_blocks, 6), np.float32)
    stop = take_sweep(raw, boxes, half, xyz, 5, inside, starts, bounds)
    local = np.einsum("kij,nj->nki", boxes[:, :, :3], raw[:, :3].astype(float)) + boxes[None, :, :, 3]
    is_in = (np.abs(local) <= half).all(axis=2)
    expected = np.where(is_in.any(axis=1), is_in.argmax(axis=1), -1) if num_boxes else np.full(num_points, -1)
    assert np.array_equal(inside, expected)
    assert np.array_equal(xyz[:, 5:stop], raw[expected < 0, :3].T)
    for block, (first, last) in enumerate(zip(starts, [*starts[1:], stop], strict=True)):
        held, whole = xyz[:, first:last].T, raw[block * BLOCK : (block + 1) * BLOCK, :3]
        assert (held >= bounds[block, :3]).all()
        assert (held <= bounds[block, 3:]).all()
        assert np.array_equal(bounds[block], np.concatenate([whole.min(axis=0), whole.max(axis=0)]))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(width=32), max_size=70))
def test_bounds_when_values_are_any_floats_then_are_numpys_without_nan(values):
    xyz, bounds = np.tile(np.array(values, np.float32), (3, 1)).reshape(3, -1), np.zeros(6, np.float32)
    bounds_of(xyz, 0, len(values), bounds)
    there = xyz[0][~np.isnan(xyz[0])]
    expected = [there.min(initial=np.inf), there.max(initial=-np.inf)]
    assert np.array_equal(bounds[[0, 1, 2, 3, 4, 5]], np.repeat(np.array(expected, np.float32), 3))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, BLOCK), st.sampled_from([0.0, 0.3, 1.0]), st.integers(0, 50))
def test_packing_when_by_lanes_or_one_by_one_then_is_numpys_selection(seed, count, share, end):
    rng = np.random.default_rng(seed)
    slot = np.where(rng.random(BLOCK) < share, rng.integers(0, 10**6, BLOCK), -1).astype(np.int32)
    step = rng.integers(0, 65535, BLOCK).astype(np.uint16)
    expected_slot, expected_step = slot[:count][slot[:count] >= 0], step[:count][slot[:count] >= 0]
    for pack in (pack_one_by_one, pack_by_lanes):  # the second runs on any machine, only not faster
        packed_slot, packed_step = np.full(700, 7, np.int32), np.full(700, 7, np.uint16)
        stop = pack(slot.copy(), step.copy(), count, packed_slot, packed_step, end, np.int32(-1))
        assert np.array_equal(packed_slot[end:stop], expected_slot)
        assert np.array_equal(packed_step[end:stop], expected_step)
        assert (packed_slot[:end] == 7).all()
