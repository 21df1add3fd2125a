"""Learning dense depth from a teacher's map, with or without a scale that says where the teacher is to be believed.

Bounds  s is the log of a scale for laplace and of a variance for gauss, so each form has bounds of its own, see
        ``LOG_SCALE_BOUNDS``. A scale beyond its bound counts as the bound, and is still pulled back inside.
Forms   l1       |e|
        silog    sqrt(mean g^2 - 1/2 (mean g)^2), g = log prediction - log teacher; half blind to a common factor
        laplace  exp(-s) |e| + s       s = log of the Laplace scale; the form of MonoDDLE's README
        gauss    1/2 exp(-s) e^2 + 1/2 s   s = log variance; the form of its released code and so of its published figures
Source  docs/method/monoddle.md#dense-teacher-loss
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, cast

import torch
from torch import Tensor

from model.blocks.over_processes import Processes, shared_sums

TeacherForm = Literal["l1", "silog", "laplace", "gauss"]
"""How a prediction is compared with the teacher."""

DistillForm = Literal["none", "l1", "silog", "laplace", "gauss"]
"""The same as an option of a family: none = not at all."""

LOG_SCALE_BOUNDS = {"laplace": (-5.0, 5.0), "gauss": (-10.0, 10.0)}
"""Least and largest s that counts, by form. Both mean the same errors, exp(-5) to exp(5): 0.7 % to 148 m or times."""

_MIN_DEPTH_M = 1e-3  # what logarithms are taken of is at least this
_SILOG_FLOOR = 1e-8  # keeps the square root differentiable at 0


class DenseTeacherLoss(NamedTuple):
    """The loss and what to watch beside it; scalars, without gradients but for the loss.

    Attributes:
        loss: 0 where no pixel is valid.
        mean_abs_error_m: mean |prediction - teacher| over valid pixels, metres; 0 where there is none.
        mean_log_scale: mean s over valid pixels; None without a log scale.
        valid_share: valid pixels over all.
    """

    loss: Tensor
    mean_abs_error_m: Tensor
    mean_log_scale: Tensor | None
    valid_share: Tensor


def dense_teacher_loss(
    pred_m: Tensor,
    teacher_m: Tensor,
    *,
    is_valid: Tensor,
    form: TeacherForm,
    log_scale: Tensor | None = None,
    weight: Tensor | None = None,
    max_residual: float | None = None,
    in_log_depth: bool = False,
    processes: Processes | None = None,
) -> DenseTeacherLoss:
    """Compare predicted depth with a teacher's, pixel by pixel; in float32, inside autocast too.

    Args:
        pred_m: predicted depth (b, h, w) or (b, 1, h, w), metres, more than 0.
        teacher_m: the teacher's, of the same shape; what it holds where it is not valid does not matter.
        is_valid: bool of the same shape, the teacher has a value.
        form: how they are compared, see above.
        log_scale: s of the same shape, needed by laplace and gauss, not looked at by the others.
        weight: of the same shape, how much a pixel counts; None = all alike. Sums are divided by max(sum of weights, 1). silog
            takes every valid pixel alike, as published.
        max_residual: error from which gauss goes on straight, as laplace and l1 do anyway, so that the errors of 80 m of an
            untrained network do not outweigh all other losses; in the unit of the error; None = never, as published.
        in_log_depth: compare logarithms of depth, so that far pixels do not dominate; silog always does.
        processes: those that share the batch; all of them call this. The loss and what is watched are those of the joined batch.

    Raises:
        ValueError: unknown form, shapes that differ, or no log scale for a form that needs one.
    """
    _check(pred_m, teacher_m, is_valid, form=form, log_scale=log_scale, weight=weight)
    with torch.autocast(pred_m.device.type, enabled=False):
        pred_m = pred_m.float()
        teacher_m = torch.where(is_valid, teacher_m.float(), 1.0)
        error_m = pred_m - teacher_m
        if in_log_depth or form == "silog":
            error = torch.log(pred_m.clamp(min=_MIN_DEPTH_M)) - torch.log(teacher_m.clamp(min=_MIN_DEPTH_M))
        else:
            error = error_m
        s = None if log_scale is None else bounded_log_scale(log_scale, form)
        if form == "silog":
            inside = torch.where(is_valid, error, 0.0)
            parts = (inside * inside).sum(), inside.sum()
        else:
            each = torch.where(is_valid, _each(error, s, form=form, max_residual=max_residual), 0.0)
            counts = is_valid.float() if weight is None else weight.float() * is_valid
            parts = (counts * each).sum(), counts.sum()
        watched = [torch.where(is_valid, values.detach(), 0.0).sum() for values in (error_m.abs(), *([] if s is None else [s]))]
        first, second, num_valid, *watched = shared_sums([*parts, is_valid.sum(), *watched], processes)
        means = [total / num_valid.clamp(min=1.0) for total in watched]
        return DenseTeacherLoss(
            _silog(first, second, num_valid) if form == "silog" else first / second.clamp(min=1.0),
            means[0],
            None if s is None else means[1],
            num_valid / (is_valid.numel() * (1 if processes is None else processes.size)),
        )


def bounded_log_scale(log_scale: Tensor, form: TeacherForm) -> Tensor:
    """Return s within the bounds of its form; a gradient that pulls it back inside passes, one that pushes it outward does not.

    A plain clamp has no gradient beyond its bounds, so that a scale which began there would stay there for ever.

    Args:
        log_scale: s of any shape.
        form: laplace or gauss; other forms have no scale, and its bounds are none.
    """
    bounds = LOG_SCALE_BOUNDS.get(form)
    return log_scale.float() if bounds is None else cast(Tensor, _PulledBack.apply(log_scale.float(), *bounds))


class _PulledBack(torch.autograd.Function):
    """A clamp that lets the gradient back inside pass."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, low: float, high: float) -> Tensor:
        ctx.save_for_backward(values)
        ctx.bounds = low, high
        return values.clamp(low, high)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        (values,), (low, high), (gradient,) = ctx.saved_tensors, ctx.bounds, gradients
        is_outward = ((values < low) & (gradient > 0)) | ((values > high) & (gradient < 0))  # descent goes against the gradient
        return gradient.masked_fill(is_outward, 0.0), None, None


