"""The composite loss: dense and sparse targets, in the log-normalised space and in metres.

Source  arXiv 2605.11840; docs/method/semodepth.md#composite-loss
"""

from __future__ import annotations

from types import MappingProxyType
from typing import NamedTuple

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

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
    normalized: Tensor, dense_m: Tensor, sparse_m: Tensor | None, *, space: DepthSpace, weights: LossWeights | None = None
) -> Losses | None:
    """Compare a prediction with its targets.

    Args:
        normalized: prediction (b, h, w) in the normalised space, not clamped.
        dense_m: accumulated and cleaned depth (b, h, w) in metres; a pixel counts if min < depth < max.
        sparse_m: depth of the key sweep (b, h, w) in metres, or None.
        space: bounds of the depth space.
        weights: weights of the terms; ``distill`` is ``distill.distill_loss``'s and not looked at.

    Returns:
        The losses; None if the batch has no dense pixel, so that it can be skipped.
    """
    weights = weights or LossWeights()
    normalized = normalized.float()
    is_dense = _is_valid(dense_m, space)
    if not is_dense.any():
        return None
    is_sparse = torch.zeros_like(is_dense) if sparse_m is None else _is_valid(sparse_m, space)
    metres = space.metres(normalized)
    error_m = (metres - dense_m)[is_dense]
    anchor_m, is_anchor = (sparse_m, is_sparse) if sparse_m is not None and is_sparse.any() else (dense_m, is_dense)
    log = (normalized - space.normalize(anchor_m)).abs()[is_anchor].mean()
    linear = F.huber_loss(error_m, torch.zeros_like(error_m), delta=weights.huber_delta_m) / space.max_depth_m
    if sparse_m is not None and is_sparse.any():
        sparse = (metres - sparse_m).abs()[is_sparse].mean() / space.max_depth_m
    else:
        sparse = normalized.new_zeros(())
    residual = normalized - space.normalize(dense_m)
    grad = _mean_difference(residual, is_dense, dim=2) + _mean_difference(residual, is_dense, dim=1)
    total = weights.log * log + weights.linear * linear + weights.grad * grad + weights.sparse * sparse
    return Losses(total, log, linear, grad, sparse, 1000.0 * error_m.detach().abs().mean())


def _is_valid(depth_m: Tensor, space: DepthSpace) -> Tensor:
    return (depth_m > space.min_depth_m) & (depth_m < space.max_depth_m)


def _mean_difference(residual: Tensor, is_valid: Tensor, *, dim: int) -> Tensor:
    """Return mean |difference of neighbours| over pairs valid in both, 0 without pairs.

    The difference of x minus that of n(gt) is the difference of the residual.
    """
    size = residual.shape[dim] - 1
    is_pair = is_valid.narrow(dim, 0, size) & is_valid.narrow(dim, 1, size)
    if not is_pair.any():
        return residual.new_zeros(())
    return residual.diff(dim=dim).abs()[is_pair].mean()
