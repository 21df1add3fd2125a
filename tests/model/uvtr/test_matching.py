from __future__ import annotations

import math

import pytest
import torch

from model.uvtr.box_code import NUM_NUMBERS
from model.uvtr.matching import box_cost, class_cost, focal_sum, match

SURE = -math.log(99)


def codes_at(*x: float) -> torch.Tensor:
    codes = torch.zeros(len(x), NUM_NUMBERS)
    codes[:, 0] = torch.tensor(x)
    return codes


@pytest.mark.parametrize(("logit", "cost"), [(0.0, -0.1732868), (2.0, -2.4742155), (SURE, 2.2567621)])
def test_class_cost_when_computed_then_the_golden_value(logit, cost):
    assert 2 * float(class_cost(torch.tensor([[logit]]), torch.tensor([0]))) == pytest.approx(cost, abs=1e-6)


@pytest.mark.parametrize(("is_class", "loss"), [(1.0, 0.0866434), (0.0, 0.2599302)])
def test_focal_loss_when_a_logit_is_0_then_the_golden_value(is_class, loss):
    assert 2 * float(focal_sum(torch.zeros(1), torch.tensor([is_class]))) == pytest.approx(loss, abs=1e-6)


@pytest.mark.parametrize(("logit_of_1", "pairs"), [(0.0, [(1, 0), (2, 1)]), (-4.0, [(0, 0), (2, 1)])])
def test_pairs_when_classes_and_places_compete_then_the_cheapest_together(logit_of_1, pairs):
    logits = torch.tensor([[0.0], [logit_of_1], [0.0]])
    codes, wanted, classes = codes_at(0, 5, 5.4), codes_at(5.2, 5.6), torch.tensor([0, 0])
    found = match(logits, codes, classes, wanted, class_weight=2.0, box_weight=0.25)
    assert list(zip(found.query.tolist(), found.target.tolist(), strict=True)) == pairs
    if logit_of_1 == 0:
        cost = 2 * class_cost(logits, classes) + 0.25 * box_cost(codes, wanted)
        expected = torch.tensor([[1.1267, 1.2267], [-0.1233, -0.0233], [-0.1233, -0.1233]])
        assert torch.allclose(cost, expected, atol=1e-4)


def test_pairs_when_velocities_differ_then_it_costs_nothing():
    codes = codes_at(1.0)
    codes[:, 8:] = 100.0
    assert float(box_cost(codes, codes_at(1.0))) == 0.0


def test_pairs_when_an_answer_is_no_number_then_none_is_raised():
    found = match(
        torch.full((3, 1), torch.nan), codes_at(0, 1, 2), torch.tensor([0]), codes_at(1), class_weight=2.0, box_weight=0.25
    )
    assert len(found.query) == 1
