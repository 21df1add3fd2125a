from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError

from model.mim4d.depth_head import DepthHead
from model.mim4d.encoder import make_backbone
from model.mim4d.fpn import Fpn
from model.mim4d.lift import Cameras, RenderConv, lift_by_sampling
from model.mim4d.mask import draw_patch_mask, patch_cells
from model.mim4d.masked_resnet import MaskedResNet34, MaskedResNet50
from model.mim4d.network_config import BackboneConfig, LiftConfig, MaskConfig, Mim4dConfig
from model.mim4d.render_config import RenderConfig
from tests.model.mim4d.made_up_rig import ring


def parts(config: Mim4dConfig) -> dict[str, torch.nn.Module]:
    lift = config.lift
    with torch.device("meta"):
        backbone = make_backbone(config.backbone)
        return {
            "backbone": backbone,
            "fpn": Fpn(backbone.channels, lift.channels, first_level=lift.first_level, num_extra=lift.num_extra_levels),
            "depth_head": DepthHead(lift.channels, lift.bins),
            "render_conv": RenderConv(lift.channels, lift.volume_channels, norm=lift.norm3d, num_groups=lift.norm_groups),
        }


def num_parameters(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize("config", [Mim4dConfig(), Mim4dConfig.released()])
def test_parameters_when_the_full_network_is_counted_then_the_specifications(config):
    made = parts(config)
    assert num_parameters(made["backbone"]) == 49_456_032
    assert num_parameters(made["fpn"]) == 762_752
    assert num_parameters(made["depth_head"].input_proj) == 16_512
    assert num_parameters(made["depth_head"].depth) == 8_256
    assert num_parameters(made["render_conv"]) == 110_656
    frozen = sum(parameter.numel() for parameter in made["backbone"].parameters() if not parameter.requires_grad)
    assert frozen == (242_784 if config == Mim4dConfig.released() else 0)


@pytest.mark.parametrize(
    ("name", "count"),
    # without their classifiers torchvision's convnexts have 27,818,592, 49,453,152 and 87,564,416; then come the four norms
    [("convnext_t", 27_818_592 + 2_880), ("convnext_s", 49_456_032), ("convnext_b", 87_564_416 + 3_840)],
)
def test_parameters_when_convnexts_are_counted_then_torchvisions_and_the_norms(name, count):
    assert num_parameters(parts(Mim4dConfig(backbone=BackboneConfig(name=name)))["backbone"]) == count


def test_parameters_when_the_tiny_network_is_counted_then_the_specifications_size():
    made = parts(Mim4dConfig.tiny())
    assert num_parameters(made["backbone"]) == 398_920  # 0.399 M
    assert num_parameters(made["fpn"]) == 45_792  # 0.046 M


def test_shapes_when_the_full_network_is_computed_without_numbers_then_the_specifications():
    config = Mim4dConfig()
    made = parts(config)
    image = torch.empty(18, 3, *config.input_px, device="meta")
    levels = made["backbone"].eval()(image)
    sizes = [(120, 200), (60, 100), (30, 50), (15, 25)]
    assert [tuple(level.shape) for level in levels] == [
        (18, channels, *size) for channels, size in zip((96, 192, 384, 768), sizes, strict=True)
    ]
    features, depth = made["depth_head"](made["fpn"](levels))
    sizes = [(60, 100), (30, 50), (15, 25), (8, 13)]
    assert [tuple(feature.shape) for feature in features] == [(18, 128, *size) for size in sizes]
    assert [tuple(one.shape) for one in depth] == [(18, 64, *size) for size in sizes]
    assert [tuple(-(-side // stride) for side in config.input_px) for stride in config.lift.strides] == sizes
    volumes = torch.empty(1, 3, config.lift.channels, *config.lift.grid.shape_zyx, device="meta")
    assert made["render_conv"](volumes).shape == (1, 3, 32, 5, 128, 128)
    assert patch_cells(config.input_px, patch_px=config.mask.patch_px) == (15, 25)


def test_backbone_when_a_resnet_is_asked_for_then_it_is_of_that_width():
    with torch.device("meta"):
        assert isinstance(make_backbone(BackboneConfig(name="resnet50", drop_path=0.2)), MaskedResNet50)
        small = make_backbone(BackboneConfig(name="resnet34", base_channels=16))
    assert isinstance(small, MaskedResNet34) and small.channels == (16, 32, 64, 128)


@pytest.mark.parametrize("backbone", [Mim4dConfig.tiny().backbone, BackboneConfig(name="resnet34", base_channels=8)])
def test_parameters_when_volumes_are_trained_then_each_that_is_trained_receives_a_gradient(backbone):
    torch.manual_seed(0)
    config = Mim4dConfig.tiny()
    lift = config.lift
    cameras = ring(1, 2, 3)
    network = torch.nn.ModuleList(
        [
            make_backbone(backbone, first_level=lift.first_level),
            DepthHead(lift.channels, lift.bins),
            RenderConv(lift.channels, lift.volume_channels, norm=lift.norm3d, num_groups=lift.norm_groups),
        ]
    )
    network.insert(1, Fpn(network[0].channels, lift.channels, first_level=lift.first_level, num_extra=lift.num_extra_levels))
    image, generator = torch.randn(6, 3, 96, 160), torch.Generator().manual_seed(0)
    mask = draw_patch_mask(6, patch_cells((96, 160), patch_px=32), hidden_ratio=0.3, generator=generator)
    maps = [
        [one.unflatten(0, cameras.views) for one in kind]
        for kind in network[2](network[1](network[0](image, mask, generator=generator)))
    ]
    wide = Cameras(cameras.cam_from_rig, cameras.intrinsics * torch.tensor([[3.0], [3.0], [1.0]]), (96, 160))
    volumes = network[3](lift_by_sampling(*maps, wide, grid=lift.grid, bins=lift.bins, strides=lift.strides))
    volumes.square().mean().backward()
    trained = [name for name, parameter in network.named_parameters() if parameter.requires_grad]
    assert [n for n, p in network.named_parameters() if n in trained and (p.grad is None or not p.grad.abs().max() > 0)] == []
    left_out = {name for name, _ in network.named_parameters()} - set(trained)
    assert left_out == (set() if backbone.is_resnet else {"0.norms.0.weight", "0.norms.0.bias"})


def test_config_when_stored_then_comes_back_equal():
    for config in (Mim4dConfig(), Mim4dConfig.released(), Mim4dConfig.tiny()):
        assert Mim4dConfig.model_validate_json(config.model_dump_json()) == config


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Mim4dConfig(mask=MaskConfig(patch_px=16)), "a mask patch has 16 pixels, expected a multiple of 32"),
        (lambda: Mim4dConfig(mask=MaskConfig(patch_px=64)), "expected multiples of the mask patch of 64 pixels"),
        (lambda: Mim4dConfig(input_px=(450, 800)), r"input_px is 450 x 800 \(height x width\), expected multiples of 32; pad"),
        (lambda: MaskConfig(hidden_ratio=1.0), "less than 1"),
        (
            lambda: BackboneConfig(name="resnet34", frozen_stages=1),
            "frozen_stages belongs to a convnext, but the backbone is resnet34",
        ),
        (lambda: BackboneConfig(base_channels=16), "base_channels belongs to a resnet, but the backbone is convnext_s; leave"),
        (
            lambda: LiftConfig(kind="splat"),
            "kind splat sends one level, but first_level 1 and num_extra_levels 1 make 4; set first_level",
        ),
        (lambda: LiftConfig(volume_channels=20), "volume_channels is 20, which norm_groups 8 does not divide"),
        (lambda: LiftConfig(near_m=70.0), "64 depth bins from 70.0 to 64.0 m cannot be made"),
        (lambda: LiftConfig(low_m=(60.0, 0.0, 0.0)), "expected every lower bound below its upper bound"),
        (
            lambda: Mim4dConfig(render=RenderConfig(grid_align="released")),
            "lift.grid_align is consistent, but render.grid_align is released",
        ),
        (lambda: Mim4dConfig.model_validate({"masks": {}}), "Extra inputs are not permitted"),
    ],
)
def test_config_when_it_does_not_fit_together_then_named(make, message):
    with pytest.raises(ValidationError, match=message):
        make()


def test_config_when_nothing_is_hidden_then_the_patch_may_be_any():
    assert Mim4dConfig(input_px=(96, 160), mask=MaskConfig(hidden_ratio=0.0, patch_px=64)).mask.hidden_ratio == 0
    assert LiftConfig(kind="splat", first_level=3, num_extra_levels=0).strides == (32,)
