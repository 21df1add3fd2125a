"""The edges of boxes around the rig, and where cameras see them.

Frames rig: x forward, y left, z up, metres; at heading 0 a box's length lies along x and its front is at +x
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from model.uvtr.detections import Detections

Float64 = NDArray[np.float64]

NEAREST_M = 0.1
"""Lines are cut where they come nearer to the camera's plane than this."""

_BOTTOM = ((0, 1), (1, 2), (2, 3), (3, 0))
EDGES = (*_BOTTOM, *((a + 4, b + 4) for a, b in _BOTTOM), *((k, k + 4) for k in range(4)))
FRONT = ((0, 5), (1, 4))
"""Pairs of corners; the two crossed lines on the front face say where a box is heading."""


def corners(boxes: Detections) -> Float64:
    """Return the corners (n, 8, 3): front right and left, rear left and right at the bottom, then above each of them."""
    along = np.array([1, 1, -1, -1]) / 2 * boxes.sizes_wlh_m[:, 1:2]
    across = np.array([-1, 1, 1, -1]) / 2 * boxes.sizes_wlh_m[:, 0:1]
    cosine, sine = np.cos(boxes.yaws_rad)[:, None], np.sin(boxes.yaws_rad)[:, None]
    flat = np.stack([cosine * along - sine * across, sine * along + cosine * across], axis=2) + boxes.centers_m[:, None, :2]
    half = boxes.sizes_wlh_m[:, 2:3] / 2
    heights = np.concatenate([boxes.centers_m[:, 2:3] - half, boxes.centers_m[:, 2:3] + half], axis=1).repeat(4, axis=1)
    return np.concatenate([np.tile(flat, (1, 2, 1)), heights[..., None]], axis=2)


def seen_lines(corner_m: Float64, cam_from_rig: Float64, intrinsics: Float64) -> Float64:
    """Return where the edges and the front crosses of a box are seen: (m, 2, 2) ends in pixels.

    Args:
        corner_m: (8, 3) of one box, rig frame.
        cam_from_rig: (4, 4).
        intrinsics: (3, 3), pixels.

    Returns:
        Lines wholly behind ``NEAREST_M`` are left out, those that cross it are cut there.
    """
    in_cam = corner_m @ cam_from_rig[:3, :3].T + cam_from_rig[:3, 3]
    ends = in_cam[np.array((*EDGES, *FRONT))]
    ends = ends[(ends[..., 2] >= NEAREST_M).any(axis=1)]
    for near in (0, 1):
        behind = ends[:, near, 2] < NEAREST_M
        a, b = ends[behind, near], ends[behind, 1 - near]
        share = (NEAREST_M - a[:, 2:]) / (b[:, 2:] - a[:, 2:])
        ends[behind, near] = a + share * (b - a)
    seen = ends @ intrinsics.T
    return np.asarray(seen[..., :2] / seen[..., 2:])
