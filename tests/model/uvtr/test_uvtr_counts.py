"""Sizes of the published network, to the parameter."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from model.uvtr.net import Uvtr
from model.uvtr.network_config import UvtrConfig

NUM_CODE_WEIGHTS = 10
"""The public code keeps the weights of its loss as a parameter; here they are options of the training."""


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_released_network_when_counted_then_as_published():
    with torch.device("meta"):
        network = Uvtr(UvtrConfig.released())
    parts = {name: count(part) for name, part in network.named_children()}
    assert parts == {
        "backbone": 49_456_032,
        "fpn": 762_752,
        "depth_head": 16_512 + 8_256,
        "voxel_convs": 1_328_256,
        "head": 2_041_857,
    }
    assert count(network) + NUM_CODE_WEIGHTS == 53_613_675
    layer = network.head.layers[0]
    assert (count(layer), count(layer.attention), count(layer.look), count(layer.norms)) == (232_705, 66_048, 34_177, 768)
    assert count(layer.expand) + count(layer.contract) == 131_712
    assert (count(network.head.classes[0]), count(network.head.boxes[0])) == (34_826, 34_314)
    assert (count(network.head.table), count(network.head.place)) == (230_400, 387)
    frozen = sum(one.numel() for one in network.backbone.features.parameters() if not one.requires_grad)
    assert frozen == 242_784
    assert all(one.requires_grad for one in network.head.parameters())


def test_tiny_network_when_counted_then_as_measured():
    with torch.device("meta"):
        network = Uvtr(UvtrConfig.tiny(head="queries", classes=("car", "truck", "pedestrian")))
    assert count(network) == 580_837 and count(network.head) == 51_309


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"classes": ("Car",)}, "classes has 'Car', which is no class of the nuScenes detection task; did you mean 'car'"),
        ({"classes": ("car", "car")}, "classes names car more than once"),
        ({"input_px": (100, 160)}, "input_px is 100 x 160 (height x width), expected multiples of 32"),
        ({"lift": {"channels": 20}}, "lift.channels is 20, which voxels.norm_groups 8 does not divide"),
        (
            {"head": "queries", "lift": {"channels": 24}, "queries": {"num_heads": 5}},
            "lift.channels is 24, which queries.num_heads 5 does not divide",
        ),
        (
            {"segmentation": {"enabled": True}, "lift": {"low_m": (0.2, -10, -3)}},
            "not reach half a metre to every side of the vehicle",
        ),
    ],
)
def test_options_when_they_do_not_fit_then_said(changes, words):
    with pytest.raises(ValueError) as error:
        UvtrConfig.model_validate(changes)
    assert words in str(error.value)
