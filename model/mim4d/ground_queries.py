"""The queries of the temporal decoder: a learned one for each ground cell, and a code of where the cell is.

Source  docs/method/mim4d.md#sources-and-queries, #pitfalls (17); the code of position is arXiv 2005.12872's, for both axes
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.errors import InputError

TEMPERATURE = 10000.0
"""Ratio of the slowest to the fastest frequency of the code of position, as published."""


def ground_position(size_yx: tuple[int, int], channels: int, *, device: torch.device | str | None = None) -> Tensor:
    """Return the code of position of every cell (Y * X, channels) float32, row by row: half of it for y, then half for x.

    An axis goes from 0, before its first cell, to 2 pi at its last. Sines and cosines of one frequency stand side by side.

    Args:
        size_yx: rows and columns of the grid.
        channels: a multiple of 4.
        device: where.
    """
    along_y, along_x = (_axis_code(count, channels // 2, device=device) for count in size_yx)
    rows, columns = size_yx
    code = torch.cat((along_y[:, None].expand(-1, columns, -1), along_x[None].expand(rows, -1, -1)), dim=-1)
    return code.flatten(0, 1)


def _axis_code(count: int, channels: int, *, device: torch.device | str | None) -> Tensor:
    """Return the code of positions on one axis (count, channels)."""
    place = torch.arange(1, count + 1, device=device) / count * (2.0 * math.pi)
    slowness = TEMPERATURE ** (torch.arange(0, channels, 2, device=device) / channels)
    phase = place[:, None] / slowness
    return torch.stack((phase.sin(), phase.cos()), dim=-1).flatten(1)


class GroundQueries(nn.Module):
    """A table of learned queries, one for each ground cell, shared by all scenes and all withheld frames."""

    def __init__(self, size_yx: tuple[int, int], channels: int, *, interpolates: bool) -> None:
        """Make the table.

        Args:
            size_yx: its rows and columns.
            channels: of a query.
            interpolates: whether a grid of another size gets the table resized, which assumes that it covers the same box.
        """
        super().__init__()
        self.size_yx = size_yx
        self.interpolates = interpolates
        self.table = nn.Parameter(torch.empty(size_yx[0] * size_yx[1], channels))
        nn.init.xavier_uniform_(self.table)

    def forward(self, size_yx: tuple[int, int]) -> Tensor:
        """Return the queries of a grid (Y * X, channels), row by row; the table itself if the grid is of its size.

        Raises:
            InputError: the grid is of another size and the table is not one that is interpolated.
        """
        if size_yx == self.size_yx:
            return self.table
        if not self.interpolates:
            raise InputError(
                f"the learned queries are for {self.size_yx[0]} x {self.size_yx[1]} cells (y, x), the volume has "
                f"{size_yx[0]} x {size_yx[1]}; use the grid of the training, or train with queries: interpolated"
            )
        picture = self.table.T.unflatten(1, self.size_yx)[None]
        return F.interpolate(picture, size_yx, mode="bilinear", align_corners=False)[0].flatten(1).T
