from __future__ import annotations

import pytest
import torch

from model.errors import InputError
from model.monoddle.heads import depth_logit_of, depth_m_of
from model.monoddle.net import MonoDdle
from model.monoddle.network_config import OWN_BACKBONES, MonoDdleConfig
from tests.model.golden_weights import fill_with_golden_weights
from tests.model.monoddle.tiny_network import SHAPES, images, tiny_config

PLAIN = [name for name in SHAPES if name != "dense_depth_uncertainty"]


@pytest.fixture
def network() -> MonoDdle:
    return fill_with_golden_weights(MonoDdle(tiny_config()))


@torch.no_grad()
@pytest.mark.parametrize(("height", "width"), [(96, 320), (32, 64), (64, 32)])
def test_maps_when_asked_for_then_every_one_at_stride_four(network, height, width):
    maps = network(images(2, height, width), with_uncertainty=True)
    assert {name: tuple(got.shape) for name, got in maps.items()} == {
        name: (2, channels, height // 4, width // 4) for name, channels in SHAPES.items()
    }
    assert all(got.dtype == torch.float32 for got in maps.values())


@torch.no_grad()
def test_maps_when_there_are_two_classes_then_two_heat_maps():
    network = MonoDdle(tiny_config(classes=("Car", "Van"), uncertainty=False)).eval()
    maps = network(images(1))
    assert list(maps) == PLAIN
    assert maps["heatmap"].shape[1] == 2


@torch.no_grad()
def test_uncertainty_when_inferring_then_left_out_and_nothing_else_changes(network):
    image = images()
    asked, plain = network(image, with_uncertainty=True), network(image)
    assert list(plain) == PLAIN
    assert all(torch.equal(plain[name], asked[name]) for name in PLAIN)
    assert "dense_depth_uncertainty" in network.train()(image)
    assert "dense_depth_uncertainty" not in network(image, with_uncertainty=False)


def test_uncertainty_when_there_is_no_such_head_then_said():
    network = MonoDdle(tiny_config(uncertainty=False))
    assert list(network.train()(images())) == PLAIN
    with pytest.raises(InputError, match="this network has no uncertainty head; build it with uncertainty=True"):
        network(images(), with_uncertainty=True)


def test_parameters_when_trained_then_each_receives_a_gradient():
    torch.manual_seed(0)
    network = MonoDdle(tiny_config())
    maps = network.train()(images(2, 32, 64))
    sum(got.square().mean() for got in maps.values()).backward()
    assert [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().max() > 0] == []
    assert all(bool(p.grad.isfinite().all()) for p in network.parameters())


@pytest.mark.parametrize(
    "backbone", [pytest.param(name, marks=pytest.mark.slow) if name == "hrnet_w32" else name for name in OWN_BACKBONES]
)
def test_parameters_when_of_the_whole_network_then_each_is_part_of_the_maps(backbone):
    with torch.device("meta"):
        network = MonoDdle(MonoDdleConfig(backbone=backbone, uncertainty=True)).train()
        maps = network(torch.empty(2, 3, 32, 64))
    sum(got.mean() for got in maps.values()).backward()
    assert [name for name, parameter in network.named_parameters() if parameter.grad is None] == []


@torch.no_grad()
def test_sample_when_its_neighbour_changes_then_stays_as_it_is(network):
    image = images(3)
    together = network(image)
    for sample in range(3):
        for name, alone in network(image[sample : sample + 1]).items():
            torch.testing.assert_close(together[name][sample : sample + 1], alone, rtol=1e-5, atol=1e-5)
    image[0] = images(1, seed=5)[0]
    changed = network(image)
    for name in PLAIN:
        torch.testing.assert_close(changed[name][1:], together[name][1:], rtol=1e-5, atol=1e-5)
        assert not torch.allclose(changed[name][0], together[name][0])


@torch.no_grad()
def test_image_when_shifted_by_whole_coarsest_cells_then_maps_shift_with_it(network):
    image = torch.zeros(1, 3, 64, 1216)
    image[..., 544:608] = images(1, 64, 64)
    right = torch.roll(image, 32, dims=3)
    for name, got in network(image).items():
        middle = slice(130, 160)  # far from the border, whose padding is felt a long way
        torch.testing.assert_close(network(right)[name][..., 138:168], got[..., middle], rtol=1e-4, atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("is_training", [False, True])
def test_bfloat16_when_autocast_then_finite_float32_maps_close_to_exact(network, is_training):
    network.train(is_training)
    image = images()
    exact = network(image, with_uncertainty=True)
    with torch.autocast("cpu", torch.bfloat16):
        rough = network(image, with_uncertainty=True)
    for name, got in rough.items():
        assert got.dtype == torch.float32
        assert got.isfinite().all(), name
        assert float((got - exact[name]).abs().mean()) < 0.15 * float(exact[name].std()), name


@torch.no_grad()
def test_depth_head_when_autocast_then_finer_than_bfloat16():
    network = fill_with_golden_weights(MonoDdle(tiny_config()))
    network.heads["depth"].last_bias[0] = depth_logit_of(65.0)
    with torch.autocast("cpu", torch.bfloat16):
        maps = network(images())
    assert not torch.equal(maps["size_2d"], maps["size_2d"].bfloat16().float())  # the last layer of all is not rounded
    depth_m = depth_m_of(maps["depth"][:, 0])
    in_bfloat16 = depth_m_of(maps["depth"][:, 0].bfloat16())
    assert len(in_bfloat16.unique()) < 100  # 1 to 2 m apart
    assert len(depth_m.unique()) > 1700  # of 1920 cells


def test_image_when_it_does_not_fit_then_said(network):
    with pytest.raises(
        InputError, match=r"image must be floating-point \(b, 3, h, w\), normalised, got torch.uint8 \(1, 3, 32, 32\)"
    ):
        network(torch.zeros(1, 3, 32, 32, dtype=torch.uint8))
    with pytest.raises(InputError, match=r"got torch.float32 \(1, 32, 32, 3\); uint8 images \(b, h, w, 3\) have to be permuted"):
        network(torch.zeros(1, 32, 32, 3))
    with pytest.raises(InputError, match=r"image is 375 x 1242 \(height x width\), expected multiples of 32; bring it to"):
        network(torch.zeros(1, 3, 375, 1242))


def test_imagenet_weights_when_loaded_then_the_backbone_has_them(network, tmp_path):
    torch.save({key: value * 0 for key, value in network.backbone.state_dict().items()}, tmp_path / "backbone.pth")
    network.load_imagenet_weights(tmp_path / "backbone.pth")
    assert not any(value.any() for value in network.backbone.state_dict().values())
    assert all(parameter.any() for parameter in network.neck.parameters())
