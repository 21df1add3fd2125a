"""Boxes of the world as a camera sees them, in KITTI's terms; all boxes of a frame at once.

Frames camera: x right, y down, z forward, metres; box: x forward, y left, z up, metres
Source docs/method/pipeline.md#projected-boxes; docs/method/formats.md#kitti-labels; the two rules KITTI leaves to its annotators,
       occlusion and what reaches behind the camera, are described at the functions
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]

NEAR_M = 0.1
"""Boxes are cut at this distance in front of the camera: nearer points have no finite projection."""

OCCLUSION_LIMITS = (0.1, 0.5)
"""Hidden shares of a 2D box from which an object is partly (1) and largely (2) hidden."""

GRID = 16
"""Points per column and per row of a 2D box that are tested for being hidden."""

_CORNERS = np.array([[x, y, z] for x in (-1.0, 1.0) for y in (-1.0, 1.0) for z in (-1.0, 1.0)])
_EDGES = np.array([(a, b) for a in range(8) for b in range(a + 1, 8) if np.sum(_CORNERS[a] != _CORNERS[b]) == 1])


@dataclass(frozen=True)
class SeenBoxes:
    """n boxes as a camera sees them.

    Attributes:
        box_px: (n, 4) left, top, right, bottom in the image; NaN for a box wholly behind ``NEAR_M``.
        truncation: (n,) share of the projected box's area outside the image, 0 to 1.
        location_m: (n, 3) centre of the bottom face in the camera frame: that of an upright box with the same centre.
        rotation_y_rad: (n,) turn about the y axis, -pi to pi.
        alpha_rad: (n,) observation angle, -pi to pi.
    """

    box_px: Float64
    truncation: Float64
    location_m: Float64
    rotation_y_rad: Float64
    alpha_rad: Float64


def see_boxes(cam_from_box: Float64, half_size_m: Float64, intrinsic_px: Float64, *, height: int, width: int) -> SeenBoxes:
    """Project boxes into an image.

    The 2D box is the hull of the box's edges, each cut where it comes nearer than ``NEAR_M``, then clipped to the image. KITTI's
    boxes stand upright in the camera frame; a box that does not (a camera that looks down) keeps its centre, and its heading is
    the projection of its own onto the x-z plane.

    Args:
        cam_from_box: (n, 4, 4) poses in the camera frame.
        half_size_m: (n, 3) half of length, width, height.
        intrinsic_px: (3, 3) camera matrix.
        height: image rows.
        width: image columns.
    """
    whole = hull_px(cam_from_box, half_size_m, intrinsic_px)
    clipped = np.clip(whole, 0.0, [width - 1.0, height - 1.0, width - 1.0, height - 1.0])
    with np.errstate(divide="ignore", invalid="ignore"):
        truncation = np.clip(1.0 - area(clipped) / area(whole), 0.0, 1.0)
    heading = cam_from_box[:, :3, 0]
    location = cam_from_box[:, :3, 3] + half_size_m[:, 2:] * np.array([0.0, 1.0, 0.0])
    rotation_y = np.arctan2(-heading[:, 2], heading[:, 0])
    alpha = rotation_y - np.arctan2(location[:, 0], location[:, 2])
    return SeenBoxes(clipped, np.nan_to_num(truncation, nan=1.0), location, rotation_y, wrapped(alpha))


def hull_px(cam_from_box: Float64, half_size_m: Float64, intrinsic_px: Float64) -> Float64:
    """Return the 2D boxes (n, 4), not clipped, that hold the parts of 3D boxes in front of ``NEAR_M``; NaN for no such part."""
    corners = _CORNERS * half_size_m[:, None]
    corners = corners @ np.swapaxes(cam_from_box[:, :3, :3], -1, -2) + cam_from_box[:, None, :3, 3]
    start, stop = corners[:, _EDGES[:, 0]], corners[:, _EDGES[:, 1]]  # (n, 12, 3)
    depth = np.stack([start[..., 2], stop[..., 2]])
    is_front = depth >= NEAR_M
    crosses = is_front[0] != is_front[1]
    share = np.where(crosses, NEAR_M - depth[0], 0.0) / np.where(crosses, depth[1] - depth[0], 1.0)
    cut = start + share[..., None] * (stop - start)
    cut[..., 2] = np.where(crosses, NEAR_M, cut[..., 2])  # set exactly: rounding could put it behind ``NEAR_M``
    points = np.concatenate([start, stop, cut], axis=1)
    is_seen = np.concatenate([is_front[0], is_front[1], crosses], axis=1)
    image = points @ intrinsic_px.T
    with np.errstate(divide="ignore", invalid="ignore"):
        u, v = image[..., 0] / image[..., 2], image[..., 1] / image[..., 2]
    low = [np.where(is_seen, pixels, np.inf).min(axis=1) for pixels in (u, v)]
    high = [np.where(is_seen, pixels, -np.inf).max(axis=1) for pixels in (u, v)]
    return np.where(is_seen.any(axis=1)[:, None], np.stack([*low, *high], axis=1), np.nan)


def hidden_share(box_px: Float64, distance_m: Float64) -> Float64:
    """Return which share (n,) of each 2D box the 2D boxes of nearer objects cover.

    This is coarse on purpose: it takes an object for its 2D box, tests ``GRID`` x ``GRID`` points of it, and knows nothing of
    walls, trees and objects that nobody annotated.

    Args:
        box_px: (n, 4) left, top, right, bottom.
        distance_m: (n,) depth of the centres, metres.
    """
    steps = (np.arange(GRID) + 0.5) / GRID
    u = box_px[:, :1] + steps * (box_px[:, 2:3] - box_px[:, :1])  # (n, GRID)
    v = box_px[:, 1:2] + steps * (box_px[:, 3:] - box_px[:, 1:2])
    left, top, right, bottom = (box_px[:, side, None, None] for side in range(4))  # (hider, hidden, place)
    in_columns, in_rows = (u >= left) & (u <= right), (v >= top) & (v <= bottom)
    in_front = distance_m[:, None] < distance_m[None, :]
    is_hidden = ((in_columns & in_front[..., None])[:, :, None, :] & in_rows[..., None]).any(axis=0)
    return np.asarray(is_hidden.mean(axis=(1, 2)))


def occlusion_levels(box_px: Float64, distance_m: Float64) -> NDArray[np.int64]:
    """Return KITTI's occlusion (n,) of objects: 0 visible, 1 partly, 2 largely hidden, by ``hidden_share``."""
    return np.digitize(hidden_share(box_px, distance_m), OCCLUSION_LIMITS)


def area(box_px: Float64) -> Float64:
    """Return the areas (n,) of 2D boxes (n, 4), square pixels."""
    return np.asarray((box_px[:, 2] - box_px[:, 0]) * (box_px[:, 3] - box_px[:, 1]))


def wrapped(angle_rad: Float64) -> Float64:
    """Return angles brought into [-pi, pi)."""
    return np.asarray((angle_rad + np.pi) % (2 * np.pi) - np.pi)
