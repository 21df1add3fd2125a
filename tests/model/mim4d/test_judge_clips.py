"""Champion and challenger of a pre-training, clip by clip: what counts, what is left out, and what is never hidden."""

from __future__ import annotations

import math

import pytest

from model.mim4d.clip_errors import CLIPS_FILE, ClipRow
from model.mim4d.comparison import judge_clips
from model.mim4d.config import Mim4dTrainConfig
from model.mim4d.judging import ClipJudging
from model.train.judging import Rules
from model.train.paired_bootstrap import ComparisonError
from model.train.result_files import put_tables, rows_as_csv
from tests.model.mim4d.test_compare_clips import NAN, A, B, evaluation

ERROR = {"volume": "reconstruct", "measure": "abs_rel"}


def test_clips_when_judged_then_means_over_those_that_both_have_and_the_shares():
    b = [row for row in evaluation({**B, "u/1": 0.1}) if row.window_key != "s/3"]
    row = judge_clips(evaluation(A), b, **ERROR)
    assert (row.num_frames, row.mean_a, row.mean_b) == (3, pytest.approx(0.8 / 3), pytest.approx(0.6 / 3))
    assert row.mean_difference == pytest.approx(-0.2 / 3)
    assert row.shares == {"clips": 3 / 5, "rays": 3 / 5}
    assert judge_clips(evaluation(A), evaluation(B), **ERROR, left_out={"s"}).num_frames == 1


def test_clips_when_a_network_answers_nan_then_the_means_are_no_numbers():
    b = [row._replace(abs_rel=NAN) if row.window_key == "t/1" else row for row in evaluation(B)]
    row = judge_clips(evaluation(A), b, **ERROR)
    assert row.num_frames == 4 and math.isnan(row.mean_b) and math.isnan(row.mean_difference)


def test_clips_when_one_has_no_rays_there_then_the_clip_is_not_compared_and_without_any_an_error():
    b = [row._replace(abs_rel=NAN, num_rays=0) if row.window_key == "t/1" else row for row in evaluation(B)]
    assert judge_clips(evaluation(A), b, **ERROR).shares == {"clips": 3 / 4, "rays": 3 / 4}
    nothing = [row._replace(num_rays=0, abs_rel=NAN) for row in evaluation(B)]
    with pytest.raises(ComparisonError, match=r"no clip in common where both have reconstruct/abs_rel: a has 4, b has 0"):
        judge_clips(evaluation(A), nothing, **ERROR)


class _Judging(ClipJudging):
    network = optimizer = loader = losses = measure = None


def _config(**network: object) -> Mim4dTrainConfig:
    return Mim4dTrainConfig.model_validate({"network": network})


def test_metrics_when_of_single_frames_or_nothing_hidden_then_those_that_are_measured():
    several = _Judging().judging(_config(num_frames=2)).metrics
    assert next(iter(several)) == "reconstruct/abs_rel" and len(several) == 6
    assert [name for name, measure in several.items() if measure.is_higher_better] == ["reconstruct/delta1", "direct/delta1"]
    assert list(_Judging().judging(_config(num_frames=1, mask={"hidden_ratio": 0})).metrics) == [
        "direct/abs_rel",
        "direct/delta1",
    ]


def test_value_when_read_then_the_mean_over_clips_and_none_without_rays(tmp_path):
    rules = Rules(metric="direct/hidden_rgb_l1", cap_m=None, radar=None)
    put_tables(tmp_path, {CLIPS_FILE: rows_as_csv(ClipRow, evaluation(A))})
    assert _Judging().deciding_value(tmp_path, rules) == pytest.approx(0.125)
    hidden = [row._replace(num_hidden=0, hidden_rgb_l1=NAN) for row in evaluation(A)]
    put_tables(tmp_path, {CLIPS_FILE: rows_as_csv(ClipRow, hidden)})
    assert _Judging().deciding_value(tmp_path, rules) is None


def test_champion_when_its_network_decides_other_rays_then_never_comparable_and_the_evaluation_can_be_made_again():
    judging = _Judging()
    assert judging.never_comparable(_config(num_frames=2), _config(num_frames=2), Rules()) == ""
    text = judging.never_comparable(_config(num_frames=2), _config(num_frames=3), Rules())
    assert text == "train.network.num_frames was 2 then and is 3 now, and it decides what is measured"
    other = Mim4dTrainConfig.model_validate({"data": {"held_out_share": 0.2}})
    assert judging.measured_otherwise(_config(), other) == ["train.data.held_out_share 0.1 -> 0.2"]
