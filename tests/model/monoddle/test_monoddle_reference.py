from __future__ import annotations

import pytest
import torch

from model.errors import CheckpointError, WeightsFileError
from model.monoddle.net import MonoDdle
from model.monoddle.network_config import MonoDdleConfig
from model.monoddle.reference import load_reference, reference_key
from tests.model.golden_weights import fill_with_golden_weights
from tests.model.monoddle.tiny_network import images, tiny_config

TINY = tiny_config(dla_widths=(8, 8, 16, 20, 24, 32), uncertainty=False)
CLASSIFIER = {"backbone.fc.weight": torch.zeros(1000, 32, 1, 1), "backbone.fc.bias": torch.zeros(1000)}


def public_state(**changes: bool) -> dict[str, torch.Tensor]:
    network = fill_with_golden_weights(MonoDdle(TINY.model_copy(update={"compat": True, **changes})))
    return {**{reference_key(key): value for key, value in network.state_dict().items()}, **CLASSIFIER}


@torch.no_grad()
def maps_of(network: MonoDdle) -> torch.Tensor:
    return torch.cat([got.flatten() for got in network(images(1)).values()])


@pytest.mark.parametrize("prefix", ["", "module."])
def test_file_when_saved_as_the_public_code_does_then_the_same_maps(tmp_path, prefix):
    state = {f"{prefix}{key}": value for key, value in public_state().items()}
    want = maps_of(load_reference(public_state(), config=TINY))
    torch.save({"epoch": 140, "model_state": state, "optimizer_state": None}, tmp_path / "wrapped.pth")
    torch.save(state, tmp_path / "bare.pth")
    for given in (
        tmp_path / "wrapped.pth",
        str(tmp_path / "bare.pth"),
        {"model_state_dict": state},
        {"state_dict": state},
        state,
    ):
        network = load_reference(given, config=TINY)
        assert torch.equal(maps_of(network), want)
        assert not network.training


@pytest.mark.parametrize("uncertainty", [False, True])
@pytest.mark.parametrize("compat", [False, True])
def test_parts_when_the_checkpoint_has_them_or_not_then_so_does_the_network(uncertainty, compat):
    state = public_state(uncertainty=uncertainty, compat=compat)
    network = load_reference(state, config=TINY)
    assert (network.config.uncertainty, network.config.compat) == (uncertainty, compat)
    loaded = {reference_key(key): value for key, value in network.state_dict().items()}
    assert loaded.keys() == state.keys() - CLASSIFIER.keys()
    assert all(torch.equal(value, state[key]) for key, value in loaded.items())
    assert torch.equal(maps_of(network), maps_of(load_reference(public_state(), config=TINY)))


def test_keys_when_wrong_then_each_is_named():
    state = public_state()
    broken = {**state, "surplus.weight": torch.zeros(1), "depth.2.weight": torch.zeros(3), "heading.2.bias": "text"}
    del broken["neck.ida_0.up_1.weight"]
    expected = (
        r"state dict does not fit the MonoDDLE network \(dla34\): 1 keys are missing: neck.ida_0.up_1.weight; 1 keys are unexpected: "
        r"surplus.weight; depth.2.weight is \(3,\), expected \(2, 16, 1, 1\); heading.2.bias is str, expected \(24,\)"
    )
    with pytest.raises(CheckpointError, match=expected):
        load_reference(broken, config=TINY)
    torch.manual_seed(0)
    assert torch.equal(maps_of(load_reference(state, config=TINY)), maps_of(load_reference(state, config=TINY)))


def test_checkpoint_when_of_another_size_or_another_thing_then_said(tmp_path):
    with pytest.raises(
        CheckpointError, match=r"backbone.base_layer.0.weight is \(8, 3, 7, 7\), expected \(16, 3, 7, 7\); .* more"
    ):
        load_reference(public_state())
    with pytest.raises(CheckpointError, match="holds a list as 'model_state', expected a dict of tensors"):
        load_reference({"model_state": [1]})
    with pytest.raises(CheckpointError, match=r"checkpoint '.*empty.pth' does not fit .* keys are missing: backbone.base_layer"):
        torch.save({}, tmp_path / "empty.pth")
        load_reference(tmp_path / "empty.pth")
    with pytest.raises(WeightsFileError, match=r"checkpoint_epoch_140.pth' does not exist"):
        load_reference(tmp_path / "checkpoint_epoch_140.pth")


@pytest.mark.filterwarnings("ignore:.*to a meta parameter")  # shapes are enough here, and come without memory
def test_defaults_when_no_options_are_given_then_the_public_networks():
    state = {key: torch.zeros(value.shape, dtype=value.dtype) for key, value in reference_state_on_meta().items()}
    with torch.device("meta"):
        network = load_reference(state)
    assert network.config == MonoDdleConfig.reference(uncertainty=True)
    assert sum(parameter.numel() for parameter in network.parameters()) == 20_457_943


def reference_state_on_meta() -> dict[str, torch.Tensor]:
    with torch.device("meta"):
        network = MonoDdle(MonoDdleConfig.reference(uncertainty=True))
    return {reference_key(key): value for key, value in network.state_dict().items()}
