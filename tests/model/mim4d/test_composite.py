from __future__ import annotations

import math

import pytest
import torch
from torch.nn.functional import normalize

from model.mim4d.composite import Rendered, neus_weights, render
from model.mim4d.neus_field import NeusField
from model.mim4d.render_config import RenderConfig
from model.mim4d.voxel_grid import VoxelGrid
from tests.model.mim4d.analytic_fields import AnalyticField, Plane, Sphere, checker

GRID = VoxelGrid((-51.2, -51.2, -5.0), (51.2, 51.2, 3.0), (5, 128, 128))
INITIAL_INV_S = 20.1
SMALL = VoxelGrid((-8.0, -8.0, -2.0), (8.0, 8.0, 2.0), (3, 6, 6))


def ground(inv_s: float, *, to_m: float) -> tuple[AnalyticField, torch.Tensor, torch.Tensor]:
    """Flat ground 1.84 m below the origin, with rays that hit it 3 m to so far away all around; and how long they are."""
    radius, azimuth = torch.meshgrid(torch.linspace(3, to_m, 30), torch.linspace(-3.1, 3.1, 24), indexing="ij")
    hit = torch.stack([radius * azimuth.cos(), radius * azimuth.sin(), torch.full_like(radius, -1.84)], dim=-1).reshape(1, -1, 3)
    return Plane(torch.tensor(inv_s), GRID.sigma, (0.0, 0.0, 1.0), -1.84), normalize(hit, dim=-1), hit.norm(dim=-1)


def wall(inv_s: float) -> tuple[AnalyticField, torch.Tensor, torch.Tensor]:
    """A wall 20 m ahead, seen within 4 degrees of the level."""
    y, z = torch.meshgrid(torch.linspace(-10, 10, 20), torch.linspace(-1.4, 1.4, 10), indexing="ij")
    hit = torch.stack([torch.full_like(y, 20.0), y, z], dim=-1).reshape(1, -1, 3)
    return Plane(torch.tensor(inv_s), GRID.sigma, (-1.0, 0.0, 0.0), -20.0), normalize(hit, dim=-1), hit.norm(dim=-1)


def ball(inv_s: float) -> tuple[AnalyticField, torch.Tensor, torch.Tensor]:
    """A ball of radius 3 m, 15 m ahead, seen up to 0.85 of its radius from its middle: at its rim nothing is hit squarely."""
    away, around = torch.meshgrid(torch.linspace(0.001, math.asin(0.85 * 3 / 15), 24), torch.linspace(0, 6, 24), indexing="ij")
    direction = torch.stack([away.cos(), away.sin() * around.cos(), away.sin() * around.sin()], dim=-1).reshape(1, -1, 3)
    along = 15 * direction[..., 0]
    return Sphere(torch.tensor(inv_s), GRID.sigma, (15.0, 0.0, 0.0), 3.0), direction, along - (along.square() - 15**2 + 9).sqrt()


def seen(field: AnalyticField, direction: torch.Tensor, **options) -> Rendered:
    return render(field, torch.zeros_like(direction), direction, grid=GRID, config=RenderConfig(**options))


SCENES = pytest.mark.parametrize("scene", [lambda s: ground(s, to_m=30.0), wall, ball], ids=["ground", "wall", "ball"])


def test_weights_when_a_plane_is_met_head_on_then_telescope_and_peak_at_the_surface() -> None:  # G1
    sdf = torch.linspace(0.5, -0.5, 97, dtype=torch.double)
    length = torch.full_like(sdf, 1 / 96)
    gradient = torch.tensor([-1.0, 0.0, 0.0], dtype=torch.double).expand(1, 1, 97, 3)
    weights = neus_weights(
        sdf[None, None],
        gradient,
        torch.tensor([[[1.0, 0.0, 0.0]]], dtype=torch.double),
        length=length[None, None],
        inv_s=torch.tensor(64.0, dtype=torch.double),
    )[0, 0]
    first, last = torch.sigmoid(64 * (sdf[0] + length[0] / 2)), torch.sigmoid(64 * (sdf[-1] - length[0] / 2))
    assert weights.sum().item() == pytest.approx((1 - last / first).item(), abs=1e-4)
    assert abs(sdf[weights.argmax()]) <= 1 / 96


