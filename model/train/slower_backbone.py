"""AdamW with a slower backbone: how networks on a volume of several cameras are trained.

Source docs/method/mim4d.md; docs/method/uvtr.md
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import nn


class Rates(Protocol):
    """What a configuration says of its optimiser."""

    @property
    def learning_rate(self) -> float:
        """Of everything but the backbone."""
        ...

    @property
    def backbone_rate(self) -> float:
        """The backbone's share of it."""
        ...

    @property
    def weight_decay(self) -> float:
        """Of all parameters."""
        ...


def adamw_with_slower_backbone(network: nn.Module, backbone: nn.Module, config: Rates) -> torch.optim.Optimizer:
    """Return AdamW, slower for the backbone: it may begin with weights that are worth keeping."""
    weights = [weight for weight in backbone.parameters() if weight.requires_grad]
    backbone_ids = {id(weight) for weight in backbone.parameters()}
    others = [weight for weight in network.parameters() if weight.requires_grad and id(weight) not in backbone_ids]
    groups = [
        {"params": weights, "rate": config.backbone_rate, "lr": config.learning_rate * config.backbone_rate},
        {"params": others, "rate": 1.0, "lr": config.learning_rate},
    ]
    return torch.optim.AdamW(groups, weight_decay=config.weight_decay)
