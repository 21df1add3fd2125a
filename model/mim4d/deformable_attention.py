"""Attention over frames that looks at a few learned places of each frame instead of everywhere.

What    every query of a ground cell says, for each head and each source frame, at which offsets from its own cell to look and how
        to weigh what it finds there. The sources are averaged.
Why     plain ``grid_sample``, one plane for each sample, source and head: no compiled extension, any device, any batch.
Source  docs/method/mim4d.md#deformable-attention; arXiv 2010.04159 for the offsets and their start
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def sample_deformable(values: Tensor, offsets: Tensor, weights: Tensor, *, size_yx: tuple[int, int]) -> Tensor:
    """Look values up at offsets from each cell's centre, bilinearly, and add them by weight; outside the map they are 0.

    Args:
        values: (b, q, Y * X, h, c) of q sources and h heads, cells row by row.
        offsets: (b, q, Y * X, h, p, 2) from the query's own cell, (x, y) in cells.
        weights: (b, q, Y * X, h, p).
        size_yx: rows and columns of the map.

    Returns:
        (b, Y * X, h, c): the sum over sources and points.
    """
    batch, num_sources, _, heads, channels = values.shape
    rows, columns = size_yx
    # places need more digits than the features do under autocast
    dtype = torch.promote_types(values.dtype, torch.float32)
    planes = values.to(dtype).permute(0, 1, 3, 4, 2).reshape(-1, channels, rows, columns)
    along = (torch.arange(count, device=values.device, dtype=dtype) for count in size_yx)
    at_y, at_x = torch.meshgrid(*along, indexing="ij")
    cell = torch.stack((at_x, at_y), dim=-1).reshape(-1, 1, 1, 2)
    size_xy = torch.tensor([columns, rows], device=values.device, dtype=dtype)
    # -1 and 1 are the map's outer edges: the half-pixel convention
    at_unit = (2.0 * (cell + offsets.to(dtype)) + 1.0) / size_xy - 1.0
    at_unit = at_unit.transpose(2, 3).flatten(0, 2)
    looked_up = F.grid_sample(planes, at_unit, mode="bilinear", padding_mode="zeros", align_corners=False)
    summed = (looked_up * weights.to(dtype).transpose(2, 3).flatten(0, 2)[:, None]).sum(dim=-1)
    over_sources: Tensor = summed.unflatten(0, (batch, num_sources, heads)).sum(dim=1)
    return over_sources.permute(0, 3, 1, 2)


def star_offsets(num_heads: int, num_points: int) -> Tensor:
    """Return the offsets that attention starts from (h, p, 2): (x, y) in cells.

    Each head has a direction, evenly spread around the circle and scaled so that its larger part is 1; its points are 1, 2 and so
    on times as far. No head looks at the query's own cell.
    """
    angle = 2.0 * math.pi * torch.arange(num_heads, dtype=torch.float64) / num_heads
    direction = torch.stack((angle.cos(), angle.sin()), dim=-1)
    direction = direction / direction.abs().amax(dim=-1, keepdim=True)
    return (direction[:, None] * torch.arange(1, num_points + 1)[:, None]).float()


class SlotPlaces(nn.Module):
    """Offsets and weights with an own linear map for each slot of a source, as published."""

    def __init__(self, channels: int, *, num_heads: int, num_points: int, num_sources: int) -> None:
        super().__init__()
        self.shape = (num_heads, num_sources, num_points)
        self.offsets = nn.Linear(channels, math.prod(self.shape) * 2)
        self.weights = nn.Linear(channels, math.prod(self.shape))

    def forward(self, queries: Tensor) -> tuple[Tensor, Tensor]:
        """Map queries (b, n, C) to offsets (b, q, n, h, p, 2) in cells and logits of weights (b, q, n, h, p)."""
        offsets = self.offsets(queries).unflatten(-1, (*self.shape, 2)).permute(0, 3, 1, 2, 4, 5)
        logits = self.weights(queries).unflatten(-1, self.shape).permute(0, 3, 1, 2, 4)
        return offsets, logits

    def initialise(self) -> None:
        """Start from the star and from equal weights, the same for every slot."""
        heads, sources, points = self.shape
        _start_from_star(self.offsets, self.weights, star_offsets(heads, points)[:, None].expand(-1, sources, -1, -1))


class TimedPlaces(nn.Module):
    """Offsets and weights with one linear map for all sources, of a query that knows how far in time the source is.

    The time difference scales the query as well as being added to it: what moves is to be looked for at its velocity times the
    time difference, and no sum of a term of the query and a term of the time is such a product.
    """

    def __init__(self, channels: int, *, num_heads: int, num_points: int, num_time_features: int) -> None:
        super().__init__()
        self.shape = (num_heads, num_points)
        self.scale_and_shift = nn.Linear(num_time_features, 2 * channels, bias=False)
        self.offsets = nn.Linear(channels, math.prod(self.shape) * 2)
        self.weights = nn.Linear(channels, math.prod(self.shape))

    def forward(self, queries: Tensor, times: Tensor) -> tuple[Tensor, Tensor]:
        """Map queries (b, n, C) and time features (b, q, f) to offsets (b, q, n, h, p, 2) in cells, logits (b, q, n, h, p)."""
        scale, shift = self.scale_and_shift(times)[:, :, None].chunk(2, dim=-1)
        timed = queries[:, None] * (1.0 + scale) + shift
        return self.offsets(timed).unflatten(-1, (*self.shape, 2)), self.weights(timed).unflatten(-1, self.shape)

    def initialise(self) -> None:
        """Start from the star and from equal weights, whatever the time."""
        nn.init.zeros_(self.scale_and_shift.weight)
        _start_from_star(self.offsets, self.weights, star_offsets(*self.shape))


@torch.no_grad()
def _start_from_star(offsets: nn.Linear, weights: nn.Linear, star: Tensor) -> None:
    """Make offsets the star, whatever the query, and logits of weights 0."""
    nn.init.zeros_(offsets.weight)
    offsets.bias.copy_(star.flatten())
    nn.init.zeros_(weights.weight)
    nn.init.zeros_(weights.bias)


class TemporalCrossAttention(nn.Module):
    """Deformable attention of ground cells to the same map at other times; without the residual, which is the layer's."""

    def __init__(
        self,
        channels: int,
        *,
        num_heads: int,
        num_points: int,
        num_sources: int | None = None,
        num_time_features: int | None = None,
    ) -> None:
        """Make the four linear maps. Exactly one of the last two arguments is given.

        Args:
            channels: of a query and of a value, a multiple of ``num_heads``.
            num_heads: heads.
            num_points: places that each head looks at in each source.
            num_sources: slots of sources, each with offsets of its own (``SlotPlaces``).
            num_time_features: numbers that a time difference is written in, for any number of sources (``TimedPlaces``).
        """
        super().__init__()
        assert (num_sources is None) != (num_time_features is None)
        self.num_heads = num_heads
        self.places: SlotPlaces | TimedPlaces
        if num_sources is not None:
            self.places = SlotPlaces(channels, num_heads=num_heads, num_points=num_points, num_sources=num_sources)
        else:
            assert num_time_features is not None
            self.places = TimedPlaces(channels, num_heads=num_heads, num_points=num_points, num_time_features=num_time_features)
        self.value = nn.Linear(channels, channels)
        self.out = nn.Linear(channels, channels)
        self.initialise()

    def initialise(self) -> None:
        """Set all parameters to their start."""
        self.places.initialise()
        for linear in (self.value, self.out):
            nn.init.xavier_uniform_(linear.weight)
            nn.init.zeros_(linear.bias)

    def forward(
        self, queries: Tensor, values: Tensor, *, size_yx: tuple[int, int], share: Tensor, times: Tensor | None = None
    ) -> Tensor:
        """Attend.

        Args:
            queries: (b, Y * X, C), the code of position added, cells row by row.
            values: (b, q, Y * X, C) of the sources.
            size_yx: rows and columns.
            share: (b, q), how much of the result each source is, in all 1. With share 0 it adds nothing, but must be finite.
            times: (b, q, f) features of each source's time difference, if the offsets know of time.

        Returns:
            (b, Y * X, C).
        """
        places = self.places
        if isinstance(places, TimedPlaces):
            assert times is not None
            offsets, logits = places(queries, times)
        else:
            offsets, logits = places(queries)
        weights = logits.softmax(dim=-1) * share[:, :, None, None, None]
        heads = self.value(values).unflatten(-1, (self.num_heads, -1))
        sampled = sample_deformable(heads, offsets, weights, size_yx=size_yx)
        attended: Tensor = self.out(sampled.flatten(-2).to(self.value.weight.dtype))
        return attended
