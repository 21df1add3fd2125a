from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.geometry import rigid
from pipeline.kernels.boxes import PlacedBox
from pipeline.mono_depth.model import MonoDepthError, MonoDepthInput, MonoDepthMap, check_map
from pipeline.mono_depth.plane import PlaneAndBoxes
from pipeline.mono_depth.truth import CorruptedTruth, Corruption

FORWARD = [0.5, -0.5, 0.5, -0.5]  # a camera that looks along the ego's x
HEIGHT, WIDTH, CAMERA_M = 60, 100, 1.5
FRAME = MonoDepthInput(
    "scene-0061/CAM_FRONT/0", HEIGHT, WIDTH, np.array([[80.0, 0, 50], [0, 80, 30], [0, 0, 1]]), rigid([1.0, 0.0, CAMERA_M], FORWARD),
    rigid([500.0, 300.0, 0.0], [1.0, 0.0, 0.0, 0.0]),
)  # fmt: skip


def exact_m() -> np.ndarray:
    found = np.linspace(70, 3, HEIGHT)[:, None] * np.linspace(1, 1.1, WIDTH)[None, :]
    found[:10] = 0  # sky
    return found.astype(np.float32)


def test_plane_when_seen_from_above_then_height_over_slope_below_the_horizon_and_sky_above():
    found = PlaneAndBoxes(60, 80.0).predict(FRAME)
    below = np.arange(31, HEIGHT)
    assert found.kind == "metric"
    expected = 80 * CAMERA_M / (below + 0.5 - 30)
    assert np.allclose(found.value[below], np.minimum(expected, 80)[:, None], rtol=1e-5)
    assert found.is_sky[:30].all() and not found.is_sky[32:].any()
    assert (found.value[:30] == 80).all()


def test_plane_when_a_box_stands_on_it_then_the_nearest_face_is_seen_and_behind_it_the_road():
    box = PlacedBox(
        "car", rigid([500 + 1 + 20 + 2, 300 + 3, 0.8], [1.0, 0.0, 0.0, 0.0]), np.array([2.0, 1.0, 0.8])
    )  # 20 m ahead, left
    found = PlaneAndBoxes(60, 80.0).predict(dataclasses.replace(FRAME, boxes=(box,))).value
    hit = np.isclose(found, 20, atol=1e-3)
    row, column = np.nonzero(hit)
    assert (column.min(), column.max()) == (34, 41)  # 2 to 4 m to the left, 20 m ahead, focal length 80 px: 34 to 42
    assert (row.min(), row.max()) == (30, 35)  # from 0.1 m above the camera to 1.5 m below it: 29.6 to 36
    without = PlaneAndBoxes(60, 80.0).predict(FRAME).value
    assert (found <= without + 1e-4).all() and (found < without - 1e-3).sum() < 150
    turned = dataclasses.replace(box, world_from_box=rigid([470.0, 300.0, 0.8], [1.0, 0.0, 0.0, 0.0]))  # behind the camera
    assert np.array_equal(PlaneAndBoxes(60, 80.0).predict(dataclasses.replace(FRAME, boxes=(turned,))).value, without)


def test_truth_when_nothing_is_spoilt_then_exact_inverse_depth():
    frame = dataclasses.replace(FRAME, exact_m=exact_m())
    found = CorruptedTruth(384, "inverse_relative", Corruption()).predict(frame)
    assert np.allclose(found.value[10:], 1 / exact_m()[10:], rtol=1e-5)
    assert not found.value[:10].any() and found.is_sky is None
    metric = CorruptedTruth(384, "metric", Corruption()).predict(frame)
    assert np.allclose(metric.value, exact_m(), rtol=1e-5)
    assert np.array_equal(metric.is_sky, exact_m() == 0)


