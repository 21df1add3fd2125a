"""Our own backbones beside those of the package timm, where it can be imported; beside the CPU build of torch it often cannot."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from model.blocks.timm_package import NoTimmError, import_timm
from model.errors import WeightsFileError
from model.monoddle.backbones import TimmBackbone
from model.monoddle.net import MonoDdle
from model.monoddle.network_config import OWN_BACKBONES, MonoDdleConfig
from tests.model.blocks.made_up_image import sine_image

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def timm() -> Any:
    try:
        return import_timm()
    except NoTimmError as error:
        pytest.skip(str(error))


@torch.no_grad()
@pytest.mark.parametrize("name", OWN_BACKBONES)
def test_backbone_when_it_and_timms_load_the_same_file_then_they_give_the_same_levels(timm, tmp_path, name):
    torch.manual_seed(0)
    whole = timm.create_model(name, pretrained=False)
    for key, value in whole.state_dict().items():
        if key.endswith("running_var"):
            value.uniform_(0.5, 1.5)
        elif value.is_floating_point() and value.ndim == 1:  # fresh layer scales and response norms hide what a block computes
            value.add_(0.1 * torch.randn(value.shape))
    torch.save(whole.state_dict(), tmp_path / f"{name}.pth")
    own, theirs = (MonoDdle(MonoDdleConfig(backbone=backbone)) for backbone in (name, f"timm:{name}"))
    for network in (own, theirs):
        network.load_imagenet_weights(tmp_path / f"{name}.pth")
    assert own.backbone.channels == theirs.backbone.channels
    assert sum(p.numel() for p in own.parameters()) == sum(p.numel() for p in theirs.parameters())
    for ours, level in zip(own.eval().backbone(sine_image()), theirs.eval().backbone(sine_image()), strict=True):
        assert float((ours - level).abs().max()) <= 1e-5 * float(level.abs().max())


def test_timm_backbone_when_the_file_is_of_another_network_then_timms_words(timm, tmp_path):
    torch.save(timm.create_model("resnet18", pretrained=False).state_dict(), tmp_path / "resnet18.pth")
    backbone = TimmBackbone("resnet50")
    before = {key: value.clone() for key, value in backbone.state_dict().items()}
    with pytest.raises(WeightsFileError, match="resnet18.pth' does not load into timm's resnet50: .*"):
        backbone.load_imagenet_weights(tmp_path / "resnet18.pth")
    assert all(torch.equal(value, before[key]) for key, value in backbone.state_dict().items())


def test_timm_backbone_when_trained_then_each_parameter_receives_a_gradient(timm):
    network = MonoDdle(MonoDdleConfig(backbone="timm:convnextv2_tiny", head_width=16)).train()
    sum(got.square().mean() for got in network(torch.randn(2, 3, 64, 64)).values()).backward()
    assert [name for name, parameter in network.named_parameters() if parameter.grad is None] == []
