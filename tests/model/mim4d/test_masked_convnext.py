from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from model.blocks.convnext import ConvNeXt
from model.errors import WeightsFileError
from model.mim4d.mask import draw_patch_mask, mask_at
from model.mim4d.masked_convnext import ConvNeXtSize, MaskedConvNeXt
from tests.model.golden_weights import fill_with_golden_weights

SMALL = ConvNeXtSize((1, 1, 2, 1), (8, 8, 16, 16))


def made_up() -> tuple[MaskedConvNeXt, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    network = MaskedConvNeXt(SMALL)
    fill_with_golden_weights(network)  # wide open, and with biases that norms give hidden cells
    image = torch.randn(2, 3, 96, 128)
    mask = draw_patch_mask(2, (3, 4), hidden_ratio=0.4, generator=torch.Generator().manual_seed(1))
    return network, image, mask


def masking_every_step(network: MaskedConvNeXt, image: torch.Tensor, mask: torch.Tensor) -> list[torch.Tensor]:
    """The rule of docs/method/mim4d.md#masked-convolutions, to the letter."""

    def at(x):
        return mask_at(mask, tuple(x.shape[-2:])).to(x)

    def normed(norm, x):
        return F.layer_norm(x.permute(0, 2, 3, 1), norm.normalized_shape, norm.weight, norm.bias, norm.eps).permute(
            0, 3, 1, 2
        ) * at(x)

    x, levels = image * at(image), []
    for place in range(4):
        coarsen, stage = network.features[2 * place], network.features[2 * place + 1]
        for step in coarsen:
            y = step(x) if isinstance(step, torch.nn.Conv2d) else None
            x = normed(step, x) if y is None else y * at(y)
        for block in stage:
            y = block.block["0"](x)
            y = normed(block.block["2"], y * at(y)).permute(0, 2, 3, 1)
            y = block.block["5"](F.gelu(block.block["3"](y))).permute(0, 3, 1, 2)
            x = x + block.layer_scale * y * at(y)
        levels.append(normed(network.norms[place], x))
    return levels


def test_levels_when_every_step_is_masked_then_the_same():
    network, image, mask = made_up()
    for level, expected in zip(network(image, mask), masking_every_step(network, image, mask), strict=True):
        torch.testing.assert_close(level, expected, rtol=1e-5, atol=1e-6)


@torch.no_grad()
def test_levels_when_hidden_pixels_change_then_no_bit_does_and_hidden_cells_are_zero():
    network, image, mask = made_up()
    levels = network(image, mask)
    noise = torch.where(mask_at(mask, (96, 128)), image, torch.full_like(image, torch.nan))
    for level, other, seen_otherwise in zip(levels, network(noise, mask), network(image), strict=True):
        assert torch.equal(level, other)
        cells = mask_at(mask, tuple(level.shape[-2:])).expand_as(level)
        assert level[~cells].abs().max() == 0 and level[cells].abs().min() > 0
        assert (level - seen_otherwise)[cells].abs().max() > 0.01  # the dense network does look into the hidden patches


def test_hidden_pixels_when_the_levels_are_differentiated_then_no_gradient():
    network, image, mask = made_up()
    image.requires_grad_()
    sum(level.square().sum() for level in network(image, mask)).backward()
    cells = mask_at(mask, (96, 128)).expand_as(image)
    assert image.grad[~cells].abs().max() == 0 and image.grad[cells].abs().min() > 0


@torch.no_grad()
def test_levels_when_nothing_is_hidden_then_the_dense_ones():
    network, image, _ = made_up()
    network, image = network.double(), image.double()
    plain = ConvNeXt(SMALL.depths, SMALL.channels).double()
    plain.load_state_dict({key: value for key, value in network.state_dict().items() if not key.startswith("norms.")})
    masked = network(image, torch.ones(2, 1, 3, 4, dtype=torch.bool))
    for level, dense, raw, norm in zip(masked, network(image), plain(image), network.norms, strict=True):
        torch.testing.assert_close(level, dense, rtol=1e-9, atol=1e-9)
        assert torch.equal(dense, norm(raw))


@torch.no_grad()
def test_sample_when_its_neighbours_image_and_mask_change_then_stays_as_it_is():
    network, image, mask = made_up()
    alone = network(image[:1], mask[:1])
    for level, one in zip(network(image, mask), alone, strict=True):
        torch.testing.assert_close(level[:1], one, rtol=1e-5, atol=1e-6)


def test_parameters_when_trained_masked_then_each_receives_a_gradient():
    network, image, mask = made_up()
    sum(level.square().mean() for level in network(image, mask)).backward()
    assert [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().max() > 0] == []


def test_gradients_when_hidden_pixels_are_nan_then_as_without():
    network, image, mask = made_up()
    dirty = image.masked_fill(~mask_at(mask, (96, 128)), torch.nan)
    weights = list(network.parameters())
    clean, other = (
        torch.autograd.grad(sum(level.square().mean() for level in network(x, mask)), weights) for x in (image, dirty)
    )
    assert all(torch.equal(one, two) for one, two in zip(clean, other, strict=True))


def test_frozen_stages_when_trained_then_stay_and_are_never_skipped():
    torch.manual_seed(0)
    network = MaskedConvNeXt(SMALL, layer_scale=0.5, drop_path=0.4, frozen_stages=2)
    assert network.drop_rates == pytest.approx([0.0, 0.0, 0.2, 0.3, 0.4])
    frozen = {name for name, p in network.named_parameters() if not p.requires_grad}
    assert frozen == {
        name for name, _ in network.named_parameters() if name.startswith(tuple(f"features.{i}." for i in range(4)))
    }


def test_skipped_blocks_when_drawn_then_from_the_generator_and_by_sample():
    torch.manual_seed(0)
    network = MaskedConvNeXt(ConvNeXtSize((1, 1, 1, 1), (8, 8, 8, 8)), layer_scale=0.5, drop_path=0.75)
    image = torch.randn(1, 3, 32, 32).expand(64, -1, -1, -1)

    def at32(seed):
        return network(image, generator=torch.Generator().manual_seed(seed))[3].flatten(1)

    first = at32(0)
    state = torch.get_rng_state()
    assert torch.equal(first, at32(0)) and not torch.equal(first, at32(1))
    assert torch.equal(torch.get_rng_state(), state)
    assert len(torch.unique(first, dim=0)) == 8  # three blocks may be skipped, each sample for itself
    network.eval()
    assert len(torch.unique(at32(0), dim=0)) == 1


def test_skipped_blocks_when_many_are_drawn_then_the_mean_is_that_of_none_skipped():
    torch.manual_seed(0)
    network = MaskedConvNeXt(ConvNeXtSize((1, 1, 1, 1), (8, 8, 8, 8)), drop_path=0.5)
    keep = network._draw_keeps(torch.zeros(4000, 3, 1, 1), torch.Generator().manual_seed(0))[-1]
    assert sorted(keep.unique().tolist()) == [0.0, 2.0]
    assert keep.mean().item() == pytest.approx(1.0, abs=0.06)


def test_imagenet_file_when_it_has_torchvisions_keys_then_loads_and_the_norms_stay(tmp_path):
    source = {key: value + 1 for key, value in ConvNeXt(SMALL.depths, SMALL.channels).state_dict().items()}
    torch.save({**source, "classifier.2.bias": torch.ones(10)}, tmp_path / "small.pth")
    network = MaskedConvNeXt(SMALL)
    network.load_imagenet_weights(tmp_path / "small.pth")
    state = network.state_dict()
    assert all(torch.equal(state[key], value) for key, value in source.items())
    assert torch.equal(state["norms.2.weight"], torch.ones(16))
    torch.save({"features.0.0.weight": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(WeightsFileError, match=r"other.pth' is not a ConvNeXt of \(8, 8, 16, 16\) channels: 60 keys missing"):
        network.load_imagenet_weights(tmp_path / "other.pth")
