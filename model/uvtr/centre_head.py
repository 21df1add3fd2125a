"""The dense head: a heat map of each class seen from above, and the ten numbers of a box at every ground cell.

Why     a heat map learns from every cell at once and so in minutes, where queries first have to learn which of them finds what
Reads   volumes (b, C, Z, Y, X), the height folded into the channels
Writes  heat (b, classes, Y, X) logits and codes (b, 10, Y, X); the first two numbers of a code are cells from the cell's centre
Source  docs/method/uvtr.md#centre-head; the heat map and its loss are those of CornerNet and CenterPoint
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.blocks.full_precision import full_precision
from model.mim4d.temporal_decoder import fold_height
from model.mim4d.voxel_grid import VoxelGrid
from model.uvtr.box_code import NUM_NUMBERS
from model.uvtr.network_config import CentreHeadConfig

HEAT_BIAS = -4.595
"""Logit of a heat of 0.01, so that the many empty cells do not dominate the first steps."""

MIN_HEAT = 1e-4
NORM_GROUPS = 8


class CentreMaps(NamedTuple):
    """What the head says of b key frames.

    Attributes:
        heat: (b, classes, Y, X) float32 logits.
        codes: (b, 10, Y, X) float32; offsets from the cell's centre in cells in place of cx, cy.
    """

    heat: Tensor
    codes: Tensor


class CentreHead(nn.Module):
    """Two convolutions on the ground cells, then one cell's own heat and code."""

    def __init__(self, channels: int, num_classes: int, config: CentreHeadConfig, *, grid: VoxelGrid) -> None:
        """Make the head with fresh weights for volumes of so many channels on a grid."""
        super().__init__()
        self.grid = grid
        self.ground = nn.Sequential(
            *ground_conv(channels * grid.shape_zyx[0], config.width), *ground_conv(config.width, config.width)
        )
        self.heat = nn.Conv2d(config.width, num_classes, 1)
        self.code = nn.Conv2d(config.width, NUM_NUMBERS, 1)
        assert self.heat.bias is not None
        nn.init.constant_(self.heat.bias, HEAT_BIAS)

    def forward(self, volume: Tensor) -> CentreMaps:
        """Map volumes (b, C, Z, Y, X) to heat and codes."""
        features = self.ground(fold_height(volume))
        with full_precision(volume.device.type):
            return CentreMaps(self.heat(features.float()), self.code(features.float()))

    def found(self, maps: CentreMaps, most: int) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Return of each key frame scores (k,), classes (k,) and codes (k, 10) of the highest peaks, the highest first."""
        heat = maps.heat.sigmoid()
        peaks = torch.where(F.max_pool2d(heat, 3, stride=1, padding=1) == heat, heat, 0.0)
        num_cells = heat.shape[2] * heat.shape[3]
        results = []
        for of_frame, codes in zip(peaks, maps.codes, strict=True):
            scores, places = of_frame.flatten().topk(min(most, of_frame.numel()))
            is_peak = scores > 0
            scores, places = scores[is_peak], places[is_peak]
            results.append((scores, places // num_cells, codes_at(codes, places % num_cells, grid=self.grid)))
        return results


def heat_targets(
    boxes: Tensor, class_index: Tensor, *, num_classes: int, grid: VoxelGrid, sigma_cells: float
) -> tuple[Tensor, Tensor]:
    """Return what the heat map of one key frame should show, and which cell each object lies in.

    Args:
        boxes: (n, 9) with centres inside the grid.
        class_index: (n,).
        num_classes: maps.
        grid: whose columns seen from above are the cells.
        sigma_cells: spread of an object.

    Returns:
        (classes, Y, X) 1 at the cells of objects, falling around them as a Gaussian; and (n,) cells, row times columns plus
        column.
    """
    _, rows, columns = grid.shape_zyx
    heat = boxes.new_zeros(num_classes, rows, columns)
    at = _cells_of(boxes[:, :2], grid)
    x, y = (at[:, axis].floor().long().clamp(0, count - 1) for axis, count in ((0, columns), (1, rows)))
    along_x, along_y = (torch.arange(count, device=boxes.device) for count in (columns, rows))
    square = (along_x - x[:, None]).square()[:, None, :] + (along_y - y[:, None]).square()[:, :, None]
    bumps = torch.exp(-square / (2 * sigma_cells**2))
    for bump, index in zip(bumps, class_index.tolist(), strict=True):
        torch.maximum(heat[index], bump, out=heat[index])
    return heat, y * columns + x


def codes_at(codes: Tensor, cells: Tensor, *, grid: VoxelGrid) -> Tensor:
    """Return codes (n, 10) with centres in metres, of the map (10, Y, X) of one key frame at cells (n,)."""
    columns = codes.shape[2]
    found = codes.flatten(1)[:, cells].T
    low, size = (found.new_tensor(values[:2]) for values in (grid.low_m, grid.voxel_m))
    middle = torch.stack((cells % columns, cells // columns), dim=1) + 0.5
    return torch.cat((low + (middle + found[:, :2]) * size, found[:, 2:]), dim=1)


def ground_conv(channels_in: int, channels: int) -> tuple[nn.Conv2d, nn.GroupNorm, nn.ReLU]:
    """Return a 3x3 convolution of ground cells, its norm and ReLU."""
    return (
        nn.Conv2d(channels_in, channels, 3, padding=1, bias=False),
        nn.GroupNorm(NORM_GROUPS, channels),
        nn.ReLU(inplace=True),
    )


def _cells_of(positions_m: Tensor, grid: VoxelGrid) -> Tensor:
    """Return positions (n, 2) in cells from the grid's corner."""
    low, size = (positions_m.new_tensor(values[:2]) for values in (grid.low_m, grid.voxel_m))
    return (positions_m - low) / size
