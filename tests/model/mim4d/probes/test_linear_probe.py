from __future__ import annotations

import pytest
import torch

from model.mim4d.probes.linear_probe import MEMORY_BYTES, ROWS_PER_STEP, drawn_rows, fit_linear_probe, rows_per_clip, whitening


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def squared(found: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    return (found[:, 0] - wanted).square().mean()


def fitted(rows: torch.Tensor, targets: torch.Tensor, *, seed: int = 0):
    return fit_linear_probe(rows, targets, outputs=1, loss=squared, steps=300, learning_rate=0.1, generator=generator(seed))


def test_probe_when_the_target_is_linear_then_found_and_a_constant_channel_is_no_trouble():
    rows = torch.randn(500, 4, generator=generator())
    rows[:, 3] = 7.0
    targets = 2.0 * rows[:, 0] - rows[:, 1] + 0.5
    probe = fitted(rows, targets)
    assert float(squared(probe(rows), targets)) < 1e-3
    assert probe.weight[0, 3] == 0.0 and not probe.weight.requires_grad


def test_probe_when_the_target_is_in_what_channels_differ_in_then_found_all_the_same():
    shared, difference = torch.randn(2, 500, generator=generator())
    rows = torch.stack([shared, shared + 0.3 * difference], dim=1)
    assert float(squared(fitted(rows, difference)(rows), difference)) < 0.05


def test_rows_when_whitened_then_independent_of_variance_one_and_constant_channels_are_nothing():
    rows = torch.randn(4000, 3, generator=generator()) @ torch.tensor([[3.0, 1.0, 0.0], [0.0, 20.0, 4.0], [0.0, 0.0, 1.0]]) + 5.0
    rows = torch.cat([rows, torch.full((4000, 1), 2.0)], dim=1)
    mean, matrix = whitening(rows)
    white = (rows - mean) @ matrix
    covariance = white.T @ white / len(white)
    expected = torch.eye(4)
    expected[3, 3] = 0.0
    torch.testing.assert_close(covariance, expected, atol=0.05, rtol=0.0)


def test_probe_when_features_are_scaled_and_moved_then_it_says_the_same():
    rows = torch.randn(500, 3, generator=generator())
    targets = rows.sum(dim=1).sin()
    scaled = rows * torch.tensor([1.0, 256.0, 0.0625]) + 4.0
    torch.testing.assert_close(fitted(rows, targets)(rows), fitted(scaled, targets)(scaled), atol=1e-3, rtol=1e-3)


def test_probe_when_there_are_more_rows_than_a_step_takes_then_drawn_by_the_generator():
    rows = torch.randn(ROWS_PER_STEP + 1, 2, generator=generator())
    targets = rows[:, 0] + 0.1 * torch.randn(len(rows), generator=generator(1))
    first, again, other = (fitted(rows, targets, seed=seed).weight for seed in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_probe_when_gradients_are_switched_off_around_it_then_it_learns_all_the_same():
    rows = torch.randn(50, 1, generator=generator())
    with torch.no_grad():
        probe = fitted(rows, 3.0 * rows[:, 0])
    assert float(squared(probe(rows), 3.0 * rows[:, 0])) < 1e-2


def test_rows_when_there_are_too_many_then_so_many_different_ones_in_order():
    assert drawn_rows(5, 9, generator=generator()).tolist() == [0, 1, 2, 3, 4]
    drawn = drawn_rows(1000, 100, generator=generator())
    assert len(drawn) == 100 and (drawn.diff() > 0).all() and drawn.max() < 1000
    assert not torch.equal(drawn, drawn_rows(1000, 100, generator=generator(1)))


@pytest.mark.parametrize(("num_clips", "channels"), [(256, 128), (28_130, 32), (10**9, 4)])
def test_memory_when_clips_are_many_then_within_its_limit(num_clips, channels):
    rows = rows_per_clip(num_clips, channels=channels)
    assert rows >= 1
    assert rows == 1 or rows * num_clips * channels * 4 <= MEMORY_BYTES
