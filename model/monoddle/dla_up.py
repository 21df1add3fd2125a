"""The neck: iterative aggregation of four levels into one map at the finest stride.

Source  docs/method/monoddle.md#dla-up; arXiv 1707.06484, without CenterNet's deformable convolutions
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ConvNorm(nn.Module):
    """A 3x3 convolution without bias, batch norm, ReLU."""

    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map (b, channels_in, h, w) to (b, channels, h, w)."""
        return F.relu(self.bn(self.conv(x)), inplace=True)


def bilinear_upsampling(channels: int) -> nn.ConvTranspose2d:
    """Return a trainable doubling of a map's sides that starts as bilinear interpolation of each channel."""
    double = nn.ConvTranspose2d(channels, channels, 4, 2, 1, groups=channels, bias=False)
    ramp = torch.tensor([0.25, 0.75, 0.75, 0.25])
    with torch.no_grad():
        double.weight.copy_(ramp[:, None] * ramp)
    return double


class Aggregation(nn.Module):
    """Bring levels to the finest one's grid and width, each joined with the one before it."""

    def __init__(self, channels: Sequence[int]) -> None:
        """Make a step for every level but the first.

        Args:
            channels: of the levels, the finest first; all levels but it are at twice its stride.
        """
        super().__init__()
        width = channels[0]
        for step, channels_in in enumerate(channels[1:], start=1):
            self.add_module(f"proj_{step}", ConvNorm(channels_in, width))
            self.add_module(f"up_{step}", bilinear_upsampling(width))
            self.add_module(f"node_{step}", ConvNorm(2 * width, width))

    def forward(self, levels: Sequence[Tensor]) -> list[Tensor]:
        """Map levels (b, c, h, w), the finest first, to as many maps (b, width, h, w) less one, all on the finest grid."""
        joined: list[Tensor] = [levels[0]]
        for step, level in enumerate(levels[1:], start=1):
            raised = self.get_submodule(f"up_{step}")(self.get_submodule(f"proj_{step}")(level))
            joined.append(self.get_submodule(f"node_{step}")(torch.cat((joined[-1], raised), dim=1)))
        return joined[1:]


class DlaUp(nn.Module):
    """From four levels at strides 4, 8, 16 and 32 to one map at stride 4 with the first level's channels."""

    def __init__(self, channels: tuple[int, int, int, int]) -> None:
        super().__init__()
        at4, at8, at16, at32 = channels
        self.ida_0 = Aggregation((at16, at32))
        self.ida_1 = Aggregation((at8, at16, at16))
        self.ida_2 = Aggregation((at4, at8, at8, at8))

    def forward(self, levels: tuple[Tensor, Tensor, Tensor, Tensor]) -> Tensor:
        """Map levels (b, channels, h, w), the finest first, to (b, first level's channels, h, w) of the finest."""
        at4, at8, at16, at32 = levels
        at_16 = self.ida_0((at16, at32))
        at_8 = self.ida_1((at8, at16, *at_16))
        finest: Tensor = self.ida_2((at4, at8, *at_8))[-1]
        return finest
