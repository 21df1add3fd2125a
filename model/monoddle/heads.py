"""The heads: what is read off each cell of the grid, and how the raw depth map turns into metres.

Reads   features (b, c, h, w) at stride 4
Writes  raw maps (b, channels, h, w) float32, before any activation:

        heatmap         logits per class; an object's centre is a peak
        offset_2d       centre of the 2D box minus the cell, cells
        size_2d         width, height of the 2D box, cells
        offset_3d       projected 3D centre minus the cell, cells
        depth           channel 0: see ``depth_m_of``; channel 1: log scale of the Laplace distribution of the error
        size_3d         height, width, length, metres (minus the class's mean with ``mean_shape``)
        heading         scores of the bins, then a residual in each, radians
        dense_depth_uncertainty   log scale, per cell, of what the teacher's depth may be off

Source  docs/method/monoddle.md#heads, #depth-precision
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from model.blocks.full_precision import full_precision, last_in_float32
from model.monoddle.network_config import NUM_HEADING_BINS, MonoDdleConfig

UNCERTAINTY_HEAD = "dense_depth_uncertainty"
DEPTH_EPSILON = 1e-6
HEATMAP_BIAS = -2.19
"""Logit of a heat of 0.1, so that the many empty cells do not dominate the first steps."""


def head_channels(config: MonoDdleConfig) -> dict[str, int]:
    """Return the number of channels of every head, in the public code's order, the uncertainty head last if there is one."""
    channels = {
        "heatmap": config.num_classes,
        "offset_2d": 2,
        "size_2d": 2,
        "depth": 2,
        "offset_3d": 2,
        "size_3d": 3,
        "heading": 2 * NUM_HEADING_BINS,
    }
    if config.uncertainty:
        channels[UNCERTAINTY_HEAD] = 1
    return channels


def depth_m_of(logit: Tensor) -> Tensor:
    """Turn the depth head's first channel into metres: ``1 / (sigmoid(x) + 1e-6) - 1``, about ``exp(-x)``.

    Computed in float32 whatever the input's type, also under autocast, which leaves these operations alone: in float16 it would
    overflow below x = -11.

    Args:
        logit: any shape.

    Returns:
        Metres float32 of the same shape, from 0 to 1e6.
    """
    return 1.0 / (torch.sigmoid(logit.float()) + DEPTH_EPSILON) - 1.0


def depth_logit_of(depth_m: float) -> float:
    """Return the logit that ``depth_m_of`` turns into a depth in metres, more than 0."""
    share = 1.0 / (depth_m + 1.0) - DEPTH_EPSILON
    return math.log(share / (1.0 - share))


class Head(nn.Sequential):
    """A 3x3 convolution, ReLU, and a 1x1 convolution; all with bias, the last in float32 under autocast too.

    Rounded to bfloat16, a box of 100 cells would be off by up to a pixel of the image.
    """

    def __init__(self, channels_in: int, width: int, channels: int) -> None:
        super().__init__(nn.Conv2d(channels_in, width, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(width, channels, 1))

    def forward(self, input: Tensor) -> Tensor:
        """Map (b, c, h, w) to (b, channels, h, w)."""
        return last_in_float32(self, input)

    @property
    def last_bias(self) -> Tensor:
        """Return the bias of the last convolution (channels,)."""
        bias = self[2].bias
        assert isinstance(bias, Tensor)
        return bias


class FullPrecisionHead(Head):
    """A head that stays in its parameters' precision under autocast.

    bfloat16 logits near -4 are 0.031 apart, which is 2 m at a depth of 65 m.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Map (b, c, h, w) to (b, channels, h, w)."""
        with full_precision(input.device.type):
            return super().forward(input.to(self.last_bias.dtype))


class Heads(nn.ModuleDict):
    """All heads of a network, by name."""

    def __init__(self, config: MonoDdleConfig, *, channels_in: int) -> None:
        super().__init__()
        for name, channels in head_channels(config).items():
            kind = FullPrecisionHead if name == "depth" else Head
            self[name] = kind(channels_in, config.head_width, channels)
        self._initialise(config.prior_depth_m)

    def forward(self, features: Tensor, *, with_uncertainty: bool) -> dict[str, Tensor]:
        """Return the raw maps (b, channels, h, w) float32 by name; without the uncertainty head's unless it is asked for."""
        wanted = {name: head for name, head in self.items() if with_uncertainty or name != UNCERTAINTY_HEAD}
        return {name: head(features).float() for name, head in wanted.items()}

    @torch.no_grad()
    def _initialise(self, prior_depth_m: float | None) -> None:
        """Start as published: small weights and zero biases but for the heat map; and from a depth prior, if there is one."""
        for name, head in self.items():
            assert isinstance(head, Head)
            if name == "heatmap":
                head.last_bias.fill_(HEATMAP_BIAS)
                continue
            for layer in head:
                if isinstance(layer, nn.Conv2d):
                    nn.init.normal_(layer.weight, std=0.001)
                    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]  # it has a bias
            if name == "depth" and prior_depth_m is not None:
                head.last_bias[0] = depth_logit_of(prior_depth_m)
