from __future__ import annotations

import pytest
import torch

from model.blocks.resnet import ResNet34, ResNet50
from model.mim4d.mask import draw_patch_mask, mask_at
from model.mim4d.masked_resnet import MaskedResNet34, MaskedResNet50, over_seen_cells

PAIRS = [(MaskedResNet34, ResNet34), (MaskedResNet50, ResNet50)]


def made_up(kind, *, train: bool = False):
    torch.manual_seed(0)
    network = kind(8).train(train)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(module.bias)
            module.running_mean.normal_(std=0.1)
    image = torch.randn(2, 3, 64, 96)
    mask = draw_patch_mask(2, (2, 3), hidden_ratio=0.4, generator=torch.Generator().manual_seed(1))
    return network, image, mask


@pytest.mark.parametrize(("masked", "plain"), PAIRS)
def test_keys_when_compared_with_the_plain_network_then_the_same(masked, plain):
    shapes = [{key: value.shape for key, value in kind(8).state_dict().items()} for kind in (masked, plain)]
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize("kind", [MaskedResNet34, MaskedResNet50])
@pytest.mark.parametrize("train", [False, True])
@torch.no_grad()
def test_levels_when_hidden_pixels_change_then_no_bit_does_and_hidden_cells_are_zero(kind, train):
    network, image, mask = made_up(kind, train=train)
    levels = network(image, mask)
    dirty = torch.where(mask_at(mask, (64, 96)), image, torch.full_like(image, torch.nan))
    for level, other, channels in zip(levels, network(dirty, mask), network.channels, strict=True):
        assert level.shape[1] == channels
        assert torch.equal(level, other)
        cells = mask_at(mask, tuple(level.shape[-2:])).expand_as(level)
        assert level[~cells].abs().max() == 0 and level[cells].max() > 0


@pytest.mark.parametrize("kind", [MaskedResNet34, MaskedResNet50])
@pytest.mark.parametrize("train", [False, True])
@torch.no_grad()
def test_levels_when_nothing_is_hidden_then_the_dense_ones(kind, train):
    network, image, _ = made_up(kind, train=train)
    network, image = network.double(), image.double()
    for level, dense in zip(network(image, torch.ones(2, 1, 2, 3, dtype=torch.bool)), network(image), strict=True):
        torch.testing.assert_close(level, dense, rtol=1e-9, atol=1e-9)


@torch.no_grad()
def test_levels_when_no_mask_is_given_then_those_of_the_plain_networks_in_training():
    network, image, _ = made_up(MaskedResNet50)
    plain = ResNet50(8).train()
    plain.load_state_dict(network.state_dict())
    assert all(torch.equal(level, other) for level, other in zip(network(image), plain(image), strict=True))
    network, _, _ = made_up(MaskedResNet34)
    plain = ResNet34(8).train()
    plain.load_state_dict(network.state_dict())
    raw = torch.randint(0, 256, (2, 64, 96, 3), dtype=torch.uint8)
    levels = network((raw.permute(0, 3, 1, 2) / 255.0 - plain.mean) / plain.std)
    assert all(torch.equal(level, other) for level, other in zip(levels, plain(raw)[1:], strict=True))


@pytest.mark.parametrize("train", [False, True])
def test_batch_norm_when_cells_are_hidden_then_its_statistics_are_of_the_seen_ones(train):
    torch.manual_seed(0)
    norm = torch.nn.BatchNorm2d(4).train(train)
    mask = torch.tensor([[True, False, True], [False, True, True]]).view(1, 1, 2, 3)
    x = torch.randn(1, 4, 4, 6) * 3 + 2
    result = over_seen_cells(mask)(norm, x)
    cells = mask_at(mask, (4, 6))[0, 0]
    rows = x[0][:, cells]
    mean, variance = rows.mean(1), rows.var(1, unbiased=False)  # in evaluation too
    expected = (rows - mean[:, None]) / (variance[:, None] + norm.eps).sqrt()
    torch.testing.assert_close(result[0][:, cells], expected, rtol=1e-5, atol=1e-5)
    assert result[0][:, ~cells].abs().max() == 0
    torch.testing.assert_close(norm.running_mean, 0.1 * mean if train else torch.zeros(4))
    torch.testing.assert_close(norm.running_var, 0.9 + 0.1 * rows.var(1) if train else torch.ones(4))


def test_parameters_when_trained_masked_then_each_receives_a_gradient():
    network, image, mask = made_up(MaskedResNet34, train=True)
    sum(level.square().mean() for level in network(image, mask)).backward()
    assert [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().max() > 0] == []


@torch.no_grad()
def test_levels_when_evaluated_then_those_of_training_and_the_averages_stay():
    network, image, mask = made_up(MaskedResNet34)
    before = network.bn1.running_mean.clone()
    evaluated = network(image, mask)
    assert torch.equal(network.bn1.running_mean, before)
    trained = network.train()(image, mask)
    assert all(torch.equal(one, other) for one, other in zip(evaluated, trained, strict=True))
    assert not torch.equal(network.bn1.running_mean, before)
