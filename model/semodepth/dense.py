"""From a batch to the maps that a network takes, on the batch's device: points become pixels, integers metres, views are taken.

Source docs/method/semodepth.md#radar-map: a radar return lies on (round(v), round(u)), where several do the nearest wins; inputs
       are clipped to [0, max_depth]; 0 = nothing
"""

from __future__ import annotations

import torch
from torch import Tensor

from model.semodepth.augment import view_image, view_intrinsics, view_nearest, view_points
from model.semodepth.batch import Batch, DenseBatch, Points, Views
from storage_schemas.encoding import STEPS_PER_M


def dense_batch(batch: Batch, *, max_depth_m: float, teacher_far_m: float | None = None) -> DenseBatch:
    """Make the maps of a batch.

    Args:
        batch: on any device.
        max_depth_m: radar and monocular depth beyond it are set to it, as the network's depth space ends there; targets are
            left as they are.
        teacher_far_m: make the map of monocular depth that a loss learns from: stored depth from here on is sky or clipped and
            becomes 0, whatever a view scales it to. None = none is made.
    """
    views = batch.views
    height, width = batch.image_u8.shape[1:3]
    radar_m = _map_of(batch.radar, views, len(batch), height, width)
    mono_m = _metres(batch.mono_steps, views)
    teacher_m = None if mono_m is None or teacher_far_m is None else _taught(mono_m, views, teacher_far_m)
    if mono_m is not None and batch.keeps_mono is not None:
        mono_m = mono_m * batch.keeps_mono[:, None, None]
    return DenseBatch(
        batch.frame_keys,
        batch.image_u8 if views is None else view_image(batch.image_u8, views),
        batch.intrinsics if views is None else view_intrinsics(batch.intrinsics, views, width=width),
        batch.is_night,
        None if radar_m is None else radar_m.clamp_(0.0, max_depth_m),
        _map_of(batch.sparse, views, len(batch), height, width),
        _metres(batch.target_steps, views),
        None if mono_m is None else mono_m.clamp_(0.0, max_depth_m),
        teacher_m,
        _weight(batch.confidence_u8, views),
    )


def _weight(confidence_u8: Tensor | None, views: Views | None) -> Tensor | None:
    """Return (b, h, w) float32 weights of a confidence, seen as the target is: pixels are never mixed, and none is scaled."""
    if confidence_u8 is None:
        return None
    weight = confidence_u8.to(torch.float32) * (1.0 / 255.0)
    return weight if views is None else view_nearest(weight, views)


def _metres(steps: Tensor | None, views: Views | None) -> Tensor | None:
    """Return (b, h, w) float32 metres of stored depth quanta, in the view."""
    if steps is None:
        return None
    depth_m = steps.to(torch.float32) * (1.0 / STEPS_PER_M)
    return depth_m if views is None else view_nearest(depth_m, views) * views.scale[:, None, None]


def _taught(depth_m: Tensor, views: Views | None, far_m: float) -> Tensor:
    """Return a copy of a depth map in the view, 0 where what is stored reaches ``far_m``."""
    seen_far_m = far_m if views is None else far_m * views.scale[:, None, None]
    return torch.where(depth_m < seen_far_m, depth_m, 0.0)


def _map_of(points: Points | None, views: Views | None, num_frames: int, height: int, width: int) -> Tensor | None:
    """Return (b, h, w) float32 metres: the nearest point of each pixel, 0 = none."""
    if points is None:
        return None
    depth_m = points.depth.to(torch.float32)
    if points.depth.dtype == torch.uint16:
        depth_m = depth_m * (1.0 / STEPS_PER_M)
    sample, row, column = points.sample.long(), points.row.long(), points.column.long()
    if views is not None:
        row, column, is_inside = view_points(row, column, sample, views, width=width)
        depth_m = (depth_m * views.scale[sample])[is_inside]
        sample, row, column = sample[is_inside], row[is_inside], column[is_inside]
        height, width = views.height, views.width
    nearest_m = torch.zeros(num_frames * height * width, device=depth_m.device)
    pixel = (sample * height + row) * width + column
    nearest_m[pixel] = torch.inf
    return nearest_m.scatter_reduce_(0, pixel, depth_m, "amin").reshape(num_frames, height, width)
