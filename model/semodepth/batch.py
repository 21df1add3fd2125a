"""A batch as the workers deliver it: small integers and points, on any device; ``dense.dense_batch`` makes maps of it there."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from model.data.points import PointArrays
from model.data.tensors import OfTensors


@dataclass(frozen=True)
class Points(OfTensors):
    """Points on pixels of a batch.

    Attributes:
        sample: (n,) int16 number of the frame within the batch; ascending.
        row: (n,) int16 pixel row.
        column: (n,) int16 pixel column.
        depth: (n,) float32 metres, or uint16 depth quanta of 1/256 m; never 0.
    """

    sample: Tensor
    row: Tensor
    column: Tensor
    depth: Tensor

    @classmethod
    def of(cls, arrays: PointArrays) -> Points:
        """Return the points of a worker as tensors."""
        return cls(*(torch.from_numpy(array) for array in (arrays.sample, arrays.row, arrays.column, arrays.depth)))


@dataclass(frozen=True)
class Views(OfTensors):
    """How each frame of a batch is looked at; see ``augment.View``.

    Attributes:
        is_flipped: (b,) bool.
        scale: (b,) float32; a: the image is scaled by 1/a, depth by a.
        left_px: (b,) float32 first column of the crop in the scaled image.
        top_px: (b,) float32 first row.
        height: rows of the view.
        width: columns of the view.
        is_scaled: some scale is not 1.
        is_moved: some view does not begin at the first pixel.
    """

    is_flipped: Tensor
    scale: Tensor
    left_px: Tensor
    top_px: Tensor
    height: int
    width: int
    is_scaled: bool
    is_moved: bool


@dataclass(frozen=True)
class Batch(OfTensors):
    """Frames as they are stored; a modality that was not asked for is None.

    Tensors may share memory that goes back to the loader when the last of them is gone: hold a batch as long as you like, but
    do not write into it.

    Attributes:
        frame_keys: b keys ``<scene>/<camera>/<timestamp_us>``.
        image_u8: (b, h, w, 3) uint8 RGB.
        intrinsics: (b, 3, 3) float32 pixels, of the rows that are read; the centre of pixel (0, 0) is at (0.5, 0.5). NaN where
            the source does not know its camera.
        is_night: (b,) bool.
        radar: returns, float32 metres along the optical axis, unclipped.
        sparse: single-sweep depth, uint16 depth quanta of 1/256 m.
        target_steps: (b, h, w) uint16 depth quanta of 1/256 m, 0 = no measurement.
        mono_steps: (b, h, w) uint16, the same for monocular depth.
        keeps_mono: (b,) bool; False = dropped in training: the plug-in branch gets zeros. None = all are kept.
        views: random views to take of the frames; None = as they are.
        confidence_u8: (b, h, w) uint8, 0 to 255: how far a pixel of the target can be believed.
    """

    frame_keys: tuple[str, ...]
    image_u8: Tensor
    intrinsics: Tensor
    is_night: Tensor
    radar: Points | None = None
    sparse: Points | None = None
    target_steps: Tensor | None = None
    mono_steps: Tensor | None = None
    keeps_mono: Tensor | None = None
    views: Views | None = None
    confidence_u8: Tensor | None = None

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self.frame_keys)


@dataclass(frozen=True)
class DenseBatch(OfTensors):
    """What a network and its loss take; a modality that was not asked for is None.

    Attributes:
        frame_keys: b keys.
        image_u8: (b, h, w, 3) uint8 RGB.
        intrinsics: (b, 3, 3) float32 pixels, of the view; NaN = not known.
        is_night: (b,) bool.
        radar_m: (b, h, w) float32 metres, 0 = no return, at most max_depth_m.
        sparse_m: (b, h, w) float32 metres, 0 = no measurement.
        target_m: (b, h, w) float32 metres, 0 = no measurement.
        mono_m: (b, h, w) float32 metres, 0 = no value, at most max_depth_m; all zeros for a sample whose mono was dropped.
        teacher_m: (b, h, w) float32 metres, the same map for a loss to learn from: 0 = no value, sky or clipped; never dropped.
        target_weight: (b, h, w) float32 in [0, 1]: what each pixel of the target counts; 0 outside the frame.
    """

    frame_keys: tuple[str, ...]
    image_u8: Tensor
    intrinsics: Tensor
    is_night: Tensor
    radar_m: Tensor | None
    sparse_m: Tensor | None
    target_m: Tensor | None
    mono_m: Tensor | None
    teacher_m: Tensor | None = None
    target_weight: Tensor | None = None
