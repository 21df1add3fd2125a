from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from model.errors import WeightsFileError
from model.monoddle.dla import Dla34
from model.monoddle.dla_up import DlaUp, bilinear_upsampling
from tests.model.golden_weights import fill_with_golden_weights

NARROW = (4, 4, 8, 12, 16, 20)
UNREAD = {
    f"{level}.project.{part}" for level in ("level3", "level4") for part in ("0.weight", "1.weight", "1.bias")
}  # of the parameters


def test_levels_when_computed_then_strides_and_widths():
    levels = Dla34(NARROW).eval()(torch.zeros(2, 3, 64, 96))
    assert [tuple(level.shape) for level in levels] == [(2, 8, 16, 24), (2, 12, 8, 12), (2, 16, 4, 6), (2, 20, 2, 3)]
    assert Dla34(NARROW).channels == (8, 12, 16, 20)


def test_unread_projections_when_left_out_then_the_same_levels():
    public, lean = fill_with_golden_weights(Dla34(NARROW, compat=True)), fill_with_golden_weights(Dla34(NARROW))
    image = torch.randn(1, 3, 64, 64)
    levels = public(image)
    for one, other in zip(levels, lean(image), strict=True):
        assert torch.equal(one, other)
    sum(level.square().mean() for level in levels).backward()
    assert {name for name, parameter in public.named_parameters() if parameter.grad is None} == UNREAD
    assert {name for name, _ in public.named_parameters()} - {name for name, _ in lean.named_parameters()} == UNREAD


def test_convolutions_when_fresh_then_he_normal_by_fan_out():
    torch.manual_seed(0)
    for module in Dla34().modules():
        if isinstance(module, nn.Conv2d) and module.weight.numel() > 9000:
            fan_out = module.kernel_size[0] ** 2 * module.out_channels
            assert float(module.weight.detach().std()) == pytest.approx(math.sqrt(2.0 / fan_out), rel=0.05)
        if isinstance(module, nn.BatchNorm2d):
            assert (module.weight == 1).all() and (module.bias == 0).all()


def test_imagenet_file_when_the_authors_or_timms_then_loads_into_both_forms(tmp_path):
    source = fill_with_golden_weights(Dla34(NARROW, compat=True)).state_dict()
    classifier = {"fc.weight": torch.zeros(1000, 20, 1, 1), "fc.bias": torch.zeros(1000)}
    authors = {key: value for key, value in source.items() if not key.endswith("num_batches_tracked")}
    timms = {key: value for key, value in source.items() if not key.startswith(("level3.project", "level4.project"))}
    for name, state in (("authors", authors), ("timms", timms)):
        torch.save({**state, **classifier}, tmp_path / f"{name}.pth")
        for compat in (True, False):
            target = Dla34(NARROW, compat=compat)
            target.load_imagenet_weights(tmp_path / f"{name}.pth")
            loaded = target.state_dict()
            assert all(torch.equal(value, source[key]) for key, value in loaded.items() if key in timms)


def test_imagenet_file_when_of_another_network_then_named(tmp_path):
    state = Dla34(NARROW).state_dict()
    del state["level5.root.bn.bias"]
    torch.save({**state, "level6.conv.weight": torch.zeros(1), "level0.0.weight": torch.zeros(4)}, tmp_path / "other.pth")
    expected = (
        r"other.pth' is not a DLA-34: 1 keys missing \['level5.root.bn.bias'\], 1 unknown \['level6.conv.weight'\], "
        r"1 of another shape \['level0.0.weight'\]"
    )
    with pytest.raises(WeightsFileError, match=expected):
        Dla34(NARROW).load_imagenet_weights(tmp_path / "other.pth")


@torch.no_grad()
def test_upsampling_when_fresh_then_bilinear_interpolation():
    x = torch.randn(2, 5, 6, 7)
    got, want = bilinear_upsampling(5)(x), F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
    assert got.shape == want.shape == (2, 5, 12, 14)
    torch.testing.assert_close(got[..., 1:-1, 1:-1], want[..., 1:-1, 1:-1])  # at the border it mixes with zeros


def test_neck_when_a_level_changes_then_the_map_changes_and_has_the_finest_grid():
    neck = fill_with_golden_weights(DlaUp((4, 6, 8, 10)))
    levels = [torch.randn(1, channels, 16 // 2**i, 24 // 2**i) for i, channels in enumerate((4, 6, 8, 10))]
    base = neck(tuple(levels))
    assert base.shape == (1, 4, 16, 24)
    for i in range(4):
        changed = [level + 1.0 if i == j else level for j, level in enumerate(levels)]
        assert not torch.allclose(neck(tuple(changed)), base)
