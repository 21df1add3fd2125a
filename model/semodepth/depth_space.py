"""The log-normalised space in which SemoDepth predicts depth.

Source  docs/method/semodepth.md#depth-space: n(d) = 2 (ln clamp(d) - ln min) / (ln max - ln min) - 1, and its inverse
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class DepthSpace:
    """Bounds of the depth space in metres: 0.5 to 120 for nuScenes, 0.5 to 80 for ZJU-4DRadarCam.

    Raises:
        ValueError: the bounds are not 0 < min < max.
    """

    min_depth_m: float = 0.5
    max_depth_m: float = 120.0

    def __post_init__(self) -> None:
        """Check the bounds."""
        if not 0.0 < self.min_depth_m < self.max_depth_m:
            raise ValueError(f"depth bounds must be 0 < min < max, got {self.min_depth_m} and {self.max_depth_m} m")

    def normalize(self, depth_m: Tensor) -> Tensor:
        """Map depth in metres, any shape, to [-1, 1]; values outside the bounds are clamped to them."""
        low, high = math.log(self.min_depth_m), math.log(self.max_depth_m)
        return 2.0 * (torch.log(depth_m.clamp(self.min_depth_m, self.max_depth_m)) - low) / (high - low) - 1.0

    def metres(self, normalized: Tensor) -> Tensor:
        """Map normalised depth, clamped to [-1, 1], back to metres."""
        low, high = math.log(self.min_depth_m), math.log(self.max_depth_m)
        return torch.exp((normalized.clamp(-1.0, 1.0) + 1.0) / 2.0 * (high - low) + low)
