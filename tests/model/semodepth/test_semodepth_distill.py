from __future__ import annotations

import math
import re

import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError

from model.errors import InputError
from model.semodepth.depth_space import DepthSpace
from model.semodepth.distill import DistillConfig, calibration_of, distill_loss
from model.semodepth.net import SemoDepth
from model.semodepth.network_config import SemoDepthConfig

SPACE = DepthSpace(0.5, 80.0)
PRED_M = torch.tensor([[[10.0, 20.0, 30.0, 40.0]]])
TEACHER_M = torch.tensor([[[12.0, 15.0, 36.0, 0.0]]])
LIDAR_M = torch.tensor([[[0.0, 20.0, 0.0, 40.0]]])
SMALL = {"base_channels": 8, "uncertainty": True}


def distilled(*, dense=LIDAR_M, teacher=TEACHER_M, pred=PRED_M, log_scale=None, normalized=None, **options):
    config = DistillConfig(**{"form": "l1", "in_log_depth": False, **options})
    x = SPACE.normalize(pred) if normalized is None else normalized
    return distill_loss(x, dense, teacher, space=SPACE, config=config, log_scale=log_scale)


def image_and_radar(height: int = 32, width: int = 48) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    image = torch.randint(0, 256, (1, height, width, 3), generator=generator, dtype=torch.uint8)
    radar = torch.zeros(1, height, width)
    radar[0, 3::9, 5::11] = 20.0
    return image, radar


def test_teacher_when_lidar_is_absent_then_counts_fully_and_elsewhere_as_much_as_is_said():
    assert float(distilled().loss) == pytest.approx((2 + 6) / 2, rel=1e-5)
    assert float(distilled(measured_weight=0.5).loss) == pytest.approx((2 + 0.5 * 5 + 6) / 2.5, rel=1e-5)
    assert float(distilled(in_log_depth=True).loss) == pytest.approx(2 * math.log(1.2) / 2, rel=1e-4)
    assert float(distilled().teacher_mae_m) == pytest.approx(4.0, rel=1e-5)
    assert math.isnan(distilled().teacher_log_scale) and math.isnan(distilled().calibration)


def test_silog_when_measured_pixels_count_nothing_then_leaves_them_out():
    ratios = torch.log(torch.tensor([10 / 12, 30 / 36]))
    by_hand = math.sqrt(float(ratios.square().mean() - 0.5 * ratios.mean() ** 2))
    assert float(distilled(form="silog").loss) == pytest.approx(by_hand, rel=1e-4)
    ratios = torch.log(torch.tensor([10 / 12, 20 / 15, 30 / 36]))
    by_hand = math.sqrt(float(ratios.square().mean() - 0.5 * ratios.mean() ** 2))
    assert float(distilled(form="silog", measured_weight=0.1).loss) == pytest.approx(by_hand, rel=1e-4)


@pytest.mark.parametrize("beyond", [0.0, 0.5, 80.0, 200.0])
def test_teacher_when_it_has_no_value_inside_the_depth_space_then_does_not_count(beyond):
    teacher = TEACHER_M.clone()
    teacher[..., 2] = beyond
    x = SPACE.normalize(PRED_M).requires_grad_()
    found = distilled(teacher=teacher, normalized=x)
    found.loss.backward()
    assert float(found.loss.detach()) == pytest.approx(2.0, rel=1e-5)
    assert x.grad[0, 0, 0] < 0
    assert not x.grad[0, 0, 1:].any()


