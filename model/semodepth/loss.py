"""The composite loss: dense and sparse targets, in the log-normalised space and in metres.

Source  arXiv 2605.11840; docs/method/semodepth.md#composite-loss
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import MappingProxyType
from typing import NamedTuple

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

    added_later = MappingProxyType({"distill": DistillConfig()})

    log: float = Field(1.0, ge=0, description="mean |x - n(sparse)| in the normalised space")
    linear: float = Field(1.0, ge=0, description="mean Huber of metres against the dense target, over the maximum depth")
    grad: float = Field(0.5, ge=0, description="mean difference of neighbouring differences in the normalised space")
    sparse: float = Field(1.0, ge=0, description="mean |metres - sparse| over the maximum depth")
    huber_delta_m: float = Field(5.0, gt=0, description="metres beyond which the linear term is straight")
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
    processes: Processes | None = None,
) -> Losses | None:
    """Compare a prediction with its targets.

    Args:
        normalized: prediction (b, h, w) in the normalised space, not clamped.
        dense_m: accumulated and cleaned depth (b, h, w) in metres; a pixel counts if min < depth < max.
        sparse_m: depth of the key sweep (b, h, w) in metres, or None.
        space: bounds of the depth space.
        weights: weights of the terms; ``distill`` is ``distill.distill_loss``'s and not looked at.
        processes: those that share the batch; all of them call this, and the losses are those of the joined batch.

    Returns:
        The losses; None if the batch, of all processes, has no dense pixel, so that it can be skipped.
    """
    weights = weights or LossWeights()
    normalized = normalized.float()
    is_dense = _is_valid(dense_m, space)
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
    parts = [
        _part((normalized - space.normalize(anchor_m)).abs()[is_anchor], num_sparse if has_sparse else num_dense),
        _part(error_m, num_dense, partial(F.huber_loss, target=torch.zeros_like(error_m), delta=weights.huber_delta_m)),
        _part((metres - anchor_m).abs()[is_sparse], num_sparse),
    ]
    residual = normalized - space.normalize(dense_m)  # the difference of x minus that of n(gt) is the difference of this
    parts += [_part(residual.diff(dim=2).abs()[across], num_across), _part(residual.diff(dim=1).abs()[down], num_down)]
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
