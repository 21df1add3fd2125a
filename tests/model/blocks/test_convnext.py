from __future__ import annotations

import numpy as np
import pytest
import torch

from model.blocks.convnext import ConvNeXt, ConvNeXtBlock, GlobalResponseNorm
from model.errors import WeightsFileError
from tests.model.blocks.made_up_image import level_figures, sine_image
from tests.model.golden_weights import fill_with_golden_weights

TORCHVISION_0_29_2 = [  # mean, deviation and one value of each stage of its convnext_tiny with the golden weights
    [-0.03679078817367554, 1.4472497701644897, 1.9373654127120972],
    [0.04955751448869705, 1.495495319366455, -0.6743108034133911],
    [-0.0032461583614349365, 2.2970614433288574, -1.3987271785736084],
    [-0.06363216042518616, 1.5573835372924805, -1.2383439540863037],
]

TIMM_1_0_31 = [  # the same of timm's convnextv2_tiny (features_only), which torchvision does not have
    [-0.012459635734558105, 3.0248351097106934, 3.0541300773620605],
    [0.30693626403808594, 3.201951503753662, 0.0006709098815917969],
    [-0.2685573399066925, 5.219945907592773, -1.5211610794067383],
    [0.09423448145389557, 3.715493679046631, -1.9940053224563599],
]
SMALL = ((1, 1, 2, 1), (8, 8, 16, 16))


@torch.no_grad()
def test_levels_when_compared_with_torchvision_then_equal():
    network = fill_with_golden_weights(ConvNeXt())
    levels = network(sine_image())
    assert [tuple(level.shape[1:]) for level in levels] == [(96, 16, 24), (192, 8, 12), (384, 4, 6), (768, 2, 3)]
    np.testing.assert_allclose(level_figures(levels), TORCHVISION_0_29_2, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_levels_of_v2_when_compared_with_timm_then_equal():
    levels = fill_with_golden_weights(ConvNeXt(layer_scale=None))(sine_image())
    np.testing.assert_allclose(level_figures(levels), TIMM_1_0_31, rtol=1e-4, atol=1e-4)


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


TIMM_PARTS = {"block.0": "conv_dw", "block.2": "norm", "block.3": "mlp.fc1", "block.grn": "mlp.grn", "block.5": "mlp.fc2"}
AUTHORS_PARTS = {"block.0": "dwconv", "block.2": "norm", "block.3": "pwconv1", "block.5": "pwconv2"}


def in_timms_names(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Write each name as timm 1.0.31 has it in its files."""
    named = {}
    for key, value in state.items():
        _, step, rest = key.split(".", 2)
        stage = int(step) // 2
        if int(step) % 2 == 0:
            named[f"stages.{stage}.downsample.{rest}" if stage else f"stem.{rest}"] = value
            continue
        block, part = rest.split(".", 1)
        if part == "layer_scale":
            named[f"stages.{stage}.blocks.{block}.gamma"] = value.flatten()
        else:
            layer, name = part.rsplit(".", 1)
            named[f"stages.{stage}.blocks.{block}.{TIMM_PARTS[layer]}.{name}"] = value
    return named


def in_the_authors_names(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Write each name and shape as the authors of V2 have it in their files."""
    named = {}
    for key, value in state.items():
        _, step, rest = key.split(".", 2)
        stage = int(step) // 2
        if int(step) % 2 == 0:
            named[f"downsample_layers.{stage}.{rest}"] = value
            continue
        block, part = rest.split(".", 1)
        layer, name = part.rsplit(".", 1)
        if layer == "block.grn":
            named[f"stages.{stage}.{block}.grn.{'gamma' if name == 'weight' else 'beta'}"] = value.view(1, 1, 1, -1)
        else:
            named[f"stages.{stage}.{block}.{AUTHORS_PARTS[layer]}.{name}"] = value
    return named


@pytest.mark.parametrize("layer_scale", [1e-6, None])
def test_imagenet_file_when_it_has_timms_keys_then_loads(tmp_path, layer_scale):
    source, target = (ConvNeXt(*SMALL, layer_scale=layer_scale) for _ in range(2))
    state = {key: value + 1 for key, value in source.state_dict().items()}
    torch.save(in_timms_names(state) | {"head.norm.weight": torch.ones(16), "head.fc.bias": torch.ones(9)}, tmp_path / "timm.pth")
    target.load_imagenet_weights(tmp_path / "timm.pth")
    assert all(torch.equal(value, state[key]) for key, value in target.state_dict().items())


def test_imagenet_file_of_v2_when_the_authors_wrote_it_then_loads_and_one_of_v1_is_named(tmp_path):
    source, target = (ConvNeXt(*SMALL, layer_scale=None) for _ in range(2))
    state = {key: value + 1 for key, value in source.state_dict().items()}
    torch.save({"model": in_the_authors_names(state) | {"norm.weight": torch.ones(16)}}, tmp_path / "v2.pt")
    target.load_imagenet_weights(tmp_path / "v2.pt")
    assert all(torch.equal(value, state[key]) for key, value in target.state_dict().items())
    torch.save(in_timms_names(ConvNeXt(*SMALL).state_dict()), tmp_path / "v1.pth")
    expected = (
        r"v1.pth' is not a ConvNeXt V2 of \(8, 8, 16, 16\) channels: 10 keys missing \['features.1.0.block.grn.bias', .*"
        r"5 unknown \['features.1.0.layer_scale'"
    )
    with pytest.raises(WeightsFileError, match=expected):
        target.load_imagenet_weights(tmp_path / "v1.pth")
    assert all(torch.equal(value, state[key]) for key, value in target.state_dict().items())


def test_response_norm_when_fresh_then_changes_nothing_and_raises_what_responds_most():
    norm, x = GlobalResponseNorm(2), torch.tensor([[[[3.0, 1.0]], [[4.0, 0.0]]]])  # responses 5 and 1: shares 5 / 3 and 1 / 3
    assert torch.equal(norm(x), x)
    torch.nn.init.ones_(norm.weight)
    torch.testing.assert_close(norm(x), x * (1 + torch.tensor([5 / 3, 1 / 3])))


def test_block_when_fresh_then_opens_by_its_scale():
    torch.manual_seed(0)
    x = torch.randn(2, 8, 5, 6)
    shut, open_ = ConvNeXtBlock(8, layer_scale=1e-6), ConvNeXtBlock(8, layer_scale=0.1)
    open_.block.load_state_dict(shut.block.state_dict())
    torch.testing.assert_close(
        (open_(x) - x) / 0.1, (shut.double()(x.double()) - x) / 1e-6, rtol=1e-3, atol=1e-5, check_dtype=False
    )


@pytest.mark.parametrize("layer_scale", [0.1, None])
def test_sample_when_its_neighbour_changes_then_stays_as_it_is(layer_scale):
    torch.manual_seed(0)
    network = fill_with_golden_weights(ConvNeXt(*SMALL, layer_scale=layer_scale))
    images = torch.randn(3, 3, 64, 96)
    together = network(images)
    for sample in range(3):
        for level, alone in zip(together, network(images[sample : sample + 1]), strict=True):
            torch.testing.assert_close(level[sample : sample + 1], alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("layer_scale", [0.1, None])
def test_parameters_when_a_level_is_trained_on_then_each_receives_a_gradient(layer_scale):
    torch.manual_seed(0)
    network = ConvNeXt(*SMALL, layer_scale=layer_scale)
    network(torch.randn(2, 3, 64, 96))[-1].square().mean().backward()
    assert [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().max() > 0] == []
