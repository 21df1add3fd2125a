from __future__ import annotations

import math

import pytest
import torch

from model.blocks.dense_teacher_loss import dense_teacher_loss
from tests.model.blocks.threads_as_processes import each_of

FORMS = ("l1", "silog", "laplace", "gauss")
PRED = torch.full((1, 1, 4), 10.0)
TEACHER = torch.tensor([[[12.0, 10.0, 20.0, 0.0]]])
WEIGHT = torch.tensor([[[1.0, 5.0, 1.0, 0.0]]])


def loss_of(pred: torch.Tensor, teacher: torch.Tensor, *, form: str, **options) -> float:
    scale = torch.zeros_like(pred) if form in ("laplace", "gauss") else None
    return float(dense_teacher_loss(pred, teacher, **{"is_valid": teacher > 0, "form": form, "log_scale": scale, **options}).loss)


def test_gauss_when_worked_out_by_hand_then_equal():
    assert loss_of(PRED, TEACHER, form="gauss", weight=WEIGHT) == pytest.approx(7.42857, abs=1e-5)
    one = torch.ones_like(PRED)
    by_hand = (math.exp(-1) * (0.5 * 4 + 0.5 * 100) + 7 * 0.5) / 7
    assert loss_of(PRED, TEACHER, form="gauss", weight=WEIGHT, log_scale=one) == pytest.approx(by_hand, abs=1e-5)


def test_laplace_when_worked_out_by_hand_then_equal():
    scale = torch.tensor([[[0.5, -1.0, 2.0, 3.0]]])
    by_hand = ((math.exp(-0.5) * 2 + 0.5) + 5 * (0 - 1.0) + (math.exp(-2) * 10 + 2.0)) / 7
    assert loss_of(PRED, TEACHER, form="laplace", weight=WEIGHT, log_scale=scale) == pytest.approx(by_hand, abs=1e-5)


def test_l1_and_silog_when_worked_out_by_hand_then_equal():
    pred, teacher = torch.tensor([[[2.0, 4.0]]]), torch.tensor([[[2.0, 8.0]]])
    assert loss_of(pred, teacher, form="l1") == pytest.approx(2.0)
    assert loss_of(pred, teacher, form="l1", weight=torch.tensor([[[1.0, 5.0]]])) == pytest.approx(3.33333, abs=1e-5)
    assert loss_of(pred, teacher, form="silog") == pytest.approx(0.424464, abs=1e-6)
    assert loss_of(pred, teacher, form="silog", weight=torch.tensor([[[9.0, 1.0]]])) == pytest.approx(0.424464, abs=1e-6)


def test_sum_when_weights_add_up_to_less_than_one_then_not_blown_up():
    assert loss_of(PRED, TEACHER, form="l1", weight=0.01 * WEIGHT) == pytest.approx(0.01 * 12)


@pytest.mark.parametrize("form", FORMS)
def test_loss_when_no_pixel_is_valid_then_zero_with_finite_gradients(form):
    pred, scale = PRED.clone().requires_grad_(), torch.ones_like(PRED).requires_grad_()
    teacher = torch.full_like(PRED, float("nan"))
    found = dense_teacher_loss(pred, teacher, is_valid=torch.zeros_like(PRED, dtype=torch.bool), form=form, log_scale=scale)
    found.loss.backward()
    assert (float(found.loss.detach()), float(found.mean_abs_error_m), float(found.mean_log_scale), float(found.valid_share)) == (
        0,
        0,
        0,
        0,
    )
    assert not pred.grad.any()
    assert scale.grad is None or not scale.grad.any()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("in_log_depth", [False, True])
def test_pixels_when_invalid_then_what_is_there_does_not_matter(form, in_log_depth):
    teacher = TEACHER.clone()
    teacher[..., 3] = float("inf")
    options = {"is_valid": TEACHER > 0, "form": form, "log_scale": torch.zeros_like(PRED), "in_log_depth": in_log_depth}
    pred = PRED.clone().requires_grad_()
    found = dense_teacher_loss(pred, teacher, **options)
    found.loss.backward()
    assert float(found.loss.detach()) == float(dense_teacher_loss(PRED, TEACHER, **options).loss)
    assert torch.isfinite(pred.grad).all()
    assert pred.grad[..., 3] == 0
    assert pred.grad[..., 0] < 0


@pytest.mark.parametrize("form", FORMS)
def test_prediction_when_perfect_then_finite_gradients(form):
    pred = PRED.clone().requires_grad_()
    found = dense_teacher_loss(pred, PRED, is_valid=PRED > 0, form=form, log_scale=torch.zeros_like(PRED))
    found.loss.backward()
    assert float(found.loss.detach()) == pytest.approx(0, abs=1.1e-4)  # silog: the root of its floor
    assert torch.isfinite(pred.grad).all()


