from __future__ import annotations

import pytest
import torch

from model.semodepth.depth_space import DepthSpace
from model.semodepth.loss import LossWeights, composite_loss
from tests.model.blocks.threads_as_processes import each_of

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


def shared_batch(share: float, wrong_by: float, *, sparse_share: float = 0.0, seed: int = 0):
    """A prediction, its dense and its sparse target; the prediction is off by up to a share of the depth."""
    generator = torch.Generator().manual_seed(seed)
    depth = torch.rand(1, 60, 100, generator=generator) * 40 + 10
    x = SPACE.normalize(depth * (1 + wrong_by * torch.rand(1, 60, 100, generator=generator)))
    dense = depth * (torch.rand(1, 60, 100, generator=generator) < share)
    return x, dense, depth * (torch.rand(1, 60, 100, generator=generator) < sparse_share)


def test_losses_when_two_processes_measure_0_30_and_0_01_of_their_pixels_then_those_of_the_joined_batch():
    weights = LossWeights(grad=0)
    batches = [shared_batch(0.30, 0.0195), shared_batch(0.01, 0.4, seed=1)]
    alone = [float(composite_loss(*batch, space=SPACE, weights=weights).loss) for batch in batches]
    joined = composite_loss(*(torch.cat(parts) for parts in zip(*batches, strict=True)), space=SPACE, weights=weights)
    assert sum(alone) / 2 == pytest.approx(0.158, abs=0.01)  # a mean of means, as it was
    assert float(joined.loss) == pytest.approx(0.015, abs=0.001)
    shared = each_of(batches, lambda batch, processes: composite_loss(*batch, space=SPACE, weights=weights, processes=processes))
    for losses in shared:
        assert [float(value) for value in losses] == pytest.approx([float(value) for value in joined], rel=1e-6)


@pytest.mark.parametrize(
    "batches",
    [
        pytest.param([(0.3, 0.02, 0.1), (0.01, 0.4, 0.02)], id="both have all"),
        pytest.param([(0.3, 0.02, 0.0), (0.01, 0.4, 0.02)], id="one has no sparse pixel"),
        pytest.param([(0.3, 0.02, 0.1), (0.0, 0.4, 0.02)], id="one has no dense pixel"),
        pytest.param([(0.3, 0.02, 0.1), (0.0, 0.4, 0.0)], id="one has nothing"),
        pytest.param([(0.001, 0.02, 0.0), (0.3, 0.4, 0.0), (0.0, 0.1, 0.0)], id="three, no sparse pixel, few neighbours"),
    ],
)
def test_gradients_when_processes_share_a_batch_then_their_mean_is_that_of_the_joined_batch(batches):
    made = [shared_batch(share, error, sparse_share=sparse, seed=seed) for seed, (share, error, sparse) in enumerate(batches)]

    def gradient(batch, processes):
        x = batch[0].clone().requires_grad_()
        losses = composite_loss(x, *batch[1:], space=SPACE, processes=processes)
        losses.loss.backward()
        return losses.loss.detach(), x.grad

    shared = each_of(made, gradient)
    loss, joined = gradient([torch.cat(parts) for parts in zip(*made, strict=True)], None)
    assert [float(one) for one, _ in shared] == pytest.approx([float(loss)] * len(made), rel=1e-6)
    torch.testing.assert_close(torch.cat([of_one for _, of_one in shared]) / len(made), joined, rtol=1e-4, atol=1e-9)


def test_losses_when_no_process_has_a_dense_pixel_then_none_on_all():
    batches = [shared_batch(0.0, 0.1, sparse_share=0.1), shared_batch(0.0, 0.1)]
    assert each_of(batches, lambda batch, processes: composite_loss(*batch, space=SPACE, processes=processes)) == [None, None]
