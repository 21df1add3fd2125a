"""The composite loss: dense and sparse targets, in the log-normalised space and in metres.

Source  arXiv 2605.11840; docs/method/semodepth.md#composite-loss
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import MappingProxyType
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from model.blocks.over_processes import Processes, shared_sums
from model.semodepth.depth_space import DepthSpace
from model.semodepth.distill import DistillConfig
from storage_schemas.frozen_config import FrozenConfig


class LossWeights(FrozenConfig):
    """Weights of the four terms, where the linear one turns from quadratic to straight, and what a teacher adds."""

    added_later = MappingProxyType({"distill": DistillConfig(), "dense_weight": "uniform"})

    log: float = Field(1.0, ge=0, description="mean |x - n(sparse)| in the normalised space")
    linear: float = Field(1.0, ge=0, description="mean Huber of metres against the dense target, over the maximum depth")
    grad: float = Field(0.5, ge=0, description="mean difference of neighbouring differences in the normalised space")
    sparse: float = Field(1.0, ge=0, description="mean |metres - sparse| over the maximum depth")
    huber_delta_m: float = Field(5.0, gt=0, description="metres beyond which the linear term is straight")
    dense_weight: Literal["uniform", "confidence"] = Field(
        "uniform",
        description="what a pixel of the dense target counts: uniform: all the same; confidence: depth_accumulated.confidence "
        "over 255, which stages.accumulate_lidar.confidence writes",
    )
    distill: DistillConfig = Field(DistillConfig(), description="what a monocular teacher adds where LiDAR is absent")


class Losses(NamedTuple):
    """The terms before weighting, their weighted sum, and the dense mean absolute error in mm; all scalars."""

    loss: Tensor
    log: Tensor
    linear: Tensor
    grad: Tensor
    sparse: Tensor
    mae_mm: Tensor


def composite_loss(
    normalized: Tensor,
    dense_m: Tensor,
    sparse_m: Tensor | None,
    *,
    space: DepthSpace,
    weights: LossWeights | None = None,
    dense_weight: Tensor | None = None,
    processes: Processes | None = None,
) -> Losses | None:
    """Compare a prediction with its targets.

    Args:
        normalized: prediction (b, h, w) in the normalised space, not clamped.
        dense_m: accumulated and cleaned depth (b, h, w) in metres; a pixel counts if min < depth < max.
        sparse_m: depth of the key sweep (b, h, w) in metres, or None.
        space: bounds of the depth space.
        weights: weights of the terms; its ``dense_weight`` and ``distill`` are not looked at: the first says where the argument
            of that name comes from, the second is ``distill.distill_loss``'s.
        dense_weight: weight (b, h, w) in [0, 1] of each pixel of the dense target: means over it become weighted means, a pair of
            neighbours weighs as its lighter pixel, a pixel of weight 0 does not count. The mean absolute error that is told stays
            one over the pixels that count, each the same. None = no weights.
        processes: those that share the batch; all of them call this, and the losses are those of the joined batch.

    Returns:
        The losses; None if the batch, of all processes, has no dense pixel, so that it can be skipped.
    """
    weights = weights or LossWeights()
    normalized = normalized.float()
    is_dense = _is_valid(dense_m, space)
    if dense_weight is not None:
        is_dense = is_dense & (dense_weight > 0)
    is_sparse = torch.zeros_like(is_dense) if sparse_m is None else _is_valid(sparse_m, space)
    across, down = (_pairs(is_dense, dim=dim) for dim in (2, 1))
    num_dense, num_sparse, num_across, num_down = shared_sums(
        [mask.sum() for mask in (is_dense, is_sparse, across, down)], processes
    )
    if not num_dense:
        return None
    has_sparse = bool(num_sparse)
    metres = space.metres(normalized)
    error_m = (metres - dense_m)[is_dense]
    anchor_m, is_anchor = (sparse_m, is_sparse) if sparse_m is not None and has_sparse else (dense_m, is_dense)
    anchor_error = (normalized - space.normalize(anchor_m)).abs()[is_anchor]
    residual = normalized - space.normalize(dense_m)  # the difference of x minus that of n(gt) is the difference of this
    jumps = residual.diff(dim=2).abs()[across], residual.diff(dim=1).abs()[down]
    sparse_part = _part((metres - anchor_m).abs()[is_sparse], num_sparse)
    if dense_weight is None:
        parts = [
            _part(anchor_error, num_sparse if has_sparse else num_dense),
            _part(error_m, num_dense, partial(F.huber_loss, target=torch.zeros_like(error_m), delta=weights.huber_delta_m)),
            sparse_part,
            *(_part(jump, total) for jump, total in zip(jumps, (num_across, num_down), strict=True)),
        ]
    else:
        weight = dense_weight[is_dense]
        pairs = [_lighter(dense_weight, dim=dim)[mask] for dim, mask in ((2, across), (1, down))]
        totals = shared_sums([weight.sum(), *(of_pair.sum() for of_pair in pairs)], processes)
        huber_m = F.huber_loss(error_m, torch.zeros_like(error_m), delta=weights.huber_delta_m, reduction="none")
        parts = [
            _part(anchor_error, num_sparse) if has_sparse else _weighted_part(anchor_error, weight, totals[0]),
            _weighted_part(huber_m, weight, totals[0]),
            sparse_part,
            *(_weighted_part(*part) for part in zip(jumps, pairs, totals[1:], strict=True)),
        ]
    parts += [_part(error_m.detach().abs(), num_dense)]
    log, linear_m, sparse_mean_m, across_mean, down_mean, mae_m = shared_sums(parts, processes)
    linear, sparse, grad = linear_m / space.max_depth_m, sparse_mean_m / space.max_depth_m, across_mean + down_mean
    total = weights.log * log + weights.linear * linear + weights.grad * grad + weights.sparse * sparse
    return Losses(total, log, linear, grad, sparse, 1000.0 * mae_m)


def _is_valid(depth_m: Tensor, space: DepthSpace) -> Tensor:
    return (depth_m > space.min_depth_m) & (depth_m < space.max_depth_m)


def _pairs(is_valid: Tensor, *, dim: int) -> Tensor:
    """Return which neighbours along an axis are both valid."""
    size = is_valid.shape[dim] - 1
    return is_valid.narrow(dim, 0, size) & is_valid.narrow(dim, 1, size)


def _part(values: Tensor, total: Tensor, mean: Callable[[Tensor], Tensor] = torch.mean) -> Tensor:
    """Return what values (n) add to a mean over ``total`` values, of which other processes have the rest; 0 for no value."""
    return mean(values) * torch.div(len(values), total) if len(values) else values.sum()


def _lighter(weight: Tensor, *, dim: int) -> Tensor:
    """Return the smaller weight of each pair of neighbours along an axis."""
    size = weight.shape[dim] - 1
    return torch.minimum(weight.narrow(dim, 0, size), weight.narrow(dim, 1, size))


def _weighted_part(values: Tensor, weight: Tensor, total: Tensor) -> Tensor:
    """Return what values (n) of positive weights (n) add to a mean whose weights sum to ``total``; 0 for no value."""
    return (values * weight).sum() / total if len(values) else values.sum()
