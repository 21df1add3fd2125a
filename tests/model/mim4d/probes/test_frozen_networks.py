from __future__ import annotations

import pytest
import torch

from model.errors import WeightsFileError
from model.mim4d.config import Mim4dTrainConfig
from model.mim4d.net import Mim4d
from model.mim4d.probes.frozen_networks import probed_networks
from model.train.checkpoint import Checkpoint, save_checkpoint
from tests.model.mim4d.made_up_clips import small_network

CPU = torch.device("cpu")
RESNET = {"backbone": {"name": "resnet34", "base_channels": 8}}


def initial(config: Mim4dTrainConfig) -> dict[str, torch.Tensor]:
    torch.manual_seed(config.seed)
    return Mim4d(config.network).state_dict()


def saved(config: Mim4dTrainConfig, folder, *, seed: int) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)
    model = Mim4d(config.network).state_dict()
    save_checkpoint(Checkpoint(config, "m", 1, model, {}, {}, None, torch.get_rng_state(), {}), folder / "best.pt")
    return model


def is_same(network: Mim4d, state: dict[str, torch.Tensor], *, of: str = "") -> bool:
    return all(torch.equal(value, state[key]) for key, value in network.state_dict().items() if key.startswith(of))


def test_networks_when_the_training_began_at_random_then_the_trained_one_and_its_start(tmp_path):
    config = Mim4dTrainConfig(network=small_network(), seed=5)
    model = saved(config, tmp_path, seed=8)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    found = probed_networks(config, tmp_path, device=CPU)
    assert torch.equal(torch.get_rng_state(), before)
    assert list(found) == ["trained", "random"]
    assert is_same(found["trained"], model) and is_same(found["random"], initial(config))
    assert not any(one.training or any(p.requires_grad for p in one.parameters()) for one in found.values())


def test_networks_when_the_training_began_with_classification_weights_then_these_too(tmp_path):
    config = Mim4dTrainConfig(network=small_network(**RESNET), imagenet_weights=str(tmp_path / "weights.pth"))
    saved(config, tmp_path, seed=8)
    own = Mim4d(config.network).backbone.state_dict()
    weights = {key: value + 0.5 if value.is_floating_point() else value for key, value in own.items()}
    torch.save(weights, tmp_path / "weights.pth")
    found = probed_networks(config, tmp_path, device=CPU)
    assert list(found) == ["trained", "imagenet", "random"]
    given = {f"backbone.{key}": value for key, value in weights.items()}
    assert is_same(found["imagenet"], given, of="backbone.")
    assert is_same(found["imagenet"], initial(config), of="fpn.") and not is_same(found["random"], given, of="backbone.")


def test_networks_when_there_is_no_checkpoint_then_said(tmp_path):
    with pytest.raises(WeightsFileError, match=r"best\.pt' does not exist"):
        probed_networks(Mim4dTrainConfig(network=small_network()), tmp_path, device=CPU)
