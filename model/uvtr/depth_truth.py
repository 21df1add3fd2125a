"""How deep the cells of an image's maps really are, from one LiDAR sweep, and the loss of the distribution over depth.

Why     the voxels are filled by where a cell may lie in depth. Boxes alone teach that slowly; a measured pixel says it at once
Source  docs/method/uvtr.md#loss; after BEVDepth, arXiv 2206.10092, with a softmax over the bins in place of a sigmoid of each
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from model.blocks.over_processes import MeanOverProcesses
from model.data.points import FramePoints
from model.mim4d.depth_head import DepthBins
from storage_schemas.encoding import decode_depth

LEAST_CHANCE = 1e-7
"""A probability of 0, which float32 can round to, counts as this."""


def nearest_in_cells(
    points: FramePoints, *, image_px: tuple[int, int], network_px: tuple[int, int], stride: int
) -> NDArray[np.float32]:
    """Return how near the nearest measured pixel of each cell is (rows, columns), metres; 0 = none was measured.

    Args:
        points: pixels of the whole image, depth in steps.
        image_px: height and width of that image.
        network_px: height and width that the network sees it at.
        stride: pixels of these that a cell is wide.
    """
    rows, columns = (-(-side // stride) for side in network_px)
    row, column = (
        ((places.astype(np.int64) * 2 + 1) * side // (2 * whole * stride))
        for places, side, whole in zip((points.row, points.column), network_px, image_px, strict=True)
    )
    steps = np.full(rows * columns, np.iinfo(np.uint16).max, np.uint16)
    np.minimum.at(steps, row * columns + column, points.depth)
    steps[steps == np.iinfo(np.uint16).max] = 0
    return decode_depth(steps.reshape(rows, columns))


def depth_loss(
    depths: Sequence[Tensor], nearest_m: Tensor, *, bins: DepthBins, mean_over_processes: MeanOverProcesses | None = None
) -> Tensor:
    """Return the mean over levels of the mean cross-entropy over the cells whose depth was measured within the bins.

    Args:
        depths: per level probabilities (b, cameras, num_bins, rows, columns), the finest first.
        nearest_m: (b, cameras, rows, columns) of the finest level, metres; 0 = not measured.
        bins: of the probabilities.
        mean_over_processes: where several processes share a batch: each cell weighs the same, wherever it is.
    """
    terms = []
    near = torch.where(nearest_m > 0, nearest_m, torch.inf).flatten(0, 1)[:, None]
    for chances in depths:
        flat = chances.flatten(0, 1)
        coarse = _nearest_at(near, flat.shape[-2:])[:, 0]
        is_used = (coarse >= bins.near_m) & (coarse < bins.far_m)
        index = ((torch.where(is_used, coarse, bins.near_m) - bins.near_m) / bins.bin_m).long().clamp(max=bins.num_bins - 1)
        chance = flat.gather(1, index[:, None])[:, 0]
        count = is_used.sum().float()
        count = (count if mean_over_processes is None else mean_over_processes(count)).clamp(min=1.0)
        terms.append(torch.where(is_used, -chance.clamp(min=LEAST_CHANCE).log(), 0.0).sum() / count)
    return torch.stack(terms).mean()


def _nearest_at(near: Tensor, size: Sequence[int]) -> Tensor:
    """Bring (n, 1, rows, columns), inf = not measured, to the cells of a coarser level: the nearest counts."""
    for _ in range(16):
        if tuple(near.shape[-2:]) == tuple(size):
            return near
        near = -F.max_pool2d(-near, 2, ceil_mode=True)
    raise AssertionError(f"levels are no halvings of each other: {tuple(near.shape[-2:])}, {tuple(size)}")
