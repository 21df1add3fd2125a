from __future__ import annotations

import math

import numpy as np
import pytest

from model.mim4d.clip_errors import CLIPS_FILE, ClipRow, clip_rows, read_clip_rows
from model.mim4d.comparison import clip_comparison_text, compare_clips
from model.mim4d.ray_errors import RayCells, RayErrors
from model.train.paired_bootstrap import ComparisonError, bootstrap_interval
from model.train.result_files import DIGESTS_FILE, put_tables, rows_as_csv
from storage_schemas.errors import StoreError

NAN = float("nan")


def evaluation(values: dict[str, float], *, volumes=("reconstruct", "direct"), history=True, rays=10) -> list[ClipRow]:
    """Rows of clips whose relative error is given; delta and colour follow from it."""
    rows = []
    for key, value in values.items():
        for volume in (*volumes, "constant"):
            for frames, num_rays in (("all", rays * (3 if history else 1)), ("key", rays)):
                rows.append(ClipRow(key, volume, frames, num_rays, value, 1.0 - value, 5, value / 2))
    return rows


A = {"s/1": 0.4, "s/2": 0.3, "s/3": 0.2, "t/1": 0.1}
B = {"s/1": 0.3, "s/2": 0.2, "s/3": 0.25, "t/1": 0.1}


def test_comparison_when_clips_are_paired_then_mean_interval_and_share_are_those_by_hand():
    found = {(row.volume, row.measure): row for row in compare_clips(evaluation(A), list(reversed(evaluation(B))), seed=3)}
    assert set(found) == {(v, m) for v in ("reconstruct", "direct") for m in ("abs_rel", "delta1", "hidden_rgb_l1")}
    row = found["reconstruct", "abs_rel"]
    assert (row.num_clips, row.frames, row.num_other_rays) == (4, "all", 0)
    assert (row.mean_a, row.mean_b) == (pytest.approx(0.25), pytest.approx(0.2125))
    assert row.mean_difference == pytest.approx(-0.0375)
    assert row.share_better == 0.5  # two better, one worse, one equal, which is not better
    assert (row.low, row.high, row.num_scenes) == (None, None, 2)
    assert found["direct", "delta1"].mean_difference == pytest.approx(0.0375) and found["direct", "delta1"].share_better == 0.5
    assert found["direct", "hidden_rgb_l1"].mean_difference == pytest.approx(-0.0375 / 2)


def test_comparison_when_there_are_scenes_enough_then_whole_scenes_are_drawn():
    rng = np.random.default_rng(0)
    a = {f"scene-{number // 3:02}/{number}": value for number, value in enumerate(rng.uniform(0.1, 0.4, 36))}
    b = {key: value - 0.01 + 0.02 * rng.normal() for key, value in a.items()}
    row = next(row for row in compare_clips(evaluation(a), evaluation(b), seed=3) if row.measure == "abs_rel")
    expected = bootstrap_interval(np.array([b[key] - a[key] for key in sorted(a)]), sorted(a), seed=(3, 0))
    assert (row.low, row.high, row.num_scenes) == expected
    assert row.num_scenes == 12
    assert row.low < row.mean_difference < row.high


def test_comparison_when_one_has_nothing_to_measure_in_a_clip_then_that_clip_is_left_out():
    b = [row._replace(abs_rel=NAN) if row.window_key == "t/1" else row for row in evaluation(B)]
    b = [row._replace(hidden_rgb_l1=NAN, num_hidden=0) for row in b]
    found = {(row.volume, row.measure): row for row in compare_clips(evaluation(A), b)}
    assert found["direct", "abs_rel"].num_clips == 3 and found["direct", "delta1"].num_clips == 4
    assert ("direct", "hidden_rgb_l1") not in found


def test_comparison_when_clips_differ_then_refused_with_an_example():
    with pytest.raises(ComparisonError) as caught:
        compare_clips(evaluation(A), evaluation({"s/1": 0.4, "u/9": 0.1}))
    assert str(caught.value) == (
        "the evaluations are of different clips: a has 4, b has 2; 3 are only in a, e.g. 's/2', 1 are only in b, e.g. 'u/9'. "
        "Evaluate both on the same manifest and split (depthmill evaluate)"
    )
    with pytest.raises(ComparisonError, match=r"a has 4, b has 1; 3 are only in a, e.g. 's/2'. Evaluate"):
        compare_clips(evaluation(A), evaluation({"s/1": 0.4}))