def _each(error: Tensor, log_scale: Tensor | None, *, form: TeacherForm, max_residual: float | None) -> Tensor:
    """Return the loss of each pixel."""
    size = error.abs()
    if form == "l1":
        return size
    assert log_scale is not None
    if form == "laplace":
        return torch.exp(-log_scale) * size + log_scale
    if max_residual is None:
        half_square = 0.5 * size * size
    else:
        near = size.clamp(max=max_residual)
        half_square = near * (size - 0.5 * near)  # half the square up to max_residual, then its tangent
    return torch.exp(-log_scale) * half_square + 0.5 * log_scale


def _silog(sum_squared: Tensor, total: Tensor, num_valid: Tensor) -> Tensor:
    count = num_valid.clamp(min=1.0)
    spread = sum_squared / count - 0.5 * (total / count) ** 2
    return torch.where(num_valid > 0, torch.sqrt(spread + _SILOG_FLOOR), 0.0)


def _check(
    pred_m: Tensor, teacher_m: Tensor, is_valid: Tensor, *, form: TeacherForm, log_scale: Tensor | None, weight: Tensor | None
) -> None:
    if form not in ("l1", "silog", "laplace", "gauss"):
        raise ValueError(f"form is '{form}', expected l1, silog, laplace or gauss")
    if log_scale is None and form in ("laplace", "gauss"):
        raise ValueError(
            f"form {form} needs log_scale, the output of an uncertainty head, and got None; give the network that head, "
            "or choose the form l1 or silog"
        )
    if is_valid.dtype != torch.bool:
        raise ValueError(f"is_valid is of type {is_valid.dtype}, expected torch.bool; compare the map with 0")
    others = {"teacher_m": teacher_m, "is_valid": is_valid, "log_scale": log_scale, "weight": weight}
    for name, tensor in others.items():
        if tensor is not None and tensor.shape != pred_m.shape:  # (b, 1, h, w) and (b, h, w) would broadcast over the batch
            raise ValueError(
                f"{name} has shape {tuple(tensor.shape)} and pred_m {tuple(pred_m.shape)}, expected the same; add or drop the "
                "channel axis"
            )
