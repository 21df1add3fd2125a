from __future__ import annotations

import pytest
import torch

from model.mim4d.neus_sampler import (
    box_bounds_m,
    coarse_weights,
    draw_along,
    draw_jitter,
    sample_starts,
    section_alpha,
    section_weights,
)
from model.mim4d.render_config import RenderConfig
from model.mim4d.voxel_grid import VoxelGrid

GRID = VoxelGrid((-51.2, -51.2, -5.0), (51.2, 51.2, 3.0), (5, 128, 128))


def bounds(origin: tuple[float, ...], direction: tuple[float, ...], near_m: float = 1.0) -> tuple[float, float, bool]:
    """Bounds of one ray."""
    toward = torch.nn.functional.normalize(torch.tensor([direction]), dim=-1)
    near, far, is_hit = box_bounds_m(torch.tensor([origin]), toward, grid=GRID, near_m=near_m)
    return near.item(), far.item(), bool(is_hit)


@pytest.mark.parametrize(
    ("origin", "direction", "expected"),
    [
        ((0.0, 0.0, 0.0), (1.0, 0.0, 0.0), (1.0, 51.2, True)),  # parallel to four faces
        ((0.0, 0.0, 0.0), (0.0, 0.0, 1.0), (1.0, 3.0, True)),
        ((0.0, 0.0, 0.0), (0.0, -1e-6, -1.0), (1.0, 5.0, True)),  # what the public code divides by zero for
        ((0.0, 0.0, 0.0), (3.0, 0.0, -4.0), (1.0, 6.25, True)),
        ((-60.0, 0.0, 0.0), (1.0, 0.0, 0.0), (8.8, 111.2, True)),  # from outside
        ((60.0, 0.0, 0.0), (1.0, 0.0, 0.0), (0.0, 0.0, False)),  # goes away
        ((0.0, 0.0, 4.0), (1.0, 0.0, 0.0), (0.0, 0.0, False)),  # passes above
        ((0.0, 0.0, 2.5), (0.0, 0.0, 1.0), (0.0, 0.0, False)),  # leaves before it is looked at
    ],
)
def test_box_bounds_when_a_ray_passes_or_misses_then_are_the_distances_or_no_hit(origin, direction, expected) -> None:
    near, far, is_hit = bounds(origin, direction)
    assert is_hit == expected[2]
    assert (near, far) == pytest.approx(expected[:2], rel=1e-5)


def test_box_bounds_when_rays_are_random_then_the_ends_lie_on_the_box() -> None:
    generator = torch.Generator().manual_seed(0)
    origin = torch.rand(500, 3, generator=generator) * torch.tensor([200.0, 200.0, 16.0]) - torch.tensor([100.0, 100.0, 9.0])
    direction = torch.nn.functional.normalize(torch.randn(500, 3, generator=generator), dim=-1)
    near, far, is_hit = box_bounds_m(origin, direction, grid=GRID, near_m=1.0)
    assert 50 < is_hit.sum() < 450
    at_end = GRID.to_unit(origin + far[:, None] * direction).abs().amax(dim=-1)
    torch.testing.assert_close(at_end[is_hit], torch.ones(int(is_hit.sum())), rtol=1e-4, atol=1e-4)
    assert GRID.to_unit(origin + ((near + far) / 2)[:, None] * direction)[is_hit].abs().max() <= 1.0001
    along = origin[:, None] + direction[:, None] * torch.linspace(1, 300, 600)[:, None]
    assert not (GRID.to_unit(along[~is_hit]).abs() < 0.999).all(dim=-1).any()  # what misses is never inside


def test_starts_when_evaluating_then_96_ascending_ones_with_the_added_ones_at_the_surface() -> None:
    near, far = torch.tensor([[1.0, 0.5]]) / 51.2, torch.tensor([[51.2, 20.0]]) / 51.2
    surface = torch.tensor([[20.0, 7.0]]) / 51.2
    starts = sample_starts(lambda t: surface[..., None] - t, near, far, config=RenderConfig())
    assert starts.shape == (1, 2, 96)
    assert (starts.diff(dim=-1) >= 0).all()
    torch.testing.assert_close(starts[..., 0], near)
    assert (starts[..., -1] < far).all()
    is_even = torch.isclose(starts[..., None], near[..., None, None] + (far - near)[..., None, None] * torch.arange(72) / 72).any(
        -1
    )
    assert is_even.sum() == 2 * 72
    added = starts[~is_even].reshape(2, 24) * 51.2
    torch.testing.assert_close(added.mean(dim=1), surface[0] * 51.2, rtol=0.1, atol=0.5)


def test_starts_when_training_then_jitter_moves_them_within_their_sections_and_leaves_no_gap() -> None:
    config = RenderConfig(num_fine=0)
    near, far = torch.full((2, 40), 0.1), torch.full((2, 40), 0.9)
    jitter = draw_jitter((2, 40), generator=torch.Generator().manual_seed(0), device=near.device)
    starts = sample_starts(torch.zeros_like, near, far, config=config, jitter=jitter)
    still = sample_starts(torch.zeros_like, near, far, config=config)
    width = 0.8 / 72
    torch.testing.assert_close(starts[..., 0], near)
    moved = (starts - still)[..., 1:] / width
    assert moved.abs().max() <= 0.5 + 1e-4 and moved.std() > 0.2 and abs(moved.mean()) < 0.1
    torch.testing.assert_close(moved, moved[..., :1].expand_as(moved), atol=1e-4, rtol=0)  # one number for a ray