def test_weights_when_a_surface_is_seen_from_behind_then_are_next_to_nothing() -> None:
    sdf = torch.linspace(0.01, 0.5, 97)[None, None]
    gradient = torch.tensor([1.0, 0.0, 0.0]).expand(1, 1, 97, 3)
    toward = torch.tensor([[[1.0, 0.0, 0.0]]])
    weights = neus_weights(sdf, gradient, toward, length=torch.full_like(sdf, 0.005), inv_s=torch.tensor(64.0))
    assert weights.sum() < 2e-3


@SCENES
def test_depth_when_the_surface_is_sharp_then_is_the_true_distance(scene) -> None:  # G2
    field, direction, truth_m = scene(1000.0)
    found = seen(field, direction)
    wrong_m = (found.depth_m - truth_m).abs()
    assert wrong_m.mean() < 0.05 and wrong_m.max() < 0.1
    assert found.opacity.min() > 0.99 and found.opacity.max() < 1.001 and found.is_hit.all()
    hit_m = direction * truth_m[..., None]
    assert (found.rgb - checker(hit_m)).abs().mean() < 0.03  # ground far away is met at a flat angle, and blurred along it
    with torch.enable_grad():
        at = hit_m.clone().requires_grad_()
        (normal,) = torch.autograd.grad(field.distance_m(at).sum(), at)
    assert (found.normal * normal).sum(dim=-1).min() > 0.999
    assert found.eikonal.max() < 1e-6  # a true distance


@pytest.mark.parametrize(
    ("scene", "wrong_m", "opacity"),
    [
        (lambda s: ground(s, to_m=12.0), (2.0, 3.5), (0.60, 0.68)),
        (ball, (2.0, 2.6), (0.62, 0.70)),
        (wall, (0.02, 0.05), (0.99, 1.01)),
    ],
    ids=["ground", "ball", "wall"],
)
def test_depth_when_the_sharpness_is_the_initial_one_then_is_metres_off(scene, wrong_m, opacity) -> None:  # G3
    field, direction, truth_m = scene(INITIAL_INV_S)
    found = seen(field, direction)
    mean_m = (found.depth_m - truth_m).abs().mean().item()
    assert wrong_m[0] < mean_m < wrong_m[1]
    assert opacity[0] < found.opacity.mean() < opacity[1]


@SCENES
def test_analytic_gradient_when_measured_by_differences_then_is_the_same_and_of_length_one(scene) -> None:  # G4
    field, direction, truth_m = scene(1000.0)
    points = (direction * truth_m[..., None] * 0.8)[:, :, None] * GRID.sigma
    gradient = field.values(points, direction).gradient
    torch.testing.assert_close(gradient.norm(dim=-1), torch.ones_like(points[..., 0]))
    step = 1e-5
    for axis in range(3):
        moved = torch.zeros(3, dtype=torch.double)
        moved[axis] = step
        difference = (field.sdf(points.double() + moved) - field.sdf(points.double() - moved)) / (2 * step)
        torch.testing.assert_close(gradient[..., axis].double(), difference, rtol=1e-3, atol=1e-3)


def test_render_when_the_surface_lies_behind_the_last_start_then_the_last_section_sees_it() -> None:
    field = Plane(torch.tensor(INITIAL_INV_S), GRID.sigma, (-1.0, 0.0, 0.0), -45.0)
    found = seen(field, torch.tensor([[[1.0, 0.0, 0.0]]]), num_coarse=4, num_fine=0)
    length_m = (51.2 - 1.0) / 4  # sections lie around their starts: half a section before the first, half after the last
    first, last = (45.0 - 1.0 + length_m / 2) * GRID.sigma, (45.0 - 51.2 + length_m / 2) * GRID.sigma
    at_first, at_last = (torch.sigmoid(torch.tensor(INITIAL_INV_S * one)).item() for one in (first, last))
    assert found.opacity.item() == pytest.approx(1 - at_last / at_first, abs=1e-3)
    assert found.opacity.item() > 0.4


