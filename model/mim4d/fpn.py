"""A feature pyramid: levels of a backbone brought to one width, each with the coarser ones added.

Source  docs/method/mim4d.md#feature-pyramid; arXiv 1612.03144
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from model.errors import InputError


class Fpn(nn.Module):
    """The pyramid; it has no norms and no activations. Hidden cells are filled in here: its convolutions see all cells."""

    def __init__(self, channels_in: Sequence[int], channels: int, *, first_level: int = 1, num_extra: int = 1) -> None:
        """Make the pyramid with fresh weights.

        Args:
            channels_in: of the backbone's levels, the finest first.
            channels: of every level that comes out.
            first_level: place of the finest level that is used; 1 is stride 8.
            num_extra: number of coarser levels that are added, each of half the size of the one before.

        Raises:
            InputError: the backbone has no such level.
        """
        super().__init__()
        if not 0 <= first_level < len(channels_in):
            raise InputError(
                f"first_level of the feature pyramid is {first_level}, but the backbone's levels are 0 to {len(channels_in) - 1}"
                "; choose one of these"
            )
        self.first_level = first_level
        self.laterals = nn.ModuleList(nn.Conv2d(width, channels, 1) for width in channels_in[first_level:])
        self.outputs = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1) for _ in self.laterals)
        self.extras = nn.ModuleList(nn.Conv2d(channels, channels, 3, 2, 1) for _ in range(num_extra))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]  # it has a bias

    def forward(self, levels: Sequence[Tensor]) -> list[Tensor]:
        """Map the backbone's levels, the finest first, to maps (n, channels, h, w), the finest first.

        Args:
            levels: all of them (n, channels_in, h, w); those before ``first_level`` are not read.
        """
        used = levels[self.first_level :]
        merged = [lateral(level) for lateral, level in zip(self.laterals, used, strict=True)]
        for place in range(len(merged) - 1, 0, -1):
            finer = merged[place - 1]
            merged[place - 1] = finer + F.interpolate(merged[place], size=finer.shape[-2:], mode="nearest")
        results = [output(level) for output, level in zip(self.outputs, merged, strict=True)]
        for extra in self.extras:
            results.append(extra(results[-1]))
        return results
