from __future__ import annotations

import pytest
import torch

from model.uvtr.box_code import NUM_NUMBERS
from model.uvtr.network_config import QueryHeadConfig, UvtrConfig
from model.uvtr.query_head import PointLook, QueryHead, looked_up

GRID = UvtrConfig().lift.grid
"""128 x 128 x 5 voxels of 0.8, 0.8 and 1.6 m."""

SMALL = QueryHeadConfig(num_queries=6, num_layers=3, num_heads=2, hidden=16, dropout=0.0)
TINY_GRID = UvtrConfig.tiny().lift.grid


@pytest.mark.parametrize(
    ("align", "shift"), [("consistent", (0.0, 0.0, 0.0)), ("released", (-0.4, -0.4, -0.8))], ids=["consistent", "released"]
)
def test_look_up_when_a_volume_holds_its_own_places_then_they_are_read_where_they_are(align, shift):
    places = GRID.centres_m() if align == "consistent" else GRID.lower_corners_m()
    volume = places.permute(3, 0, 1, 2)[None]
    points = torch.tensor([[[0.0, 0.0, 0.0], [30.3, -12.7, 1.1], [-44.9, 5.0, -1.0]]])
    found = looked_up(volume, GRID.to_unit(points))
    assert torch.allclose(found, points + torch.tensor(shift), atol=1e-4)


def test_look_when_fresh_then_gates_are_half_open_and_an_empty_volume_adds_only_the_place():
    torch.manual_seed(0)
    look = PointLook(8, dropout=0.0)
    look.initialise()
    torch.nn.init.zeros_(look.output.bias)
    query, position, place = torch.randn(1, 5, 8), torch.randn(1, 5, 8), torch.randn(1, 5, 3)
    assert torch.equal(look.gate(query + position).sigmoid(), torch.full((1, 5, 1), 0.5))
    found = look(query, position, place, torch.zeros(1, 8, 2, 4, 4))
    assert torch.equal(found, query + look.position(place))


def test_refinement_when_a_layer_moves_a_query_then_the_next_begins_there_without_a_gradient():
    torch.manual_seed(0)
    head = QueryHead(8, 3, SMALL, grid=TINY_GRID)
    volume = torch.randn(1, 8, 5, 32, 32)
    layers = head(volume)
    assert layers.logits.shape == (3, 1, 6, 3) and layers.codes.shape == (3, 1, 6, NUM_NUMBERS)
    low, high = (torch.tensor(corner) for corner in (TINY_GRID.low_m, TINY_GRID.high_m))
    # every layer stands within the box, and moves from where the former one stood
    centres = layers.codes[..., [0, 1, 4]]
    assert ((centres > low) & (centres < high)).all()
    moved = []
    for branch in head.boxes:
        branch.register_forward_hook(lambda _, __, numbers: moved.append(numbers[..., [0, 1, 4]]))
    again = head(volume)
    place = head.place(head.table.weight[:, :8])
    for layer, step in enumerate(moved):
        place = place + step
        assert torch.allclose(again.codes[layer][..., [0, 1, 4]], low + place.sigmoid() * (high - low), atol=1e-4)
    # what the second layer says depends on the first layer's box branch only through the place, which is cut off
    weights = list(head.boxes[0].parameters())
    gradients = torch.autograd.grad(again.codes[1].sum() + again.logits[1].sum(), weights, allow_unused=True)
    assert all(gradient is None or not gradient.any() for gradient in gradients)
    own = torch.autograd.grad(head(volume).codes[0].sum(), weights)
    assert any(gradient.any() for gradient in own)


def test_found_when_asked_for_more_than_there_is_then_all_by_falling_score():
    torch.manual_seed(0)
    head = QueryHead(8, 3, SMALL, grid=TINY_GRID).eval()
    layers = head(torch.randn(2, 8, 5, 32, 32))
    scores, classes, codes = head.found(layers, 300)[1]
    assert len(scores) == 18 and (scores.diff() <= 0).all() and set(classes.tolist()) == {0, 1, 2}
    best = int(layers.logits[-1, 1].max(dim=1).values.argmax())
    assert torch.equal(codes[0], layers.codes[-1, 1, best])
