"""Distillation: a monocular teacher fills the pixels that LiDAR never reaches, and a scale learns how far it is to be believed.

Why     LiDAR says nothing of the upper image, of dark or far surfaces; a teacher says something everywhere, and is often wrong
Source  docs/method/semodepth.md#distillation; the forms are ``blocks/dense_teacher_loss``'s
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from model.blocks.dense_teacher_loss import DenseTeacherLoss, DistillForm, bounded_log_scale, dense_teacher_loss
from model.blocks.over_processes import Processes
from model.semodepth.depth_space import DepthSpace
from storage_schemas.frozen_config import FrozenConfig


class DistillConfig(FrozenConfig):
    """How the prediction is tied to a teacher's map (depth_mono) where there is no dense target."""

    form: DistillForm = Field(
        "none",
        description=(
            "none: no distillation; l1, silog: plain; laplace: exp(-s) |error| + s with the uncertainty head's s; gauss: "
            "½ exp(-s) error² + ½ s"
        ),
    )
    weight: float = Field(0.5, ge=0, description="lambda of the term; 0 = no distillation")
    measured_weight: float = Field(
        0.0, ge=0, description="how much a pixel counts where the dense target measured it, against 1 where it did not"
    )
    calibration: float = Field(
        1.0,
        ge=0,
        description=(
            "laplace and gauss: weight, within the term, of the same form with the dense target in place of the prediction, "
            "so that s learns how far the teacher is from LiDAR"
        ),
    )
    in_log_depth: bool = Field(True, description="the error is that of log depth, so that far pixels do not rule; silog: always")
    max_residual_m: float | None = Field(
        None, gt=0, description="gauss in metres: errors beyond it count linearly, m; null = all count squared"
    )
    far_m: float = Field(
        80.0,
        gt=0,
        description="the teacher's depth from here on is sky or clipped and teaches nothing, m; stages.align_mono_depth.far_m",
    )

    @property
    def is_on(self) -> bool:
        """Say whether there is such a term at all."""
        return self.form != "none" and self.weight > 0

    @property
    def reads_uncertainty(self) -> bool:
        """Say whether the form has a scale."""
        return self.form in ("laplace", "gauss")

    @model_validator(mode="after")
    def _one_unit(self) -> Self:
        if self.max_residual_m is not None and self.in_log_depth:
            raise ValueError(
                f"max_residual_m is {self.max_residual_m} and in_log_depth is true, so errors are no metres; set in_log_depth to "
                "false, or leave max_residual_m out"
            )
        return self


class Distilled(NamedTuple):
    """The term and what to watch beside it; scalars.

    Attributes:
        loss: what is weighted by ``DistillConfig.weight``: prediction against teacher, plus the weighted calibration.
        calibration: dense target against teacher, in the same form, before weighting; no gradient reaches the prediction. NaN for
            forms without a scale.
        teacher_mae_m: mean |prediction - teacher| over the pixels that count, metres.
        teacher_log_scale: mean s over them; NaN for forms without a scale.
    """

    loss: Tensor
    calibration: Tensor
    teacher_mae_m: Tensor
    teacher_log_scale: Tensor


def distill_loss(
    normalized: Tensor,
    dense_m: Tensor,
    teacher_m: Tensor,
    *,
    space: DepthSpace,
    config: DistillConfig,
    log_scale: Tensor | None = None,
    processes: Processes | None = None,
) -> Distilled:
    """Compare a prediction with a teacher where LiDAR is absent, and the teacher with LiDAR where both are there.

    Args:
        normalized: prediction (b, h, w) in the normalised space, not clamped.
        dense_m: dense target (b, h, w), metres, 0 = no measurement.
        teacher_m: the teacher's depth (b, h, w), metres, 0 = no value; sky and what is clipped have none. It counts inside the
            bounds of the depth space.
        space: bounds of the depth space.
        config: the form and its weights; any but ``none``.
        log_scale: s (b, h, w), for laplace and gauss; of other forms not looked at.
        processes: those that share the batch; the term is that of the joined batch.

    Returns:
        The term; its loss is 0 where no pixel counts. silog takes the pixels that count alike: measured ones not at all if
        ``measured_weight`` is 0, fully otherwise.

    Raises:
        ValueError: form ``none``, shapes that differ, or no log scale for a form that has one.
    """
    weight = torch.where(dense_m > 0, config.measured_weight, 1.0)
    has_teacher = _is_inside(teacher_m, space)

    def compared(pred_m: Tensor, is_valid: Tensor, weight: Tensor | None) -> DenseTeacherLoss:
        return _compared(pred_m, teacher_m, is_valid, config, log_scale=log_scale, weight=weight, processes=processes)

    taught = compared(_pullable_metres(normalized, space), has_teacher & (weight > 0), weight)
    unknown = taught.loss.new_tensor(math.nan)
    if not config.reads_uncertainty:
        return Distilled(taught.loss, unknown, taught.mean_abs_error_m, unknown)
    assert taught.mean_log_scale is not None  # the form has been refused without
    calibration = compared(dense_m, has_teacher & _is_inside(dense_m, space), None).loss
    loss = taught.loss + config.calibration * calibration
    return Distilled(loss, calibration.detach(), taught.mean_abs_error_m, taught.mean_log_scale)


