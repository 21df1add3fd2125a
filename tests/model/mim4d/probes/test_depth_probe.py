from __future__ import annotations

import numpy as np
import pytest
import torch

from model.mim4d.depth_head import DepthBins
from model.mim4d.probes.depth_probe import DepthErrors, depth_loss, expected_depth_m, probed_depth_m, row_medians
from model.mim4d.probes.linear_probe import fit_linear_probe

BINS = DepthBins(0.0, 64.0, 64)


def depths(count: int, seed: int) -> torch.Tensor:
    return 2.0 + 58.0 * torch.rand(count, generator=torch.Generator().manual_seed(seed))


def abs_rel_of(features: torch.Tensor, depth_m: torch.Tensor) -> float:
    """Learn on the first half, measure on the second."""
    half = len(depth_m) // 2
    probe = fit_linear_probe(
        features[:half],
        depth_m[:half],
        outputs=64,
        loss=depth_loss(BINS),
        steps=300,
        learning_rate=0.1,
        generator=torch.Generator().manual_seed(0),
    )
    errors = DepthErrors()
    errors.add(probed_depth_m(probe, features[half:], BINS), depth_m[half:])
    return next(errors.rows("x")).abs_rel


def test_probe_when_features_hold_the_depth_then_found_and_when_they_do_not_then_no_better_than_the_median():
    depth_m = depths(2000, 0)
    noise = torch.randn(2000, 8, generator=torch.Generator().manual_seed(1))
    errors = DepthErrors()
    errors.add(depth_m[:1000].median().expand(1000), depth_m[1000:])
    median = next(errors.rows("median")).abs_rel
    assert abs_rel_of(torch.cat([noise, 0.01 * depth_m[:, None]], dim=1), depth_m) < 0.05
    assert abs_rel_of(noise, depth_m) == pytest.approx(median, rel=0.1)
    assert median > 0.5


def test_depth_when_one_bin_is_certain_then_its_middle_and_when_none_then_the_middle_of_all():
    logits = torch.full((1, 64), -1e4)
    logits[0, 10] = 0.0
    assert expected_depth_m(logits, BINS).tolist() == [10.5]
    assert expected_depth_m(torch.zeros(1, 64), BINS).item() == pytest.approx(32.0)


def test_errors_when_counted_in_parts_then_those_of_the_formulas():
    true, found = depths(100, 0), depths(100, 1)
    found[0] = 0.0
    errors = DepthErrors()
    errors.add(found[:30], true[:30])
    errors.add(found[30:], true[30:])
    whole, *by_range = errors.rows("trained")
    f, t = np.maximum(found.double().numpy(), 0.1), true.double().numpy()
    assert whole[:3] == ("trained", "all", 100)
    assert whole.abs_rel == pytest.approx(np.mean(np.abs(f - t) / t))
    assert whole.rmse_m == pytest.approx(np.sqrt(np.mean((f - t) ** 2)))
    assert whole.delta1 == pytest.approx(np.mean(np.maximum(f / t, t / f) < 1.25))
    assert [row.range_m for row in by_range] == ["0-10", "10-20", "20-30", "30-40", "40-50", "50-60"]
    assert sum(row.num_points for row in by_range) == 100
    second = (t > 10) & (t <= 20)
    assert by_range[1].num_points == second.sum()
    assert by_range[1].abs_rel == pytest.approx(np.mean((np.abs(f - t) / t)[second]))


def test_row_medians_when_a_row_has_no_points_then_the_median_of_all():
    v_px, depth_m = torch.tensor([0.5, 7.9, 7.0, 17.0]), torch.tensor([2.0, 4.0, 9.0, 1.0])
    found = row_medians(v_px, depth_m, height_px=30, stride_px=8)
    assert found.row_m.tolist() == [4.0, 2.0, 1.0, 2.0] and found.median_m == 2.0
    assert found.at(torch.tensor([3.0, 8.0, 23.9, 29.9])).tolist() == [4.0, 2.0, 1.0, 2.0]
