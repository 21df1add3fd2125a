"""Occupancy of voxels from one linear layer, and from how often a voxel is occupied whatever the cameras see.

Loss    binary cross-entropy with both classes of the same total weight, as a few voxels of a hundred are occupied. It has one
        minimum, so the result does not depend on where the fit begins, which dice's does; the weights only move the
        threshold, which is chosen anyhow.
Measure average precision, which needs no threshold, and IoU at the one that is best on the training clips. IoU drops where
        scores mean something else on unseen scenes, though they rank voxels as well: compare the precision first.
Source  docs/method/mim4d.md#occupancy-probe
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from model.mim4d.probes.linear_probe import LinearProbe, Loss

NUM_SCORES = 4096
"""Scores from 0 to 1 are counted in so many equal bins; those of one bin count as equal."""


class OccupancyRow(NamedTuple):
    """How well occupancy is told from one kind of features.

    Attributes:
        features: whose features, or which prior without any.
        num_voxels: voxels that a camera sees.
        num_occupied: of them hold a point.
        threshold: scores from it on count as occupied; chosen on the training clips.
        iou: occupied and found over occupied or found.
        average_precision: mean precision over the recall.
    """

    features: str
    num_voxels: int
    num_occupied: int
    threshold: float
    iou: float
    average_precision: float


class ScoreCounts:
    """How many empty and occupied voxels have which score; memory does not grow with the voxels."""

    def __init__(self) -> None:
        self.counts: NDArray[np.int64] = np.zeros((2, NUM_SCORES), np.int64)

    def add(self, score: Tensor, *, num_empty: Tensor, num_occupied: Tensor) -> None:
        """Count voxels (n) by their score, 0 to 1; each stands for so many empty and so many occupied ones."""
        place = (score * NUM_SCORES).long().clamp(0, NUM_SCORES - 1).numpy()
        for row, number in enumerate((num_empty, num_occupied)):
            self.counts[row] += np.bincount(place, number.numpy(), minlength=NUM_SCORES).astype(np.int64)

    def ious(self) -> NDArray[np.float64]:
        """Return the IoU (``NUM_SCORES``) if all scores from each bin on count as occupied."""
        wrong, right = self.counts[:, ::-1].cumsum(axis=1)[:, ::-1]
        return np.asarray(right / (self.counts[1].sum() + wrong), np.float64)

    def best(self) -> int:
        """Return the bin from which on to count as occupied."""
        return int(self.ious().argmax())

    def average_precision(self) -> float:
        """Return the sum over thresholds of the precision times what each adds to the recall."""
        wrong, right = self.counts[:, ::-1].cumsum(axis=1)
        precision = right / np.maximum(wrong + right, 1)
        return float((np.diff(right, prepend=0) * precision).sum() / right[-1])

    def row(self, features: str, *, threshold: int) -> OccupancyRow:
        """Return the measures at a bin that was found ``best`` elsewhere."""
        empty, occupied = (int(count) for count in self.counts.sum(axis=1))
        iou = float(self.ious()[threshold])
        return OccupancyRow(features, empty + occupied, occupied, threshold / NUM_SCORES, iou, self.average_precision())


def occupancy_loss(occupied_share: float) -> Loss:
    """Return the loss of scores (n, 1) against 0 for empty and 1 for occupied (n).

    Args:
        occupied_share: of the training voxels, above 0 and below 1.
    """
    weight = torch.tensor((1.0 - occupied_share) / occupied_share)

    def loss(logits: Tensor, is_occupied: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(logits[:, 0], is_occupied, pos_weight=weight)

    return loss


def probed_scores(probe: LinearProbe, features: Tensor) -> Tensor:
    """Return what a probe says of features (n, channels): scores (n), 0 to 1."""
    return probe(features)[:, 0].sigmoid()


class VoxelFrequency:
    """How often each voxel is occupied where it is seen, over the training clips: what a network knows without looking.

    The share of all voxels counts as one more clip, or a voxel of one clip would be as sure as one of a hundred.
    """

    def __init__(self, num_voxels: int) -> None:
        self.num_seen = torch.zeros(num_voxels, dtype=torch.int64)
        self.num_occupied = torch.zeros(num_voxels, dtype=torch.int64)

    def add(self, *, is_seen: Tensor, is_occupied: Tensor) -> None:
        """Count the voxels (voxels) bool of a clip."""
        self.num_seen += is_seen
        self.num_occupied += is_seen & is_occupied

    @property
    def share(self) -> float:
        """Return the share of seen voxels that are occupied."""
        return float(self.num_occupied.sum() / self.num_seen.sum())

    def scores(self) -> Tensor:
        """Return the score (voxels) of each."""
        return (self.num_occupied + self.share) / (self.num_seen + 1)

    def threshold(self) -> int:
        """Return the bin of scores that is best on the training clips."""
        counts = ScoreCounts()
        counts.add(self.scores(), num_empty=self.num_seen - self.num_occupied, num_occupied=self.num_occupied)
        return counts.best()
