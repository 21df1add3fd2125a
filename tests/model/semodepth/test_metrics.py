from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.semodepth.metrics import CAPS_M, METRICS, frame_metrics, measured_pixels, range_errors
from model.train.measures import RANGE_EDGES_M

MIN_DEPTH_M = 0.5


def plain_metrics(predicted, target, cap, low) -> dict[str, float]:
    """One frame, pixel by pixel in Python's float64, as the protocol reads."""
    pairs = []
    for p, g in zip(predicted.ravel().tolist(), target.ravel().tolist(), strict=True):
        if not 0 < g <= cap:
            continue
        p = low if math.isnan(p) else cap if p == math.inf else p
        pairs.append((min(max(p, low), cap), g))
    n = len(pairs)
    if not n:
        return dict.fromkeys(METRICS, math.nan) | {"num_pixels": 0}
    ratios = [max(p / g, g / p) for p, g in pairs]
    return {
        "mae_mm": sum(abs(p - g) * 1000 for p, g in pairs) / n,
        "rmse_mm": math.sqrt(sum(((p - g) * 1000) ** 2 for p, g in pairs) / n),
        "imae_per_km": sum(abs(1 / (p / 1000) - 1 / (g / 1000)) for p, g in pairs) / n,
        "irmse_per_km": math.sqrt(sum((1 / (p / 1000) - 1 / (g / 1000)) ** 2 for p, g in pairs) / n),
        "abs_rel": sum(abs(p - g) / g for p, g in pairs) / n,
        "sq_rel_m": sum((p - g) ** 2 / g for p, g in pairs) / n,
        "delta1": sum(ratio < 1.25 for ratio in ratios) / n,
        "delta2": sum(ratio < 1.25**2 for ratio in ratios) / n,
        "delta3": sum(ratio < 1.25**3 for ratio in ratios) / n,
        "num_pixels": n,
    }


def random_maps(seed: int, frames: int, height: int, width: int, share: float = 0.4):
    """Maps with all that can go wrong: no number, infinity of both signs, zeros, negatives, values beyond every cap."""
    rng = np.random.default_rng(seed)
    target = rng.uniform(0.2, 110.0, (frames, height, width)).astype(np.float32)
    predicted = (target * rng.uniform(0.6, 1.7, target.shape)).astype(np.float32)
    predicted[rng.random(target.shape) < 0.1] = rng.choice([np.nan, np.inf, -np.inf, 0.0, -3.0, 500.0], 1)[0]
    for value in (np.nan, np.inf, -np.inf, 0.0, -3.0, 1e30):
        predicted[rng.random(target.shape) < 0.03] = value
    target[rng.random(target.shape) > share] = 0.0
    for value in (np.nan, np.inf, -1.0, 50.0, 80.0, 1e-3):
        target[rng.random(target.shape) < 0.02] = value
    return predicted, target


def test_frame_metrics_when_worked_out_by_hand_then_equal():
    target = torch.tensor([[[10.0, 20.0, 0.0], [40.0, 81.0, 60.0]]])
    predicted = torch.tensor([[[12.5, 16.0, 9.0], [50.1, 3.0, 59.0]]])
    found = frame_metrics(predicted, target, cap_m=50.0, min_depth_m=MIN_DEPTH_M)  # errors 2.5, -4, and 50.1 cut to 50: 10
    expected = {
        "mae_mm": (2500 + 4000 + 10000) / 3,
        "rmse_mm": 1000 * math.sqrt((6.25 + 16 + 100) / 3),
        "imae_per_km": (20 + 12.5 + 5) / 3,  # 1000/10 - 1000/12.5, 1000/16 - 1000/20, 1000/40 - 1000/50
        "irmse_per_km": math.sqrt((400 + 156.25 + 25) / 3),
        "abs_rel": (0.25 + 0.2 + 0.25) / 3,
        "sq_rel_m": (0.625 + 0.8 + 2.5) / 3,
        "delta1": 0.0,  # every ratio is 1.25 exactly, which is not below 1.25
        "delta2": 1.0,
        "delta3": 1.0,
        "num_pixels": 3,
    }
    assert {name: values.item() for name, values in found.items()} == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize(
    ("value", "taken_as"),
    [
        (math.nan, 0.5),
        (math.inf, 80.0),
        (-math.inf, 0.5),
        (0.0, 0.5),
        (-7.0, 0.5),
        (0.4, 0.5),
        (80.5, 80.0),
        (0.5, 0.5),
        (80.0, 80.0),
    ],
)
def test_frame_metrics_when_prediction_is_out_of_bounds_then_taken_as_the_bound(value, taken_as):
    target, predicted = torch.full((1, 1, 1), 20.0), torch.full((1, 1, 1), value)
    found = frame_metrics(predicted, target, cap_m=80.0, min_depth_m=MIN_DEPTH_M)
    assert found["mae_mm"].item() == 1000 * abs(taken_as - 20.0)
    assert found["imae_per_km"].item() == abs(1000 / taken_as - 50.0)


