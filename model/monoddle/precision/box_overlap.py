"""How much two boxes share: in the image, seen from above, and in space.

Why    Public evaluators clip rotated rectangles in float32 and compare coordinates exactly, so that a box found exactly where it
       was annotated often shares nothing with itself. Here every corner is float64 in the frame of the other box, where
       clipping is a comparison of one coordinate with one number, and touching or identical edges are nothing special.
Source Sutherland and Hodgman, Reentrant polygon clipping, 1974; docs/method/monoddle.md#rotated-overlap (the C++ devkit's
       areas: float64, union = sum of the areas less what is shared)
Frames ``Objects``: camera frame, x right, y down, z forward, metres; a location is the centre of the bottom face
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from model.data.objects import Objects

Floats = NDArray[np.float64]

_PAIRS_AT_ONCE = 4096
"""Pairs clipped together: their polygons, 8 corners of 2 coordinates, stay in the second-level cache."""


def solid_boxes(objects: Objects) -> Floats:
    """Return (n, 7) X, Y, Z of the bottom centre, height, width, length in metres, and the turn about y in radians."""
    return np.column_stack([objects.location_m, objects.size_hwl_m, objects.rotation_y_rad])


def overlap_2d(first_px: Floats, second_px: Floats) -> Floats:
    """Return the intersection over union of image boxes, pair by pair.

    Args:
        first_px: (n, 4) left, top, right, bottom.
        second_px: (n, 4) the others.

    Returns:
        (n,) 0 to 1; 0 where a box has no area.
    """
    shared = _shared_2d(first_px, second_px)
    return _share(shared, _area_2d(first_px) + _area_2d(second_px) - shared)


def own_share_2d(first_px: Floats, second_px: Floats) -> Floats:
    """Return what part of the first image box lies in the second, pair by pair: the rule of areas not to be judged.

    Args:
        first_px: (n, 4) left, top, right, bottom.
        second_px: (n, 4) the areas, which may be much larger.

    Returns:
        (n,) 0 to 1; 0 where a box has no area.
    """
    return _share(_shared_2d(first_px, second_px), _area_2d(first_px))


def overlap_bev(first: Floats, second: Floats) -> Floats:
    """Return the intersection over union of the boxes' ground rectangles, pair by pair; heights do not matter.

    Args:
        first: (n, 7) as ``solid_boxes`` returns.
        second: (n, 7) the others.

    Returns:
        (n,) 0 to 1; 0 where a length or width is not positive (KITTI's -1 = not said).
    """
    return solid_overlaps(first, second)[0]


def overlap_3d(first: Floats, second: Floats) -> Floats:
    """Return the intersection over union of boxes in space, pair by pair; a box reaches from Y - height down to Y.

    Args:
        first: (n, 7) as ``solid_boxes`` returns.
        second: (n, 7) the others.

    Returns:
        (n,) 0 to 1; 0 where a height, width or length is not positive (KITTI's -1 = not said).
    """
    return solid_overlaps(first, second)[1]


def solid_overlaps(first: Floats, second: Floats) -> tuple[Floats, Floats]:
    """Return ``overlap_bev`` and ``overlap_3d`` of the same pairs; the ground rectangles are clipped once."""
    on_ground = shared_ground_area(first, second)
    areas = _area_bev(first), _area_bev(second)
    bottom = np.minimum(first[:, 1], second[:, 1])
    top = np.maximum(first[:, 1] - first[:, 3], second[:, 1] - second[:, 3])
    shared = on_ground * np.maximum(bottom - top, 0.0)
    volumes = areas[0] * first[:, 3], areas[1] * second[:, 3]
    return _share(on_ground, areas[0] + areas[1] - on_ground), _share(shared, volumes[0] + volumes[1] - shared)


def shared_ground_area(first: Floats, second: Floats) -> Floats:
    """Return the area that the boxes' ground rectangles share, pair by pair.

    Args:
        first: (n, 7) as ``solid_boxes`` returns.
        second: (n, 7) the others.

    Returns:
        (n,) square metres; 0 where a length or width is not positive.
    """
    has_area = (first[:, 4:6] > 0).all(axis=1) & (second[:, 4:6] > 0).all(axis=1)
    reach = (np.hypot(first[:, 4], first[:, 5]) + np.hypot(second[:, 4], second[:, 5])) / 2
    apart = np.hypot(first[:, 0] - second[:, 0], first[:, 2] - second[:, 2])
    near = np.flatnonzero(has_area & (apart < reach))  # boxes whose enclosing circles do not touch share nothing
    area = np.zeros(len(first))
    for start in range(0, len(near), _PAIRS_AT_ONCE):
        some = near[start : start + _PAIRS_AT_ONCE]
        area[some] = _clipped_area(first[some], second[some])
    return area


def _clipped_area(first: Floats, second: Floats) -> Floats:
    """Return the shared areas of (n, 7) pairs with positive sizes: the first, clipped where the second lies along the axes."""
    half_width, half_length = second[:, 4] / 2, second[:, 5] / 2
    x, z = _corners_seen_from(first, second)
    for _ in range(2):  # a half turn after the two upper bounds makes upper bounds of the two lower ones
        x, z = _keep_below(x, z, half_length)
        z, x = _keep_below(z, x, half_width)
        x, z = -x, -z
    area: Floats = np.abs((x * np.roll(z, -1, axis=1) - np.roll(x, -1, axis=1) * z).sum(axis=1)) / 2
    return area


def _corners_seen_from(first: Floats, second: Floats) -> tuple[Floats, Floats]:
    """Return x along the length and z along the width of the second box, (n, 4) each, of the first box's ground corners."""
    along = first[:, 5:6] / 2 * [1, 1, -1, -1]
    across = first[:, 4:5] / 2 * [1, -1, -1, 1]
    turn = (first[:, 6] - second[:, 6])[:, None]
    dx, dz = (first[:, 0] - second[:, 0])[:, None], (first[:, 2] - second[:, 2])[:, None]
    yaw_rad = second[:, 6:7]
    x = np.cos(turn) * along + np.sin(turn) * across + np.cos(yaw_rad) * dx - np.sin(yaw_rad) * dz
    z = -np.sin(turn) * along + np.cos(turn) * across + np.sin(yaw_rad) * dx + np.cos(yaw_rad) * dz
    return x, z


def _keep_below(a: Floats, b: Floats, limit: Floats) -> tuple[Floats, Floats]:
    """Clip convex polygons to the half plane a <= limit, one limit a polygon.

    Args:
        a: (n, k) the coordinate that is bounded, of the corners in turn; a corner may come several times in a row.
        b: (n, k) the other coordinate.
        limit: (n,).

    Returns:
        Both as (n, m), m = most corners that one of them has now; the others repeat their last one, and a polygon of which
        nothing is left is (limit, 0) m times.
    """
    excess = a - limit[:, None]
    is_kept = excess <= 0
    next_excess, next_b = np.roll(excess, -1, axis=1), np.roll(b, -1, axis=1)
    is_crossed = is_kept != np.roll(is_kept, -1, axis=1)
    along = np.divide(excess, excess - next_excess, out=np.zeros_like(excess), where=is_crossed)
    # after each corner comes the point where its edge crosses the bound; put exactly on the bound, whatever the rounding of b
    n, k = a.shape
    points_a = np.stack([a, np.broadcast_to(limit[:, None], (n, k))], axis=2).reshape(n, 2 * k)
    points_b = np.stack([b, b + along * (next_b - b)], axis=2).reshape(n, 2 * k)
    is_point = np.stack([is_kept, is_crossed], axis=2).reshape(n, 2 * k)
    number = is_point.sum(axis=1, keepdims=True)
    order = np.argsort(~is_point, axis=1, kind="stable")
    taken = np.take_along_axis(order, np.clip(np.arange(max(1, number.max(initial=0))), 0, np.maximum(number - 1, 0)), axis=1)
    is_left = number > 0
    return (
        np.where(is_left, np.take_along_axis(points_a, taken, axis=1), limit[:, None]),
        np.where(is_left, np.take_along_axis(points_b, taken, axis=1), 0.0),
    )


def _shared_2d(first_px: Floats, second_px: Floats) -> Floats:
    sides = np.minimum(first_px[:, 2:], second_px[:, 2:]) - np.maximum(first_px[:, :2], second_px[:, :2])
    area: Floats = np.maximum(sides, 0.0).prod(axis=1)
    return area


def _area_2d(box_px: Floats) -> Floats:
    area: Floats = np.maximum(box_px[:, 2:] - box_px[:, :2], 0.0).prod(axis=1)
    return area


def _area_bev(boxes: Floats) -> Floats:
    area: Floats = boxes[:, 4] * boxes[:, 5]
    return area


def _share(shared: Floats, whole: Floats) -> Floats:
    return np.divide(shared, whole, out=np.zeros_like(shared), where=(shared > 0) & (whole > 0))
