"""What the detector is trained with: classes and the ten numbers of boxes, against the annotated objects.

Source  docs/method/uvtr.md#loss
Differs from the public code: an unknown velocity teaches nothing; key frames without an object are trained on, the count of
        objects being at least one; pairs are indexed, so no infinite row has to be thrown away.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from model.blocks.over_processes import MeanOverProcesses
from model.uvtr.batch import BoxTargets
from model.uvtr.box_code import CENTRE_Z, NUM_NUMBERS, VELOCITY, encode
from model.uvtr.centre_head import MIN_HEAT, CentreMaps, codes_at, heat_targets
from model.uvtr.config import UvtrLossConfig
from model.uvtr.matching import focal_sum, match
from model.uvtr.network_config import UvtrConfig
from model.uvtr.query_head import QueryLayers

OBJECT_TERMS = ("class", "box", "velocity")
"""Terms whose plain sum is the loss of the objects; each with its weight, of queries summed over the layers."""


def objects_losses(
    found: CentreMaps | QueryLayers,
    targets: BoxTargets,
    config: UvtrLossConfig,
    *,
    network: UvtrConfig,
    mean_over_processes: MeanOverProcesses | None = None,
) -> dict[str, Tensor]:
    """Compare what either head says with the objects; see ``centre_losses`` and ``query_losses``."""
    if isinstance(found, CentreMaps):
        return centre_losses(found, targets, config, network=network, mean_over_processes=mean_over_processes)
    return query_losses(found, targets, config, network=network, mean_over_processes=mean_over_processes)


def centre_losses(
    maps: CentreMaps,
    targets: BoxTargets,
    config: UvtrLossConfig,
    *,
    network: UvtrConfig,
    mean_over_processes: MeanOverProcesses | None = None,
) -> dict[str, Tensor]:
    """Compare heat maps and the codes at objects' cells with the objects; in float32.

    Args:
        maps: of b key frames.
        targets: objects of the same key frames.
        config: weights.
        network: options of the network: its voxels, and how headings are said.
        mean_over_processes: where several processes share a batch: each object weighs the same, wherever it is.

    Returns:
        Scalars by the names of ``OBJECT_TERMS``; finite without objects.
    """
    count = _count(len(targets.boxes), maps.heat, mean_over_processes)
    grid, heats, codes = network.lift.grid, [], []
    for frame, of_frame in enumerate(maps.codes):
        boxes, classes = targets.of(frame)
        heat, cells = heat_targets(
            boxes, classes, num_classes=network.num_classes, grid=grid, sigma_cells=network.centres.sigma_cells
        )
        heats.append(heat)
        codes.append(codes_at(of_frame, cells, grid=grid))
    wanted = encode(torch.cat([targets.of(frame)[0] for frame in range(len(maps.codes))]), code=network.code)
    errors = _code_errors(torch.cat(codes), wanted, config, scale=grid.voxel_m)
    return {"class": config.heat_weight * _heat_sum(maps.heat, torch.stack(heats)) / count, **_box_terms(errors, count, config)}


def query_losses(
    layers: QueryLayers,
    targets: BoxTargets,
    config: UvtrLossConfig,
    *,
    network: UvtrConfig,
    mean_over_processes: MeanOverProcesses | None = None,
) -> dict[str, Tensor]:
    """Compare what every layer says with the objects it is matched to; arguments and result as of ``centre_losses``.

    A centre above or below the voxels is brought to their top or bottom: a query cannot stand outside.
    """
    count = _count(len(targets.boxes), layers.logits, mean_over_processes)
    low, high = network.lift.low_m[2], network.lift.high_m[2]
    class_sum = layers.logits.new_zeros(())
    errors = []
    for frame in range(layers.logits.shape[1]):
        boxes, classes = targets.of(frame)
        wanted = encode(boxes, code=network.code)
        wanted[:, CENTRE_Z] = wanted[:, CENTRE_Z].clamp(low, high)
        for logits, codes in zip(layers.logits[:, frame], layers.codes[:, frame], strict=True):
            pairs = match(logits, codes, classes, wanted, class_weight=config.class_weight, box_weight=config.box_weight)
            is_class = torch.zeros_like(logits)
            is_class[pairs.query, classes[pairs.target]] = 1.0
            class_sum = class_sum + focal_sum(logits, is_class)
            errors.append(_code_errors(codes[pairs.query], wanted[pairs.target], config))
    return {"class": config.class_weight * class_sum / count, **_box_terms(torch.cat(errors), count, config)}


def _count(num_objects: int, like: Tensor, mean_over_processes: MeanOverProcesses | None) -> Tensor:
    """Return how many objects there are, at least one; of several processes the mean over them."""
    count = like.detach().new_tensor(float(num_objects), dtype=torch.float32)
    return (count if mean_over_processes is None else mean_over_processes(count)).clamp(min=1.0)


def _code_errors(codes: Tensor, wanted: Tensor, config: UvtrLossConfig, *, scale: Sequence[float] = (1.0, 1.0)) -> Tensor:
    """Return by how much codes (n, 10) differ from wanted ones; 0 for a velocity that is not known and not to be learned.

    ``scale``: metres that count as one, along x and y.
    """
    known = wanted.isfinite()
    target = torch.where(known, wanted, 0.0)
    errors = (codes.float() - target).abs()
    if config.unknown_velocity == "mask":
        errors = torch.where(known, errors, 0.0)
    per_metre = errors.new_ones(NUM_NUMBERS)
    per_metre[0], per_metre[1] = 1.0 / scale[0], 1.0 / scale[1]
    return errors * per_metre


def _box_terms(errors: Tensor, count: Tensor, config: UvtrLossConfig) -> dict[str, Tensor]:
    upto = VELOCITY.start
    return {
        "box": config.box_weight * errors[:, :upto].sum() / count,
        "velocity": config.box_weight * config.velocity_weight * errors[:, upto:].sum() / count,
    }


def _heat_sum(logits: Tensor, wanted: Tensor) -> Tensor:
    """Return CornerNet's focal loss, summed: around a peak, falling short of silence costs little."""
    heat = logits.sigmoid().clamp(MIN_HEAT, 1 - MIN_HEAT)
    is_peak = wanted == 1
    at_peaks = -(1 - heat).square() * heat.log()
    elsewhere = -(1 - wanted).pow(4) * heat.square() * (1 - heat).log()
    return torch.where(is_peak, at_peaks, elsewhere).sum()
