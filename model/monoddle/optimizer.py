"""Which optimiser trains the network, and of which parameters.

Source  docs/method/monoddle.md#training
"""

from __future__ import annotations

import torch
from torch import nn

from model.monoddle.config import MonoDdleTrainConfig


def detector_optimizer(network: nn.Module, config: MonoDdleTrainConfig) -> torch.optim.Optimizer:
    """Return the optimiser over all parameters that are not frozen; those with "bias" in their name have no weight decay.

    Adam and SGD add the weight decay to the gradient. AdamW shrinks the weights themselves, whatever the gradient.
    """
    trained = [(name, parameter) for name, parameter in network.named_parameters() if parameter.requires_grad]
    groups = [
        {"params": [parameter for name, parameter in trained if "bias" not in name], "weight_decay": config.weight_decay},
        {"params": [parameter for name, parameter in trained if "bias" in name], "weight_decay": 0.0},
    ]
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=config.learning_rate, momentum=config.momentum)
    if config.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=config.learning_rate)
    return torch.optim.Adam(groups, lr=config.learning_rate)
