"""Where each pixel's ray enters a moving box at the image's time: what lies behind is hidden, whatever other sweeps saw there.

Why    Returns on moving objects are dropped, so returns of other times from the street behind them stand in their place
Source docs/method/pipeline.md#behind-moving-boxes

A ray through the middle of a pixel meets the slabs of a box; the depth at its entry is written in steps of 1/256 m. Only pixels
within the rectangle around the projected box are looked at.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from pipeline.geometry import inverse
from pipeline.kernels.accumulate import EMPTY, FAR_M, NEAR_M
from pipeline.kernels.boxes import PlacedBoxes

GROWN = 1.05
"""Boxes are tight and poses are not exact: 5 % more on every side but the lower one."""

RAISED_M = 0.15
"""The lowest part of a box holds the road below the object, which other times see rightly."""

_NEAR_PLANE_M = 0.05


def grown_slabs(half_size_m: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return lower and upper bounds (n, 2, 3) of boxes in their own frames, metres, from half extents (n, 3)."""
    upper = GROWN * half_size_m
    lower = -upper
    lower[:, 2] = np.minimum(RAISED_M - half_size_m[:, 2], upper[:, 2])
    return np.stack([lower, upper], axis=1)


class EntryDepths:
    """Depths at which the rays of one camera enter moving boxes; memory that is used again for every image.

    Attributes:
        steps: (height * width,) uint16, 1/256 m; EMPTY where a ray meets no box.
        windows: (n, 4) int64 rows and columns [first, stop) of the last image's boxes.
    """

    def __init__(self, *, height: int, width: int) -> None:
        self.steps = np.full(height * width, EMPTY, np.uint16)
        self.windows = np.zeros((0, 4), np.int64)
        self._size = (height, width)

    def find(self, boxes: PlacedBoxes, world_from_cam: NDArray[np.float64], intrinsic_px: NDArray[np.float64]) -> None:
        """Look at the boxes of another image.

        Args:
            boxes: moving boxes at the image's time.
            world_from_cam: (4, 4).
            intrinsic_px: (3, 3).
        """
        height, width = self._size
        steps = self.steps.reshape(height, width)
        for first_row, stop_row, first_column, stop_column in self.windows:
            steps[first_row:stop_row, first_column:stop_column] = EMPTY
        box_from_cam = inverse(boxes.world_from_box) @ world_from_cam
        slabs = grown_slabs(boxes.half_size_m)
        windows = np.zeros((len(slabs), 4), np.int64)
        rays = box_from_cam[:, :3, :3] @ np.linalg.inv(intrinsic_px)
        _enter_boxes(box_from_cam, slabs, intrinsic_px, rays.astype(np.float32), windows, steps)
        self.windows = windows[windows[:, 1] > windows[:, 0]]


@njit(cache=True, error_model="numpy")
def _enter_boxes(box_from_cam, slabs, intrinsic, rays, windows, steps):  # type: ignore[no-untyped-def]  # numba reads no annotations
    """Lower ``steps`` (height, width) to the entry depths of boxes, and note the window (rows, columns) of each.

    Args:
        box_from_cam: (n, 4, 4) float64.
        slabs: (n, 2, 3) float64 lower and upper bounds.
        intrinsic: (3, 3) float64.
        rays: (n, 3, 3) float32 take (column, row, 1) to the direction in the box's frame, of depth 1.
        windows: (n, 4) int64 output; no rows where the box is not in view.
        steps: (height, width) uint16.
    """
    height, width = steps.shape
    for k in range(len(slabs)):
        _window_of(box_from_cam[k], slabs[k], intrinsic, height, width, windows[k])
        origin = box_from_cam[k, :3, 3].astype(np.float32)
        lower, upper = slabs[k, 0].astype(np.float32) - origin, slabs[k, 1].astype(np.float32) - origin
        for row in range(windows[k, 0], windows[k, 1]):
            _enter_row(lower, upper, rays[k], row, windows[k, 2], steps[row, windows[k, 2] : windows[k, 3]])


