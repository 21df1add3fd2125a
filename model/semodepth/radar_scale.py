"""Radar features on the grid of a decoder stage, kept sparse: the few cells that radar reaches, and one value for all others.

Why     The reference writes the features to a dense (64, H, W) map (369 MB at 900x1600, nearly all zeros), resizes it to every
        scale and runs 1x1 convolutions over it. A 1x1 convolution gives the same value at every empty cell, so it is enough to
        compute the cells that radar reaches, and that one value.
Source  docs/method/semodepth.md#radar-at-scale; bilinear resize with align_corners False as in torch.nn.functional.interpolate
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.semodepth.radar_graph import RadarNodes


@dataclass(frozen=True)
class SparseMap:
    """A map (batch, channels, h, w) that has one value at all cells but a few.

    Attributes:
        cell: (n,) distinct cells, numbered row-major over (batch, h, w).
        values: (n, channels) features at those cells.
        elsewhere: (channels,) features at all others.
        shape: batch, h and w.
    """

    cell: Tensor
    values: Tensor
    elsewhere: Tensor
    shape: tuple[int, int, int]

    def dense(self) -> Tensor:
        """Return the whole map (batch, channels, h, w), in memory with channels last."""
        batch, height, width = self.shape
        flat = self.elsewhere.expand(batch * height * width, -1).index_put((self.cell,), self.values)
        return flat.view(batch, height, width, -1).permute(0, 3, 1, 2)

    def project(self, layers: nn.Sequential) -> SparseMap:
        """Apply 1x1 convolutions and ReLUs to every cell."""
        pointwise = (torch.cat([self.values, self.elsewhere.unsqueeze(0)])).unsqueeze(-1).unsqueeze(-1)
        out = layers(pointwise).flatten(1)
        return SparseMap(self.cell, out[:-1], out[-1], self.shape)


@dataclass(frozen=True)
class DenseMap:
    """A map (batch, channels, h, w) held whole: with the plug-in branch every pixel has a value of its own."""

    whole: Tensor

    def dense(self) -> Tensor:
        """Return the map."""
        return self.whole

    def project(self, layers: nn.Sequential) -> DenseMap:
        """Apply 1x1 convolutions and ReLUs to every cell."""
        return DenseMap(layers(self.whole))


RadarMap = SparseMap | DenseMap


def modulate(x: Tensor, radar: RadarMap, layers: nn.Sequential) -> Tensor:
    """FiLM: return (1 + gamma) x + beta, with gamma and beta the halves of ``layers`` applied to the radar map.

    Args:
        x: image features (batch, channels, h, w).
        radar: radar features on the same grid.
        layers: 1x1 convolutions to twice the channels of x.
    """
    film = radar.project(layers)
    if isinstance(film, DenseMap):
        gamma, beta = film.whole.chunk(2, dim=1)
        return torch.addcmul(beta, x, 1.0 + gamma)
    gamma, beta = film.elsewhere.to(x.dtype).view(1, -1, 1, 1).chunk(2, dim=1)
    out = torch.addcmul(beta, x, 1.0 + gamma)
    if len(film.cell):
        _, height, width = film.shape
        sample, place = film.cell // (height * width), film.cell % (height * width)
        at = (sample, slice(None), place // width, place % width)
        gamma, beta = film.values.to(x.dtype).chunk(2, dim=1)
        out[at] = torch.addcmul(beta, x[at], 1.0 + gamma)
    return out


def place_by_resize(nodes: RadarNodes, features: Tensor, *, grid: tuple[int, int]) -> SparseMap:
    """Place features (n, channels) where a bilinear resize of their dense map would have left something, and as much of it.

    Coarser grids read 4 source pixels per cell, so most returns vanish: 0.4 % of the pixels reach stride 32.
    """
    rows, row_weights = bilinear_readers(nodes.row, nodes.size[0], grid[0])
    columns, column_weights = bilinear_readers(nodes.column, nodes.size[1], grid[1])
    row, column = rows.unsqueeze(2), columns.unsqueeze(1)  # (n, 2, 2): every reader of the row with every reader of the column
    weight = row_weights.unsqueeze(2) * column_weights.unsqueeze(1)
    cell = (nodes.sample.view(-1, 1, 1) * grid[0] + row) * grid[1] + column
    is_read = weight > 0
    contributions = features.unsqueeze(1).unsqueeze(1) * weight.unsqueeze(-1).to(features.dtype)
    cells, inverse = cell[is_read].unique(return_inverse=True)
    values = features.new_zeros((len(cells), features.shape[1])).index_add(0, inverse, contributions[is_read])
    return SparseMap(cells, values, features.new_zeros(features.shape[1]), (nodes.batch, *grid))


def bilinear_readers(source: Tensor, size: int, resized: int) -> tuple[Tensor, Tensor]:
    """Return which target positions read source positions in a bilinear resize, as lower and upper neighbour, and the weights.

    Returns:
        positions (n, 2) and weights (n, 2); weight 0 where no target position reads.
    """
    position = torch.arange(resized, device=source.device)
    center = ((position + 0.5) * (size / resized) - 0.5).clamp(min=0.0)
    low = center.floor().long().clamp(max=size - 1)
    high = (low + 1).clamp(max=size - 1)
    high_weight = (center - low).float()
    readers = torch.zeros((size, 2), dtype=torch.long, device=source.device)
    weights = torch.zeros((size, 2), device=source.device)
    readers[low, 0], weights[low, 0] = position, 1.0 - high_weight
    is_both = high_weight > 0  # with size == resized no position reads an upper neighbour
    readers[high[is_both], 1], weights[high[is_both], 1] = position[is_both], high_weight[is_both]
    return readers[source], weights[source]


def place_by_scatter(nodes: RadarNodes, features: Tensor, *, grid: tuple[int, int]) -> SparseMap:
    """Place features (n, channels) into the cell that holds their pixel; of several in one cell the largest per channel."""
    row = nodes.row * grid[0] // nodes.size[0]
    column = nodes.column * grid[1] // nodes.size[1]
    cells, inverse = ((nodes.sample * grid[0] + row) * grid[1] + column).unique(return_inverse=True)
    index = inverse.unsqueeze(1).expand_as(features)
    values = features.new_zeros((len(cells), features.shape[1])).scatter_reduce(0, index, features, "amax", include_self=False)
    return SparseMap(cells, values, features.new_zeros(features.shape[1]), (nodes.batch, *grid))


def add_dense(placed: SparseMap, dense: Tensor) -> DenseMap:
    """Add a dense map (batch, channels, H, W), resized to the grid, to a placed one."""
    resized = F.interpolate(dense, placed.shape[1:], mode="bilinear", align_corners=False)
    return DenseMap(placed.dense().to(resized.dtype) + resized)