@given(
    scale=st.sampled_from([0, 0.1, 1]), shift=st.sampled_from([0, 0.01, 0.05]), noise=st.sampled_from([0, 0.05, 0.3]),
    gross=st.sampled_from([0, 0.1, 0.5]), seed=st.integers(0, 10**6), short=st.integers(14, 90), kind=st.sampled_from(["inverse_relative", "metric"]),
)  # fmt: skip
@settings(max_examples=30, deadline=None)
def test_truth_when_spoilt_then_is_the_same_again_and_can_be_stored(scale, shift, noise, gross, seed, short, kind):
    frame = dataclasses.replace(FRAME, exact_m=exact_m())
    teacher = CorruptedTruth(short, kind, Corruption(scale, shift, noise, 5, gross, seed))
    found = teacher.predict(frame)
    check_map(found, where="test")
    assert found.value.shape == (min(short, 60), round(100 * min(short, 60) / 60))
    assert np.array_equal(found.value, teacher.predict(frame).value)
    other = teacher.predict(dataclasses.replace(frame, frame_key="scene-0061/CAM_FRONT/1"))
    is_shifted = shift > 0 and kind == "inverse_relative"
    assert np.array_equal(found.value, other.value) == (not is_shifted and scale == noise == gross == 0)


def test_truth_when_only_scale_and_shift_are_wrong_then_it_is_a_line_over_inverse_depth():
    frame = dataclasses.replace(FRAME, exact_m=exact_m())
    value = CorruptedTruth(384, "inverse_relative", Corruption(0.5, 0.05)).predict(frame).value[10:].astype(np.float64).ravel()
    slope, shift = np.polyfit(1 / exact_m()[10:].astype(np.float64).ravel(), value, 1)
    assert np.allclose(slope / exact_m()[10:].ravel() + shift, value, rtol=1e-4)
    assert abs(slope - 1) > 0.01 and abs(shift) > 1e-4


@pytest.mark.parametrize("share", [0.05, 0.3])
def test_truth_when_a_share_is_gross_then_about_that_share_is_wrong(share):
    frame = dataclasses.replace(FRAME, exact_m=np.full((HEIGHT, WIDTH), 40.0, np.float32))
    found = CorruptedTruth(384, "metric", Corruption(gross=share)).predict(frame).value
    wrong = (np.abs(found - 40) > 0.5).mean()
    assert 0.5 * share < wrong < share + 0.07


def test_noise_when_drawn_often_then_has_the_deviation_asked_for():
    exact = np.full((HEIGHT, WIDTH), 20.0, np.float32)
    ratios = [
        CorruptedTruth(384, "metric", Corruption(noise=0.1, seed=seed)).predict(dataclasses.replace(FRAME, exact_m=exact)).value
        / 20
        for seed in range(30)
    ]
    assert 0.08 < np.log(np.stack(ratios)).std() < 0.12


def test_truth_when_the_source_knows_none_then_says_what_to_set():
    with pytest.raises(
        MonoDepthError, match="given no exact depth for scene-0061/CAM_FRONT/0; only a simulated world has it. Set source.kind"
    ):
        CorruptedTruth(384, "metric", Corruption()).predict(FRAME)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"value": np.full((3, 4), np.nan, np.float32)}, r"t: value lies in \[nan, nan\], expected finite numbers up to 65504"),
        ({"value": np.full((3, 4), 70000, np.float32)}, r"value lies in \[70000, 70000\]"),
        ({"confidence": np.full((3, 4), np.inf, np.float32)}, r"confidence lies in \[inf, inf\]"),
        ({"is_sky": np.zeros((3, 5), bool)}, "expected maps .grid_y, grid_x. of one size"),
        ({"value": np.zeros((0, 4), np.float32)}, "of one size"),
        ({"kind": "disparity"}, "kind is 'disparity', expected one of: inverse_relative, relative, metric"),
    ],
)
def test_map_when_it_cannot_be_stored_then_says_why(changes, words):
    good = MonoDepthMap(np.ones((3, 4), np.float32), "metric")
    check_map(good, where="t")
    with pytest.raises(MonoDepthError, match=words):
        check_map(dataclasses.replace(good, **changes), where="t")