@njit(cache=True, error_model="numpy")
def _enter_row(lower, upper, ray, row, first_column, steps):  # type: ignore[no-untyped-def]
    """Lower the entry depths of a part of an image row; without a branch, so that the compiler makes vector code of it."""
    half, near, far, scale = np.float32(0.5), np.float32(NEAR_M), np.float32(FAR_M), np.float32(256)
    one, middle = np.float32(1), np.float32(row) + half
    x0, y0, z0 = ray[0, 1] * middle + ray[0, 2], ray[1, 1] * middle + ray[1, 2], ray[2, 1] * middle + ray[2, 2]
    for i in range(len(steps)):
        column = np.float32(first_column + i) + half
        x, y, z = one / (ray[0, 0] * column + x0), one / (ray[1, 0] * column + y0), one / (ray[2, 0] * column + z0)
        ax, bx, ay, by, az, bz = lower[0] * x, upper[0] * x, lower[1] * y, upper[1] * y, lower[2] * z, upper[2] * z
        enters = max(max(min(ax, bx), min(ay, by)), min(az, bz))
        leaves = min(min(max(ax, bx), max(ay, by)), max(az, bz))
        is_met = (enters <= leaves) & (enters > near) & (enters < far)
        entry = np.uint16(np.int32(enters * scale if is_met else near))
        steps[i] = min(steps[i], entry if is_met else EMPTY)


@njit(cache=True, error_model="numpy")
def _window_of(box_from_cam, slab, intrinsic, height, width, window):  # type: ignore[no-untyped-def]
    """Write the rows and columns [first, stop) around a box in the image; edges that pass the camera are cut in front of it."""
    corners = np.empty((8, 3))
    for n in range(8):
        for axis in range(3):  # in the camera's frame: R^T (corner - t)
            total = 0.0
            for j in range(3):
                total += box_from_cam[j, axis] * (slab[(n >> j) & 1, j] - box_from_cam[j, 3])
            corners[n, axis] = total
    low_u, high_u, low_v, high_v = np.inf, -np.inf, np.inf, -np.inf
    for n in range(8):
        for bit in range(4):  # bit 3: the corner itself, else where the edge to the neighbour along an axis passes the near plane
            other = n if bit == 3 else n ^ (1 << bit)
            z, z_other = corners[n, 2], corners[other, 2]
            if z < _NEAR_PLANE_M and z_other < _NEAR_PLANE_M:
                continue
            share = 0.0
            if z < _NEAR_PLANE_M:
                share = (_NEAR_PLANE_M - z) / (z_other - z)
            x = corners[n, 0] + share * (corners[other, 0] - corners[n, 0])
            y = corners[n, 1] + share * (corners[other, 1] - corners[n, 1])
            z += share * (z_other - z)
            u = (intrinsic[0, 0] * x + intrinsic[0, 1] * y + intrinsic[0, 2] * z) / z
            v = (intrinsic[1, 1] * y + intrinsic[1, 2] * z) / z
            low_u, high_u, low_v, high_v = min(low_u, u), max(high_u, u), min(low_v, v), max(high_v, v)
    window[:] = 0
    if low_u < width and high_u > 0 and low_v < height and high_v > 0:
        window[0], window[1] = int(max(low_v - 1, 0.0)), int(min(high_v + 2, float(height)))
        window[2], window[3] = int(max(low_u - 1, 0.0)), int(min(high_u + 2, float(width)))


@njit(cache=True, error_model="numpy")
def blank_nearest(zbuffer, entry, windows, width):  # type: ignore[no-untyped-def]
    """Empty the pixels of a z-buffer whose nearest return lies behind the entry into a box."""
    for k in range(len(windows)):
        for row in range(windows[k, 0], windows[k, 1]):
            for pixel in range(row * width + windows[k, 2], row * width + windows[k, 3]):
                zbuffer[pixel] = EMPTY if zbuffer[pixel] > entry[pixel] else zbuffer[pixel]