@pytest.mark.parametrize("cap_m", CAPS_M)
def test_frame_metrics_when_target_is_at_the_cap_then_it_counts_and_beyond_not(cap_m):
    beyond = np.nextafter(np.float32(cap_m), np.float32(np.inf))
    target = torch.tensor([[[cap_m, beyond, math.inf, math.nan, -1.0, 0.0, 1e-6]]])
    found = frame_metrics(torch.full_like(target, 3.0), target, cap_m=cap_m, min_depth_m=MIN_DEPTH_M)
    assert found["num_pixels"].tolist() == [2]  # the cap itself, and the smallest one: the target has no lower bound


def test_frame_metrics_when_a_frame_has_no_pixels_then_nan_and_others_untouched():
    target = torch.tensor([[[0.0, 0.0]], [[60.0, 0.0]], [[10.0, 60.0]]])
    found = frame_metrics(torch.full_like(target, 11.0), target, cap_m=50.0, min_depth_m=MIN_DEPTH_M)
    assert found["num_pixels"].tolist() == [0, 0, 1]
    for name in METRICS:
        assert found[name].isnan().tolist() == [True, True, False]
    assert found["mae_mm"][2].item() == 1000.0
    none = frame_metrics(torch.ones(2, 3, 4), torch.zeros(2, 3, 4), cap_m=50.0, min_depth_m=MIN_DEPTH_M)
    assert none["num_pixels"].tolist() == [0, 0]
    assert none["delta1"].isnan().all()


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 2**32 - 1),
    shape=st.tuples(st.integers(1, 4), st.integers(1, 9), st.integers(1, 9)),
    cap_m=st.sampled_from(CAPS_M) | st.floats(1.0, 150.0),
    low=st.floats(0.01, 0.9),
    share=st.sampled_from([0.0, 0.05, 0.5, 1.0]),
)
def test_frame_metrics_when_counted_plainly_in_float64_then_equal(seed, shape, cap_m, low, share):
    predicted, target = random_maps(seed, *shape, share=share)
    found = frame_metrics(torch.from_numpy(predicted), torch.from_numpy(target), cap_m=cap_m, min_depth_m=low)
    assert set(found) == {*METRICS, "num_pixels"}
    assert found["num_pixels"].dtype == torch.int64
    assert all(found[name].dtype == torch.float64 and found[name].shape == shape[:1] for name in METRICS)
    for i in range(shape[0]):
        expected = plain_metrics(predicted[i], target[i], cap_m, low)
        assert {name: values[i].item() for name, values in found.items()} == pytest.approx(
            expected, rel=1e-9, abs=1e-9, nan_ok=True
        )


@settings(deadline=None, max_examples=30)
@given(
    seed=st.integers(0, 2**32 - 1),
    shape=st.tuples(st.integers(1, 3), st.integers(1, 9), st.integers(1, 9)),
    edges=st.just(RANGE_EDGES_M) | st.lists(st.floats(0, 120), min_size=2, max_size=5, unique=True).map(sorted).map(tuple),
)
def test_range_errors_when_counted_plainly_then_equal(seed, shape, edges):
    low = min(MIN_DEPTH_M, edges[-1] / 2)
    predicted, target = random_maps(seed, *shape)
    sums, counts = range_errors(torch.from_numpy(predicted), torch.from_numpy(target), min_depth_m=low, edges_m=edges)
    assert sums.shape == counts.shape == (shape[0], len(edges) - 1)
    assert (sums.dtype, counts.dtype) == (torch.float64, torch.int64)
    for i in range(shape[0]):
        for k, (near, far) in enumerate(pairwise(edges)):
            errors = []
            for p, g in zip(predicted[i].ravel().tolist(), target[i].ravel().tolist(), strict=True):
                if near < g <= far:
                    errors.append(abs(min(max(low if math.isnan(p) else p, low), edges[-1]) - g))
            assert counts[i, k].item() == len(errors)
            assert sums[i, k].item() == pytest.approx(sum(errors), rel=1e-12, abs=1e-12)


def test_range_errors_when_target_is_on_an_edge_then_in_the_bin_below():
    target = torch.tensor([[[10.0, 10.5, 80.0, 80.5, 0.0]]])
    sums, counts = range_errors(target + 1.0, target, min_depth_m=MIN_DEPTH_M)
    assert counts.tolist() == [[1, 1, 0, 0, 0, 0, 0, 1]]
    assert sums.tolist() == [[1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]]  # 81 m is cut to the last edge


def test_range_errors_when_added_up_then_mae_at_the_last_edge():
    predicted, target = map(torch.from_numpy, random_maps(5, 3, 40, 50))
    sums, counts = range_errors(predicted, target, min_depth_m=MIN_DEPTH_M)
    found = frame_metrics(predicted, target, cap_m=80.0, min_depth_m=MIN_DEPTH_M)
    assert counts.sum(1).tolist() == found["num_pixels"].tolist()
    torch.testing.assert_close(1000 * sums.sum(1) / counts.sum(1), found["mae_mm"], rtol=1e-12, atol=0)


