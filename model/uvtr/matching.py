"""Which query is to find which object: the pairs that cost least together.

Why     queries have no place of their own, so each layer's answers are first given to the objects they fit best
Source  docs/method/uvtr.md#matching; Hungarian algorithm, DETR, arXiv 2005.12872
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from model.uvtr.box_code import VELOCITY

FOCAL_ALPHA = 0.25
_EPSILON = 1e-12


class Pairs(NamedTuple):
    """m pairs of a query and an object, in the order of the queries.

    Attributes:
        query: (m,) int64.
        target: (m,) int64.
    """

    query: Tensor
    target: Tensor


@torch.no_grad()
def match(
    logits: Tensor, codes: Tensor, class_index: Tensor, target_codes: Tensor, *, class_weight: float, box_weight: float
) -> Pairs:
    """Return the cheapest pairs of one layer and key frame; every object has one where there are queries enough.

    Args:
        logits: (q, classes).
        codes: (q, 10).
        class_index: (n,) of the objects.
        target_codes: (n, 10); the velocity is not looked at.
        class_weight: of ``class_cost``.
        box_weight: of the sum of differences of the first eight numbers, metres and logarithms alike.
    """
    cost = class_weight * class_cost(logits, class_index) + box_weight * box_cost(codes, target_codes)
    # an answer that is no number gives a loss that is none, of which the trainer speaks; the pairs do not matter then
    query, target = linear_sum_assignment(cost.nan_to_num(nan=1e9, posinf=1e9, neginf=-1e9).cpu().numpy())
    return Pairs(*(torch.from_numpy(places).to(logits.device) for places in (query, target)))


def class_cost(logits: Tensor, class_index: Tensor) -> Tensor:
    """Return how little queries (q, classes) look like the classes of objects (n,): (q, n), from the terms of the focal loss."""
    chance = logits.float().sigmoid()
    positive = -FOCAL_ALPHA * (1 - chance).square() * (chance + _EPSILON).log()
    negative = -(1 - FOCAL_ALPHA) * chance.square() * (1 - chance + _EPSILON).log()
    return (positive - negative)[:, class_index]


def box_cost(codes: Tensor, target_codes: Tensor) -> Tensor:
    """Return how far codes (q, 10) are from those of objects (n, 10), without the velocity: (q, n)."""
    upto = VELOCITY.start
    return torch.cdist(codes[:, :upto].float(), target_codes[:, :upto].float(), p=1)


def focal_sum(logits: Tensor, is_class: Tensor) -> Tensor:
    """Return the sum of the focal loss (gamma 2, alpha 0.25) of logits against 0 and 1 of the same shape."""
    chance = logits.sigmoid()
    entropy = F.binary_cross_entropy_with_logits(logits, is_class, reduction="none")
    missed = chance * (1 - is_class) + (1 - chance) * is_class
    alpha = FOCAL_ALPHA * is_class + (1 - FOCAL_ALPHA) * (1 - is_class)
    return (alpha * missed.square() * entropy).sum()