def test_statistics_when_some_pixels_are_valid_then_unweighted_over_those():
    scale = torch.tensor([[[9.0, 1.0, -9.0, 4.0]]])
    found = dense_teacher_loss(PRED, TEACHER, is_valid=TEACHER > 0, form="laplace", log_scale=scale, weight=WEIGHT)
    assert float(found.mean_abs_error_m) == pytest.approx(4.0)
    assert float(found.mean_log_scale) == pytest.approx(1 / 3)  # s counts within -5 to 5
    assert float(found.valid_share) == 0.75
    assert dense_teacher_loss(PRED, TEACHER, is_valid=TEACHER > 0, form="l1").mean_log_scale is None
    assert not any(values.requires_grad for values in found)


@pytest.mark.parametrize(("form", "bound"), [("laplace", 5.0), ("gauss", 10.0)])
def test_scale_when_beyond_its_bound_then_counts_as_the_bound(form, bound):
    far = loss_of(PRED, TEACHER, form=form, log_scale=torch.full_like(PRED, 80.0))
    assert far == loss_of(PRED, TEACHER, form=form, log_scale=torch.full_like(PRED, bound))
    assert math.isfinite(loss_of(PRED, TEACHER, form=form, log_scale=torch.full_like(PRED, -80.0)))


def learned_scale(start: float, *, form: str, error_m: float, steps: int = 120) -> float:
    """Return s after so many steps down the gradient's sign on one pixel that the teacher misses by error_m."""
    scale = torch.full((1, 1, 1), start, requires_grad=True)
    optimizer = torch.optim.Rprop([scale], lr=0.1)
    pred, teacher = torch.tensor([[[10.0]]]), torch.tensor([[[10.0 + error_m]]])
    for _ in range(steps):
        optimizer.zero_grad()
        dense_teacher_loss(pred, teacher, is_valid=teacher > 0, form=form, log_scale=scale).loss.backward()
        optimizer.step()
    return float(scale.detach())


@pytest.mark.parametrize(("form", "start", "error_m"), [("gauss", -5.48, 0.5), ("gauss", -12.0, 0.5), ("laplace", -5.48, 0.25)])
def test_scale_when_it_begins_below_its_bound_then_learns_the_right_one(form, start, error_m):
    assert learned_scale(start, form=form, error_m=error_m) == pytest.approx(-1.39, abs=0.01)  # -5.48 stayed where it was


@pytest.mark.parametrize(("form", "start"), [("gauss", 14.0), ("laplace", 7.0)])
def test_scale_when_it_begins_above_its_bound_then_learns_the_right_one(form, start):
    right = math.log(0.5**2 if form == "gauss" else 0.5)
    assert learned_scale(start, form=form, error_m=0.5) == pytest.approx(right, abs=0.05)


@pytest.mark.parametrize("form", ["laplace", "gauss"])
def test_scale_when_the_teacher_is_better_than_eight_per_cent_then_it_can_say_so(form):
    right = math.log(0.02**2 if form == "gauss" else 0.02)  # gauss ended at -5, which is 8.2 %
    assert learned_scale(0.0, form=form, error_m=0.02) == pytest.approx(right, abs=0.05)


