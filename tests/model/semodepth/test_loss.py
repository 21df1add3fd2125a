from __future__ import annotations

import pytest
import torch

from model.semodepth.depth_space import DepthSpace
from model.semodepth.loss import LossWeights, composite_loss

SPACE = DepthSpace(0.5, 80.0)


def test_losses_when_worked_out_by_hand_then_equal():
    dense = torch.tensor([[[10.0, 20.0, 0.0], [10.0, 0.0, 90.0]]])
    sparse = torch.tensor([[[12.0, 0.0, 0.0], [0.0, 0.0, 0.0]]])
    metres = torch.tensor([[[12.0, 40.0, 3.0], [10.0, 3.0, 3.0]]])
    x = SPACE.normalize(metres)
    losses = composite_loss(x, dense, sparse, space=SPACE)
    n = SPACE.normalize
    assert float(losses.log) == pytest.approx(0.0, abs=1e-6)
    huber = (0.5 * 2.0**2 + 5.0 * (20.0 - 2.5) + 0.0) / 3  # errors 2, 20 and 0 m at the three valid pixels
    assert float(losses.linear) == pytest.approx(huber / 80.0, rel=1e-5)
    across = abs((x[0, 0, 1] - x[0, 0, 0]) - (n(dense)[0, 0, 1] - n(dense)[0, 0, 0]))  # the only valid pair of a row
    down = abs((x[0, 1, 0] - x[0, 0, 0]) - (n(dense)[0, 1, 0] - n(dense)[0, 0, 0]))
    assert float(losses.grad) == pytest.approx(float(across + down), rel=1e-5)
    assert float(losses.sparse) == pytest.approx(0.0, abs=1e-6)
    assert float(losses.loss) == pytest.approx(float(losses.log + losses.linear + 0.5 * losses.grad + losses.sparse), rel=1e-6)
    assert float(losses.mae_mm) == pytest.approx(1000 * 22 / 3, rel=1e-5)


def test_losses_when_no_dense_pixel_is_valid_then_none():
    x = torch.zeros(1, 4, 4)
    assert composite_loss(x, torch.zeros(1, 4, 4), torch.ones(1, 4, 4), space=SPACE) is None
    assert composite_loss(x, torch.full((1, 4, 4), 80.0), None, space=SPACE) is None  # the bounds themselves do not count


def test_losses_when_prediction_is_far_outside_then_finite_and_pulled_back():
    x = torch.full((1, 4, 4), 3.0, requires_grad=True)
    losses = composite_loss(x, torch.full((1, 4, 4), 10.0), None, space=SPACE)
    losses.loss.backward()
    assert (x.grad > 0).all()  # the log term is not clamped


def test_losses_when_weights_are_zero_then_terms_vanish():
    x, dense = torch.rand(1, 4, 4), torch.rand(1, 4, 4) * 70 + 1
    losses = composite_loss(x, dense, dense, space=SPACE, weights=LossWeights(log=0, linear=2, grad=0, sparse=0))
    assert float(losses.loss) == pytest.approx(2 * float(losses.linear), rel=1e-6)
