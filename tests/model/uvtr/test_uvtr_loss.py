from __future__ import annotations

import math

import pytest
import torch

from model.uvtr.batch import BoxTargets
from model.uvtr.box_code import NUM_BOX, NUM_NUMBERS, encode
from model.uvtr.centre_head import CentreMaps, heat_targets
from model.uvtr.config import UvtrLossConfig
from model.uvtr.loss import OBJECT_TERMS, centre_losses, objects_losses, query_losses
from model.uvtr.network_config import UvtrConfig
from model.uvtr.query_head import QueryLayers

TINY = UvtrConfig.tiny(classes=("car", "truck", "pedestrian"))
GRID = TINY.lift.grid
NO_OBJECTS = BoxTargets(torch.zeros(0, NUM_BOX), torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.int64))


def objects(*x: float, vx: float = 1.0) -> BoxTargets:
    boxes = torch.tensor([[place, 2.0, 0.5, 2.0, 4.0, 1.5, 0.3, vx, 0.5] for place in x])
    return BoxTargets(boxes, torch.arange(len(x)) % 3, torch.zeros(len(x), dtype=torch.int64))


def layers_of(logits: torch.Tensor, codes: torch.Tensor) -> QueryLayers:
    return QueryLayers(logits[None, None], codes[None, None])


def test_class_loss_when_queries_start_then_the_golden_value():
    config = UvtrConfig(head="queries")
    logits = torch.full((900, 10), -math.log(99))
    targets = objects(*(float(place) for place in range(5)))
    found = query_losses(layers_of(logits, torch.zeros(900, NUM_NUMBERS)), targets, UvtrLossConfig(), network=config)
    assert float(found["class"]) == pytest.approx(2.2594757, abs=1e-5)


@pytest.mark.parametrize("head", ["centres", "queries"])
def test_losses_when_there_is_no_object_then_finite_and_boxes_learn_nothing(head):
    if head == "queries":
        answers = [torch.zeros(2, 1, 7, 3), torch.zeros(2, 1, 7, NUM_NUMBERS)]
        kind = QueryLayers
    else:
        answers = [torch.zeros(1, 3, 32, 32), torch.zeros(1, NUM_NUMBERS, 32, 32)]
        kind = CentreMaps
    for answer in answers:
        answer.requires_grad_()
    terms = objects_losses(kind(*answers), NO_OBJECTS, UvtrLossConfig(), network=TINY)
    total = torch.stack([terms[name] for name in OBJECT_TERMS]).sum()
    total.backward()
    assert total.isfinite() and float(answers[0].grad.abs().max()) > 0
    assert answers[1].grad is None or float(answers[1].grad.abs().max()) == 0.0


def test_velocity_when_unknown_then_it_teaches_nothing_unless_asked_to():
    logits, codes = torch.zeros(4, 3), torch.zeros(4, NUM_NUMBERS)
    codes[:, 8] = 3.0
    unknown = objects(0.0, vx=math.nan)
    known = query_losses(layers_of(logits, codes), objects(0.0, vx=3.0), UvtrLossConfig(), network=TINY)
    masked = query_losses(layers_of(logits, codes), unknown, UvtrLossConfig(), network=TINY)
    zero = query_losses(layers_of(logits, codes), unknown, UvtrLossConfig(unknown_velocity="zero"), network=TINY)
    assert float(masked["velocity"]) == pytest.approx(0.25 * 0.2 * 0.5) == float(known["velocity"])
    assert float(zero["velocity"]) == pytest.approx(0.25 * 0.2 * 3.5)


def test_object_when_above_the_voxels_then_the_target_is_their_top():
    targets = objects(0.0)
    targets.boxes[:, 2] = 50.0
    wanted = encode(targets.boxes)
    wanted[:, 4] = TINY.lift.high_m[2]
    found = query_losses(layers_of(torch.zeros(1, 3), wanted), targets, UvtrLossConfig(), network=TINY)
    assert float(found["box"]) == pytest.approx(0.0, abs=1e-6)


def test_heat_targets_when_made_then_one_at_the_object_and_falling_around_it():
    targets = objects(0.1, 3.3)
    heat, cells = heat_targets(targets.boxes, targets.class_index, num_classes=3, grid=GRID, sigma_cells=0.8)
    rows, columns = cells // 32, cells % 32
    assert columns.tolist() == [16, 18] and rows.tolist() == [17, 17]  # cells of 1.6 m from -25.6 m
    assert float(heat[0, 17, 16]) == 1.0 and float(heat[1, 17, 18]) == 1.0 and not heat[2].any()
    assert float(heat[0, 17, 17]) == pytest.approx(math.exp(-1 / (2 * 0.64)), rel=1e-5)
    assert (heat[0] == 1).sum() == 1


def test_centre_losses_when_the_codes_are_right_then_only_the_heat_costs():
    targets = objects(0.1)
    codes = torch.zeros(1, NUM_NUMBERS, 32, 32)
    wanted = encode(targets.boxes)[0]
    wanted[:2] = torch.tensor([(0.1 - 0.8) / 1.6, (2.0 - 2.4) / 1.6])  # cells from the middle of cell (16, 17)
    codes[0, :, 17, 16] = wanted
    maps = CentreMaps(torch.full((1, 3, 32, 32), -4.6), codes)
    terms = centre_losses(maps, targets, UvtrLossConfig(), network=TINY)
    assert float(terms["box"]) == pytest.approx(0.0, abs=1e-5) and float(terms["velocity"]) == pytest.approx(0.0, abs=1e-6)
    codes[0, 0, 17, 16] += 0.5  # cells
    worse = centre_losses(CentreMaps(maps.heat, codes), targets, UvtrLossConfig(), network=TINY)
    assert float(worse["box"]) == pytest.approx(0.25 * 0.5, rel=1e-4)
    assert float(worse["class"]) == pytest.approx(float(terms["class"]))