@pytest.mark.parametrize(("form", "bound"), [("laplace", -5.0), ("gauss", -10.0)])
def test_scale_when_the_teacher_is_perfect_then_it_does_not_run_away_from_its_bound(form, bound):
    assert learned_scale(bound + 0.1, form=form, error_m=0.0) > bound - 0.5


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("weights", [(1.0, 1.0), (0.01, 0.3)])
def test_loss_when_processes_share_a_batch_then_that_of_the_joined_batch(form, weights):
    generator = torch.Generator().manual_seed(0)

    def drawn(share: float, wrong_by: float, weight: float) -> list[torch.Tensor]:
        teacher = torch.rand(1, 30, 40, generator=generator) * 40 + 5
        pred = teacher * (1 + wrong_by * torch.randn(1, 30, 40, generator=generator).abs())
        has_teacher = torch.rand(1, 30, 40, generator=generator) < share
        return [pred, teacher * has_teacher, torch.randn(1, 30, 40, generator=generator), torch.full_like(pred, weight)]

    def of_batch(batch, processes):
        pred, scale = batch[0].clone().requires_grad_(), batch[2].clone().requires_grad_()
        found = dense_teacher_loss(
            pred, batch[1], is_valid=batch[1] > 0, form=form, log_scale=scale, weight=batch[3], processes=processes
        )
        found.loss.backward()
        return [float(value.detach()) for value in found], pred.grad, torch.zeros_like(pred) if scale.grad is None else scale.grad

    batches = [drawn(0.3, 0.05, weights[0]), drawn(0.003, 1.0, weights[1]), drawn(0.0, 1.0, weights[0])]
    joined = of_batch([torch.cat(parts) for parts in zip(*batches, strict=True)], None)
    shared = each_of(batches, of_batch)
    for values, *_ in shared:
        assert values == pytest.approx(joined[0], rel=1e-5)
    for number in (1, 2):
        mean = torch.cat([of_one[number] for of_one in shared]) / len(batches)
        torch.testing.assert_close(mean, joined[number], rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize(("form", "best"), [("laplace", math.log(2.0)), ("gauss", math.log(4.0))])
def test_scale_when_the_error_is_two_metres_then_least_loss_at_its_size(form, best):
    scale = torch.full((1, 1, 1), best, requires_grad=True)
    pred, teacher = torch.tensor([[[10.0]]]), torch.tensor([[[12.0]]])
    dense_teacher_loss(pred, teacher, is_valid=teacher > 0, form=form, log_scale=scale).loss.backward()
    assert scale.grad.item() == pytest.approx(0, abs=1e-6)


def test_gauss_when_errors_are_beyond_the_bound_then_straight_and_still_pulling():
    pred = PRED.clone().requires_grad_()
    found = dense_teacher_loss(
        pred, TEACHER, is_valid=TEACHER > 0, form="gauss", log_scale=torch.zeros_like(PRED), max_residual=3.0
    )
    found.loss.backward()
    assert float(found.loss.detach()) == pytest.approx((0.5 * 2**2 + 0 + (3 * 10 - 0.5 * 3**2)) / 3)  # errors of 2, 0 and 10 m
    assert pred.grad[0, 0].tolist() == pytest.approx([-2 / 3, 0, -3 / 3, 0])
    for form in ("l1", "laplace", "silog"):
        assert loss_of(PRED, TEACHER, form=form, max_residual=3.0) == loss_of(PRED, TEACHER, form=form)


def test_log_depth_when_asked_for_then_ratios_count():
    for form in ("l1", "laplace", "gauss"):
        near = loss_of(torch.tensor([[[2.0]]]), torch.tensor([[[4.0]]]), form=form, in_log_depth=True)
        far = loss_of(torch.tensor([[[40.0]]]), torch.tensor([[[80.0]]]), form=form, in_log_depth=True)
        assert near == pytest.approx(far, rel=1e-5)
        assert near == pytest.approx(0.5 * math.log(2) ** 2 if form == "gauss" else math.log(2), rel=1e-5)
    assert loss_of(PRED, TEACHER, form="silog", in_log_depth=True) == loss_of(PRED, TEACHER, form="silog")


def test_maps_when_they_have_a_channel_axis_then_the_same_value():
    flat = loss_of(PRED, TEACHER, form="gauss", weight=WEIGHT)
    assert loss_of(PRED[:, None], TEACHER[:, None], form="gauss", weight=WEIGHT[:, None]) == flat


def test_loss_when_inside_autocast_and_of_half_maps_then_in_float32():
    pred = (PRED + 0.3).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = dense_teacher_loss(pred, TEACHER, is_valid=TEACHER > 0, form="gauss", log_scale=torch.zeros_like(pred))
    assert found.loss.dtype == torch.float32
    assert float(found.loss) == loss_of(pred.float(), TEACHER, form="gauss")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"form": "laplace", "log_scale": None}, "form laplace needs log_scale, the output of an uncertainty head, and got None"),
        ({"form": "gauss", "log_scale": None}, "choose the form l1 or silog"),
        ({"form": "huber"}, "form is 'huber', expected l1, silog, laplace or gauss"),
        (
            {"weight": torch.ones(2, 1, 4, 4)},
            r"weight has shape \(2, 1, 4, 4\) and pred_m \(2, 4, 4\).*add or drop the channel axis",
        ),
        ({"teacher_m": torch.ones(1, 4, 4)}, r"teacher_m has shape \(1, 4, 4\)"),
        ({"is_valid": torch.ones(2, 4, 4)}, "is_valid is of type torch.float32, expected torch.bool"),
    ],
)
def test_arguments_when_they_do_not_fit_then_an_error_that_says_which(changes, message):
    maps = torch.ones(2, 4, 4)
    given = {"teacher_m": maps, "is_valid": maps > 0, "form": "l1", **changes}
    with pytest.raises(ValueError, match=message):
        dense_teacher_loss(maps, given.pop("teacher_m"), **given)
