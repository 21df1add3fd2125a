"""A training of the detector so small that a step takes a tenth of a second."""

from __future__ import annotations

from typing import Any

from model.monoddle.config import MonoDdleTrainConfig

TINY_NETWORK = {"dla_widths": [8, 8, 16, 16, 24, 32], "head_width": 16, "input_px": [96, 320], "max_objects": 10}


def small_detection_config(**changes: Any) -> MonoDdleTrainConfig:
    """Return a training over the tiny KITTI set, whose images are ten times as small as KITTI's."""
    settings: dict[str, Any] = {
        "network": {**TINY_NETWORK, **changes.pop("network", {})},
        "targets": {"min_height_px": 2.0, **changes.pop("targets", {})},
        "data": {"batch_size": 2, **changes.pop("data", {})},
        "evaluation": {"height_scale": 0.1, "num_pictures": 1, **changes.pop("evaluation", {})},
        "learning_rate": 1e-3,
        "max_steps": 4,
        "evaluate_every_epochs": 1.0,
        **changes,
    }
    return MonoDdleTrainConfig.model_validate(settings)
