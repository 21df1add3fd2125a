"""Where a ray is looked at: evenly first, then more densely where the signed distance changes sign.

Source  docs/method/mim4d.md#scene-scale, #ray-sampling, #pitfalls; NeuS (arXiv 2106.10689) section 3.3, one round of refinement
Differs from the public code: a ray that misses the box is marked, not an error; directions are taken as they are (pitfall 22).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from model.mim4d.render_config import RenderConfig
from model.mim4d.voxel_grid import VoxelGrid

_SAME = 1e-5
"""Added where a probability or a distance could be 0; of the public code, so that its weights can be reproduced."""


def box_bounds_m(origin_m: Tensor, direction: Tensor, *, grid: VoxelGrid, near_m: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return where rays are inside the box of voxels.

    Args:
        origin_m: (..., 3) in the rig frame.
        direction: (..., 3) of length 1; components may be 0.
        grid: the box.
        near_m: nothing nearer to the origin counts.

    Returns:
        Distances (...) at which a ray enters and leaves, metres, and (...) bool: it does so. Both distances are 0 where not.
    """
    low, high = origin_m.new_tensor(grid.low_m), origin_m.new_tensor(grid.high_m)
    is_parallel = direction == 0
    divisor = torch.where(is_parallel, 1.0, direction)
    to_low, to_high = (low - origin_m) / divisor, (high - origin_m) / divisor
    is_between = (origin_m >= low) & (origin_m <= high)
    never = torch.where(is_between, -torch.inf, torch.inf)  # of a ray parallel to a pair of faces: always between them, or never
    entry = torch.where(is_parallel, never, torch.minimum(to_low, to_high)).amax(dim=-1).clamp(min=near_m)
    leave = torch.where(is_parallel, -never, torch.maximum(to_low, to_high)).amin(dim=-1)
    is_hit = leave > entry
    return torch.where(is_hit, entry, 0.0), torch.where(is_hit, leave, 0.0), is_hit


def draw_jitter(shape: tuple[int, ...], *, generator: torch.Generator, device: torch.device) -> Tensor:
    """Return two numbers (*shape, 2) for each ray, 0 to 1: how far its even and its added samples are moved."""
    return torch.rand((*shape, 2), generator=generator, device=generator.device).to(device)


@torch.no_grad()
def sample_starts(
    sdf_along: Callable[[Tensor], Tensor], near: Tensor, far: Tensor, *, config: RenderConfig, jitter: Tensor | None = None
) -> Tensor:
    """Return where the sections of rays start; each ends where the next starts, and the last one at ``far``.

    Args:
        sdf_along: signed distance (b, r, s) at distances (b, r, s) along the rays.
        near: (b, r) first distance.
        far: (b, r) last one.
        config: numbers of samples and the sharpness by which a surface is looked for.
        jitter: (b, r, 2), 0 to 1, moves the even samples by up to half a section either way, and the added ones within their
            share; None = none, for evaluation.

    Returns:
        (b, r, num_coarse + num_fine), ascending, without gradient.
    """
    edges = _even_edges(near, far, config.num_coarse, None if jitter is None else jitter[..., :1])
    starts = edges[..., :-1]
    if config.num_fine == 0:
        return starts
    weights = coarse_weights(sdf_along(starts), starts, inv_s=config.coarse_inv_s)
    added = draw_along(weights, edges, num=config.num_fine, jitter=None if jitter is None else jitter[..., 1:])
    return torch.cat([starts, added], dim=-1).sort(dim=-1).values


def _even_edges(near: Tensor, far: Tensor, num: int, jitter: Tensor | None) -> Tensor:
    """Return num + 1 edges (b, r, num + 1); jitter moves all but the two outermost, so that no part of the ray is left out."""
    place = torch.arange(num + 1, device=near.device, dtype=near.dtype).expand(*near.shape, -1)
    if jitter is not None:
        is_inner = (place > 0) & (place < num)
        place = place + torch.where(is_inner, jitter - 0.5, 0.0)
    return near[..., None] + (far - near)[..., None] * (place / num)


def coarse_weights(sdf: Tensor, starts: Tensor, *, inv_s: float) -> Tensor:
    """Return how much each even section (b, r, s) is seen, from the distances at its two ends.

    A section's slope is the steeper descent of its own and the one before, so sections just behind a surface count, too; where
    both go away from surfaces the slope is 0. The last section is not looked at.
    """
    before, after = sdf[..., :-1], sdf[..., 1:]
    length = starts[..., 1:] - starts[..., :-1]
    slope = (after - before) / (length + _SAME)
    slope = torch.minimum(slope, torch.cat([torch.zeros_like(slope[..., :1]), slope[..., :-1]], dim=-1)).clamp(-1000.0, 0.0)
    middle = (before + after) / 2
    alpha = section_alpha(middle, slope, length, inv_s=sdf.new_tensor(inv_s))
    return torch.nn.functional.pad(section_weights(alpha), (0, 1))


def section_alpha(sdf: Tensor, slope: Tensor, length: Tensor, *, inv_s: Tensor) -> Tensor:
    """Return how opaque sections of rays are.

    Args:
        sdf: (...) signed distance in the section's middle.
        slope: (...) its change per distance along the ray, 0 or less.
        length: (...) of the section.
        inv_s: sharpness, scalar.

    Returns:
        (...), 0 to 1: by which part the logistic of the distance falls over the section (NeuS, equation 13).
    """
    at_start = torch.sigmoid((sdf - slope * length / 2) * inv_s)
    at_end = torch.sigmoid((sdf + slope * length / 2) * inv_s)
    return ((at_start - at_end + _SAME) / (at_start + _SAME)).clamp(0.0, 1.0)


def section_weights(alpha: Tensor) -> Tensor:
    """Return what each section (..., s) adds to a picture: its opacity times what the sections before it let through."""
    through = torch.cumprod(1 - alpha + 1e-7, dim=-1)
    return alpha * torch.cat([torch.ones_like(through[..., :1]), through[..., :-1]], dim=-1)


def draw_along(weights: Tensor, edges: Tensor, *, num: int, jitter: Tensor | None) -> Tensor:
    """Return places drawn from a density that is even within each section.

    Args:
        weights: (b, r, s) of the sections, 0 or more; the same small amount is added to each.
        edges: (b, r, s + 1) of the sections.
        num: places of a ray; they lie at equal steps of the cumulated density.
        jitter: (b, r, 1), where in its step a place lies, 0 to 1; None = in the middle.

    Returns:
        (b, r, num), ascending.
    """
    density = weights + _SAME
    cumulated = torch.nn.functional.pad((density / density.sum(dim=-1, keepdim=True)).cumsum(dim=-1), (1, 0))
    step = torch.arange(num, device=weights.device, dtype=weights.dtype)
    wanted = ((step + (0.5 if jitter is None else jitter)) / num).expand(*weights.shape[:-1], num).contiguous()
    section = (torch.searchsorted(cumulated, wanted, right=True) - 1).clamp(0, weights.shape[-1] - 1)
    below, above = cumulated.gather(-1, section), cumulated.gather(-1, section + 1)
    part = ((wanted - below) / (above - below)).clamp(0.0, 1.0)  # a section is never empty
    start, end = edges.gather(-1, section), edges.gather(-1, section + 1)
    return start + part * (end - start)
