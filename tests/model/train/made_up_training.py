"""A training so small that a step takes a tenth of a second."""

from __future__ import annotations

from typing import Any

from model.semodepth.config import SemoDepthTrainConfig


def small_config(**changes: Any) -> SemoDepthTrainConfig:
    data = {"batch_size": 1, "dense_target": "depth_clean", **changes.pop("data", {})}
    settings = {
        "network": {"base_channels": 8},
        "learning_rate": 1e-3,
        "max_steps": 7,
        "evaluate_every_epochs": 1.5,  # every third step: a stop in between repeats steps
        "evaluation": {"num_strips": 2},
        **changes,
    }
    return SemoDepthTrainConfig.model_validate({"data": data, **settings})
