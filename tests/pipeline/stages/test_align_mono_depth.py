from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from pipeline.mono_depth.model import MonoDepthError
from pipeline.stage import StageInput
from pipeline.stages.align_mono_depth import Params, align_frame, kernel, radar_pixels
from storage_schemas.catalog import DEPTH_MONO, VALUE_KINDS
from storage_schemas.layout import UnitData, check

SHAPE = (30, 50)
NO_RADAR = (np.zeros(0), np.zeros(0), np.zeros(0))


def scene_m() -> np.ndarray:
    """Exact depth (30, 50) that is linear in inverse depth and differs along rows and columns: 2.2 m to 70 m."""
    row, column = np.mgrid[: SHAPE[0], : SHAPE[1]]
    return 1 / (1 / 70 + (1 / 2.2 - 1 / 70) * (0.8 * row / 29 + 0.2 * column / 49))


def returns(depth_m: np.ndarray, count: int = 25, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Radar returns at random pixels with the depth that is there; (u, v) a little off the pixel's whole coordinates."""
    rng = np.random.default_rng(seed)
    row, column = rng.integers(0, SHAPE[0], count), rng.integers(0, SHAPE[1], count)
    return column + rng.uniform(-0.4, 0.4, count), row + rng.uniform(-0.4, 0.4, count), depth_m[row, column]


@given(scale=st.floats(0.1, 1000), shift=st.floats(-0.1, 0.1), seed=st.integers(0, 1000), robust=st.booleans())
@settings(max_examples=30, deadline=None)
def test_frame_when_scale_and_shift_are_unknown_then_exact_metres(scale, shift, seed, robust):
    depth_m = scene_m()
    value = (scale * (1 / depth_m + shift)).astype(np.float32)
    p = Params(fit="robust" if robust else "least_squares")
    found = align_frame(value, "inverse_relative", None, returns(depth_m, seed=seed), shape=SHAPE, p=p)
    assert np.allclose(found.depth_m, depth_m, rtol=2e-3)
    assert found.fit.scale == pytest.approx(1 / scale, rel=1e-3)


def test_frame_when_rows_and_columns_are_swapped_then_the_fit_would_be_wrong():
    """The reference reads radar points as (row, column) here; with u and v in their own places the scene comes out exactly."""
    depth_m = scene_m()
    value = (5 / depth_m).astype(np.float32)
    u, v, depth = returns(depth_m)
    right = align_frame(value, "inverse_relative", None, (u, v, depth), shape=SHAPE, p=Params())
    swapped = align_frame(value, "inverse_relative", None, (v, u, depth), shape=SHAPE, p=Params())
    assert np.abs(right.depth_m - depth_m).max() < 0.01
    assert swapped.fit is None or np.abs(swapped.depth_m - depth_m).max() > 5
    row, column, _ = radar_pixels(np.array([44.6]), np.array([3.4]), np.array([10.0]), shape=SHAPE, p=Params())
    assert (row.tolist(), column.tolist()) == ([3], [45])


def test_frame_when_the_teacher_has_a_coarser_grid_then_is_enlarged_corner_to_corner():
    depth_m = scene_m()
    coarse = (1 / depth_m).reshape(15, 2, 25, 2).mean(axis=(1, 3))
    p = Params(fit="robust")  # the border is clamped, so a few returns there do not fit
    found = align_frame(coarse.astype(np.float32), "inverse_relative", None, returns(depth_m), shape=SHAPE, p=p)
    assert np.abs(found.depth_m / depth_m - 1)[1:-1, 1:-1].max() < 1e-4  # linear in inverse depth, so nothing bends


@pytest.mark.parametrize("kind", ["relative", "metric"])
def test_frame_when_the_value_is_a_depth_then_is_fitted_as_its_inverse(kind):
    depth_m = scene_m()
    found = align_frame((0.4 * depth_m).astype(np.float32), kind, None, returns(depth_m), shape=SHAPE, p=Params())
    assert np.allclose(found.depth_m, depth_m, rtol=1e-3)


def test_radar_pixels_when_outside_the_range_or_behind_another_then_do_not_count():
    u, v = np.array([5.0, 5.2, 9.0, 9.0, 10.0]), np.array([7.0, 6.8, 2.0, 3.0, 4.0])
    depth_m = np.array([30.0, 12.0, 1.9, 80.1, 80.0])
    row, column, depth = radar_pixels(u, v, depth_m, shape=SHAPE, p=Params())
    assert sorted(zip(row.tolist(), column.tolist(), depth.tolist(), strict=True)) == [(4, 10, 80.0), (7, 5, 12.0)]
    row, column, _ = radar_pixels(np.array([49.9]), np.array([29.8]), np.array([9.0]), shape=SHAPE, p=Params())
    assert (row[0], column[0]) == (29, 49)  # rounds beyond the border: the last pixel


def test_frame_when_the_nearest_return_of_a_pixel_is_too_near_then_the_one_behind_does_not_take_its_place():
    row, _, _ = radar_pixels(np.array([5.0, 5.0]), np.array([7.0, 7.0]), np.array([1.0, 20.0]), shape=SHAPE, p=Params())
    assert len(row) == 0


def test_frame_when_there_is_no_fit_then_all_zero():
    depth_m = scene_m()
    value = (1 / depth_m).astype(np.float32)
    u, v, depth = returns(depth_m)
    for radar in (NO_RADAR, (u[:1], v[:1], depth[:1])):
        assert not align_frame(value, "inverse_relative", None, radar, shape=SHAPE, p=Params()).depth_m.any()
    assert not align_frame(-value, "inverse_relative", None, (u, v, depth), shape=SHAPE, p=Params()).depth_m.any()
    assert not align_frame(np.ones(SHAPE, np.float32), "relative", None, (u, v, depth), shape=SHAPE, p=Params()).depth_m.any()
    assert not align_frame(value, "inverse_relative", None, (u, v, depth), shape=SHAPE, p=Params(min_points=26)).depth_m.any()


def test_frame_when_beyond_the_bounds_then_is_clipped():
    depth_m = np.linspace(0.5, 300, SHAPE[0] * SHAPE[1]).reshape(SHAPE)
    u, v, depth = returns(depth_m, count=300)
    found = align_frame((1 / depth_m).astype(np.float32), "inverse_relative", None, (u, v, depth), shape=SHAPE, p=Params())
    assert found.depth_m.min() == pytest.approx(2.0, rel=1e-6)
    assert found.depth_m.max() == pytest.approx(80.0, rel=1e-6)
    inside = (depth_m > 2.1) & (depth_m < 79)
    assert np.allclose(found.depth_m[inside], depth_m[inside], rtol=1e-2)


def test_frame_when_the_teacher_tells_sky_then_far_or_none_and_returns_there_do_not_count():
    depth_m = scene_m()
    is_sky = np.zeros(SHAPE, bool)
    is_sky[:10] = True
    value = np.where(is_sky, 500.0, depth_m).astype(np.float32)
    u, v, depth = returns(depth_m, count=60)
    far = align_frame(value, "metric", is_sky, (u, v, depth), shape=SHAPE, p=Params())
    assert (far.depth_m[:9] == 80).all()
    assert np.allclose(far.depth_m[11:], depth_m[11:], rtol=1e-2)
    assert far.num_anchors < 60 * 0.75
    none = align_frame(value, "metric", is_sky, (u, v, depth), shape=SHAPE, p=Params(sky="none"))
    assert not none.depth_m[:9].any()


def test_frame_when_metric_depth_is_taken_as_it_is_then_no_radar_is_asked():
    depth_m = scene_m()
    value = depth_m.astype(np.float32)
    value[4, 7] = 0.0
    found = align_frame(value, "metric", None, NO_RADAR, shape=SHAPE, p=Params(method="as_is"))
    assert found.depth_m[4, 7] == 0
    assert np.allclose(np.delete(found.depth_m.ravel(), 4 * 50 + 7), np.delete(depth_m.ravel(), 4 * 50 + 7), rtol=1e-5)


def unit_of(kind: str, num_frames: int = 3, *, with_radar: bool = True) -> StageInput:
    depth_m = scene_m()
    rows = {
        "camera": ["CAM_FRONT"] * num_frames, "timestamp_us": list(range(num_frames)), "height": [30] * num_frames,
        "width": [50] * num_frames,
    }  # fmt: skip
    value = 7 / depth_m if kind == "inverse_relative" else depth_m
    raw = {
        "value": np.stack([value] * num_frames).astype(np.float16),
        "value_kind": np.full(num_frames, VALUE_KINDS.index(kind), np.uint8),
    }
    u, v, depth = returns(depth_m, 40)
    radar = {"u_px": u, "v_px": v, "depth_m": depth, "frame_of_point": np.repeat([0, 2], [39, 1]).astype(np.int32)}
    units = {"frames": UnitData(tables={"keyframes": rows}), "depth_mono_raw": UnitData(arrays=raw)}
    units |= {"radar_points": UnitData(arrays=radar)} if with_radar else {}
    return StageInput("scene-0061", "CAM_FRONT", units, raw=None)


def test_kernel_when_frames_lack_returns_then_they_are_zero_counted_and_told():
    made = kernel(unit_of("inverse_relative"), Params())
    check(DEPTH_MONO, made.data, where="test")
    assert made.data.arrays["num_measured"].tolist() == [1500, 0, 0]
    assert made.data.arrays["num_anchors"].tolist()[1:] == [0, 1]
    assert made.data.arrays["fit_scale"][0] == pytest.approx(1 / 7, rel=0.01)
    assert made.data.arrays["fit_scale"].tolist()[1:] == [0.0, 0.0]
    assert made.counts == {"frames": 3, "frames_skipped": 2}
    assert made.message.endswith("radar pixels a frame, 2 skipped without a fit")
    assert np.allclose(made.data.arrays["depth_m"][0] / 256, scene_m(), rtol=0.02)


def test_kernel_when_the_scene_has_no_radar_then_nothing_is_aligned_and_that_is_told():
    made = kernel(unit_of("inverse_relative", with_radar=False), Params())
    assert not made.data.arrays["depth_m"].any()
    assert made.message == "3 frames, 0.0 % of pixels measured, none aligned: the scene has no radar"
    made = kernel(unit_of("metric", with_radar=False), Params(method="as_is"))
    assert made.message == "3 frames, 100.0 % of pixels measured, metres as they are"
    assert made.counts["frames_skipped"] == 0


def test_kernel_when_metres_are_asked_of_a_relative_teacher_then_says_so():
    with pytest.raises(
        MonoDepthError,
        match=r"scene-0061, camera CAM_FRONT: the teacher gives inverse_relative depth.*method to radar or lidar, or choose a metric",
    ):
        kernel(unit_of("inverse_relative"), Params(method="as_is"))


def test_params_when_bounds_cross_then_says_which():
    with pytest.raises(ValidationError, match="near_m 90.0 must be smaller than far_m 80.0"):
        Params(near_m=90)
    with pytest.raises(ValidationError, match="min_radar_m 80.0 must be smaller than max_radar_m 80.0"):
        Params(min_radar_m=80)


def intrinsics() -> list[float]:
    return [20.0, 0.0, 25.0, 0.0, 20.0, 15.0, 0.0, 0.0, 1.0]


def scaled_unit(factors: tuple[float, ...], **units: UnitData) -> StageInput:
    """A unit whose teacher says depth divided by a factor of each frame, beside what measures."""
    unit = unit_of("metric", len(factors), with_radar=False)
    unit.units["frames"].tables["keyframes"]["intrinsic_px"] = [intrinsics()] * len(factors)
    raw = unit.units["depth_mono_raw"].arrays
    raw["value"] = np.stack([scene_m() / factor for factor in factors]).astype(np.float16)
    return StageInput("scene-0061", "CAM_FRONT", {**unit.units, **units}, raw=None)


def sweeps(num_pixels: tuple[int, ...]) -> UnitData:
    """Depth of so many pixels a frame, a third of them wrong by a factor of three."""
    steps = np.zeros((len(num_pixels), *SHAPE), np.uint16)
    rng = np.random.default_rng(0)
    for frame, count in enumerate(num_pixels):
        chosen = rng.permutation(SHAPE[0] * SHAPE[1])[:count]
        depth_m = scene_m().ravel()[chosen] * np.where(np.arange(count) % 3 == 0, 3.0, 1.0)
        steps[frame].flat[chosen] = np.rint(depth_m * 256)
    return UnitData(arrays={"depth_m": steps})


def test_kernel_when_lidar_gives_the_factor_then_frames_without_enough_pixels_take_that_of_the_others():
    made = kernel(scaled_unit((1.3, 0.8, 1.3), depth_single=sweeps((300, 300, 49))), Params(method="lidar"))
    depth_m = made.data.arrays["depth_m"] / 256
    for frame in (0, 1):
        assert np.allclose(depth_m[frame], np.clip(scene_m(), 2, 80), rtol=0.01)
    others = np.median([1.3, 0.8])
    assert np.allclose(depth_m[2], np.clip(scene_m() / 1.3 * others, 2, 80), rtol=0.01)
    assert made.data.arrays["num_anchors"].tolist()[2] < 50
    assert made.data.arrays["fit_scale"][0] == pytest.approx(1 / 1.3, rel=0.005)
    assert made.counts == {"frames": 3, "frames_skipped": 0, "frames_scaled_by_others": 1}
    assert made.message.endswith(", times 1.05 (0.8 to 1.3), 1 by the other frames' median")
    check(DEPTH_MONO, made.data, where="test")


def box_table(frames: list[int], z_m: list[float]) -> UnitData:
    """Boxes of 2 m a side, upright, straight ahead of the camera at some depths of their centres."""
    count = len(frames)
    boxes = {
        "frame": frames, "instance_token": [None] * count, "height_m": [2.0] * count, "width_m": [2.0] * count,
        "length_m": [2.0] * count, "x_m": [0.0] * count, "y_m": [1.0] * count, "z_m": z_m, "rotation_y_rad": [0.0] * count,
    }  # fmt: skip
    projection = np.array(intrinsics()).reshape(3, 3) @ np.eye(3, 4)
    return UnitData(tables={"boxes": boxes, "calibration": {"projection_px": [projection.ravel().tolist()] * 3}})


def test_kernel_when_boxes_give_the_factor_then_each_has_one_vote_and_hidden_ones_none():
    unit = scaled_unit((1.0, 1.0, 1.0), boxes=box_table([0, 0, 1], [6.0, 11.0, 9.0]))
    unit.units["depth_mono_raw"].arrays["value"] = np.full((3, *SHAPE), 4.0, np.float16)
    made = kernel(unit, Params(method="boxes"))
    # near sides: 5 m with a box behind it that it hides wholly, and 8 m; frame 2 has no box and takes the median of 5/4 and 8/4
    assert np.allclose(made.data.arrays["fit_scale"], [0.8, 0.5, 1 / 1.625])
    assert made.data.arrays["num_anchors"].tolist() == [1, 1, 0]
    assert np.allclose(made.data.arrays["depth_m"][:, 0, 0] / 256, [5.0, 8.0, 6.5], atol=1 / 256)
    assert made.counts["frames_scaled_by_others"] == 1


@pytest.mark.parametrize(
    ("method", "units", "words"),
    [
        ("lidar", {}, "none scaled: no frame has enough LiDAR pixels"),
        ("boxes", {"boxes": box_table([], [])}, "none scaled: no frame has a box"),
    ],
)
def test_kernel_when_nothing_measures_then_nothing_is_scaled_and_that_is_told(method, units, words):
    made = kernel(scaled_unit((1.0, 1.0), **units), Params(method=method))
    assert not made.data.arrays["depth_m"].any()
    assert made.counts == {"frames": 2, "frames_skipped": 2, "frames_scaled_by_others": 0}
    assert made.message.endswith(words)


def relative_unit(lines: tuple[tuple[float, float], ...], **units: UnitData) -> StageInput:
    """Frames whose map is a scale times inverse depth plus a shift, each frame its own."""
    unit = scaled_unit(tuple(1.0 for _ in lines), **units)
    raw = unit.units["depth_mono_raw"].arrays
    raw["value"] = np.stack([scale / scene_m() + shift for scale, shift in lines]).astype(np.float16)
    raw["value_kind"] = np.full(len(lines), VALUE_KINDS.index("inverse_relative"), np.uint8)
    return unit


@pytest.mark.parametrize("fit", ["robust", "least_squares"])
def test_kernel_when_lidar_fits_inverse_relative_depth_then_wrong_pixels_spoil_only_least_squares(fit):
    unit = relative_unit(((7.0, -2.0), (0.5, 3.0), (7.0, -2.0)), depth_single=sweeps((300, 300, 49)))
    made = kernel(unit, Params(method="lidar", fit=fit))
    depth_m = made.data.arrays["depth_m"] / 256
    errors = [np.median(np.abs(depth_m[frame] / np.clip(scene_m(), 2, 80) - 1)) for frame in (0, 1)]
    assert max(errors) < 0.01 if fit == "robust" else min(errors) > 0.05
    assert not depth_m[2].any()  # 49 pixels; what the other frames need says nothing of this one
    assert made.data.arrays["num_anchors"].tolist()[2] < 50
    assert made.counts == {"frames": 3, "frames_skipped": 1}
    assert made.message.endswith(" LiDAR pixels a frame, 1 skipped without a fit")
    check(DEPTH_MONO, made.data, where="test")


def test_kernel_when_lidar_is_missing_for_inverse_relative_depth_then_nothing_is_aligned_and_that_is_told():
    made = kernel(relative_unit(((1.0, 0.0),)), Params(method="lidar"))
    assert not made.data.arrays["depth_m"].any()
    assert made.message.endswith("none aligned: the scene has no LiDAR")
    assert made.counts == {"frames": 1, "frames_skipped": 1}


def test_kernel_when_a_factor_is_asked_of_inverse_relative_depth_then_says_so():
    with pytest.raises(
        MonoDepthError, match="inverse_relative depth, which no factor alone turns into metres. Set .* to radar or"
    ):
        kernel(unit_of("inverse_relative"), Params(method="boxes"))
