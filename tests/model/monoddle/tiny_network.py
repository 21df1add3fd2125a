"""A network small enough for a test, and images for it; docs/method/monoddle.md#tiny-configuration."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from model.monoddle.network_config import MonoDdleConfig

SHAPES = {  # channels of the maps for three classes
    "heatmap": 3,
    "offset_2d": 2,
    "size_2d": 2,
    "depth": 2,
    "offset_3d": 2,
    "size_3d": 3,
    "heading": 24,
    "dense_depth_uncertainty": 1,
}


def tiny_config(**changes: Any) -> MonoDdleConfig:
    values = {"dla_widths": (8, 8, 16, 16, 24, 32), "head_width": 16, "input_px": (96, 320), "uncertainty": True, **changes}
    return MonoDdleConfig(**values)


def images(batch: int = 2, height: int = 96, width: int = 160, *, seed: int = 0) -> Tensor:
    return torch.randn(batch, 3, height, width, generator=torch.Generator().manual_seed(seed))
