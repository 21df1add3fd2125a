"""The targets of several images as tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from model.monoddle.targets import ObjectTargets


class TargetTensors(NamedTuple):
    """The fields of ``ObjectTargets``, stacked: a first axis for the b images, everything else as it is described there."""

    heatmap: Tensor
    cell_index: Tensor
    offset_2d: Tensor
    size_2d: Tensor
    offset_3d: Tensor
    depth_m: Tensor
    size_3d_m: Tensor
    whole_size_m: Tensor
    heading_bin: Tensor
    heading_rad: Tensor
    is_object: Tensor
    is_3d: Tensor
    class_index: Tensor

    def to(self, device: torch.device, *, non_blocking: bool = False) -> TargetTensors:
        """Return the targets on a device."""
        return TargetTensors(*(tensor.to(device, non_blocking=non_blocking) for tensor in self))


def stack_targets(targets: Sequence[ObjectTargets]) -> TargetTensors:
    """Stack the targets of at least one image."""
    return TargetTensors(*(torch.from_numpy(np.stack(column)) for column in zip(*targets, strict=True)))
