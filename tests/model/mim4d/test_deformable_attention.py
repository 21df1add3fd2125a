from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from model.mim4d.deformable_attention import (
    SlotPlaces,
    TemporalCrossAttention,
    TimedPlaces,
    sample_deformable,
    star_offsets,
)

SIZE_YX = (4, 5)
CELLS = 20


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def perturb(module: nn.Module, seed: int, scale: float = 0.5) -> None:
    """Move every parameter off its start, where queries and times have no effect on the places; the same for a seed."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(scale * torch.randn(parameter.shape, generator=generator(seed)))


def at_or_zero(plane: Tensor, row: int, column: int) -> Tensor:
    """Value (c,) of a map (Y, X, c), 0 outside."""
    rows, columns = SIZE_YX
    return plane[row, column] if 0 <= row < rows and 0 <= column < columns else torch.zeros_like(plane[0, 0])


def by_loops(values: Tensor, offsets: Tensor, weights: Tensor) -> Tensor:
    """``sample_deformable`` as five loops and bilinear interpolation by hand."""
    batch, sources, cells, heads, channels = values.shape
    rows, columns = SIZE_YX
    result = torch.zeros(batch, cells, heads, channels, dtype=values.dtype)
    for b in range(batch):
        for n in range(cells):
            for head in range(heads):
                for q in range(sources):
                    plane = values[b, q, :, head].unflatten(0, SIZE_YX)
                    for p in range(offsets.shape[4]):
                        dx, dy = offsets[b, q, n, head, p].tolist()
                        x, y = n % columns + dx, n // columns + dy
                        left, top = math.floor(x), math.floor(y)
                        at_right, at_bottom = x - left, y - top
                        value = (
                            (1 - at_bottom) * (1 - at_right) * at_or_zero(plane, top, left)
                            + (1 - at_bottom) * at_right * at_or_zero(plane, top, left + 1)
                            + at_bottom * (1 - at_right) * at_or_zero(plane, top + 1, left)
                            + at_bottom * at_right * at_or_zero(plane, top + 1, left + 1)
                        )
                        result[b, n, head] += weights[b, q, n, head, p] * value
    return result


def test_sample_deformable_when_offsets_are_random_then_it_equals_five_loops() -> None:
    random = generator(0)
    values = torch.randn(2, 3, CELLS, 2, 3, generator=random)
    offsets = 3.0 * torch.randn(2, 3, CELLS, 2, 2, 2, generator=random)
    weights = torch.rand(2, 3, CELLS, 2, 2, generator=random)
    found = sample_deformable(values, offsets, weights, size_yx=SIZE_YX)
    expected = by_loops(values, offsets, weights)
    assert expected.abs().mean() > 0.1
    assert (found - expected).abs().max() < 1e-5


def test_sample_deformable_when_offset_is_zero_then_a_cell_gets_its_own_value() -> None:
    values = torch.randn(1, 1, CELLS, 2, 3, generator=generator(1))
    found = sample_deformable(values, torch.zeros(1, 1, CELLS, 2, 1, 2), torch.ones(1, 1, CELLS, 2, 1), size_yx=SIZE_YX)
    assert (found - values[:, 0]).abs().max() < 1e-6


def test_attention_when_its_parameters_are_random_then_it_equals_the_formula_by_loops() -> None:
    attention = TemporalCrossAttention(6, num_heads=2, num_points=2, num_sources=3)
    perturb(attention, 2)
    random = generator(3)
    queries, values = torch.randn(2, CELLS, 6, generator=random), torch.randn(2, 3, CELLS, 6, generator=random)
    with torch.no_grad():
        found = attention(queries, values, size_yx=SIZE_YX, share=torch.full((2, 3), 1 / 3))
        places = attention.places
        assert isinstance(places, SlotPlaces)
        # the published order of the outputs of the two linear maps: head, source, point, then x and y
        offsets = places.offsets(queries).view(2, CELLS, 2, 3, 2, 2).permute(0, 3, 1, 2, 4, 5)
        weights = places.weights(queries).view(2, CELLS, 2, 3, 2).softmax(-1).permute(0, 3, 1, 2, 4) / 3
        expected = attention.out(by_loops(attention.value(values).view(2, 3, CELLS, 2, 3), offsets, weights).flatten(2))
    assert (found - expected).abs().max() < 1e-5


def test_star_offsets_when_heads_are_two_or_four_then_they_lie_on_the_axes() -> None:
    two = star_offsets(2, 4)
    assert torch.allclose(two[0], torch.tensor([[1.0, 0.0], [2.0, 0.0], [3.0, 0.0], [4.0, 0.0]]), atol=1e-6)
    assert torch.allclose(two[1], -two[0], atol=1e-6)
    four = star_offsets(4, 2)
    first = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])
    assert torch.allclose(four, torch.stack((first, 2 * first), dim=1), atol=1e-6)


def test_star_offsets_when_heads_are_eight_then_diagonals_reach_whole_cells() -> None:
    assert torch.allclose(star_offsets(8, 3)[1], torch.tensor([[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]]), atol=1e-6)


@pytest.mark.parametrize("kind", ["slots", "timed"])
def test_places_when_they_start_then_they_are_the_star_with_equal_weights_whatever_is_asked(kind: str) -> None:
    queries = torch.randn(2, CELLS, 8, generator=generator(4))
    if kind == "slots":
        slots = SlotPlaces(8, num_heads=4, num_points=3, num_sources=2)
        slots.initialise()
        offsets, logits = slots(queries)
    else:
        timed = TimedPlaces(8, num_heads=4, num_points=3, num_time_features=6)
        timed.initialise()
        offsets, logits = timed(queries, torch.randn(2, 2, 6, generator=generator(5)))
    assert offsets.shape == (2, 2, CELLS, 4, 3, 2)
    assert torch.equal(offsets, star_offsets(4, 3).expand_as(offsets))
    assert torch.equal(logits, torch.zeros(2, 2, CELLS, 4, 3))


def test_timed_places_when_the_time_turns_the_scale_round_then_the_offset_is_the_opposite() -> None:
    places = TimedPlaces(4, num_heads=2, num_points=1, num_time_features=1)
    places.initialise()
    with torch.no_grad():
        nn.init.normal_(places.offsets.weight, generator=generator(6))
        places.offsets.bias.zero_()
        places.scale_and_shift.weight[:4] = 1.0
    queries = torch.randn(1, 3, 4, generator=generator(7))
    # the query is scaled by 1 + time: by 1, -1 and 2
    offsets, _ = places(queries, torch.tensor([[[0.0], [-2.0], [1.0]]]))
    assert offsets.abs().mean() > 0.1
    assert torch.allclose(offsets[:, 1], -offsets[:, 0], atol=1e-6)
    assert torch.allclose(offsets[:, 2], 2 * offsets[:, 0], atol=1e-6)


def test_timed_attention_when_sources_are_reordered_with_their_times_then_nothing_changes() -> None:
    attention = TemporalCrossAttention(8, num_heads=2, num_points=2, num_time_features=4)
    perturb(attention, 8)
    random = generator(9)
    queries, values = torch.randn(1, CELLS, 8, generator=random), torch.randn(1, 4, CELLS, 8, generator=random)
    times, share = torch.randn(1, 4, 4, generator=random), torch.full((1, 4), 0.25)
    order = torch.tensor([2, 0, 3, 1])
    with torch.no_grad():
        straight = attention(queries, values, size_yx=SIZE_YX, share=share, times=times)
        reordered = attention(queries, values[:, order], size_yx=SIZE_YX, share=share, times=times[:, order])
        wrong = attention(queries, values[:, order], size_yx=SIZE_YX, share=share, times=times)
    assert torch.allclose(straight, reordered, atol=1e-5)
    assert (straight - wrong).abs().max() > 1e-2


def test_attention_when_a_source_has_no_share_then_it_changes_nothing_and_the_others_make_the_mean() -> None:
    attention = TemporalCrossAttention(8, num_heads=2, num_points=2, num_time_features=4)
    perturb(attention, 10)
    random = generator(11)
    queries, values = torch.randn(1, CELLS, 8, generator=random), torch.randn(1, 2, CELLS, 8, generator=random)
    times = torch.randn(1, 2, 4, generator=random)
    with torch.no_grad():
        one_of_two = attention(queries, values, size_yx=SIZE_YX, share=torch.tensor([[1.0, 0.0]]), times=times)
        alone = attention(queries, values[:, :1], size_yx=SIZE_YX, share=torch.ones(1, 1), times=times[:, :1])
    assert torch.allclose(one_of_two, alone, atol=1e-5)


def test_attention_when_batched_then_samples_do_not_meet() -> None:
    attention = TemporalCrossAttention(8, num_heads=2, num_points=2, num_sources=2)
    perturb(attention, 12)
    random = generator(13)
    queries, values = torch.randn(3, CELLS, 8, generator=random), torch.randn(3, 2, CELLS, 8, generator=random)
    share = torch.full((3, 2), 0.5)
    with torch.no_grad():
        together = attention(queries, values, size_yx=SIZE_YX, share=share)
        for index in range(3):
            one = slice(index, index + 1)
            alone = attention(queries[one], values[one], size_yx=SIZE_YX, share=share[one])
            assert torch.allclose(alone[0], together[index], atol=1e-5)


def test_attention_when_differentiated_then_gradients_are_those_of_finite_differences() -> None:
    random = generator(14)
    values = torch.randn(1, 2, CELLS, 1, 2, generator=random, dtype=torch.float64, requires_grad=True)
    # off the cells' borders, where bilinear interpolation has a kink
    whole = torch.randint(-2, 3, (1, 2, CELLS, 1, 2, 2), generator=random)
    offsets = (whole + 0.2 + 0.6 * torch.rand(whole.shape, generator=random)).double().requires_grad_()
    weights = torch.rand(1, 2, CELLS, 1, 2, generator=random, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda *given: sample_deformable(*given, size_yx=SIZE_YX), (values, offsets, weights), fast_mode=True
    )


def test_attention_when_under_autocast_then_places_keep_full_precision() -> None:
    attention = TemporalCrossAttention(8, num_heads=2, num_points=2, num_sources=2)
    perturb(attention, 15, scale=0.2)
    random = generator(16)
    queries, values = torch.randn(1, CELLS, 8, generator=random), torch.randn(1, 2, CELLS, 8, generator=random)
    share = torch.full((1, 2), 0.5)
    with torch.no_grad():
        exact = attention(queries, values, size_yx=SIZE_YX, share=share)
        with torch.autocast("cpu", torch.bfloat16):
            rounded = attention(queries, values, size_yx=SIZE_YX, share=share)
    assert (rounded.float() - exact).abs().max() < 0.1 * exact.abs().max()
