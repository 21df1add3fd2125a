"""How deep each cell of an image's maps is: a distribution over depth bins, learned from rendering alone.

Source  docs/method/mim4d.md#depth-distribution
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from model.errors import InputError


@dataclass(frozen=True)
class DepthBins:
    """Equal bins of depth along the optical axis.

    Attributes:
        near_m: where the first bin begins, metres.
        far_m: where the last bin ends, metres.
        num_bins: number of bins.
    """

    near_m: float
    far_m: float
    num_bins: int

    def __post_init__(self) -> None:
        if not 0 <= self.near_m < self.far_m or self.num_bins < 1:
            raise InputError(
                f"{self.num_bins} depth bins from {self.near_m} to {self.far_m} m cannot be made; expected one or more, and "
                "0 <= near_m < far_m"
            )

    @property
    def bin_m(self) -> float:
        """Return the length of a bin, metres."""
        return (self.far_m - self.near_m) / self.num_bins

    def centres_m(self, *, device: torch.device | str | None = None) -> Tensor:
        """Return the middles of the bins (num_bins) float32, metres."""
        return self._at_m(0.5, device)

    def near_ends_m(self, *, device: torch.device | str | None = None) -> Tensor:
        """Return where the bins begin (num_bins) float32, metres; the public code takes these for the bins' depths."""
        return self._at_m(0.0, device)

    def _at_m(self, within: float, device: torch.device | str | None) -> Tensor:
        places = torch.arange(self.num_bins, dtype=torch.float64, device=device)
        return (self.near_m + (places + within) * self.bin_m).float()


class DepthHead(nn.Module):
    """Two 1x1 convolutions shared by all levels: features to be lifted, and from these the distribution over depth."""

    def __init__(self, channels: int, bins: DepthBins) -> None:
        """Make the head with fresh weights.

        Args:
            channels: of the levels, and of the features that come out.
            bins: of depth.
        """
        super().__init__()
        self.bins = bins
        self.input_proj = nn.Conv2d(channels, channels, 1)
        self.depth = nn.Conv2d(channels, bins.num_bins, 1)

    def forward(self, levels: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Map levels (n, channels, h, w) to features and distributions.

        Returns:
            Per level features (n, channels, h, w) and probabilities (n, num_bins, h, w) float32, which sum to 1 over the bins.
        """
        features = [self.input_proj(level) for level in levels]
        return features, [self.depth(feature).softmax(dim=1, dtype=torch.float32) for feature in features]