def test_laplace_and_gauss_when_worked_out_by_hand_then_equal():
    s = torch.tensor([[[0.5, -1.0, 1.0, 3.0]]])
    taught = ((math.exp(-0.5) * 2 + 0.5) + (math.exp(-1) * 6 + 1.0)) / 2
    found = distilled(form="laplace", log_scale=s, calibration=0.3)
    against_lidar = math.e * 5 - 1.0  # at the only pixel with both: |15 - 20| m
    assert float(found.calibration) == pytest.approx(against_lidar, rel=1e-5)
    assert float(found.loss) == pytest.approx(taught + 0.3 * against_lidar, rel=1e-5)
    assert float(found.teacher_log_scale) == pytest.approx(0.75)
    taught = 0.5 * ((math.exp(-0.5) * 4 + 0.5) + (math.exp(-1) * 36 + 1.0)) / 2
    found = distilled(form="gauss", log_scale=s)
    assert float(found.loss) == pytest.approx(taught + 0.5 * (math.e * 25 - 1.0), rel=1e-5)
    found = distilled(form="gauss", log_scale=s, max_residual_m=3.0)  # beyond 3 m the square goes on as its tangent
    taught = 0.5 * ((math.exp(-0.5) * 4 + 0.5) + (math.exp(-1) * 2 * 3 * (6 - 1.5) + 1.0)) / 2
    assert float(found.loss) == pytest.approx(taught + 0.5 * (math.e * 2 * 3 * (5 - 1.5) - 1.0), rel=1e-5)


def test_calibration_when_both_depths_are_there_then_only_the_scale_hears_of_it():
    x, s = SPACE.normalize(PRED_M).requires_grad_(), torch.zeros_like(PRED_M).requires_grad_()
    lidar = torch.tensor([[[14.0, 20.0, 36.5, 0.0]]])  # wherever the teacher is
    distilled(form="laplace", dense=lidar, log_scale=s, normalized=x).loss.backward()
    assert not x.grad.any()
    assert s.grad[0, 0].tolist() == pytest.approx([(1 - 2) / 3, (1 - 5) / 3, (1 - 0.5) / 3, 0.0], rel=1e-5)


@pytest.mark.parametrize(("form", "power"), [("laplace", 1), ("gauss", 2)])
@pytest.mark.parametrize("in_log_depth", [False, True])
def test_scale_when_it_is_the_teachers_distance_from_lidar_then_the_calibration_is_least(form, power, in_log_depth):
    residual = math.log(20 / 15) if in_log_depth else 5.0
    s = torch.full_like(PRED_M, power * math.log(residual)).requires_grad_()
    everywhere = torch.full_like(PRED_M, 20.0)
    distilled(
        form=form, in_log_depth=in_log_depth, dense=everywhere, teacher=0.75 * everywhere, log_scale=s, pred=everywhere
    ).loss.backward()
    assert s.grad.abs().max() < 1e-6


@pytest.mark.parametrize("in_log_depth", [False, True])
@pytest.mark.parametrize(("form", "normalized", "sign"), [("l1", 3.0, 1), ("l1", -3.0, -1), ("silog", 3.0, 1), ("gauss", 1.5, 1)])
def test_prediction_when_far_outside_then_counts_as_the_bound_and_is_pulled_back(form, normalized, sign, in_log_depth):
    x = torch.full((1, 1, 4), normalized, requires_grad=True)
    at_bound = torch.full((1, 1, 4), math.copysign(1.0, normalized))
    options = {"form": form, "in_log_depth": in_log_depth, "dense": torch.zeros(1, 1, 4), "log_scale": torch.zeros(1, 1, 4)}
    found = distilled(teacher=torch.full((1, 1, 4), 10.0), normalized=x, **options)
    found.loss.backward()
    same = distilled(teacher=torch.full((1, 1, 4), 10.0), normalized=at_bound, **options)
    assert float(found.loss.detach()) == float(same.loss)
    assert (sign * x.grad > 0).all()


def test_gradient_when_inside_the_depth_space_then_that_of_clamped_metres():
    x, y = (SPACE.normalize(PRED_M).requires_grad_() for _ in range(2))
    distilled(normalized=x).loss.backward()
    ((SPACE.metres(y) - TEACHER_M).abs()[0, 0, [0, 2]].mean()).backward()
    assert torch.equal(x.grad, y.grad)


@pytest.mark.parametrize("form", ["l1", "silog", "laplace", "gauss"])
def test_term_when_no_pixel_counts_then_zero_with_finite_gradients(form):
    x, s = SPACE.normalize(PRED_M).requires_grad_(), torch.ones_like(PRED_M).requires_grad_()
    found = distilled(form=form, teacher=torch.zeros_like(PRED_M), normalized=x, log_scale=s)
    found.loss.backward()
    assert float(found.loss.detach()) == 0.0
    assert not x.grad.any()


