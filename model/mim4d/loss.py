"""How rendered rays are compared with what the cameras and the LiDAR saw.

Source  docs/method/mim4d.md#rendering-loss
Differs from the public code: means are taken over the rays of each clip and then over the clips, so a batch gives the mean of
        what its clips give alone, however many rays of each are measured; a mean over no rays is 0 with a gradient of 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from model.errors import InputError
from model.mim4d.composite import Rendered
from model.mim4d.rays import Rays
from model.mim4d.render_config import LossConfig

DIRECT = "direct"
"""Rendered from the target frame's own volume."""

RECONSTRUCT = "reconstruct"
"""Rendered from the volume that was rebuilt from the other frames."""

MODES = (DIRECT, RECONSTRUCT)

LOSS_VALUES = ("loss", *(f"{mode}_{value}" for mode in MODES for value in (
    "rgb", "depth", "eikonal", "rgb_masked", "rgb_visible", "depth_masked_m", "depth_visible_m", "opacity"
)))  # fmt: skip
"""Names of what ``mim4d_losses`` returns."""


def mim4d_losses(
    rendered: Mapping[str, Sequence[Rendered]], rays: Sequence[Rays], *, sigma: float, config: LossConfig
) -> dict[str, Tensor]:
    """Compare what was rendered of each target frame with what was seen.

    The loss is the mean over the target frames of the sum over the modes. Without a mode ``reconstruct``, as for clips of a
    single frame, the direct one counts twice, so that the loss keeps its size.

    Args:
        rendered: by mode, one of ``MODES``, what was rendered of each target frame.
        rays: of each target frame.
        sigma: scale of the scene, ``VoxelGrid.sigma``.
        config: weights, and which rays count.

    Returns:
        Scalars by the names of ``LOSS_VALUES``: ``loss``, with gradient, and without: the terms before weighting (``depth`` in
        scaled units), mean absolute differences over hidden and visible rays whatever counts in the loss (``_m`` in metres),
        and the mean opacity. NaN where nothing was compared: a mode that is absent, no ray of that kind.

    Raises:
        InputError: no target frame, an unknown mode, or not one rendering of each target frame.
    """
    _check(rendered, rays)
    terms = {
        mode: [_terms(seen, ray, sigma, config) for seen, ray in zip(rendered[mode], rays, strict=True)] for mode in rendered
    }
    total = torch.stack(
        [torch.stack([_weighted(parts, config) for parts in per_target]).mean() for per_target in terms.values()]
    ).sum()
    if RECONSTRUCT not in rendered:
        total = 2 * total
    nothing = torch.full_like(total.detach(), torch.nan)
    values = dict.fromkeys(LOSS_VALUES, nothing)
    values["loss"] = total
    for mode, per_target in terms.items():
        for name in ("rgb", "depth", "eikonal"):
            values[f"{mode}_{name}"] = torch.stack([parts[name].detach() for parts in per_target]).mean()
        for name, value in _compared(rendered[mode], rays).items():
            values[f"{mode}_{name}"] = value
    return values


def _terms(seen: Rendered, rays: Rays, sigma: float, config: LossConfig) -> dict[str, Tensor]:
    """Return the terms of one target frame before weighting."""
    counts = rays.is_ray & seen.is_hit
    if config.loss_pixels == "masked":
        counts = counts & rays.is_masked
    return {
        "rgb": _mean((seen.rgb - rays.rgb).abs().mean(dim=-1), counts),
        "depth": _mean((seen.depth_m - rays.depth_m).abs() * sigma, counts & rays.is_measured),
        "eikonal": _mean(seen.eikonal, counts),
    }


def _weighted(terms: Mapping[str, Tensor], config: LossConfig) -> Tensor:
    """Return the weighted sum of the terms; one of weight 0 is left out, so that it costs no backward pass."""
    weights = {"rgb": config.rgb, "depth": config.depth, "eikonal": config.eikonal}
    return torch.stack([weight * terms[name] for name, weight in weights.items() if weight > 0]).sum()


def _mean(values: Tensor, is_wanted: Tensor) -> Tensor:
    """Return the mean over clips of the means over wanted rays of values (b, r); a clip without any gives 0."""
    count = is_wanted.sum(dim=1).clamp(min=1)
    return (torch.where(is_wanted, values, 0.0).sum(dim=1) / count).mean()


@torch.no_grad()
def _compared(renderings: Sequence[Rendered], rays: Sequence[Rays]) -> dict[str, Tensor]:
    """Return differences by kind of ray, over all target frames; NaN where there is no such ray."""
    is_seen = torch.cat([ray.is_ray & seen.is_hit for seen, ray in zip(renderings, rays, strict=True)])
    is_masked = torch.cat([ray.is_masked for ray in rays])
    is_measured = torch.cat([ray.is_measured for ray in rays])
    wrong_rgb = torch.cat([(seen.rgb - ray.rgb).abs().mean(dim=-1) for seen, ray in zip(renderings, rays, strict=True)])
    wrong_m = torch.cat([(seen.depth_m - ray.depth_m).abs() for seen, ray in zip(renderings, rays, strict=True)])
    return {
        "rgb_masked": _mean_or_nan(wrong_rgb, is_seen & is_masked),
        "rgb_visible": _mean_or_nan(wrong_rgb, is_seen & ~is_masked),
        "depth_masked_m": _mean_or_nan(wrong_m, is_seen & is_measured & is_masked),
        "depth_visible_m": _mean_or_nan(wrong_m, is_seen & is_measured & ~is_masked),
        "opacity": _mean_or_nan(torch.cat([seen.opacity for seen in renderings]), is_seen),
    }


def _mean_or_nan(values: Tensor, is_wanted: Tensor) -> Tensor:
    """Return the mean of the wanted values."""
    return torch.where(is_wanted, values, 0.0).sum() / is_wanted.sum()


def _check(rendered: Mapping[str, Sequence[Rendered]], rays: Sequence[Rays]) -> None:
    """Raise if there is not one rendering of each target frame in each mode."""
    if not rays:
        raise InputError("there is no target frame to compare; expected the rays of one or more")
    if not rendered or not set(rendered) <= set(MODES):
        raise InputError(f"rendered modes are {sorted(rendered)}; expected one or both of {', '.join(MODES)}")
    for mode, per_target in rendered.items():
        if len(per_target) != len(rays):
            raise InputError(
                f"mode {mode} has {len(per_target)} renderings for {len(rays)} target frames; expected one of each, in order"
            )
