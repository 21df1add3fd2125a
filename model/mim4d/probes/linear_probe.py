"""One linear layer on frozen features: rows are collected once, whitened, and fitted.

Why     a 1x1 convolution sees one place at a time, so it is a linear layer on rows (one for each place that has a truth), and
        only these rows need be kept. They are whitened by the training rows, which is part of the same layer: channels of a
        trained network say nearly the same (variances of 1e-3 beside 5 along the axes of a small one, of random weights 0.1
        beside 3), and AdamW, which moves all weights at one pace, needs thousands of steps for what they differ in. After 300
        steps on rows that were only standardised, random weights looked better (AbsRel 0.31 beside 0.42), on whitened ones
        worse (0.30 beside 0.25).
How     fitted on the CPU, from weights of 0: the same numbers whatever the network ran on
Memory  at most ``MEMORY_BYTES`` of rows for a network and a probe: each clip keeps as many as its share of that, drawn at random
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

MEMORY_BYTES = 256 * 2**20
"""Of the training rows of one network and one probe: 1 GiB for both probes of two networks. Of 256 clips of 128 channels this is
2,016 rows a clip, half a million in all: a key frame of six cameras has 20,000 points, neighbours of which say much the same, and
300 steps look at 1.2 million rows."""

ROWS_PER_STEP = 4096
WEIGHT_DECAY = 0.01
_LEAST_VARIANCE = 1e-3
"""Added to the variance along each axis, where channels have 1: what varies less stays small. 1e-4 and 1e-2 do as well."""

_SMALLEST_DEVIATION = 1e-6
"""Channels that vary less are constant, and dividing would make noise of rounding."""

_ROWS_AT_ONCE = 2**16

Loss = Callable[[Tensor, Tensor], Tensor]
"""Takes what the layer gives for rows (n, outputs) and their targets (n), returns a scalar."""


def rows_per_clip(num_clips: int, *, channels: int) -> int:
    """Return how many rows of float32 channels, target and weight a clip may keep."""
    return max(1, MEMORY_BYTES // (num_clips * 4 * (channels + 2)))


def drawn_rows(count: int, most: int, *, generator: torch.Generator) -> Tensor:
    """Return which of so many rows are kept (n), n at most ``most``: all of them, or as many drawn at random, ascending."""
    if count <= most:
        return torch.arange(count)
    return torch.randperm(count, generator=generator)[:most].sort().values


class LinearProbe(NamedTuple):
    """A fitted layer.

    Attributes:
        mean: (channels) of the training rows.
        weight: (outputs, channels).
        bias: (outputs).
    """

    mean: Tensor
    weight: Tensor
    bias: Tensor

    def __call__(self, rows: Tensor) -> Tensor:
        """Map features (n, channels) on the CPU to (n, outputs)."""
        return torch.nn.functional.linear(rows - self.mean, self.weight, self.bias)


def whitening(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean (channels) of rows (n, channels), and a matrix (channels, channels) that makes channels independent.

    Rows without their mean, times the matrix, have a variance of almost 1 along every axis. The matrix is the one that turns
    nothing, so it is the same on every machine; constant channels come out as 0.
    """
    mean = rows.mean(dim=0)
    deviation = rows.std(dim=0, correction=0)
    scale = torch.where(deviation > _SMALLEST_DEVIATION, 1.0 / deviation, 0.0).double()
    correlation = torch.zeros(len(mean), len(mean), dtype=torch.float64)
    for part in rows.split(_ROWS_AT_ONCE):
        scaled = (part - mean).double() * scale
        correlation += scaled.T @ scaled / len(rows)
    variance, axes = torch.linalg.eigh(correlation)
    matrix = axes @ ((variance.clamp(min=0.0) + _LEAST_VARIANCE) ** -0.5)[:, None].mul(axes.T)
    return mean, (scale[:, None] * matrix).float()


def fit_linear_probe(
    rows: Tensor, targets: Tensor, *, outputs: int, loss: Loss, steps: int, learning_rate: float, generator: torch.Generator
) -> LinearProbe:
    """Fit a layer to rows with AdamW, whose rate falls to 0 as a cosine.

    Args:
        rows: (n, channels) float32 on the CPU, at least one.
        targets: (n) what the loss compares with.
        outputs: numbers for each row.
        loss: what is made small.
        steps: each looks at ``ROWS_PER_STEP`` rows drawn at random, or at all if there are no more.
        learning_rate: at the first step.
        generator: of the rows of each step.
    """
    mean, matrix = whitening(rows)
    weight = torch.zeros(outputs, rows.shape[1], requires_grad=True)
    bias = torch.zeros(outputs, requires_grad=True)
    optimizer = torch.optim.AdamW([weight, bias], lr=learning_rate, weight_decay=WEIGHT_DECAY)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = learning_rate * (1.0 + math.cos(math.pi * step / steps)) / 2.0
        drawn = torch.randint(len(rows), (ROWS_PER_STEP,), generator=generator) if len(rows) > ROWS_PER_STEP else slice(None)
        with torch.enable_grad():
            value = loss(torch.nn.functional.linear((rows[drawn] - mean) @ matrix, weight, bias), targets[drawn])
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    return LinearProbe(mean, weight.detach() @ matrix.T, bias.detach())