class Calibration(NamedTuple):
    """How far a teacher is from LiDAR, by the scale that the network predicted; (n,) float64 each, from the least s on.

    Residuals are metres, or differences of log depth if the scale was learned so.

    Attributes:
        log_scale: mean s of the pixels of a bin.
        expected: mean residual that s stands for: exp(s) of laplace, sqrt(2 / pi) exp(s / 2) of gauss.
        measured: mean |teacher - LiDAR|.
        num_pixels: pixels of the bin; bins differ by one at most.
    """

    log_scale: Tensor
    expected: Tensor
    measured: Tensor
    num_pixels: Tensor


def calibration_of(
    log_scale: Tensor,
    teacher_m: Tensor,
    lidar_m: Tensor,
    *,
    form: Literal["laplace", "gauss"],
    in_log_depth: bool,
    num_bins: int = 10,
) -> Calibration:
    """Bin pixels by predicted scale, equally many a bin (deciles), and compare the scale with |teacher - LiDAR| there.

    Args:
        log_scale: s of any shape.
        teacher_m: the teacher's depth, of the same shape, metres, 0 = no value; as ``distill_loss`` took it, so without sky.
        lidar_m: measured depth, of the same shape, metres, 0 = no measurement.
        form: what s is the logarithm of: laplace: the scale, gauss: the variance.
        in_log_depth: residuals are those of log depth.
        num_bins: bins; fewer where there are fewer pixels.

    Raises:
        ValueError: shapes that differ, no bin, or no pixel with both depths.
    """
    for name, map_m in (("teacher_m", teacher_m), ("lidar_m", lidar_m)):
        if map_m.shape != log_scale.shape:
            raise ValueError(
                f"{name} has shape {tuple(map_m.shape)} and log_scale {tuple(log_scale.shape)}, expected the same; give maps of "
                "the same frames"
            )
    if num_bins < 1:
        raise ValueError(f"num_bins is {num_bins}, expected at least 1; 10 gives deciles")
    has_both = (teacher_m > 0) & (lidar_m > 0)
    if not has_both.any():
        raise ValueError(
            f"none of the {log_scale.numel()} pixels has both a teacher's depth and a measured one, so there is nothing to "
            "compare; give frames with LiDAR where the teacher has values"
        )
    s = bounded_log_scale(log_scale.detach()[has_both], form).double()
    teacher, lidar = teacher_m[has_both].double(), lidar_m[has_both].double()
    residual = (teacher.log() - lidar.log()).abs() if in_log_depth else (teacher - lidar).abs()
    expected = s.exp() if form == "laplace" else math.sqrt(2.0 / math.pi) * (0.5 * s).exp()
    bins = torch.argsort(s, stable=True).tensor_split(min(num_bins, len(s)))
    s_of, expected_of, measured_of = (torch.stack([values[bin_].mean() for bin_ in bins]) for values in (s, expected, residual))
    return Calibration(s_of, expected_of, measured_of, torch.tensor([float(len(bin_)) for bin_ in bins], dtype=torch.float64))


def _compared(
    pred_m: Tensor,
    teacher_m: Tensor,
    is_valid: Tensor,
    config: DistillConfig,
    *,
    log_scale: Tensor | None,
    weight: Tensor | None,
    processes: Processes | None,
) -> DenseTeacherLoss:
    """Compare anything with the teacher, as the configuration says."""
    if config.form == "none":
        raise ValueError("distill.form is none, so there is no term to compute; ask is_on before, or choose a form")
    return dense_teacher_loss(
        pred_m,
        teacher_m,
        is_valid=is_valid,
        form=config.form,
        log_scale=log_scale if config.reads_uncertainty else None,
        weight=weight,
        max_residual=config.max_residual_m,
        in_log_depth=config.in_log_depth,
        processes=processes,
    )


def _is_inside(depth_m: Tensor, space: DepthSpace) -> Tensor:
    return (depth_m > space.min_depth_m) & (depth_m < space.max_depth_m)


def _pullable_metres(normalized: Tensor, space: DepthSpace) -> Tensor:
    """Return metres of a prediction, with a gradient beyond the bounds too.

    Clamped metres have none there, and where LiDAR is absent no other term would bring a prediction back. The value stays the
    bound's; the slope is that of metres at the bound.
    """
    normalized = normalized.float()
    metres = space.metres(normalized)
    slope = metres.detach() * (0.5 * math.log(space.max_depth_m / space.min_depth_m))
    is_outside = normalized.detach().abs() > 1.0
    return metres + torch.where(is_outside, slope * (normalized - normalized.detach()), 0.0)