def test_render_when_a_ray_sees_next_to_nothing_then_its_depth_lies_on_the_ray_and_its_opacity_says_so() -> None:
    field = Plane(torch.tensor(4000.0), GRID.sigma, (0.0, 0.0, 1.0), -40.0)  # far below the box
    found = seen(field, torch.tensor([[[1.0, 0.0, 0.0]]]))
    assert found.opacity < 2e-3 and 1.0 < found.depth_m < 51.2


def test_render_when_jittered_then_depth_stays_within_the_gate() -> None:
    field, direction, truth_m = wall(1000.0)
    generator = torch.Generator().manual_seed(0)
    found = render(field, torch.zeros_like(direction), direction, grid=GRID, config=RenderConfig(), generator=generator)
    still = seen(field, direction)
    assert (found.depth_m - truth_m).abs().mean() < 0.05
    assert not torch.equal(found.depth_m, still.depth_m)


def rays_in_a_volume(clips: int = 2, rays: int = 11) -> tuple[NeusField, torch.Tensor, torch.Tensor, torch.Tensor]:
    """A random field of a sharp surface, a volume, and rays of which the last of each clip misses the box."""
    torch.manual_seed(3)
    field = NeusField(4, grid=SMALL, config=RenderConfig(initial_variance=0.5))
    volume = torch.randn(clips, 4, *SMALL.shape_zyx, requires_grad=True)
    origin = torch.rand(clips, rays, 3)
    direction = normalize(torch.randn(clips, rays, 3) * torch.tensor([1.0, 1.0, 0.2]), dim=-1)
    origin[:, -1], direction[:, -1] = torch.tensor([0.0, 0.0, 30.0]), torch.tensor([1.0, 0.0, 0.0])
    return field, volume, origin, direction


def derivatives(rendered: Rendered, field: NeusField, volume: torch.Tensor) -> list[torch.Tensor]:
    total = rendered.rgb.sum() + rendered.depth_m.sum() + rendered.eikonal.sum()
    return list(torch.autograd.grad(total, [volume, *field.parameters()]))