def test_comparison_when_one_is_of_single_frames_then_of_key_frames_and_what_both_show():
    b = evaluation(B, volumes=("direct",), history=False)
    found = compare_clips(evaluation(A), b)
    assert {(row.volume, row.frames) for row in found} == {("direct", "key")}
    assert "key frames only: one of the two was trained on single frames" in clip_comparison_text(found)


def test_comparison_when_nothing_is_common_then_said():
    with pytest.raises(ComparisonError, match=r"no volume with rays in common\. Run depthmill evaluate for both again"):
        compare_clips(evaluation(A, volumes=("direct",)), evaluation(A, volumes=("reconstruct",)))


def test_text_when_printed_then_columns_stand_under_each_other_and_other_rays_are_told():
    found = compare_clips(evaluation(A), evaluation(B, rays=9))
    lines = clip_comparison_text(found).splitlines()
    assert lines[1].split() == ["volume", "measure", "clips", "a", "b", "b", "-", "a", "95%", "interval", "b", "better"]
    assert lines[2].split()[:6] == ["reconstruct", "AbsRel", "4", "0.250", "0.212", "-0.0375"]
    assert lines[2].endswith("50.0%") and len({len(line) for line in lines[1:8]}) == 1
    assert lines[8].endswith("it takes 10 of them; scenes here: reconstruct 2, direct 2")
    assert "warning: 4 clips have another number of rays in a than in b" in lines[9]
    assert "Compare means over seeds (depthmill ablate)" in lines[-1]


def errors_of(found_m: list[float], *, is_key: bool, is_hidden: bool) -> RayErrors:
    """Errors of rays whose points are 10 m away; the colour is 0.25 off."""
    errors, number = RayErrors(), len(found_m)
    yes = np.ones(number, bool)
    cells = RayCells(yes, yes, np.full(number, 2 * is_key + is_hidden), np.ones(number, np.int64))
    errors.add_values(np.array(found_m), np.full(number, 10.0), np.full(number, 0.25), cells)
    return errors


def test_rows_of_a_clip_when_made_then_all_and_key_frames_and_hidden_colour_only():
    errors = errors_of([11.0, 9.0], is_key=True, is_hidden=False)
    errors.include(errors_of([20.0, 10.0], is_key=False, is_hidden=True))
    every, key = clip_rows("s/1", {"direct": errors})
    assert every[:4] == ("s/1", "direct", "all", 4) and key[:4] == ("s/1", "direct", "key", 2)
    assert (every.abs_rel, every.delta1, every.num_hidden, every.hidden_rgb_l1) == (pytest.approx(0.3), 0.75, 2, 0.25)
    assert (key.abs_rel, key.delta1, key.num_hidden) == (pytest.approx(0.1), 1.0, 0) and math.isnan(key.hidden_rgb_l1)
    assert list(clip_rows("s/1", {})) == []


def test_rows_when_written_then_read_back_and_a_damaged_or_missing_file_is_named(tmp_path):
    rows = [*evaluation(A), ClipRow("s/4", "direct", "key", 0, NAN, NAN, 0, NAN)]
    put_tables(tmp_path, {CLIPS_FILE: rows_as_csv(ClipRow, rows)})
    assert repr(read_clip_rows(tmp_path)) == repr(rows)  # a NaN is not equal to itself
    with pytest.raises(StoreError, match=r"clips.csv' is missing, so clips cannot be paired. Run depthmill evaluate"):
        read_clip_rows(tmp_path / "nowhere")
    content = (tmp_path / CLIPS_FILE).read_text()
    (tmp_path / CLIPS_FILE).write_text(content.replace(",30,", ",31,", 1))
    with pytest.raises(StoreError, match=r"clips.csv' cannot be read: its content is not what was written. Delete it, then run"):
        read_clip_rows(tmp_path)
    (tmp_path / DIGESTS_FILE).unlink()  # a former version wrote none
    read_clip_rows(tmp_path)
    (tmp_path / CLIPS_FILE).write_text("window_key\n")
    with pytest.raises(
        StoreError, match=r"cannot be read: its columns are window_key, expected window_key, volume, .* Delete it"
    ):
        read_clip_rows(tmp_path)
