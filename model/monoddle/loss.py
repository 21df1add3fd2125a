"""The terms that MonoDLE's detector is trained with, without distillation.

Source  docs/method/monoddle.md#detector-loss (MonoDLE, arXiv 2103.16237, sections 3.2 to 3.4)
Differs from the public code: every mean is a sum over max(count, 1), so that batches without objects and perfect predictions stay
        finite; size errors are divided by the whole size, also where the network says differences to a mean.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from model.blocks.over_processes import MeanOverProcesses
from model.monoddle.batch import TargetTensors
from model.monoddle.decode import MIN_HEAT
from model.monoddle.heads import depth_m_of
from model.monoddle.network_config import NUM_HEADING_BINS
from model.monoddle.targets import NOT_JUDGED

LOSS_TERMS = ("heatmap", "offset_2d", "size_2d", "offset_3d", "depth", "size_3d", "heading_class", "heading_residual")
"""Terms whose plain sum is ``total``."""

_ROOT_2 = 1.4142  # four decimals, as in the public code, so that its values can be reproduced


def detection_losses(
    maps: Mapping[str, Tensor], targets: TargetTensors, *, mean_over_processes: MeanOverProcesses | None = None
) -> dict[str, Tensor]:
    """Compare the raw maps of the heads with the targets of a batch; in float32, inside autocast too.

    Args:
        maps: raw maps (b, channels, h, w) by name; one of dense uncertainty is not looked at.
        targets: of the same views.
        mean_over_processes: where several processes share a batch and average their gradients. With it each object of the whole
            batch weighs the same, wherever it is; without, objects in a process with few of them weigh more.

    Returns:
        Scalars by the names of ``LOSS_TERMS``, and their sum ``total``. A term without objects is 0 with a gradient of 0.
    """
    with torch.autocast(targets.heatmap.device.type, enabled=False):
        return _losses({name: values.float() for name, values in maps.items()}, targets, mean_over_processes)


def _losses(
    maps: Mapping[str, Tensor], targets: TargetTensors, mean_over_processes: MeanOverProcesses | None
) -> dict[str, Tensor]:
    at = {name: _at_cells(values, targets.cell_index) for name, values in maps.items() if name in _READ_AT_CELLS}
    size_error = _masked((at["size_3d"] - targets.size_3d_m).abs(), targets.is_3d)
    relative_error = size_error / torch.where(targets.is_3d[..., None], targets.whole_size_m, 1.0)
    is_peak = targets.heatmap == 1
    counted = torch.stack(
        [is_peak.sum(), targets.is_object.sum(), targets.is_3d.sum(), size_error.detach().sum(), relative_error.detach().sum()]
    )
    if mean_over_processes is not None:
        counted = mean_over_processes(counted)
    # means over processes may lie between 0 and 1, and are divisors as they are
    num_peaks, num_objects, num_3d, total_error, total_relative = torch.where(counted > 0, counted, 1.0)
    wrong_by = (depth_m_of(at["depth"][..., 0]) - targets.depth_m).abs()
    log_scale = at["depth"][..., 1]
    scores, residuals = at["heading"].split(NUM_HEADING_BINS, dim=2)
    residual = residuals.gather(2, targets.heading_bin[..., None])[..., 0]
    terms = {
        "heatmap": _focal(maps["heatmap"], targets.heatmap, is_peak) / num_peaks,
        "offset_2d": _masked((at["offset_2d"] - targets.offset_2d).abs(), targets.is_object).sum() / (2 * num_objects),
        "size_2d": _masked((at["size_2d"] - targets.size_2d).abs(), targets.is_object).sum() / (2 * num_objects),
        "offset_3d": _masked((at["offset_3d"] - targets.offset_3d).abs(), targets.is_3d).sum() / (2 * num_3d),
        "depth": _masked(_ROOT_2 * torch.exp(-log_scale) * wrong_by + log_scale, targets.is_3d).sum() / num_3d,
        # as large as the plain error, but each side pulls by its share: short sides decide the overlap
        "size_3d": relative_error.sum() * (total_error / total_relative) / (3 * num_3d),
        "heading_class": _masked(_cross_entropy(scores, targets.heading_bin), targets.is_object).sum() / num_objects,
        "heading_residual": _masked((residual - targets.heading_rad).abs(), targets.is_object).sum() / num_objects,
    }
    return {**terms, "total": torch.stack([terms[name] for name in LOSS_TERMS]).sum()}


_READ_AT_CELLS = ("offset_2d", "size_2d", "offset_3d", "depth", "size_3d", "heading")


def _focal(logit: Tensor, target: Tensor, is_peak: Tensor) -> Tensor:
    """Return the penalty-reduced focal loss of CornerNet, summed over the cells of the batch that are judged."""
    heat = torch.sigmoid(logit).clamp(MIN_HEAT, 1 - MIN_HEAT)
    at_peak = (1 - heat) ** 2 * torch.log(heat)
    elsewhere = (1 - target) ** 4 * heat**2 * torch.log(1 - heat)
    return -torch.where(target == NOT_JUDGED, 0.0, torch.where(is_peak, at_peak, elsewhere)).sum()


def _cross_entropy(scores: Tensor, number: Tensor) -> Tensor:
    """Return -log p of the true bin (b, n) from scores (b, n, bins)."""
    return F.cross_entropy(scores.transpose(1, 2), number, reduction="none")


def _at_cells(values: Tensor, cells: Tensor) -> Tensor:
    """Return what maps (b, c, h, w) say at cells (b, n): (b, n, c)."""
    return values.flatten(2).gather(2, cells[:, None].expand(-1, values.shape[1], -1)).transpose(1, 2)


def _masked(values: Tensor, is_wanted: Tensor) -> Tensor:
    """Return values (b, n) or (b, n, c) with 0, and no gradient, in the slots (b, n) that are not wanted."""
    return torch.where(is_wanted if values.ndim == 2 else is_wanted[..., None], values, 0.0)


def foreground_weight(heatmap: Tensor, is_valid: Tensor, *, foreground: float = 5.0) -> Tensor:
    """Return how much each cell counts in distillation: 0 without a teacher's value, 1 far from objects, more near them.

    Foreground is what the targets' Gaussians cover, so it fades out; it is not the inside of the boxes.

    Args:
        heatmap: targets (b, classes, h, w), 0 to 1, or ``NOT_JUDGED``, which counts as 0.
        is_valid: (b, h, w) bool, the teacher has a value.
        foreground: weight at the centre of an object.

    Returns:
        (b, h, w) float32.
    """
    return is_valid * (1.0 + (foreground - 1.0) * heatmap.float().amax(dim=1).clamp(min=0.0))