@pytest.mark.parametrize("changes", [{"chunk_rays": 4}, {"recompute": True}, {"chunk_rays": 3, "recompute": True}], ids=str)
def test_render_when_done_in_chunks_or_computed_twice_then_result_and_derivatives_are_the_same(changes) -> None:
    field, volume, origin, direction = rays_in_a_volume()
    found = []
    for config in (RenderConfig(num_coarse=24, num_fine=8), RenderConfig(num_coarse=24, num_fine=8, **changes)):
        generator = torch.Generator().manual_seed(5)
        rendered = render(field.in_volume(volume), origin, direction, grid=SMALL, config=config, generator=generator)
        found.append((rendered, derivatives(rendered, field, volume)))
    for one, other in zip(found[0][0], found[1][0], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
    for one, other in zip(found[0][1], found[1][1], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


def test_render_when_trained_then_every_parameter_and_the_volume_get_a_gradient() -> None:
    field, volume, origin, direction = rays_in_a_volume()
    rendered = render(field.in_volume(volume), origin, direction, grid=SMALL, config=RenderConfig())
    for name, slope in zip(["volume", *dict(field.named_parameters())], derivatives(rendered, field, volume), strict=True):
        assert slope.isfinite().all() and slope.abs().sum() > 0, name


def test_render_when_a_clip_stands_alone_then_shows_what_it_shows_in_the_batch() -> None:
    field, volume, origin, direction = rays_in_a_volume()
    together = render(field.in_volume(volume), origin, direction, grid=SMALL, config=RenderConfig())
    alone = render(field.in_volume(volume[1:]), origin[1:], direction[1:], grid=SMALL, config=RenderConfig())
    for one, other in zip(alone, together, strict=True):
        torch.testing.assert_close(one[0], other[1], rtol=1e-4, atol=1e-5)


def test_render_when_a_ray_misses_the_box_then_is_black_without_depth_and_without_gradient() -> None:
    field, volume, origin, direction = rays_in_a_volume()
    rendered = render(field.in_volume(volume), origin, direction, grid=SMALL, config=RenderConfig())
    assert rendered.is_hit[:, :-1].all() and not rendered.is_hit[:, -1].any()
    for values in (rendered.rgb, rendered.depth_m, rendered.opacity, rendered.normal, rendered.eikonal):
        assert not values[:, -1].any()
    alone = sum(values[:, -1].sum() for values in (rendered.rgb, rendered.depth_m, rendered.eikonal))
    slopes = torch.autograd.grad(alone, [volume, *field.parameters()])
    assert all(not one.any() for one in slopes)


def test_render_when_gradients_are_off_then_is_the_same_and_holds_no_graph() -> None:
    field, volume, origin, direction = rays_in_a_volume()
    with_graph = render(field.in_volume(volume), origin, direction, grid=SMALL, config=RenderConfig())
    with torch.no_grad():
        without = render(field.in_volume(volume), origin, direction, grid=SMALL, config=RenderConfig(recompute=True))
    assert with_graph.rgb.requires_grad and not with_graph.normal.requires_grad and not without.rgb.requires_grad
    torch.testing.assert_close(with_graph.depth_m.detach(), without.depth_m)


def test_render_when_there_are_no_rays_then_shows_nothing() -> None:
    field, volume, origin, direction = rays_in_a_volume(rays=2)
    rendered = render(field.in_volume(volume), origin[:, :0], direction[:, :0], grid=SMALL, config=RenderConfig())
    assert rendered.rgb.shape == (2, 0, 3) and rendered.depth_m.shape == (2, 0)


def test_render_when_inside_autocast_then_computes_in_float32() -> None:
    field, volume, origin, direction = rays_in_a_volume()
    expected = render(field.in_volume(volume), origin, direction, grid=SMALL, config=RenderConfig())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = render(field.in_volume(volume), origin, direction, grid=SMALL, config=RenderConfig())
        coarser = render(field.in_volume(volume.bfloat16()), origin, direction, grid=SMALL, config=RenderConfig())
    assert found.rgb.dtype == coarser.rgb.dtype == torch.float32
    torch.testing.assert_close(found.depth_m, expected.depth_m)


def test_render_when_a_volume_is_fitted_to_a_wall_then_its_depth_and_colour_are_learned() -> None:
    torch.manual_seed(0)
    grid = VoxelGrid((-8.0, -8.0, -2.0), (8.0, 8.0, 2.0), (2, 8, 8))
    config = RenderConfig(num_coarse=16, num_fine=8)
    field = NeusField(4, grid=grid, config=config)
    volume = (0.1 * torch.randn(1, 4, *grid.shape_zyx)).requires_grad_()
    y, z = torch.meshgrid(torch.linspace(-3, 3, 8), torch.linspace(-1, 1, 4), indexing="ij")
    hit_m = torch.stack([5 + 0.5 * y, y, z], dim=-1).reshape(1, -1, 3)
    truth_m, truth_rgb = hit_m.norm(dim=-1), checker(hit_m)
    direction = normalize(hit_m, dim=-1)
    optimizer = torch.optim.Adam([volume, *field.parameters()], lr=2e-2)
    generator = torch.Generator().manual_seed(0)
    wrong = []
    for _ in range(40):
        found = render(field.in_volume(volume), torch.zeros_like(hit_m), direction, grid=grid, config=config, generator=generator)
        by_m, by_rgb = (found.depth_m - truth_m).abs().mean(), (found.rgb - truth_rgb).abs().mean()
        optimizer.zero_grad()
        (10 * grid.sigma * by_m + 10 * by_rgb).backward()
        optimizer.step()
        wrong.append((by_m.item(), by_rgb.item()))
    spread_m = (truth_m - truth_m.median()).abs().mean().item()
    assert wrong[-1][0] < 0.5 * spread_m
    assert wrong[-1][1] < 0.5 * (truth_rgb - truth_rgb.mean(dim=(0, 1))).abs().mean().item()