def test_term_when_it_cannot_be_computed_then_says_why():
    with pytest.raises(ValueError, match="form is none, so there is no term to compute; ask is_on before, or choose a form"):
        distilled(form="none")
    with pytest.raises(ValueError, match="form laplace needs log_scale, the output of an uncertainty head, and got None"):
        distilled(form="laplace")
    with pytest.raises(ValueError, match=r"teacher_m has shape \(1, 1, 3\) and pred_m \(1, 1, 4\)"):
        distilled(teacher=TEACHER_M[..., :3], dense=LIDAR_M[..., :1])


def test_config_when_a_metre_bound_meets_log_depth_then_refused():
    with pytest.raises(ValidationError, match="max_residual_m is 3.0 and in_log_depth is true, so errors are no metres; set"):
        DistillConfig(form="gauss", max_residual_m=3.0)
    assert not DistillConfig().is_on
    assert not DistillConfig(form="l1", weight=0).is_on
    assert DistillConfig(form="l1").is_on and not DistillConfig(form="silog").reads_uncertainty


@pytest.mark.parametrize(("form", "in_log_depth"), [("laplace", False), ("laplace", True), ("gauss", False)])
def test_calibration_table_when_the_scale_is_right_then_tells_the_residual_bin_by_bin(form, in_log_depth):
    generator = torch.Generator().manual_seed(0)
    size = torch.linspace(0.02, 0.4, 20_000) if in_log_depth else torch.linspace(0.1, 5.0, 20_000)
    lidar = torch.full_like(size, 30.0)
    if form == "laplace":
        s = size.log()
        error = size * torch.empty_like(size).exponential_(generator=generator)
    else:
        s = 2 * size.log()
        error = size * torch.randn(size.shape, generator=generator)
    teacher = lidar * error.exp() if in_log_depth else lidar + error
    order = torch.randperm(len(size), generator=generator)
    found = calibration_of(s[order], teacher[order], lidar[order], form=form, in_log_depth=in_log_depth)
    assert found.num_pixels.tolist() == [2000.0] * 10
    assert (found.log_scale.diff() > 0).all()
    assert ((found.measured / found.expected - 1).abs() < 0.08).all()
    shuffled = calibration_of(s, teacher[order], lidar, form=form, in_log_depth=in_log_depth)
    assert shuffled.measured.max() < 1.2 * shuffled.measured.min()  # a scale that knows nothing


def test_calibration_table_when_pixels_lack_a_depth_then_only_the_others_count():
    s = torch.tensor([[0.0, 1.0, 2.0, 9.0, 3.0]])
    teacher, lidar = torch.tensor([[12.0, 0.0, 14.0, 30.0, 9.0]]), torch.tensor([[10.0, 5.0, 0.0, 10.0, 12.0]])
    found = calibration_of(s, teacher, lidar, form="laplace", in_log_depth=False)
    assert found.log_scale.tolist() == [0.0, 3.0, 5.0]  # s counts within -5 to 5
    assert found.measured.tolist() == [2.0, 3.0, 20.0]
    assert found.num_pixels.tolist() == [1.0, 1.0, 1.0]
    with pytest.raises(ValueError, match="none of the 5 pixels has both a teacher's depth and a measured one"):
        calibration_of(s, teacher, torch.zeros_like(s), form="laplace", in_log_depth=False)
    with pytest.raises(ValueError, match=re.escape("lidar_m has shape (1, 4) and log_scale (1, 5), expected the same")):
        calibration_of(s, teacher, lidar[:, :4], form="laplace", in_log_depth=False)
    with pytest.raises(ValueError, match="num_bins is 0, expected at least 1; 10 gives deciles"):
        calibration_of(s, teacher, lidar, form="laplace", in_log_depth=False, num_bins=0)


def test_network_when_it_has_the_uncertainty_head_then_all_other_weights_begin_as_without():
    torch.manual_seed(3)
    plain = SemoDepth(SemoDepthConfig(base_channels=8, plug_in=True))
    torch.manual_seed(3)
    other = SemoDepth(SemoDepthConfig(plug_in=True, **SMALL))
    own, found = plain.state_dict(), other.state_dict()
    assert {key.split(".")[0] for key in found.keys() - own.keys()} == {"uncertainty_head"}
    assert own.keys() <= found.keys()
    assert all(torch.equal(own[key], found[key]) for key in own)


