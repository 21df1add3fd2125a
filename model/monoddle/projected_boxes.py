"""The 2D boxes around projected 3D boxes.

Source  docs/method/monoddle.md#choices-of-targets
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from model.data.objects import Objects
from model.data.rectified_camera import project_points

Float64 = NDArray[np.float64]

NEAREST_M = 0.1
"""A box is cut here before it is projected: what is beside or behind the camera has no place in the image."""

_CORNERS = np.array([[x, y, z] for x in (-0.5, 0.5) for y in (-1.0, 0.0) for z in (-0.5, 0.5)])
"""Shares of length, height and width; y points down, and 0 is the bottom face."""

_EDGES = np.array([[a, b] for a in range(8) for b in range(a + 1, 8) if (_CORNERS[a] != _CORNERS[b]).sum() == 1])
"""The twelve pairs of corners that differ along one side only."""


def box_corners(objects: Objects) -> Float64:
    """Return the corners (n, 8, 3) of the 3D boxes in the camera's frame, metres."""
    local = _CORNERS * objects.size_hwl_m[:, None, [2, 0, 1]]
    cosine, sine = np.cos(objects.rotation_y_rad)[:, None], np.sin(objects.rotation_y_rad)[:, None]
    turned = np.stack(
        [cosine * local[..., 0] + sine * local[..., 2], local[..., 1], cosine * local[..., 2] - sine * local[..., 0]], axis=-1
    )
    return np.asarray(turned + objects.location_m[:, None])


def projected_boxes(objects: Objects, projection: Float64) -> Float64:
    """Return the 2D boxes (n, 4) around the projected 3D boxes: left, top, right, bottom, pixels, not cut to the image.

    Args:
        objects: n objects.
        projection: (3, 4) of the whole image.

    Returns:
        The annotated 2D box where an object says no size, or lies nearer than ``NEAREST_M`` as a whole.
    """
    boxes = objects.box_px.copy()
    for number, corners in enumerate(box_corners(objects)):
        ends = corners[_EDGES]
        points = np.concatenate([corners[corners[:, 2] >= NEAREST_M], _crossings(ends)])
        if len(points) and (objects.size_hwl_m[number] > 0).all():
            pixels = project_points(projection, points)
            boxes[number] = [*pixels.min(axis=0), *pixels.max(axis=0)]
    return boxes


def _crossings(ends: Float64) -> Float64:
    """Return where edges (m, 2, 3) cross the plane z = NEAREST_M, (k, 3)."""
    depth = ends[..., 2] - NEAREST_M
    start, end = ends[depth[:, 0] * depth[:, 1] < 0].transpose(1, 0, 2)
    share = (NEAREST_M - start[:, 2:]) / (end[:, 2:] - start[:, 2:])
    return np.asarray(start + share * (end - start))
