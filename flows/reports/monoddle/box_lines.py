"""The lines of a box in space, and where they are seen.

Frames camera: x right, y down, z forward, metres; at rotation 0 a box's length lies along x and its front is at +x
Source docs/method/formats.md#kitti-labels
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from model.data.rectified_camera import project_points

Float64 = NDArray[np.float64]

NEAREST_M = 0.1
"""Lines are cut where they come nearer to the camera's plane than this."""

_BOTTOM = ((0, 1), (1, 2), (2, 3), (3, 0))
EDGES = (*_BOTTOM, *((a + 4, b + 4) for a, b in _BOTTOM), *((k, k + 4) for k in range(4)))
"""Pairs of corners."""

FRONT = ((0, 5), (1, 4))
"""The crossed lines on the front face, which say where a box is heading."""


def footprint(size_hwl_m: Float64, location_m: Float64, rotation_y_rad: float) -> Float64:
    """Return the corners (4, 2) of a box from above, x and z: front left and right, then rear right and left."""
    _, width, length = size_hwl_m
    along, across = np.array([1, 1, -1, -1]) * length / 2, np.array([1, -1, -1, 1]) * width / 2
    cosine, sine = np.cos(rotation_y_rad), np.sin(rotation_y_rad)
    x, z = cosine * along + sine * across, -sine * along + cosine * across
    return np.stack([x + location_m[0], z + location_m[2]], axis=1)


def corners(size_hwl_m: Float64, location_m: Float64, rotation_y_rad: float) -> Float64:
    """Return the corners (8, 3) of a box: those of ``footprint`` at the bottom, then above each of them."""
    flat = footprint(size_hwl_m, location_m, rotation_y_rad)
    height = np.repeat([location_m[1], location_m[1] - size_hwl_m[0]], 4)
    return np.stack([np.tile(flat[:, 0], 2), height, np.tile(flat[:, 1], 2)], axis=1)


def seen_lines(points_m: Float64, pairs: Sequence[tuple[int, int]], projection: Float64) -> Float64:
    """Return where lines are seen: (m, 2, 2) ends of them in pixels.

    Args:
        points_m: (n, 3) in the camera's frame.
        pairs: the ends of each line.
        projection: (3, 4).

    Returns:
        Lines wholly behind ``NEAREST_M`` are left out, those that cross it are cut there.
    """
    ends = points_m[np.array(pairs)]
    ends = ends[(ends[..., 2] >= NEAREST_M).any(axis=1)]
    for near in (0, 1):
        behind = ends[:, near, 2] < NEAREST_M
        a, b = ends[behind, near], ends[behind, 1 - near]
        share = (NEAREST_M - a[:, 2:]) / (b[:, 2:] - a[:, 2:])
        ends[behind, near] = a + share * (b - a)
    return project_points(projection, ends)
