from __future__ import annotations

import math

import numpy as np
import pytest

from model.semodepth.comparison import Comparison, compare_runs, comparison_text
from model.semodepth.summary import METRIC_FORMATS
from model.train.paired_bootstrap import ComparisonError, bootstrap_interval


def run_of(mae, *, keys=None, night=None, pixels=None, metric="mae_mm", **changes):
    """Columns of FRAME_METRICS, one row a frame; every other metric is -1, which no test may see."""
    count = len(mae)
    columns = {
        "frame_key": keys or [f"scene-{i:04}/CAM_FRONT/{i}" for i in range(count)],
        "is_night": night or [False] * count,
        "radar": ["on"] * count,
        "cap_m": [80.0] * count,
        "num_pixels": pixels or [9] * count,
        **{name: [-1.0] * count for name in METRIC_FORMATS},
        metric: list(mae),
    }
    return columns | changes


def rows_of(columns, order):
    return {name: [values[i] for i in order] for name, values in columns.items()}


def test_compare_when_worked_out_by_hand_then_equal():
    a = run_of([10.0, 20.0, 30.0, 40.0], keys=["p", "q", "r", "only a"], night=[False, True, True, True])
    b = run_of([33.0, 20.0, 4.0, 7.0], keys=["r", "q", "p", "only b"], night=[True, True, False, False])
    found = {one.group: one for one in compare_runs(a, b)}
    every = found["all"]
    assert (every.num_frames, every.mean_a, every.mean_b) == (3, 20.0, 19.0)
    assert every.mean_difference == -1.0  # p -6, q 0, r +3
    assert every.share_better == pytest.approx(1 / 3)  # an equal frame is not better
    assert (every.num_only_a, every.num_only_b, every.num_other_pixels) == (1, 1, 0)
    assert -6.0 <= every.low < every.high <= 3.0
    assert (every.metric, every.cap_m, every.radar) == ("mae_mm", 80.0, "on")
    day, night = found["day"], found["night"]
    assert (day.num_frames, day.mean_difference, day.low, day.high) == (1, -6.0, -6.0, -6.0)
    assert (day.num_only_a, day.num_only_b) == (0, 1)
    assert (night.num_frames, night.mean_difference, night.num_only_a, night.num_only_b) == (2, 1.5, 1, 0)


def test_compare_when_the_order_of_rows_changes_then_nothing_does():
    rng = np.random.default_rng(0)
    a = run_of(rng.uniform(1, 9, 40).tolist(), night=[i % 4 == 0 for i in range(40)])
    b = run_of(rng.uniform(1, 9, 40).tolist(), night=a["is_night"])
    expected = compare_runs(a, b)
    assert compare_runs(rows_of(a, rng.permutation(40)), rows_of(b, rng.permutation(40))) == expected
    assert compare_runs(a, b, seed=1)[0][:8] == expected[0][:8]
    assert compare_runs(a, b, seed=1)[0].low != expected[0].low
    swapped = compare_runs(b, a)[0]
    assert swapped.mean_difference == pytest.approx(-expected[0].mean_difference)
    assert swapped.share_better == pytest.approx(1 - expected[0].share_better)


def test_compare_when_other_rows_are_there_then_only_the_cap_and_the_radar_asked_for_count():
    a = run_of([1.0, 2.0, 3.0], keys=["k"] * 3, cap_m=[80.0, 50.0, 80.0], radar=["on", "on", "off"])
    b = run_of([4.0, 6.0, 8.0], keys=["k"] * 3, cap_m=[80.0, 50.0, 80.0], radar=["on", "on", "off"])
    assert compare_runs(a, b)[0].mean_difference == 3.0
    assert compare_runs(a, b, cap_m=50.0)[0].mean_difference == 4.0
    assert compare_runs(a, b, radar="off")[0].mean_difference == 5.0


def test_compare_when_the_metric_is_a_delta_then_larger_is_better():
    a = run_of([0.8, 0.9, 0.7, 0.6], metric="delta1")
    b = run_of([0.9, 0.8, 0.8, 0.6], metric="delta1")
    found = compare_runs(a, b, metric="delta1")[0]
    assert found.share_better == 0.5
    assert "larger is better" in comparison_text([found])


def test_compare_when_a_frame_has_no_pixels_then_it_counts_as_not_there():
    a = run_of([1.0, None, 3.0], pixels=[9, 0, 9])
    b = run_of([2.0, 2.0, math.nan], pixels=[9, 9, 0])
    found = compare_runs(a, b)[0]
    assert (found.num_frames, found.mean_difference, found.num_only_a, found.num_only_b) == (1, 1.0, 1, 1)


def test_compare_when_targets_differ_then_it_is_noted():
    found = compare_runs(run_of([1.0, 2.0]), run_of([1.0, 2.0], pixels=[9, 8]))[0]
    assert found.num_other_pixels == 1
    assert "warning: 1 frames have another number of pixels" in comparison_text([found])


