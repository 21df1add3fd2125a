from __future__ import annotations

import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch

from model.blocks.resnet import ResNet34, ResNet50
from model.errors import WeightsFileError
from tests.conftest import REPOSITORY
from tests.model.blocks.made_up_image import level_figures, sine_image
from tests.model.golden_weights import fill_with_golden_weights

TORCHVISION_0_29_2 = [  # mean, deviation and one value of each stage of its resnet50 with the golden weights
    [0.5136677622795105, 0.614337146282196, 1.578385353088379],
    [0.4773724377155304, 0.5068492293357849, 2.366013526916504],
    [0.5610302090644836, 0.5646229386329651, 0.40174800157546997],
    [0.44106295704841614, 0.5247611403465271, 1.303297996520996],
]


def test_strides_when_sides_are_odd_then_as_the_convolutions_say():
    levels = ResNet34().eval()(torch.zeros(1, 75, 101, 3, dtype=torch.uint8))
    assert [tuple(level.shape[1:]) for level in levels] == [(64, 38, 51), (64, 19, 26), (128, 10, 13), (256, 5, 7), (512, 3, 4)]


def test_imagenet_file_when_it_has_torchvisions_keys_then_loads(tmp_path):
    source, target = ResNet34(), ResNet34()
    state = {key: value + 1 for key, value in source.state_dict().items()}
    old_style = {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}
    torch.save({**old_style, "fc.weight": torch.zeros(1000, 512), "fc.bias": torch.zeros(1000)}, tmp_path / "resnet34.pth")
    target.load_imagenet_weights(tmp_path / "resnet34.pth")
    assert torch.equal(target.layer3[2].conv1.weight, state["layer3.2.conv1.weight"])


def test_imagenet_file_when_wrong_then_named(tmp_path):
    network = ResNet34()
    with pytest.raises(WeightsFileError, match=r"weights file '.*none.pth' does not exist; give the path of a .pth file"):
        network.load_imagenet_weights(tmp_path / "none.pth")
    (tmp_path / "text.pth").write_text("not a checkpoint")
    with pytest.raises(WeightsFileError, match=r"weights file '.*text.pth' cannot be read as a checkpoint of tensors: "):
        network.load_imagenet_weights(tmp_path / "text.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(WeightsFileError, match="holds a list, expected a dict of tensors"):
        network.load_imagenet_weights(tmp_path / "list.pth")
    state = {**network.state_dict(), "conv1.weight": torch.zeros(64, 1, 7, 7), "extra": torch.zeros(1)}
    del state["bn1.bias"]
    torch.save(state, tmp_path / "other.pth")
    expected = r"1 keys missing \['bn1.bias'\], 1 unknown \['extra'\], 1 of another shape \['conv1.weight'\]"
    with pytest.raises(WeightsFileError, match=expected):
        network.load_imagenet_weights(tmp_path / "other.pth")


def test_weights_file_when_it_holds_code_then_the_code_does_not_run(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    (tmp_path / "bomb.pth").write_bytes(pickle.dumps({"conv1.weight": Bomb()}, protocol=2))
    with pytest.raises(WeightsFileError, match="cannot be read as a checkpoint"):
        ResNet34().load_imagenet_weights(tmp_path / "bomb.pth")
    assert not (tmp_path / "ran").exists()


@torch.no_grad()
def test_fifty_layers_when_compared_with_torchvision_then_equal():
    network = fill_with_golden_weights(ResNet50())
    levels = network(sine_image())
    assert [tuple(level.shape[1:]) for level in levels] == [(256, 16, 24), (512, 8, 12), (1024, 4, 6), (2048, 2, 3)]
    np.testing.assert_allclose(level_figures(levels), TORCHVISION_0_29_2, rtol=1e-4, atol=1e-4)
    num_parameters = sum(parameter.numel() for parameter in network.parameters())
    assert num_parameters == 25_557_032 - 2049 * 1000  # torchvision's without its classifier


def test_fifty_layers_when_loaded_from_torchvisions_keys_then_equal_and_other_files_named(tmp_path):
    source, target = ResNet50(4), ResNet50(4)
    state = {key: value + 1 for key, value in source.state_dict().items()}
    torch.save({**state, "fc.weight": torch.zeros(1000, 128), "fc.bias": torch.zeros(1000)}, tmp_path / "resnet50.pth")
    target.load_imagenet_weights(tmp_path / "resnet50.pth")
    assert all(torch.equal(value, state[key]) for key, value in target.state_dict().items())
    torch.save(ResNet34(4).state_dict(), tmp_path / "resnet34.pth")
    with pytest.raises(WeightsFileError, match=r"resnet34.pth' is not a ResNet-50: 85 keys missing \['layer1.0.bn3.bias'"):
        target.load_imagenet_weights(tmp_path / "resnet34.pth")


@pytest.mark.parametrize("base", [4, 8, 16])
def test_shortcut_when_channels_are_few_then_is_the_strided_convolution(base):
    block = ResNet34(base).eval().layer2[0]
    x = torch.randn(2, base, 9, 13)
    first, norm = block.downsample
    assert torch.equal(block.downsample(x), norm(torch.nn.functional.conv2d(x, first.weight, None, 2)))


def test_small_network_when_trained_by_two_threads_then_lives():  # oneDNN issue 6035 killed it, or gave wrong gradients
    code = """
import torch
from model.blocks.resnet import ResNet34
torch.set_num_threads(2)
torch.manual_seed(0)
network = ResNet34(8)
for _ in range(8):
    levels = network(torch.randint(0, 255, (5, 96, 160, 3), dtype=torch.uint8))
    sum(level.square().mean() for level in levels).backward()
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=REPOSITORY)
