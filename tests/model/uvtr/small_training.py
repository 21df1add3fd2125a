"""A training over the tiny database whose step takes a tenth of a second."""

from __future__ import annotations

from typing import Any

from model.uvtr.config import UvtrTrainConfig

NETWORK: dict[str, Any] = {
    "input_px": (32, 64),
    "classes": ("car", "pedestrian"),
    "backbone": {"name": "convnext_mini", "layer_scale": 0.1},
    "lift": {
        "channels": 16,
        "num_depth_bins": 8,
        "far_m": 32.0,
        "low_m": (-25.6, -25.6, -5.0),
        "high_m": (25.6, 25.6, 3.0),
        "num_voxels_zyx": (5, 8, 8),
    },
    "voxels": {"num_convs": 1, "norm_groups": 4},
    "centres": {"width": 16},
    "queries": {"num_queries": 12, "num_layers": 2, "num_heads": 2, "hidden": 16},
    "segmentation": {"width": 16},
}


def small_training(**changes: Any) -> UvtrTrainConfig:
    """Return the training; groups that are given are changes of its own."""
    network = {**NETWORK, **changes.pop("network", {})}
    settings: dict[str, Any] = {
        "network": network,
        "evaluation": {"official": False, "num_pictures": 1, **changes.pop("evaluation", {})},
        "learning_rate": 1e-3,
        "max_steps": 4,
        "evaluate_every_epochs": 1.0,
        **changes,
    }
    return UvtrTrainConfig.model_validate(settings)
