"""train.backbone_rate: the image encoder learns at a share of the rate, everything else at the whole one."""

from __future__ import annotations

import torch

from model.families import parse_train_config
from model.semodepth.family import SemoDepthFamily

SMALL = {"network": {"base_channels": 8}, "learning_rate": 0.01}


def _moved_by_one_step(backbone_rate: float) -> dict[str, torch.Tensor]:
    """Return how far every weight goes in the first step of Adam with gradients of one: the rate of its group."""
    family, config = SemoDepthFamily(), parse_train_config({**SMALL, "backbone_rate": backbone_rate}, where="test")
    torch.manual_seed(0)
    network = family.network(config)
    before = {name: weight.detach().clone() for name, weight in network.named_parameters()}
    optimizer = family.optimizer(network, config)
    for weight in network.parameters():
        weight.grad = torch.ones_like(weight)
    optimizer.step()
    return {name: (before[name] - weight).abs().max() for name, weight in network.named_parameters()}


def test_encoder_when_slowed_then_moves_by_that_share_and_the_rest_by_the_whole_rate() -> None:
    moved = _moved_by_one_step(0.25)
    is_encoder = {name: name.startswith("encoder.") for name in moved}
    assert any(is_encoder.values()) and not all(is_encoder.values())
    for name, by in moved.items():
        torch.testing.assert_close(by.item(), 0.0025 if is_encoder[name] else 0.01, rtol=1e-3, atol=1e-6, msg=name)


def test_one_rate_when_nothing_is_asked_for_then_there_is_one_group_and_the_name_of_the_training_is_unchanged() -> None:
    family, config = SemoDepthFamily(), parse_train_config(SMALL, where="test")
    assert len(family.optimizer(family.network(config), config).param_groups) == 1
    assert "backbone_rate" not in config.model_dump()
    slower = parse_train_config({**SMALL, "backbone_rate": 0.5}, where="test")
    assert slower.fingerprint("0" * 16) != config.fingerprint("0" * 16)
