from __future__ import annotations

import pytest
import torch

from model.errors import CheckpointError, WeightsFileError
from model.semodepth.family import SemoDepthFamily
from model.semodepth.net import SemoDepth
from model.semodepth.network_config import SemoDepthConfig
from model.semodepth.reference import load_reference, reference_state_dict, save_reference
from model.train.family_types import ReferenceOptions
from tests.model.golden_weights import fill_with_golden_weights
from tests.model.semodepth.test_network import scene


@pytest.fixture(scope="module")
def network() -> SemoDepth:
    return fill_with_golden_weights(SemoDepth(SemoDepthConfig.reference(max_depth_m=120.0, plug_in=False)))


@pytest.fixture(scope="module")
def state(network) -> dict[str, torch.Tensor]:
    return reference_state_dict(network)


@pytest.fixture(scope="module")
def plugged() -> SemoDepth:
    """A network with the branch; tests must not change it."""
    return SemoDepth(SemoDepthConfig.reference(max_depth_m=80.0, plug_in=True))


def test_file_when_saved_and_loaded_then_the_same_depth(network, state, tmp_path):
    image, radar = scene(1)
    want = network.predict(image, radar)
    save_reference(network, tmp_path / "wrapped.pth")
    torch.save(state, tmp_path / "bare.pth")
    for name in ("wrapped.pth", "bare.pth"):
        loaded = load_reference(tmp_path / name, max_depth_m=120.0, plug_in=False)
        assert torch.equal(loaded.predict(image, radar), want)
        assert loaded.config == SemoDepthConfig.reference(max_depth_m=120.0, plug_in=False)
    assert torch.equal(
        load_reference({"epoch": 3, "model_state_dict": state}, max_depth_m=120.0, plug_in=False).predict(image, radar), want
    )


def test_file_when_saved_with_an_uncertainty_head_then_the_public_code_need_not_know_it(network, state, tmp_path):
    config = network.config.model_copy(update={"uncertainty": True})
    headed = SemoDepth(config)
    headed.load_state_dict(network.state_dict(), strict=False)
    assert reference_state_dict(headed).keys() == state.keys()


def test_keys_when_wrong_then_each_is_named(state):
    broken = {**state, "surplus.weight": torch.zeros(1), "head.0.weight": torch.zeros(3)}
    del broken["enc_conv1.0.weight"]
    expected = (
        r"state dict does not fit the SemoDepth network: 1 keys are missing: enc_conv1.0.weight; "
        r"1 keys are unexpected: surplus.weight; head.0.weight is \(3,\), expected \(32, 64, 3, 3\)"
    )
    with pytest.raises(CheckpointError, match=expected):
        load_reference(broken, max_depth_m=120.0, plug_in=False)


@pytest.mark.parametrize("has_branch", [True, False])
def test_plug_in_when_nobody_says_whether_it_is_there_then_the_keys_do(has_branch, state, plugged):
    assert load_reference(reference_state_dict(plugged) if has_branch else state, max_depth_m=80.0).config.plug_in is has_branch


def test_public_file_when_it_has_the_branch_then_evaluate_and_predict_open_it_without_being_told(plugged, tmp_path):
    save_reference(plugged, tmp_path / "released.pth")
    opened = SemoDepthFamily().open_reference(
        tmp_path / "released.pth", "released", ReferenceOptions(None, "test", 80.0, plug_in=False)
    )
    assert opened.config.network == plugged.config


def test_plug_in_when_it_does_not_match_then_the_remedy_is_said(state, plugged):
    with pytest.raises(
        CheckpointError, match=r"4 keys are missing: mono_embed.0.weight.* leave out --plug-in, in Python plug_in=True"
    ):
        load_reference(state, max_depth_m=120.0, plug_in=True)
    with pytest.raises(CheckpointError, match=r"4 keys are unexpected: mono_embed.0.weight.* leave out plug_in=False"):
        load_reference(reference_state_dict(plugged), max_depth_m=120.0, plug_in=False)


def test_keys_when_saved_from_data_parallel_then_the_remedy_is_said(state):
    with pytest.raises(
        CheckpointError, match=r"696 keys are missing.*saved from DataParallel\): save model.module.state_dict\(\) instead"
    ):
        load_reference({f"module.{key}": value for key, value in state.items()}, max_depth_m=120.0, plug_in=False)


def test_file_when_missing_then_named(tmp_path):
    with pytest.raises(WeightsFileError, match="epoch_9.pth' does not exist"):
        load_reference(tmp_path / "epoch_9.pth", max_depth_m=120.0, plug_in=False)
