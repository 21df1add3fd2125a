"""A key frame from above: LiDAR points, footprints of boxes with their headings, rings of distance, cells that vehicles cover.

Reads  points and boxes in the rig frame, metres
Writes one square picture, forward up, the rig in the middle
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from flows.reports.html.depth_pictures import EMPTY_CANVAS
from flows.reports.uvtr.box_lines import corners
from model.uvtr.detections import Detections

Float64 = NDArray[np.float64]
Rgb = tuple[int, int, int]

LEAST_REACH_M, LARGEST_REACH_M, RING_M = 20.0, 60.0, 10.0
"""How far the picture reaches at least and at most, and the distance between two rings."""

_HEIGHTS_M = (-1.0, 4.0)  # points below and above these are noise, bridges and trees that would hide the road's
_GRID, _RIG, _INK = (48, 56, 70), (120, 128, 144), (150, 160, 178)
_POINT_LOW, _POINT_HIGH = np.array([70.0, 84.0, 104.0]), np.array([214.0, 222.0, 235.0])
_BOTH, _MISSED, _ALARM = (70, 170, 90), (64, 140, 200), (190, 110, 40)
_FONT_PX, _ROOM_M = 13, 3.0
_ARROW_S = 1.0  # the line ahead of a box is as long as its way in this time

COVERED_KEY = ((_BOTH, "covered and said so"), (_MISSED, "covered, not said"), (_ALARM, "said, not covered"))
"""Colours of ground cells."""


def reach_of(boxes: Sequence[Detections]) -> float:
    """Return how far the picture reaches to every side, metres: over all boxes, in whole rings, within bounds."""
    places = np.abs(np.concatenate([listed.centers_m[:, :2] for listed in boxes]))
    far_m = float(places.max(initial=0.0)) + _ROOM_M
    return float(np.clip(np.ceil(far_m / RING_M) * RING_M, LEAST_REACH_M, LARGEST_REACH_M))


def bird_view(
    points_m: NDArray[np.float32], boxes: Sequence[tuple[Detections, Rgb]], *, reach_m: float, size_px: int
) -> Image.Image:
    """Draw a key frame from above; the higher a point, the brighter. Lines ahead of boxes are their way in a second.

    Args:
        points_m: (n, 3) in the rig frame.
        boxes: lists with their colours, drawn in this order.
        reach_m: how far the picture reaches to every side.
        size_px: width and height.
    """
    picture = Image.new("RGB", (size_px, size_px), EMPTY_CANVAS)
    _draw_rings(picture, reach_m)
    canvas = np.array(picture)
    _draw_points(canvas, points_m, reach_m)
    picture = Image.fromarray(canvas)
    draw = ImageDraw.Draw(picture)
    for listed, color in boxes:
        speeds = np.nan_to_num(listed.velocities_mps)
        for k, corner_m in enumerate(corners(listed)):
            footprint = corner_m[:4, :2]
            front = footprint[:2].mean(axis=0)
            draw.polygon(_points(_pixels(footprint, reach_m, size_px)), outline=color, width=2)
            heading = np.stack([listed.centers_m[k, :2], front, front + _ARROW_S * speeds[k]])
            draw.line(_points(_pixels(heading, reach_m, size_px)), fill=color, width=2)
    _draw_rig(picture, reach_m)
    return picture


def ground_view(covered: NDArray[np.bool_], said: NDArray[np.bool_], *, size_px: int) -> Image.Image:
    """Draw ground cells (rows along y, columns along x): those that a vehicle covers, those that are said to be, and both."""
    colors = np.full((*covered.shape, 3), EMPTY_CANVAS, np.uint8)
    for mask, color in ((covered & said, _BOTH), (covered & ~said, _MISSED), (~covered & said, _ALARM)):
        colors[mask] = color
    forward_up = colors.transpose(1, 0, 2)[::-1, ::-1]  # x up, y to the left
    return Image.fromarray(np.ascontiguousarray(forward_up)).resize((size_px, size_px), Image.Resampling.NEAREST)


def _pixels(flat_m: Float64, reach_m: float, size_px: int) -> Float64:
    """Return where places (n, 2), x forward and y left, lie in the picture (n, 2)."""
    scale = size_px / (2 * reach_m)
    return np.stack([size_px / 2 - flat_m[:, 1] * scale, size_px / 2 - flat_m[:, 0] * scale], axis=1)


def _points(pixels: Float64) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in pixels]


def _draw_rings(picture: Image.Image, reach_m: float) -> None:
    draw, font, middle = ImageDraw.Draw(picture), ImageFont.load_default(_FONT_PX), picture.width / 2
    for ring_m in np.arange(RING_M, 1.5 * reach_m, RING_M):
        radius = ring_m * picture.width / (2 * reach_m)
        draw.ellipse((middle - radius, middle - radius, middle + radius, middle + radius), outline=_GRID)
        draw.text((middle + 4, middle - radius + 2), f"{ring_m:.0f} m", fill=_INK, font=font)


def _draw_rig(picture: Image.Image, reach_m: float) -> None:
    """Draw the vehicle: its rig's origin lies above the rear axle."""
    footprint = np.array([[3.8, -0.9], [3.8, 0.9], [-0.9, 0.9], [-0.9, -0.9]])
    ImageDraw.Draw(picture).polygon(_points(_pixels(footprint, reach_m, picture.width)), outline=_RIG)


def _draw_points(canvas: NDArray[np.uint8], points_m: NDArray[np.float32], reach_m: float) -> None:
    low, high = _HEIGHTS_M
    kept = points_m[(points_m[:, 2] > low) & (points_m[:, 2] < high)].astype(np.float64)
    kept = kept[np.argsort(kept[:, 2], kind="stable")]
    pixel = np.floor(_pixels(kept[:, :2], reach_m, canvas.shape[0])).astype(np.int64)
    share = np.clip((kept[:, 2:3] - low) / (high - low), 0.0, 1.0)
    color = np.round(_POINT_LOW + share * (_POINT_HIGH - _POINT_LOW)).astype(np.uint8)
    is_inside = ((pixel >= 0) & (pixel < canvas.shape[0])).all(axis=1)
    canvas[pixel[is_inside, 1], pixel[is_inside, 0]] = color[is_inside]
