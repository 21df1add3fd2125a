from __future__ import annotations

import importlib
import sys
from types import ModuleType, SimpleNamespace

import pytest
import torch
from torch import nn

from model.errors import WeightsFileError
from model.monoddle.backbones import BackboneError
from model.monoddle.net import MonoDdle
from tests.model.golden_weights import fill_with_golden_weights
from tests.model.monoddle.tiny_network import images, tiny_config

STRIDES = (2, 4, 8, 16, 32)


class FakeFeatures(nn.Module):
    """What timm's ``features_only`` gives: one convolution a level, and a list of more levels than are wanted."""

    def __init__(self, strides: tuple[int, ...], *, is_channels_last: bool) -> None:
        super().__init__()
        widths = [4 + 2 * place for place in range(len(strides))]
        self.convs = nn.ModuleList(nn.Conv2d(3, width, stride, stride) for width, stride in zip(widths, strides, strict=True))
        self.feature_info = SimpleNamespace(reduction=lambda: list(strides), channels=lambda: widths)
        self.is_channels_last = is_channels_last

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        levels = [conv(x) for conv in self.convs]
        return [level.permute(0, 2, 3, 1) for level in levels] if self.is_channels_last else levels


def create_model(name, *, features_only=False, pretrained=False, pretrained_cfg_overlay=None):
    networks = {"pyramid": STRIDES, "flat": (16, 16, 16), "sideways": STRIDES}
    if name not in networks:
        raise RuntimeError(f"Unknown model ({name})")
    network = FakeFeatures(networks[name], is_channels_last=name == "sideways")
    if pretrained:  # strict only with the classifier, as timm is
        network.load_state_dict(torch.load(pretrained_cfg_overlay["file"], weights_only=True), strict=not features_only)
    return network


@pytest.fixture
def timm(monkeypatch) -> None:
    module = ModuleType("timm")
    module.create_model = create_model
    monkeypatch.setitem(sys.modules, "timm", module)


def timm_config(name: str):
    return tiny_config(backbone=f"timm:{name}", dla_widths=(16, 32, 64, 128, 256, 512))


@torch.no_grad()
def test_timm_when_it_gives_more_levels_then_the_four_by_stride(timm):
    network = fill_with_golden_weights(MonoDdle(timm_config("pyramid")))
    assert network.backbone.channels == (6, 8, 10, 12)
    assert [tuple(level.shape[1:]) for level in network.backbone(images(1))] == [
        (6, 24, 40),
        (8, 12, 20),
        (10, 6, 10),
        (12, 3, 5),
    ]
    assert network(images(1))["depth"].shape == (1, 2, 24, 40)


def test_timm_when_the_network_does_not_fit_then_said(timm):
    with pytest.raises(
        BackboneError, match=r"timm makes no backbone 'nonsense': Unknown model \(nonsense\). See timm.list_models"
    ):
        MonoDdle(timm_config("nonsense"))
    with pytest.raises(BackboneError, match="'timm:flat' gives levels at strides 16, 16, 16, without stride 4; choose a network"):
        MonoDdle(timm_config("flat"))
    network = MonoDdle(timm_config("sideways"))
    expected = r"'timm:sideways' gives levels of shape \(1, 24, 40, 6\), expected 6 channels in second place; choose a convol"
    with pytest.raises(BackboneError, match=expected):
        network(images(1))


def test_timm_when_given_weights_then_loaded_or_the_file_named(timm, tmp_path):
    network = MonoDdle(timm_config("pyramid"))
    state = {key: value + 1 for key, value in network.backbone.net.state_dict().items()}
    torch.save(state, tmp_path / "pyramid.pth")
    network.load_imagenet_weights(tmp_path / "pyramid.pth")
    assert all(torch.equal(value, state[key]) for key, value in network.backbone.net.state_dict().items())
    with pytest.raises(WeightsFileError, match=r"none.pth' does not exist; give the path of a file of timm's pyramid"):
        network.load_imagenet_weights(tmp_path / "none.pth")
    torch.save({"other": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(WeightsFileError, match=r"other.pth' does not load into timm's pyramid: Error\(s\) .*Missing key\(s\)"):
        network.load_imagenet_weights(tmp_path / "other.pth")
    assert all(torch.equal(value, state[key]) for key, value in network.backbone.net.state_dict().items())


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            ModuleNotFoundError("No module named 'timm'", name="timm"),
            r"timm is not installed. Run: pip install .*\[timm\].*\. Or choose one of dla34, hrnet_w32, resnet50, convnext_tiny",
        ),
        (
            RuntimeError("operator torchvision::nms does not exist"),
            r"timm .* cannot be imported: RuntimeError: operator torchvision::nms does not exist. torchvision .* and torch .* are "
            r"installed here. Take both from the same place, for the same device \(CPU or CUDA\), in versions that belong together",
        ),
    ],
)
def test_timm_when_it_cannot_be_imported_then_what_to_do_is_said(monkeypatch, error, said):
    def import_module(name):
        raise error

    monkeypatch.setattr(importlib, "import_module", import_module)
    with pytest.raises(BackboneError, match=f"backbone 'timm:hrnet_w48' needs the package timm: {said}"):
        MonoDdle(timm_config("hrnet_w48"))
