"""Depth from one linear layer: a softmax over depth bins, and the depth that it expects.

Loss    the absolute difference of the logarithms. It is smallest at the median of what depth can be, as are the priors that the
        probe is compared with, and it counts errors as a share of the depth, as the measure does.
Source  docs/method/mim4d.md#depth-probe
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.mim4d.depth_head import DepthBins
from model.mim4d.probes.linear_probe import LinearProbe, Loss
from model.train.measures import RANGE_EDGES_M

NUM_DEPTH_BINS = 64
"""Number of depth bins, the same for every network (docs/method/mim4d.md#depth-probe); they span the network's own range."""

_NEAREST_M = 0.1
"""Depths below this many metres count as this, because ratios are taken."""

ANY_RANGE = "all"


class DepthRow(NamedTuple):
    """How well depth is told from one kind of features.

    Attributes:
        features: whose features, or which prior without any.
        range_m: depth of the points, "low-high", or all.
        num_points: held-out points.
        abs_rel: mean of the error over the depth.
        rmse_m: root of the mean squared error, metres.
        delta1: share of points whose ratio to the truth, or its inverse, is below 1.25.
    """

    features: str
    range_m: str
    num_points: int
    abs_rel: float
    rmse_m: float
    delta1: float


def expected_depth_m(logits: Tensor, bins: DepthBins) -> Tensor:
    """Return the depth (n) that scores of bins (n, num_bins) expect, metres."""
    return logits.softmax(dim=-1) @ bins.centres_m(device=logits.device)


def depth_loss(bins: DepthBins) -> Loss:
    """Return the loss of scores of these bins against depths (n) in metres."""

    def loss(logits: Tensor, depth_m: Tensor) -> Tensor:
        found_m = expected_depth_m(logits, bins).clamp(min=_NEAREST_M)
        return (found_m.log() - depth_m.log()).abs().mean()

    return loss


def probed_depth_m(probe: LinearProbe, features: Tensor, bins: DepthBins) -> Tensor:
    """Return what a probe says of features (n, channels): depths (n), metres."""
    return expected_depth_m(probe(features), bins)


class RowMedians(NamedTuple):
    """Depth that only depends on the image row, what a network knows without looking; and on nothing at all.

    Attributes:
        row_m: (rows) median depth of the training points in each row of cells; the median of all where there is none.
        stride_px: image rows per row of cells.
        median_m: of all training points.
    """

    row_m: Tensor
    stride_px: int
    median_m: float

    def at(self, v_px: Tensor) -> Tensor:
        """Return the depth (n) of image rows (n)."""
        return self.row_m[(v_px / self.stride_px).long().clamp(0, len(self.row_m) - 1)]


def row_medians(v_px: Tensor, depth_m: Tensor, *, height_px: int, stride_px: int) -> RowMedians:
    """Learn medians of points (n), at least one, in images of so many rows."""
    row = (v_px / stride_px).long()
    whole = depth_m.median()
    median = [depth_m[row == number].median() if (row == number).any() else whole for number in range(-(-height_px // stride_px))]
    return RowMedians(torch.stack(median), stride_px, float(whole))


@dataclass
class DepthErrors:
    """Adds up errors by the range of the truth.

    Attributes:
        sums: (4, ranges): count, relative error, squared error, ratios below 1.25.
    """

    sums: NDArray[np.float64] = field(default_factory=lambda: np.zeros((4, len(RANGE_EDGES_M) - 1)))

    def add(self, predicted_m: Tensor, true_m: Tensor) -> None:
        """Count points (n): depths found and true, metres."""
        predicted = np.maximum(predicted_m.double().numpy(), _NEAREST_M)
        true = true_m.double().numpy()
        error = np.abs(predicted - true)
        is_near = np.maximum(predicted / true, true / predicted) < 1.25
        place = np.clip(np.searchsorted(RANGE_EDGES_M, true) - 1, 0, self.sums.shape[1] - 1)
        values = (np.ones_like(true), error / true, error**2, is_near.astype(np.float64))
        self.sums += [np.bincount(place, weights, minlength=self.sums.shape[1]) for weights in values]

    def rows(self, features: str) -> Iterator[DepthRow]:
        """Yield the row of all ranges, then those of ranges with points."""
        yield _row(features, ANY_RANGE, self.sums.sum(axis=1))
        for place, (low, high) in enumerate(pairwise(RANGE_EDGES_M)):
            if self.sums[0, place]:
                yield _row(features, f"{low}-{high}", self.sums[:, place])


def _row(features: str, range_m: str, sums: NDArray[np.float64]) -> DepthRow:
    count = sums[0]
    return DepthRow(features, range_m, int(count), sums[1] / count, float(np.sqrt(sums[2] / count)), sums[3] / count)