def test_measured_pixels_when_gathered_first_then_the_same_to_the_bit():
    predicted, target = map(torch.from_numpy, random_maps(3, 4, 20, 30, share=0.05))
    target[1] = 0.0
    few = measured_pixels(predicted, target)
    assert few[0].shape == few[1].shape == (4, 1, int((target > 0).flatten(1).sum(1).max()))
    for cap_m in CAPS_M:
        whole = frame_metrics(predicted, target, cap_m=cap_m, min_depth_m=MIN_DEPTH_M)
        gathered = frame_metrics(*few, cap_m=cap_m, min_depth_m=MIN_DEPTH_M)
        assert all(torch.equal(whole[name].nan_to_num(-1), gathered[name].nan_to_num(-1)) for name in whole)
    whole_sums, whole_counts = range_errors(predicted, target, min_depth_m=MIN_DEPTH_M)
    sums, counts = range_errors(*few, min_depth_m=MIN_DEPTH_M)
    assert torch.equal(sums, whole_sums)
    assert torch.equal(counts, whole_counts)


def test_frame_metrics_when_a_frame_is_alone_or_in_a_batch_then_the_same():
    predicted, target = map(torch.from_numpy, random_maps(9, 3, 12, 17))
    together = frame_metrics(predicted, target, cap_m=70.0, min_depth_m=MIN_DEPTH_M)
    for i in range(3):
        alone = frame_metrics(predicted[i : i + 1], target[i : i + 1], cap_m=70.0, min_depth_m=MIN_DEPTH_M)
        for name in together:
            assert alone[name].item() == pytest.approx(together[name][i].item(), rel=1e-13)


def test_frame_metrics_when_inputs_are_watched_then_unchanged_and_without_gradient():
    predicted, target = map(torch.from_numpy, random_maps(1, 2, 6, 7))
    before = predicted.clone(), target.clone()
    found = frame_metrics(predicted.requires_grad_(), target, cap_m=80.0, min_depth_m=MIN_DEPTH_M)
    assert not found["mae_mm"].requires_grad
    assert torch.equal(predicted.detach().nan_to_num(), before[0].nan_to_num())
    assert torch.equal(target.nan_to_num(), before[1].nan_to_num())


def test_metrics_when_asked_wrongly_then_the_error_says_what_is_expected():
    maps = torch.ones(2, 3, 4)
    with pytest.raises(ValueError, match=r"prediction \(2, 1, 3, 4\) and target \(2, 3, 4\) must be maps of one shape"):
        frame_metrics(maps[:, None], maps, cap_m=80.0, min_depth_m=MIN_DEPTH_M)
    with pytest.raises(ValueError, match="resize the prediction to the target"):
        frame_metrics(maps[:, :2], maps, cap_m=80.0, min_depth_m=MIN_DEPTH_M)
    with pytest.raises(ValueError, match="min_depth_m is 0.0, expected above 0 and below the cap of 80.0 m"):
        frame_metrics(maps, maps, cap_m=80.0, min_depth_m=0.0)
    with pytest.raises(ValueError, match="min_depth_m is 90.0"):
        range_errors(maps, maps, min_depth_m=90.0)
    for edges in ((0, 10, 10), (10, 0), (5,), (-1, 3)):
        with pytest.raises(ValueError, match="ascend from 0"):
            range_errors(maps, maps, min_depth_m=MIN_DEPTH_M, edges_m=edges)


def test_metrics_when_named_then_in_the_published_order():
    assert METRICS == ("mae_mm", "rmse_mm", "imae_per_km", "irmse_per_km", "abs_rel", "sq_rel_m", "delta1", "delta2", "delta3")
    assert CAPS_M == (50.0, 70.0, 80.0)
    assert RANGE_EDGES_M == (0, 10, 20, 30, 40, 50, 60, 70, 80)


@pytest.mark.gpu
def test_metrics_when_on_a_gpu_then_as_on_a_cpu():
    predicted, target = map(torch.from_numpy, random_maps(4, 3, 50, 60))
    here = frame_metrics(predicted, target, cap_m=80.0, min_depth_m=MIN_DEPTH_M)
    there = frame_metrics(predicted.cuda(), target.cuda(), cap_m=80.0, min_depth_m=MIN_DEPTH_M)
    for name, values in here.items():
        torch.testing.assert_close(there[name].cpu(), values, rtol=1e-12, atol=0)
    sums, counts = range_errors(predicted.cuda(), target.cuda(), min_depth_m=MIN_DEPTH_M)
    torch.testing.assert_close(sums.cpu(), range_errors(predicted, target, min_depth_m=MIN_DEPTH_M)[0], rtol=1e-12, atol=0)
    assert counts.is_cuda