def test_starts_when_a_ray_misses_the_box_then_are_finite() -> None:
    nowhere = torch.zeros(1, 3)
    starts = sample_starts(lambda t: t, nowhere, nowhere, config=RenderConfig(), jitter=torch.rand(1, 3, 2))
    assert torch.equal(starts, torch.zeros(1, 3, 96))


def test_coarse_weights_when_a_surface_lies_between_two_starts_then_peak_there() -> None:
    starts = torch.linspace(0, 1, 73)[:-1][None, None]
    weights = coarse_weights(0.4 - starts, starts, inv_s=64.0 * 8)[0, 0]
    assert weights.shape == (72,)
    assert abs(starts[0, 0, weights.argmax()].item() - 0.4) < 2 / 72
    assert weights.sum() == pytest.approx(1.0, abs=1e-3) and weights[-1] == 0
    away = coarse_weights(starts + 0.01, starts, inv_s=64.0)
    assert away.sum() < 0.01  # leaves a surface, so sees none


def test_coarse_weights_when_reckoned_section_by_section_then_are_the_same() -> None:
    starts = torch.tensor([0.0, 0.1, 0.3, 0.4, 0.6, 0.7, 0.8])
    sdf = torch.tensor([0.3, 0.2, 0.05, 0.04, 0.1, -0.02, 0.05])  # down, flat, up, through, up
    inv_s, through, before, expected = 64.0, 1.0, 0.0, []
    for k in range(6):
        length = starts[k + 1] - starts[k]
        slope = (sdf[k + 1] - sdf[k]) / length
        steeper = min(slope.item(), before, 0.0)
        before = slope.item()
        middle = (sdf[k] + sdf[k + 1]) / 2
        at_start, at_end = (torch.sigmoid(inv_s * (middle - side * steeper * length / 2)).item() for side in (1, -1))
        alpha = (at_start - at_end + 1e-5) / (at_start + 1e-5)
        expected.append(through * alpha)
        through *= 1 - alpha
    found = coarse_weights(sdf[None, None], starts[None, None], inv_s=inv_s)[0, 0]
    torch.testing.assert_close(found, torch.tensor([*expected, 0.0]), rtol=1e-2, atol=1e-4)


def test_section_alpha_when_deep_inside_then_is_opaque_and_where_nothing_changes_next_to_clear() -> None:
    flat, length, inv_s = torch.zeros(2), torch.full((2,), 0.01), torch.tensor(1000.0)
    alpha = section_alpha(torch.tensor([-1.0, 1.0]), flat, length, inv_s=inv_s)
    assert alpha.tolist() == pytest.approx([1.0, 1e-5], rel=1e-2)


def test_section_weights_when_opacities_are_given_then_each_lets_the_rest_through() -> None:
    weights = section_weights(torch.tensor([0.5, 0.5, 1.0, 0.7]))
    torch.testing.assert_close(weights, torch.tensor([0.5, 0.25, 0.25, 0.0]), atol=1e-6, rtol=0)


@pytest.mark.parametrize("jittered", [False, True])
def test_draw_along_when_one_section_has_all_the_weight_then_places_lie_in_it(jittered) -> None:
    edges = torch.tensor([0.0, 1.0, 3.0, 4.0]).expand(2, 5, 4)
    weights = torch.tensor([0.0, 1.0, 0.0]).expand(2, 5, 3)
    places = draw_along(weights, edges, num=8, jitter=torch.rand(2, 5, 1) if jittered else None)
    assert places.shape == (2, 5, 8) and (places.diff(dim=-1) > 0).all()
    assert ((places > 0.99) & (places < 3.01)).all()
    assert (places.diff(dim=-1) - 0.25).abs().max() < 1e-3  # 2 units in 8 steps


def test_draw_along_when_jittered_then_all_places_of_a_ray_move_by_the_same_share_of_their_step() -> None:
    edges = torch.linspace(0, 4, 5).expand(1, 3, 5)
    jitter = torch.tensor([0.0, 0.25, 0.75])[None, :, None]
    places = draw_along(torch.ones(1, 3, 4), edges, num=4, jitter=jitter)[0]
    torch.testing.assert_close(places, torch.tensor([[0.0], [0.25], [0.75]]) + torch.arange(4.0), atol=1e-5, rtol=0)


def test_draw_along_when_weights_are_in_proportion_then_so_are_the_places() -> None:
    edges = torch.linspace(0, 4, 5)[None, None]
    places = draw_along(torch.tensor([[[1.0, 3.0, 0.0, 4.0]]]), edges, num=800, jitter=None)[0, 0]
    counts = torch.histogram(places, bins=4, range=(0.0, 4.0)).hist
    torch.testing.assert_close(counts, torch.tensor([100.0, 300.0, 0.0, 400.0]), atol=1.0, rtol=0)


def test_draw_along_when_there_is_no_weight_then_places_are_even() -> None:
    places = draw_along(torch.zeros(1, 1, 4), torch.linspace(0, 4, 5)[None, None], num=4, jitter=None)
    torch.testing.assert_close(places, torch.tensor([[[0.5, 1.5, 2.5, 3.5]]]))
