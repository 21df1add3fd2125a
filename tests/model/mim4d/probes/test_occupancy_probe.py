from __future__ import annotations

import numpy as np
import pytest
import torch

from model.mim4d.probes.linear_probe import fit_linear_probe
from model.mim4d.probes.occupancy_probe import (
    NUM_SCORES,
    ScoreCounts,
    VoxelFrequency,
    occupancy_loss,
    probed_scores,
)


def counted(scores: torch.Tensor, is_occupied: torch.Tensor) -> ScoreCounts:
    counts = ScoreCounts()
    counts.add(scores, num_empty=(~is_occupied).long(), num_occupied=is_occupied.long())
    return counts


def test_scores_when_counted_then_iou_and_precision_of_the_formulas():
    generator = torch.Generator().manual_seed(0)
    is_occupied = torch.rand(300, generator=generator) < 0.2
    place = torch.randperm(NUM_SCORES, generator=generator)[:300]
    place = torch.where(is_occupied, (place + NUM_SCORES) // 2, place)  # better than chance, and hardly a tie
    counts = counted((place + 0.5) / NUM_SCORES, is_occupied)
    threshold = 2000
    found, true = (place >= threshold).numpy(), is_occupied.numpy()
    row = counts.row("trained", threshold=threshold)
    assert row.iou == pytest.approx((found & true).sum() / (found | true).sum())
    assert (row.num_voxels, row.num_occupied, row.threshold) == (300, true.sum(), threshold / NUM_SCORES)
    best = max(((place.numpy() >= one) & true).sum() / ((place.numpy() >= one) | true).sum() for one in np.unique(place.numpy()))
    assert counts.ious()[counts.best()] == pytest.approx(best)
    precision, recall_before = 0.0, 0.0
    for one in np.unique(place.numpy())[::-1]:
        chosen = place.numpy() >= one
        recall = (chosen & true).sum() / true.sum()
        precision += (recall - recall_before) * (chosen & true).sum() / chosen.sum()
        recall_before = recall
    assert row.average_precision == pytest.approx(precision)


def test_scores_when_all_are_alike_then_the_share_of_the_occupied():
    is_occupied = torch.arange(10) < 3
    counts = counted(torch.full((10,), 1.0), is_occupied)
    assert counts.row("x", threshold=counts.best())[1:] == (10, 3, 0.0, pytest.approx(0.3), pytest.approx(0.3))


def test_probe_when_features_hold_the_occupancy_then_found_and_when_they_do_not_then_no_better_than_the_share():
    generator = torch.Generator().manual_seed(0)
    is_occupied = torch.rand(2000, generator=generator) < 0.1
    noise = torch.randn(2000, 4, generator=generator)
    known = torch.cat([noise, is_occupied[:, None] + 0.1 * torch.randn(2000, 1, generator=generator)], dim=1)
    ious = []
    for features in (known, noise):
        probe = fit_linear_probe(
            features[:1000],
            is_occupied[:1000].float(),
            outputs=1,
            loss=occupancy_loss(float(is_occupied[:1000].float().mean())),
            steps=300,
            learning_rate=0.1,
            generator=torch.Generator().manual_seed(0),
        )
        threshold = counted(probed_scores(probe, features[:1000]), is_occupied[:1000]).best()
        ious.append(counted(probed_scores(probe, features[1000:]), is_occupied[1000:]).row("x", threshold=threshold).iou)
    assert ious[0] > 0.95 and ious[1] < 0.2


def test_frequency_when_voxels_are_seen_seldom_then_drawn_to_the_share_of_all():
    frequency = VoxelFrequency(3)
    for is_occupied in ([True, False, False], [True, False, False], [True, True, False]):
        frequency.add(is_seen=torch.tensor([True, True, False]), is_occupied=torch.tensor(is_occupied))
    assert frequency.share == pytest.approx(4 / 6)
    assert frequency.scores().tolist() == pytest.approx([(3 + 4 / 6) / 4, (1 + 4 / 6) / 4, 4 / 6])
    scores = (frequency.scores() * NUM_SCORES).long()
    assert scores[1] < frequency.threshold() <= scores[0]  # 3 of 4 right is better than 4 of 6
