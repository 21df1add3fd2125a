from __future__ import annotations

import numpy as np
import pytest
import torch

from model.blocks.convnext import ConvNeXt, ConvNeXtBlock
from model.errors import WeightsFileError
from tests.model.blocks.made_up_image import level_figures, sine_image
from tests.model.golden_weights import fill_with_golden_weights

TORCHVISION_0_29_2 = [  # mean, deviation and one value of each stage of its convnext_tiny with the golden weights
    [-0.03679078817367554, 1.4472497701644897, 1.9373654127120972],
    [0.04955751448869705, 1.495495319366455, -0.6743108034133911],
    [-0.0032461583614349365, 2.2970614433288574, -1.3987271785736084],
    [-0.06363216042518616, 1.5573835372924805, -1.2383439540863037],
]


@torch.no_grad()
def test_levels_when_compared_with_torchvision_then_equal():
    network = fill_with_golden_weights(ConvNeXt())
    levels = network(sine_image())
    assert [tuple(level.shape[1:]) for level in levels] == [(96, 16, 24), (192, 8, 12), (384, 4, 6), (768, 2, 3)]
    np.testing.assert_allclose(level_figures(levels), TORCHVISION_0_29_2, rtol=1e-4, atol=1e-4)


def test_parameters_when_counted_then_torchvisions_without_its_classifier():
    with torch.device("meta"):
        network = ConvNeXt()
    assert sum(parameter.numel() for parameter in network.parameters()) == 28_589_128 - 2 * 768 - 769 * 1000
    shapes = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    for key, shape in {
        "features.0.0.weight": (96, 3, 4, 4),
        "features.0.1.bias": (96,),
        "features.1.2.layer_scale": (96, 1, 1),
        "features.1.0.block.0.weight": (96, 1, 7, 7),
        "features.2.0.weight": (96,),
        "features.2.1.weight": (192, 96, 2, 2),
        "features.5.8.block.2.weight": (384,),
        "features.7.0.block.3.weight": (3072, 768),
        "features.7.2.block.5.bias": (768,),
    }.items():
        assert shapes[key] == shape


def test_imagenet_file_when_it_has_torchvisions_keys_then_loads(tmp_path):
    source, target = (ConvNeXt((1, 1, 2, 1), (8, 8, 16, 16)) for _ in range(2))
    state = {key: value + 1 for key, value in source.state_dict().items()}
    torch.save({**state, "classifier.0.weight": torch.ones(16), "classifier.2.bias": torch.ones(10)}, tmp_path / "tiny.pth")
    target.load_imagenet_weights(tmp_path / "tiny.pth")
    assert all(torch.equal(value, state[key]) for key, value in target.state_dict().items())
    expected = r"tiny.pth' is not a ConvNeXt of \(96, 192, 384, 768\) channels: 117 keys missing .*, 61 of another shape"
    with torch.device("meta"):
        larger = ConvNeXt()
    with pytest.raises(WeightsFileError, match=expected):
        larger.load_imagenet_weights(tmp_path / "tiny.pth")


def test_block_when_fresh_then_opens_by_its_scale():
    torch.manual_seed(0)
    x = torch.randn(2, 8, 5, 6)
    shut, open_ = ConvNeXtBlock(8, layer_scale=1e-6), ConvNeXtBlock(8, layer_scale=0.1)
    open_.block.load_state_dict(shut.block.state_dict())
    torch.testing.assert_close(
        (open_(x) - x) / 0.1, (shut.double()(x.double()) - x) / 1e-6, rtol=1e-3, atol=1e-5, check_dtype=False
    )


def test_sample_when_its_neighbour_changes_then_stays_as_it_is():
    torch.manual_seed(0)
    network = ConvNeXt((1, 1, 2, 1), (8, 8, 16, 16), layer_scale=0.1)
    images = torch.randn(3, 3, 64, 96)
    together = network(images)
    for sample in range(3):
        for level, alone in zip(together, network(images[sample : sample + 1]), strict=True):
            torch.testing.assert_close(level[sample : sample + 1], alone, rtol=1e-5, atol=1e-6)


def test_parameters_when_a_level_is_trained_on_then_each_receives_a_gradient():
    torch.manual_seed(0)
    network = ConvNeXt((1, 1, 2, 1), (8, 8, 16, 16), layer_scale=0.1)
    network(torch.randn(2, 3, 64, 96))[-1].square().mean().backward()
    assert [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().max() > 0] == []
