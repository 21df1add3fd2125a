"""A batch for the detector: images of one size, each the view of an image of any size, with the targets of the same views."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.blocks.resnet import IMAGENET_MEAN, IMAGENET_STD
from model.data.objects import Objects
from model.data.tensors import OfTensors
from model.monoddle.affine_view import AffineView
from model.monoddle.targets import ObjectTargets
from storage_schemas.encoding import STEPS_PER_M


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


@dataclass(frozen=True)
class DetectionBatch(OfTensors):
    """b views; what was not asked for is None. Tensors may share memory with the loader: do not write into them.

    Attributes:
        frame_keys: b keys ``<scene>/<camera>/<timestamp_us>``.
        sample_tokens: b names of the images in their source, e.g. KITTI's six digits.
        image_u8: (b, h, w, 3) uint8 RGB, the network's input before normalising.
        views: b views of the whole images.
        projections: (b, 3, 4) float64 of the whole images.
        objects: b lists of everything annotated in the whole images, DontCare too.
        is_annotated: (b,) bool; False = the image was not annotated.
        targets: of the views.
        teacher_steps: (b, h / 4, w / 4) uint16 depth quanta of 1/256 m of the view's depth, 0 = the teacher says nothing.
    """

    frame_keys: tuple[str, ...]
    sample_tokens: tuple[str, ...]
    image_u8: Tensor
    views: list[AffineView]
    projections: NDArray[np.float64]
    objects: list[Objects]
    is_annotated: NDArray[np.bool_]
    targets: TargetTensors | None = None
    teacher_steps: Tensor | None = None

    def __len__(self) -> int:
        """Return the number of views."""
        return len(self.frame_keys)

    @property
    def teacher_m(self) -> Tensor | None:
        """The teacher's depth (b, h / 4, w / 4) float32 metres, 0 = none."""
        return None if self.teacher_steps is None else self.teacher_steps.float() / STEPS_PER_M


def normalized_images(image_u8: Tensor) -> Tensor:
    """Return images (b, h, w, 3) uint8 as the network takes them: (b, 3, h, w) float32 by ImageNet's mean and deviation."""
    mean, deviation = (image_u8.new_tensor(numbers, dtype=image_u8.float().dtype) for numbers in (IMAGENET_MEAN, IMAGENET_STD))
    scaled = (image_u8.float() / 255.0 - mean) / deviation
    return scaled.permute(0, 3, 1, 2)