def test_compare_when_nothing_is_common_then_the_error_names_both_sets():
    a, b = run_of([1.0] * 3), run_of([1.0] * 2, keys=["x/CAM/1", "x/CAM/2"])
    with pytest.raises(ComparisonError) as caught:
        compare_runs(a, b)
    assert str(caught.value) == (
        "the runs have no frame in common: a has 3 frames, e.g. 'scene-0000/CAM_FRONT/0', b has 2, e.g. 'x/CAM/1'. "
        "Evaluate both on the same manifest and split"
    )


def test_compare_when_asked_for_what_is_not_there_then_the_error_lists_what_is():
    a = run_of([1.0, 2.0], radar=["on", "off"], cap_m=[80.0, 50.0])
    with pytest.raises(
        ComparisonError, match="run a has no frame with pixels and radar on at 70 m; it has radar off at 50 m, on at 80 m"
    ):
        compare_runs(a, a, cap_m=70.0)
    with pytest.raises(ComparisonError, match="run b measured nothing: none of its 0 frames has a pixel with a target"):
        compare_runs(a, run_of([]))
    with pytest.raises(ComparisonError, match="metric 'mae' is unknown, expected one of: mae_mm, rmse_mm"):
        compare_runs(a, a, metric="mae")


def test_compare_when_a_frame_is_there_twice_then_refused():
    a = run_of([1.0, 2.0, 3.0], keys=["k", "l", "k"])
    with pytest.raises(ComparisonError, match="run b has frame 'k' 2 times with radar on at 80 m, expected once"):
        compare_runs(run_of([1.0], keys=["k"]), a)


def test_interval_when_drawn_plainly_then_equal(monkeypatch):
    values = np.random.default_rng(5).normal(size=37)
    generator = np.random.default_rng(11)
    means = sorted(sum(values[i] for i in generator.integers(0, 37, 37)) / 37 for _ in range(200))
    plain = [means[int(k)] + (k - int(k)) * (means[int(k) + 1] - means[int(k)]) for k in (0.025 * 199, 0.975 * 199)]
    assert bootstrap_interval(values, num_resamples=200, seed=11) == pytest.approx(plain, rel=1e-12)
    monkeypatch.setattr("model.train.paired_bootstrap._DRAWS_AT_ONCE", 100)  # two resamples at a time
    assert bootstrap_interval(values, num_resamples=200, seed=11) == pytest.approx(plain, rel=1e-12)


def test_interval_when_all_differences_are_one_value_then_that_value():
    low, high = bootstrap_interval(np.full(300, -0.1))
    assert low == high == pytest.approx(-0.1, rel=1e-12)
    assert bootstrap_interval(np.full(64, 2.5)) == (2.5, 2.5)


def test_interval_when_the_sample_is_large_then_as_the_normal_approximation():
    values = np.random.default_rng(2).gamma(2.0, 30.0, 3000) - 55.0
    half = 1.959964 * values.std(ddof=1) / math.sqrt(len(values))
    low, high = bootstrap_interval(values)
    assert low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert high == pytest.approx(values.mean() + half, abs=0.1 * half)


def test_interval_when_pairs_are_made_many_times_then_it_covers_the_truth_as_often_as_it_says():
    rng, truth, hits = np.random.default_rng(3), -20.0, 0
    for trial in range(300):
        frame = rng.gamma(4.0, 300.0, 60)  # frames differ by hundreds of mm, the runs by 20
        a, b = frame + rng.normal(0, 30, 60), frame + truth + rng.normal(0, 30, 60)
        low, high = bootstrap_interval(b - a, num_resamples=400, seed=trial)
        hits += low <= truth <= high
    assert 0.90 <= hits / 300 <= 0.98


def test_compare_when_the_split_is_as_large_as_nuscenes_val_then_all_of_it_is_quick_and_right():
    rng = np.random.default_rng(0)
    a = rng.gamma(4.0, 300.0, 5869)
    b = a - 34.0 + rng.normal(0, 80, 5869)
    found = compare_runs(run_of(a.tolist()), run_of(b.tolist()), num_resamples=500)[0]
    assert found.low < -34.0 < found.high
    assert found.high - found.low == pytest.approx(2 * 1.96 * 80 / math.sqrt(5869), rel=0.15)


def test_comparison_text_when_written_then_this_text():
    row = Comparison("all", "mae_mm", 80.0, "on", 5869, 1285.4, 1240.2, -45.23, -50.11, -39.94, 0.6123, 3, 0, 0)
    night = row._replace(group="night", num_frames=602, mean_difference=1.0, low=-8.0, high=10.0, num_only_a=0)
    assert comparison_text([row, night]).splitlines() == [
        "MAE [mm] up to 80 m, radar on: smaller is better",
        "frames  number         a         b     b - a  95% interval           b better",
        "all       5869      1285      1240     -45.2  [-50.1, -39.9]            61.2%",
        "night      602      1285      1240      +1.0  [-8.0, +10.0]             61.2%",
        "left out: 3 frames only in a, 0 only in b",
    ]
    assert comparison_text([]) == ""
