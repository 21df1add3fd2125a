"""What rays show: colours, distances and directions of a field, added up along each ray.

Source  docs/method/mim4d.md#scene-scale, #neus-weights, #pitfalls; NeuS (arXiv 2106.10689) equations 9 to 13
Differs from the public code: a rendered depth is not clipped to the samples of the whole batch (pitfall 14), so a ray does not
        depend on the others; how much of a ray ends at a surface is returned; rays that miss the box are black, of depth 0 and
        opacity 0 (22).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from model.mim4d.neus_field import Field
from model.mim4d.neus_sampler import box_bounds_m, draw_jitter, sample_starts, section_alpha, section_weights
from model.mim4d.render_config import RenderConfig
from model.mim4d.voxel_grid import VoxelGrid


class Rendered(NamedTuple):
    """What rays (b, r) show.

    Attributes:
        rgb: (b, r, 3), 0 to 1, on black.
        depth_m: (b, r) mean distance along the ray of what is seen; 0 where the ray misses the box.
        opacity: (b, r), 0 to 1, how much of the ray ends inside the box. The depth does not say: it is a mean over what ends,
            even if that is next to nothing.
        normal: (b, r, 3) of length 1 in the rig frame, or 0; without gradient. A direction only: nothing makes the field a true
            distance.
        eikonal: (b, r) mean squared difference of the gradient's length from 1 along the ray.
        is_hit: (b, r) bool, the ray passes the box.
    """

    rgb: Tensor
    depth_m: Tensor
    opacity: Tensor
    normal: Tensor
    eikonal: Tensor
    is_hit: Tensor


def render(
    field: Field,
    origin_m: Tensor,
    direction: Tensor,
    *,
    grid: VoxelGrid,
    config: RenderConfig,
    generator: torch.Generator | None = None,
) -> Rendered:
    """Render rays, a chunk of each clip's after the other, in float32.

    The result does not depend on the size of the chunks.

    Args:
        field: of as many clips.
        origin_m: (b, r, 3) in the rig frame.
        direction: (b, r, 3) of length 1.
        grid: box of the voxels.
        config: samples, nearest distance, chunks.
        generator: moves the samples at random, for training; None for evaluation.

    Returns:
        What the rays show; differentiable with respect to the field's parameters and volume if gradients are on.
    """
    with torch.autocast(origin_m.device.type, enabled=False):
        origin_m, direction = origin_m.float(), direction.float()
        near_m, far_m, is_hit = box_bounds_m(origin_m, direction, grid=grid, near_m=config.near_m)
        jitter = None
        if generator is not None:
            jitter = draw_jitter(tuple(near_m.shape), generator=generator, device=near_m.device)
        chunks: list[Rendered] = []
        for first in range(0, max(near_m.shape[1], 1), config.chunk_rays):
            part = slice(first, first + config.chunk_rays)
            rays = (origin_m[:, part] * grid.sigma, direction[:, part])
            bounds = (near_m[:, part] * grid.sigma, far_m[:, part] * grid.sigma)
            starts = _starts(field, rays, bounds, config, None if jitter is None else jitter[:, part])
            arguments = (field, *rays, starts, bounds[1], is_hit[:, part], grid.sigma)
            if config.recompute and torch.is_grad_enabled():
                # nothing is drawn at random inside, so there is no state to bring back
                chunks.append(checkpoint(_show, *arguments, use_reentrant=False, preserve_rng_state=False))
            else:
                chunks.append(_show(*arguments))
        return Rendered(*(torch.cat(parts, dim=1) for parts in zip(*chunks, strict=True)))


def neus_weights(sdf: Tensor, gradient: Tensor, direction: Tensor, *, length: Tensor, inv_s: Tensor) -> Tensor:
    """Return what each section of a ray adds to its picture.

    Args:
        sdf: (b, r, s) signed distance where a section starts; the section is taken to lie around it.
        gradient: (b, r, s, 3) of it.
        direction: (b, r, 3) of length 1.
        length: (b, r, s) of the section.
        inv_s: sharpness, scalar.

    Returns:
        (b, r, s), 0 or more; the sum over s is the opacity.
    """
    slope = -torch.relu(-(gradient * direction[..., None, :]).sum(dim=-1))  # surfaces are seen from outside only
    return section_weights(section_alpha(sdf, slope, length, inv_s=inv_s))


def _starts(
    field: Field, rays: tuple[Tensor, Tensor], bounds: tuple[Tensor, Tensor], config: RenderConfig, jitter: Tensor | None
) -> Tensor:
    """Return where the sections of rays start, scaled."""
    origin, direction = rays

    def sdf_along(distance: Tensor) -> Tensor:
        return field.sdf(_points(origin, direction, distance))

    return sample_starts(sdf_along, *bounds, config=config, jitter=jitter)


def _points(origin: Tensor, direction: Tensor, distance: Tensor) -> Tensor:
    """Return the points (b, r, s, 3) at distances (b, r, s) along rays."""
    return origin[..., None, :] + direction[..., None, :] * distance[..., None]


def _show(field: Field, origin: Tensor, direction: Tensor, starts: Tensor, far: Tensor, is_hit: Tensor, sigma: float) -> Rendered:
    """Return what rays show, from scaled samples."""
    values = field.values(_points(origin, direction, starts), direction)
    length = torch.cat([starts[..., 1:], far[..., None]], dim=-1) - starts
    weights = neus_weights(values.sdf, values.gradient, direction, length=length, inv_s=field.inv_s)
    weights = torch.where(is_hit[..., None], weights, 0.0)
    opacity = weights.sum(dim=-1)
    depth = (weights * starts).sum(dim=-1) / (opacity + 1e-10)  # no weight is 0, so it lies among the ray's own samples
    steepness = torch.linalg.vector_norm(values.gradient, dim=-1)
    return Rendered(
        rgb=(weights[..., None] * values.rgb).sum(dim=-2),
        depth_m=torch.where(is_hit, depth / sigma, 0.0),
        opacity=opacity,
        normal=torch.nn.functional.normalize((weights[..., None] * values.gradient).detach().sum(dim=-2), dim=-1),
        eikonal=torch.where(is_hit, (steepness - 1).square().mean(dim=-1), 0.0),
        is_hit=is_hit,
    )
