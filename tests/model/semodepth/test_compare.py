from __future__ import annotations

import json
import math

import numpy as np
import pytest

from model.semodepth.comparison import Comparison, compare_runs, comparison_text
from model.semodepth.summary import METRIC_FORMATS
from model.train.paired_bootstrap import ComparisonError, bootstrap_interval, scene_of


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
    assert (every.low, every.high, every.num_scenes) == (None, None, 1)  # these keys name no scene
    assert (every.metric, every.cap_m, every.radar) == ("mae_mm", 80.0, "on")
    day, night = found["day"], found["night"]
    assert (day.num_frames, day.mean_difference, day.low, day.high) == (1, -6.0, None, None)
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


def keys_of(sizes) -> list[str]:
    return [f"scene-{scene:04}/CAM_FRONT/{frame}" for scene, size in enumerate(sizes) for frame in range(size)]


def test_interval_when_drawn_plainly_then_equal():
    sizes = [3, 1, 4, 2, 5, 1, 2, 6, 3, 3, 2, 1]
    values, keys = np.random.default_rng(5).normal(size=sum(sizes)), keys_of(sizes)
    scenes = np.split(values, np.cumsum(sizes)[:-1])
    generator = np.random.default_rng(11)
    means = [np.concatenate([scenes[i] for i in generator.integers(0, 12, 12)]).mean() for _ in range(200)]
    share = 0.5 * (1 + math.erf(-math.sqrt(12 / 11) * 2.20098516 / math.sqrt(2)))  # Student's t of 11 degrees for 2.5 %
    low, high = np.quantile(means, (share, 1 - share))
    found = bootstrap_interval(values, keys, num_resamples=200, seed=11)
    assert (found.low, found.high) == pytest.approx((low, high), rel=1e-6)
    order = np.random.default_rng(1).permutation(len(values))
    again = bootstrap_interval(values[order], [keys[i] for i in order], num_resamples=200, seed=11)
    assert again == (pytest.approx(found.low), pytest.approx(found.high), 12)


def test_interval_when_all_differences_are_one_value_then_that_value():
    assert bootstrap_interval(np.full(64, 2.5), keys_of([4] * 16)) == (2.5, 2.5, 16)


def test_interval_when_frames_are_independent_and_many_then_as_the_normal_approximation():
    values = np.random.default_rng(2).gamma(2.0, 30.0, 3000) - 55.0
    half = 1.959964 * values.std(ddof=1) / math.sqrt(len(values))
    low, high, _ = bootstrap_interval(values, keys_of([10] * 300))
    assert low == pytest.approx(values.mean() - half, abs=0.12 * half)
    assert high == pytest.approx(values.mean() + half, abs=0.12 * half)


@pytest.mark.parametrize(("correlation", "by_frames"), [(0.0, 0.05), (0.1, 0.46), (0.3, 0.65)])
def test_interval_when_frames_of_a_scene_are_alike_then_it_misses_the_truth_as_often_as_it_says(correlation, by_frames):
    rng, num_trials, sizes = np.random.default_rng(3), 300, [60] * 24
    keys = keys_of(sizes)
    alone = [f"{number}/CAM_FRONT/0" for number in range(len(keys))]  # each frame a scene of its own, as it was
    misses, misses_by_frames = 0, 0
    for trial in range(num_trials):
        of_scene = np.repeat(rng.normal(size=24), 60)
        values = math.sqrt(correlation) * of_scene + math.sqrt(1 - correlation) * rng.normal(size=len(keys))
        low, high, _ = bootstrap_interval(values, keys, num_resamples=400, seed=trial)
        misses += not low <= 0 <= high
        if trial < 100:
            low, high, _ = bootstrap_interval(values, alone, num_resamples=200, seed=trial)
            misses_by_frames += not low <= 0 <= high
    assert 0.015 <= misses / num_trials <= 0.09  # 5 %, and three deviations of so many trials
    assert misses_by_frames / 100 == pytest.approx(by_frames, abs=0.13)


@pytest.mark.parametrize(("sizes", "num_scenes"), [([40], 1), ([40, 40], 2), ([5] * 9, 9)])
def test_interval_when_there_are_too_few_scenes_then_none_and_said(sizes, num_scenes):
    a = run_of([1.0] * sum(sizes), keys=keys_of(sizes))
    b = run_of([2.0] * sum(sizes), keys=a["frame_key"])
    found = compare_runs(a, b)
    assert (found[0].low, found[0].high, found[0].num_scenes) == (None, None, num_scenes)
    text = comparison_text(found)
    assert "  none  " in text
    assert text.splitlines()[-1] == (
        "no interval: whole scenes are resampled, since frames of one scene are alike, and it takes 10 of them; "
        f"scenes here: all {num_scenes}, day {num_scenes}"
    )
    assert json.loads(json.dumps(found[0]._asdict()))["low"] is None


def test_scene_when_it_was_imported_in_parts_or_is_not_named_then_one_scene():
    keys = ("a/CAM/1", "a-part2/CAM/1", "a-part12/CAM/9", "a-partly/CAM/1", "a")
    assert [scene_of(key) for key in keys] == ["a", "a", "a", "a-partly", ""]


def test_compare_when_the_split_is_as_large_as_nuscenes_val_then_all_of_it_is_quick_and_right():
    rng = np.random.default_rng(0)
    keys = keys_of([39] * 150)
    a = rng.gamma(4.0, 300.0, len(keys))
    b = a - 34.0 + rng.normal(0, 80, len(keys))
    found = compare_runs(run_of(a.tolist(), keys=keys), run_of(b.tolist(), keys=keys), num_resamples=500)[0]
    assert found.low < -34.0 < found.high
    assert found.num_scenes == 150
    assert found.high - found.low == pytest.approx(2 * 1.96 * 80 / math.sqrt(len(keys)), rel=0.2)


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
