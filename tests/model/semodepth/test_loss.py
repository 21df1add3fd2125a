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


def test_losses_when_pixels_have_weights_then_weighted_means_worked_out_by_hand():
    dense = torch.tensor([[[10.0, 20.0, 30.0], [10.0, 0.0, 90.0]]])
    weight = torch.tensor([[[1.0, 0.25, 0.0], [0.5, 1.0, 1.0]]])  # the third pixel of the first row is as if it were not measured
    metres = torch.tensor([[[12.0, 40.0, 3.0], [11.0, 3.0, 3.0]]])
    x, n = SPACE.normalize(metres), SPACE.normalize
    losses = composite_loss(x, dense, None, space=SPACE, dense_weight=weight)
    huber = (1.0 * 0.5 * 2.0**2 + 0.25 * 5.0 * (20.0 - 2.5) + 0.5 * 0.5 * 1.0**2) / 1.75
    assert float(losses.linear) == pytest.approx(huber / 80.0, rel=1e-5)
    off = (x - n(dense)).abs()[0]
    assert float(losses.log) == pytest.approx(float(off[0, 0] + 0.25 * off[0, 1] + 0.5 * off[1, 0]) / 1.75, rel=1e-5)
    signed = (x - n(dense))[0]
    pairs = (signed[0, 1] - signed[0, 0]).abs() + (signed[1, 0] - signed[0, 0]).abs()  # one pair each way: its weight cancels
    assert float(losses.grad) == pytest.approx(float(pairs), rel=1e-5)
    assert float(losses.mae_mm) == pytest.approx(1000 * (2 + 20 + 1) / 3, rel=1e-5)


def test_gradient_when_two_pairs_have_other_weights_then_each_weighs_as_its_lighter_pixel():
    dense = torch.tensor([[[10.0, 10.0, 0.0], [10.0, 10.0, 0.0]]])
    weight = torch.tensor([[[1.0, 0.2, 1.0], [0.6, 1.0, 1.0]]])
    x = SPACE.normalize(torch.tensor([[[10.0, 20.0, 1.0], [10.0, 40.0, 1.0]]]))
    losses = composite_loss(x, dense, None, space=SPACE, dense_weight=weight)
    jumps = x[0, :, 1] - x[0, :, 0]
    across = float(0.2 * jumps[0] + 0.6 * jumps[1]) / 0.8
    down = float(0.6 * 0.0 + 0.2 * (x[0, 1, 1] - x[0, 0, 1])) / 0.8
    assert float(losses.grad) == pytest.approx(across + down, rel=1e-5)


def test_losses_when_the_key_sweep_is_there_then_its_terms_are_not_weighted():
    x, dense, sparse = shared_batch(0.3, 0.1, sparse_share=0.1)
    weight = torch.rand(dense.shape, generator=torch.Generator().manual_seed(3))
    plain = composite_loss(x, dense, sparse, space=SPACE)
    weighted = composite_loss(x, dense, sparse, space=SPACE, dense_weight=weight)
    assert (weighted.log, weighted.sparse) == (plain.log, plain.sparse)
    assert weighted.linear != plain.linear and weighted.grad != plain.grad


def test_losses_when_all_weights_are_equal_then_as_without_weights():
    batch = shared_batch(0.3, 0.1)
    plain = composite_loss(*batch[:2], None, space=SPACE)
    weighted = composite_loss(*batch[:2], None, space=SPACE, dense_weight=torch.full_like(batch[0], 0.3))
    assert [float(value) for value in weighted] == pytest.approx([float(value) for value in plain], rel=1e-5)


def test_losses_when_no_pixel_has_a_weight_then_none():
    x, dense, _ = shared_batch(0.3, 0.1)
    assert composite_loss(x, dense, None, space=SPACE, dense_weight=torch.zeros_like(x)) is None


def test_weighted_losses_when_processes_share_a_batch_then_those_and_gradients_of_the_joined_batch():
    made = []
    for seed, share in enumerate((0.3, 0.02, 0.0)):
        x, dense, _ = shared_batch(share, 0.2, seed=seed)
        made.append((x, dense, torch.rand(x.shape, generator=torch.Generator().manual_seed(seed)) ** 4))

    def gradient(batch, processes):
        x = batch[0].clone().requires_grad_()
        losses = composite_loss(x, batch[1], None, space=SPACE, dense_weight=batch[2], processes=processes)
        losses.loss.backward()
        return losses.loss.detach(), x.grad

    shared = each_of(made, gradient)
    loss, joined = gradient([torch.cat(parts) for parts in zip(*made, strict=True)], None)
    assert [float(one) for one, _ in shared] == pytest.approx([float(loss)] * len(made), rel=1e-6)
    torch.testing.assert_close(torch.cat([of_one for _, of_one in shared]) / len(made), joined, rtol=1e-4, atol=1e-9)
