"""The one factor that turns a monocular map into metres, of each frame: from LiDAR or from annotated boxes.

Why    A metric model that sees an unknown camera errs by one factor an image. Detectors have no radar to find it, but boxes
Reads  depth_single.depth_m, or boxes: boxes, calibration; inverse depth of the map
Source docs/method/mono-depth.md#scale. A frame's factor is the median of measured over predicted depth: half of the measurements
       may be wrong. Of boxes each has one vote, its own median, so that the nearest does not outvote all others
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.geometry import inverse
from pipeline.mono_depth.plane import box_depth, labelled_boxes
from storage_schemas.encoding import decode_depth
from storage_schemas.layout import Columns

MAX_RAYS = 32
"""Rays through a box along each axis of its rectangle in the image; more change a median by less than a percent."""

LEAST_RAYS = 4
"""A box that fewer of its rays enter is at the border of the image or behind another, and says nothing."""

Ratios = NDArray[np.float64]
"""(n,) measured over predicted depth."""


def lidar_ratios(
    steps: NDArray[np.uint16], inverse_depth: NDArray[np.float32], *, between_m: tuple[float, float]
) -> NDArray[np.float64]:
    """Return the ratio of every pixel of a frame that LiDAR measured.

    Args:
        steps: (height, width) depth of one sweep, steps of 1/256 m, 0 = none.
        inverse_depth: (height, width) of the map, per metre up to a factor; 0 or less = nothing predicted.
        between_m: measurements nearer or farther than these do not count.
    """
    row, column = np.nonzero(steps)
    depth_m = decode_depth(steps[row, column]).astype(np.float64)
    said = inverse_depth[row, column].astype(np.float64)
    is_used = (said > 0) & (depth_m >= between_m[0]) & (depth_m <= between_m[1])
    return np.asarray(depth_m[is_used] * said[is_used])


def box_ratios(
    tables: Mapping[str, Columns],
    frame: int,
    inverse_depth: NDArray[np.float32],
    *,
    intrinsic_px: NDArray[np.float64],
    between_m: tuple[float, float],
) -> NDArray[np.float64]:
    """Return the ratio of every box of a frame: the median over rays that enter it before any other box.

    Args:
        tables: ``boxes`` and ``calibration`` of the frame's unit.
        frame: its number there.
        inverse_depth: as above.
        intrinsic_px: (3, 3) camera matrix.
        between_m: boxes whose near side is nearer or farther than these do not count.
    """
    placed = labelled_boxes(tables, frame, np.eye(4))
    ratios = list[float]()
    for number, box in enumerate(placed):
        pixels = _pixels_of(box.world_from_box, box.half_size_m, intrinsic_px, inverse_depth.shape)
        if not len(pixels):
            continue
        rays = np.concatenate([pixels + 0.5, np.ones((len(pixels), 1))], axis=1) @ np.linalg.inv(intrinsic_px).T
        depths = np.stack([box_depth(rays, inverse(other.world_from_box), other) for other in placed])
        depth_m = depths[number]
        said = inverse_depth[pixels[:, 1], pixels[:, 0]].astype(np.float64)
        is_used = np.isfinite(depth_m) & (depth_m <= depths.min(axis=0)) & (said > 0)
        is_used &= (depth_m >= between_m[0]) & (depth_m <= between_m[1])
        if np.count_nonzero(is_used) >= LEAST_RAYS:
            ratios.append(float(np.median(depth_m[is_used] * said[is_used])))
    return np.array(ratios, np.float64)


def frame_factors(ratios: Sequence[Ratios], *, least: int) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return the factor (frame,) of each frame, and (frame,) whether it is its own.

    A frame with fewer than ``least`` ratios takes the median of the other frames' factors: the camera is the same, and so is most
    of what a model gets wrong. 0 everywhere if no frame has enough.
    """
    is_own = np.array([len(of_frame) >= least for of_frame in ratios], np.bool_)
    factor = np.array([np.median(of_frame) if own else 0.0 for of_frame, own in zip(ratios, is_own, strict=True)], np.float64)
    if is_own.any():
        factor[~is_own] = np.median(factor[is_own])
    return factor, is_own


def _pixels_of(
    cam_from_box: NDArray[np.float64], half_size_m: NDArray[np.float64], intrinsic_px: NDArray[np.float64], shape: tuple[int, ...]
) -> NDArray[np.intp]:
    """Return pixels (n, 2), x and y, spread over the rectangle around a box; none where a corner is behind the camera."""
    signs = np.array(np.meshgrid((-1, 1), (-1, 1), (-1, 1))).reshape(3, -1).T
    corners = signs * half_size_m @ cam_from_box[:3, :3].T + cam_from_box[:3, 3]
    if corners[:, 2].min() <= 0.1:
        return np.zeros((0, 2), np.intp)
    projected = corners @ intrinsic_px.T
    ends = projected[:, :2] / projected[:, 2:]
    axes = []
    for low, high, size in zip(ends.min(axis=0), ends.max(axis=0), shape[::-1], strict=True):
        first, last = max(int(np.ceil(low)), 0), min(int(high), size - 1)
        if first > last:
            return np.zeros((0, 2), np.intp)
        axes.append(np.unique(np.linspace(first, last, min(MAX_RAYS, last - first + 1)).round().astype(np.intp)))
    return np.asarray(np.stack(np.meshgrid(*axes), axis=-1).reshape(-1, 2))