def test_head_when_the_scale_is_not_asked_for_then_is_not_computed():
    network = SemoDepth(SemoDepthConfig(**SMALL))
    calls: list[int] = []
    network.uncertainty_head[0].register_forward_hook(lambda *_: calls.append(1))
    image, radar = image_and_radar()
    network.train()(image, radar)
    depth_m = network.predict(image, radar)
    assert not calls
    found = network.predict_with_uncertainty(image, radar)
    assert calls == [1]
    assert torch.equal(found.depth, depth_m)
    assert network.training
    assert found.log_scale.shape == (1, 32, 48) and not found.log_scale.any()  # a fresh one believes everything alike


def test_head_when_asked_for_but_absent_then_said():
    image, radar = image_and_radar()
    with pytest.raises(
        InputError, match="log scale was asked of a network without the uncertainty head; build it with uncertainty=True"
    ):
        SemoDepth(SemoDepthConfig(base_channels=8))(image, radar, with_uncertainty=True)


@pytest.mark.parametrize("downscale", [1, 2])
def test_head_when_trained_then_every_parameter_of_it_hears_of_the_loss(downscale):
    torch.manual_seed(0)
    network = SemoDepth(SemoDepthConfig(input_downscale=downscale, **SMALL)).train()
    torch.nn.init.normal_(network.uncertainty_head[2].weight)
    image, radar = image_and_radar(64, 96)
    normalized, log_scale = network(image, radar, with_uncertainty=True)
    assert normalized.shape == log_scale.shape == (1, 64, 96)
    teacher = torch.full((1, 64, 96), 20.0)
    config = DistillConfig(form="laplace")
    distill_loss(
        normalized, torch.zeros_like(teacher), teacher, space=network.depth_space, config=config, log_scale=log_scale
    ).loss.backward()
    assert all(bool(p.grad.abs().max() > 0) for p in network.uncertainty_head.parameters())
    assert bool(network.head[0].weight.grad.abs().max() > 0)


def test_head_when_the_teacher_is_wrong_on_one_side_then_its_scale_grows_there_between_the_lidar_pixels_too():
    """The prediction is the teacher's own, so that a few LiDAR pixels alone say where the teacher is to be believed."""
    torch.manual_seed(0)
    network = SemoDepth(SemoDepthConfig(**SMALL)).eval()
    image, radar = image_and_radar()
    image[:, :, 24:] //= 4  # the sides can be told apart
    seen: list[torch.Tensor] = []
    network.uncertainty_head[0].register_forward_hook(lambda module, given, out: seen.append(given[0]))
    network.predict_with_uncertainty(image, radar)
    features = seen.pop()
    truth = torch.full((1, 32, 48), 20.0)
    teacher = 1.02 * truth
    teacher[:, :, 24:] *= 1.0 + 0.8 * torch.rand((1, 32, 24), generator=torch.Generator().manual_seed(1))
    dense = torch.where(torch.rand((1, 32, 48), generator=torch.Generator().manual_seed(2)) < 0.1, truth, 0.0)
    config, normalized = DistillConfig(form="laplace"), SPACE.normalize(teacher)
    optimizer = torch.optim.Adam(network.uncertainty_head.parameters(), lr=3e-2)
    for _ in range(60):
        s = F.interpolate(network.uncertainty_head(features), (32, 48), mode="bilinear")[:, 0]
        optimizer.zero_grad()
        distill_loss(normalized, dense, teacher, space=SPACE, config=config, log_scale=s).loss.backward()
        optimizer.step()
    found = network.predict_with_uncertainty(image, radar)
    between = (dense == 0)[0]
    left, right = (found.log_scale[0, :, half][between[:, half]].mean() for half in (slice(0, 20), slice(28, 48)))
    assert right > left + 1.0
    table = calibration_of(found.log_scale, teacher, dense, form="laplace", in_log_depth=True)
    assert table.measured[-1] > 3 * table.measured[0]
