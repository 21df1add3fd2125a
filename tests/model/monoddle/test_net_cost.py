"""Parameters and multiplications; docs/method/monoddle.md#counts. On the meta device nothing is computed."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from model.blocks.convnext import GlobalResponseNorm
from model.monoddle.net import MonoDdle
from model.monoddle.network_config import MonoDdleConfig
from tests.model.monoddle.tiny_network import tiny_config


def num_parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def on_meta(config: MonoDdleConfig) -> MonoDdle:
    with torch.device("meta"):
        return MonoDdle(config).eval()


@torch.no_grad()
def flops(network: MonoDdle) -> int:
    with FlopCounterMode(display=False) as counter:
        network(torch.empty(1, 3, *network.config.input_px, device="meta"))
    return counter.get_total_flops()


@pytest.mark.parametrize(
    ("config", "parameters", "inference", "training"),
    [
        (MonoDdleConfig.reference(), 20_309_974, 158_249_779_200, 158_249_779_200),
        (MonoDdleConfig.reference(uncertainty=True), 20_457_943, 158_249_779_200, 167_325_204_480),
        (MonoDdleConfig(), 20_268_246, 157_998_120_960, 157_998_120_960),
        (MonoDdleConfig(uncertainty=True), 20_416_215, 157_998_120_960, 157_998_120_960 + 9_075_425_280),
    ],
    ids=["public", "public, uncertainty", "lean", "lean, uncertainty"],
)
def test_network_when_counted_then_as_published_and_inference_costs_no_more_with_uncertainty(
    config, parameters, inference, training
):
    network = on_meta(config)
    assert num_parameters(network) == parameters
    assert flops(network) == inference
    if training != inference:
        assert flops(network.train()) == training


@pytest.mark.parametrize(
    ("backbone", "parameters", "multiplications"),
    [
        ("hrnet_w32", 48_911_206, 211_300_515_840),
        ("resnet50", 91_405_670, 439_096_442_880),
        ("convnext_tiny", 38_357_510, 129_771_479_040),
        ("convnextv2_tiny", 38_403_878, 129_771_479_040),
    ],
)
def test_other_backbone_when_counted_then_as_timms_and_inference_never_computes_the_uncertainty(
    backbone, parameters, multiplications
):
    network = on_meta(MonoDdleConfig(backbone=backbone, uncertainty=True))
    uncertainty = num_parameters(network.heads["dense_depth_uncertainty"])
    assert num_parameters(network) - uncertainty == parameters
    assert flops(network) == 2 * multiplications
    cells = 96 * 320  # of the head maps; the head is a 3x3 convolution to 256 channels and a 1x1 convolution
    assert flops(network.train()) == 2 * (multiplications + cells * (9 * network.backbone.channels[0] * 256 + 256))


def test_parameters_of_convnext_when_counted_as_published_then_without_norms_and_scales():
    """The published 38.34 M lack what thop 0.1.1 knows no rule for: timm's layer norms, and parameters of a block itself."""
    counted = set()
    for backbone in ("convnext_tiny", "convnextv2_tiny"):
        network = on_meta(MonoDdleConfig(backbone=backbone))
        left_out = [module for module in network.modules() if isinstance(module, nn.LayerNorm | GlobalResponseNorm)]
        scales = [parameter for name, parameter in network.named_parameters() if name.endswith("layer_scale")]
        counted.add(num_parameters(network) - sum(map(num_parameters, left_out)) - sum(parameter.numel() for parameter in scales))
    assert counted == {38_336_102}


def test_parts_when_counted_then_as_published():
    network = on_meta(MonoDdleConfig.reference(uncertainty=True))
    backbone = network.backbone
    assert num_parameters(backbone) == 15_270_832
    assert [num_parameters(level) for level in (backbone.base_layer, backbone.level0, backbone.level1)] == [2_384, 2_336, 4_672]
    assert [num_parameters(getattr(backbone, f"level{level}")) for level in (2, 3, 4, 5)] == [
        140_032,
        1_215_488,
        4_855_808,
        9_050_112,
    ]
    assert num_parameters(network.neck) == 3_995_392
    assert [num_parameters(getattr(network.neck, f"ida_{step}")) for step in range(3)] == [2_364_416, 1_184_768, 446_208]
    uncertainty = num_parameters(network.heads["dense_depth_uncertainty"])
    assert (num_parameters(network.heads) - uncertainty, uncertainty) == (1_043_750, 147_969)
    kinds = [type(module) for module in network.modules()]
    assert (kinds.count(nn.ConvTranspose2d), kinds.count(nn.BatchNorm2d)) == (6, 51)
    assert kinds.count(nn.Conv2d) == 68 - 1  # without the classifier


def test_tiny_network_when_counted_then_as_the_specification_says():
    assert num_parameters(on_meta(tiny_config(compat=True))) == 189_887
    assert num_parameters(on_meta(tiny_config())) == 189_887 - 24 * 16 - 2 * 24  # without the one projection that nothing reads
