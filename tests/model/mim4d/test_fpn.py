from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from model.errors import InputError
from model.mim4d.depth_head import DepthBins, DepthHead
from model.mim4d.fpn import Fpn

SIZES = ((12, 20), (6, 10), (3, 5), (2, 3))


def made_up_levels(num: int = 2) -> list[torch.Tensor]:
    torch.manual_seed(0)
    return [torch.randn(num, channels, *size) for channels, size in zip((4, 6, 8, 10), SIZES, strict=True)]


def test_pyramid_when_computed_then_as_written_out():
    levels = made_up_levels()
    fpn = Fpn((4, 6, 8, 10), 5, first_level=1, num_extra=1)
    at8, at16, at32, at64 = fpn(levels)
    side32 = fpn.laterals[2](levels[3])
    side16 = fpn.laterals[1](levels[2]) + side32[:, :, [0, 0, 1]][..., [0, 0, 1, 1, 2]]  # nearest: 2 x 3 cells to 3 x 5
    side8 = fpn.laterals[0](levels[1]) + side16.repeat_interleave(2, 2).repeat_interleave(2, 3)
    for level, expected in ((at8, fpn.outputs[0](side8)), (at16, fpn.outputs[1](side16)), (at32, fpn.outputs[2](side32))):
        torch.testing.assert_close(level, expected)
    torch.testing.assert_close(at64, F.conv2d(at32, fpn.extras[0].weight, fpn.extras[0].bias, stride=2, padding=1))


@pytest.mark.parametrize(("first", "extra", "shapes"), [(0, 0, SIZES), (3, 0, SIZES[3:]), (2, 2, (*SIZES[2:], (1, 2), (1, 1)))])
def test_pyramid_when_levels_are_chosen_then_these(first, extra, shapes):
    levels = Fpn((4, 6, 8, 10), 5, first_level=first, num_extra=extra)(made_up_levels())
    assert [tuple(level.shape) for level in levels] == [(2, 5, *shape) for shape in shapes]


def test_pyramid_when_the_backbone_lacks_its_level_then_named():
    with pytest.raises(InputError, match="first_level of the feature pyramid is 4, but the backbone's levels are 0 to 3"):
        Fpn((4, 6, 8, 10), 5, first_level=4)


def test_depth_head_when_computed_then_a_distribution_read_from_its_features():
    levels = made_up_levels()[:1]
    head = DepthHead(4, DepthBins(0.0, 32.0, 16))
    features, depth = head(levels)
    torch.testing.assert_close(features[0], F.conv2d(levels[0], head.input_proj.weight, head.input_proj.bias))
    assert depth[0].shape == (2, 16, 12, 20)
    torch.testing.assert_close(depth[0].sum(1), torch.ones(2, 12, 20))
    torch.testing.assert_close(depth[0], F.conv2d(features[0], head.depth.weight, head.depth.bias).softmax(1))
    depth[0][:, 3].sum().backward()
    assert all(parameter.grad.abs().max() > 0 for parameter in head.parameters())


def test_bins_when_made_then_their_middles_and_ends_and_bad_ones_named():
    bins = DepthBins(1.0, 60.0, 118)
    assert bins.bin_m == 0.5
    assert bins.centres_m()[[0, -1]].tolist() == [1.25, 59.75]
    assert bins.near_ends_m()[[0, -1]].tolist() == [1.0, 59.5]
    with pytest.raises(
        InputError, match="4 depth bins from 8 to 2 m cannot be made; expected one or more, and 0 <= near_m < far_m"
    ):
        DepthBins(8, 2, 4)
