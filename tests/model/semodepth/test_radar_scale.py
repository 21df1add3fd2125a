from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from model.semodepth.mvsp import RadarFilmBlock, WindowScan
from model.semodepth.radar_graph import RadarNodes, radar_nodes
from model.semodepth.radar_scale import DenseMap, add_dense, modulate, place_by_resize, place_by_scatter
from tests.model.golden_weights import fill_with_golden_weights


def returns(height: int, width: int, count: int, batch: int = 3) -> tuple[RadarNodes, torch.Tensor, torch.Tensor]:
    """Nodes, their features, and the dense map that the reference would make of them."""
    radar = torch.zeros(batch, height, width)
    for sample in range(batch - 1):  # the last has none
        radar[sample].view(-1)[torch.randperm(height * width)[:count]] = 5.0
    nodes = radar_nodes(radar, max_nodes=512)
    features = torch.rand(len(nodes.sample), 8)
    dense = torch.zeros(batch, 8, height, width)
    dense[nodes.sample, :, nodes.row, nodes.column] = features
    return nodes, features, dense


@pytest.mark.parametrize(
    ("size", "grid"),
    [((90, 160), (45, 80)), ((90, 160), (6, 10)), ((75, 101), (10, 13)), ((7, 9), (4, 5)), ((3, 3), (3, 3)), ((1, 1), (1, 1))],
)
def test_resize_when_compared_with_a_dense_map_then_equal(size, grid):
    nodes, features, dense = returns(*size, min(300, size[0] * size[1]))
    want = F.interpolate(dense, grid, mode="bilinear", align_corners=False)
    torch.testing.assert_close(place_by_resize(nodes, features, grid=grid).dense(), want, rtol=1e-4, atol=1e-5)


def test_scatter_when_many_share_a_cell_then_the_largest_and_none_is_lost():
    nodes, features, dense = returns(64, 96, 200)
    got = place_by_scatter(nodes, features, grid=(4, 6)).dense()
    torch.testing.assert_close(got, F.max_pool2d(dense, 16))
    nodes, features, _ = returns(75, 101, 1)
    assert len(place_by_scatter(nodes, features, grid=(3, 4)).cell) == 2
    assert len(place_by_resize(nodes, features, grid=(3, 4)).cell) <= 2


@pytest.mark.parametrize("place", [place_by_resize, place_by_scatter])
def test_sparse_modulation_when_compared_with_dense_then_equal_values_and_gradients(place):
    nodes, features, _ = returns(60, 80, 40)
    features.requires_grad_()
    block = fill_with_golden_weights(RadarFilmBlock(4, 8, 6))
    x = torch.randn(3, 6, 30, 40)
    gradients = []
    for is_dense in (False, True):
        radar = place(nodes, features, grid=(30, 40))
        y = modulate(x, DenseMap(radar.dense()) if is_dense else radar, block.mod1)
        grads = torch.autograd.grad(y.square().sum(), [features, *block.mod1.parameters()])
        gradients.append((y, *grads))
    for sparse, dense in zip(*gradients, strict=True):
        torch.testing.assert_close(sparse, dense, rtol=1e-4, atol=1e-4)


def test_modulation_when_no_return_at_all_then_the_same_everywhere():
    nodes = radar_nodes(torch.zeros(2, 20, 20), max_nodes=512)
    block = fill_with_golden_weights(RadarFilmBlock(4, 8, 6))
    placed = place_by_scatter(nodes, torch.zeros(0, 8), grid=(10, 10))
    x = torch.randn(2, 6, 10, 10)
    torch.testing.assert_close(modulate(x, placed, block.mod1), modulate(x, DenseMap(placed.dense()), block.mod1))


def test_dense_map_when_added_then_the_sum_of_both():
    nodes, features, dense = returns(40, 60, 30)
    mono = torch.randn(3, 8, 40, 60)
    got = add_dense(place_by_resize(nodes, features, grid=(20, 30)), mono)
    torch.testing.assert_close(got.whole, F.interpolate(dense + mono, (20, 30), mode="bilinear", align_corners=False))


def window_block(layout: str, *, batch_independent: bool = True) -> WindowScan:
    return fill_with_golden_weights(
        WindowScan(6, 8, width=16, window=4, layers=1, layout=layout, batch_independent=batch_independent)
    )


@torch.no_grad()
def test_windows_when_correct_then_only_the_bias_reaches_outside_of_them():
    block = window_block("correct")
    image, radar = torch.randn(1, 6, 12, 20), DenseMap(torch.randn(1, 8, 12, 20))
    is_radar = torch.zeros(1, 48, 80, dtype=torch.bool)
    is_radar[0, 24, 40] = True  # cell (6, 10): the window covers rows 4 to 7 and columns 8 to 11
    change = block(image, radar, is_radar) - image
    bias = block.out_proj.bias.view(1, -1, 1, 1)
    is_inside = torch.zeros(12, 20, dtype=torch.bool)
    is_inside[4:8, 8:12] = True
    torch.testing.assert_close(
        change[..., ~is_inside], bias.squeeze(-1).expand(1, 6, int((~is_inside).sum())), rtol=1e-4, atol=1e-5
    )
    assert ((change - bias).abs().amax(1)[0][is_inside] > 1e-4).all()


@torch.no_grad()
def test_windows_when_correct_and_the_image_changes_far_away_then_the_window_does_not():
    is_radar = torch.zeros(1, 48, 80, dtype=torch.bool)
    is_radar[0, 24, 40] = True
    for layout, is_local in (("correct", True), ("reference", False)):
        block = window_block(layout)
        image, radar = torch.randn(1, 6, 12, 20), DenseMap(torch.randn(1, 8, 12, 20))
        near = (slice(None), slice(None), slice(4, 8), slice(8, 12))
        before = (block(image, radar, is_radar) - image)[near]
        other = torch.randn_like(image)
        other[near] = image[near]
        after = (block(other, radar, is_radar) - other)[near]
        assert torch.allclose(before, after, atol=1e-5) == is_local, layout


@torch.no_grad()
def test_windows_when_a_sample_has_no_radar_then_identity_only_if_independent():
    image, radar = torch.randn(2, 6, 12, 20), DenseMap(torch.randn(2, 8, 12, 20))
    is_radar = torch.zeros(2, 48, 80, dtype=torch.bool)
    is_radar[0, 24, 40] = True
    assert torch.equal(window_block("correct")(image, radar, is_radar)[1], image[1])
    assert not torch.equal(window_block("correct", batch_independent=False)(image, radar, is_radar)[1], image[1])
