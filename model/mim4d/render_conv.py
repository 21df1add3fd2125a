"""Squeeze a lifted volume to the few channels that are warped, decoded and rendered.

Why     the public batch norm takes its statistics over all frames, so in training a frame that is withheld from the decoder still
        reaches it through them (docs/method/mim4d.md#pitfalls, 6). Group norm sees one frame at a time.
Source  docs/method/mim4d.md#volume-squeeze
"""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from model.errors import InputError

NormKind = Literal["gn", "bn"]


class RenderConv(nn.Module):
    """A 3x3x3 convolution, a norm, and what is above zero of it."""

    def __init__(self, channels_in: int, channels: int, *, norm: NormKind = "gn", num_groups: int = 8) -> None:
        """Make it with fresh weights.

        Args:
            channels_in: of a lifted volume.
            channels: of the volume that comes out.
            norm: gn keeps frames apart; bn is the released one, and leaks between them in training.
            num_groups: of gn.

        Raises:
            InputError: the channels do not fall into so many groups.
        """
        super().__init__()
        if norm == "gn" and channels % num_groups:
            raise InputError(
                f"{channels} volume channels do not fall into {num_groups} groups of one norm; choose a number that divides them"
            )
        self.conv = nn.Conv3d(channels_in, channels, 3, padding=1, bias=False)
        self.norm: nn.Module = nn.GroupNorm(num_groups, channels) if norm == "gn" else nn.BatchNorm3d(channels)

    def forward(self, volumes: Tensor) -> Tensor:
        """Map volumes (b, t, channels_in, z, y, x) to (b, t, channels, z, y, x), contiguous."""
        batch, frames = volumes.shape[:2]
        squeezed = F.relu(self.norm(self.conv(volumes.flatten(0, 1)))).contiguous()
        return squeezed.view(batch, frames, *squeezed.shape[1:])
