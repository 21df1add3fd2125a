"""A frame from above: points, footprints of boxes with their headings, rings of distance, and what the camera sees.

Reads  points and boxes in the camera's frame, metres
Writes one picture, forward up
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from flows.reports.html.depth_pictures import EMPTY_CANVAS, MAX_WIDTH_PX
from flows.reports.monoddle.box_lines import footprint
from model.data.rectified_camera import unproject_pixels
from model.monoddle.detection_frames import BoxList, Float64

LEAST_REACH_M, LARGEST_REACH_M, RING_M = 30.0, 80.0, 10.0
"""How far the picture reaches at least and at most, and the distance between two rings."""

SIZE_PX = MAX_WIDTH_PX, 600
"""Width and height of the picture on a page; to either side it reaches 0.6 of what it reaches forward."""

_HEIGHTS_M = (-2.5, 3.0)  # points above and below these, y down, are sky, bridges and noise that would hide the road's
_GRID, _RIM, _INK = (48, 56, 70), (84, 96, 118), (150, 160, 178)
_POINT_LOW, _POINT_HIGH = np.array([70.0, 84.0, 104.0]), np.array([214.0, 222.0, 235.0])
_FONT_PX, _ROOM_M = 13, 5.0

Rgb = tuple[int, int, int]
Place = Callable[[Float64], Float64]
"""From points (n, 2), x and z in metres, to pixels (n, 2) of the picture."""


def bird_view(
    points_m: Float64,
    boxes: Sequence[tuple[BoxList, Rgb]],
    *,
    projection: Float64,
    image_px: tuple[float, float],
    size_px: tuple[int, int] = SIZE_PX,
) -> Image.Image:
    """Draw a frame from above, the camera at the middle of the lower edge.

    Args:
        points_m: (n, 3) in the camera's frame; the higher, the brighter.
        boxes: lists with their colours, drawn in this order; those that do not say where they are are left out.
        projection: (3, 4) of the whole image.
        image_px: first and last column that the network sees.
        size_px: width and height of the picture, in the ratio of ``SIZE_PX``.
    """
    width, height = size_px
    reach_m = reach_of(boxes)
    scale = height / reach_m

    def place(flat_m: Float64) -> Float64:
        return np.stack([width / 2 + flat_m[:, 0] * scale, height - flat_m[:, 1] * scale], axis=1)

    picture = Image.new("RGB", size_px, EMPTY_CANVAS)
    _draw_rings(picture, reach_m, scale)
    _draw_view(picture, place, projection, image_px, 2 * LARGEST_REACH_M)
    canvas = np.array(picture)
    _draw_points(canvas, points_m, place)
    picture = Image.fromarray(canvas)
    _name_rings(picture, reach_m, scale)
    draw = ImageDraw.Draw(picture)
    for listed, color in boxes:
        for k in np.flatnonzero(listed.is_in_space):
            corner = footprint(listed.size_hwl_m[k], listed.location_m[k], float(listed.rotation_y_rad[k]))
            middle, front = corner.mean(axis=0), corner[:2].mean(axis=0)
            draw.polygon([tuple(point) for point in place(corner).tolist()], outline=color, width=2)
            draw.line([tuple(point) for point in place(np.stack([middle, front])).tolist()], fill=color, width=2)
    return picture


def reach_of(boxes: Sequence[tuple[BoxList, Rgb]]) -> float:
    """Return how far forward the picture reaches, metres: over all boxes, in whole rings, within bounds."""
    places = np.abs(np.concatenate([listed.location_m[listed.is_in_space] for listed, _ in boxes]))
    far, side = (float(places[:, axis].max(initial=0.0)) + _ROOM_M for axis in (2, 0))
    least_reach_m = max(far, side * 2 * SIZE_PX[1] / SIZE_PX[0])
    return float(np.clip(np.ceil(least_reach_m / RING_M) * RING_M, LEAST_REACH_M, LARGEST_REACH_M))


def _draw_rings(picture: Image.Image, reach_m: float, scale: float) -> None:
    draw, (x, y) = ImageDraw.Draw(picture), (picture.width / 2, picture.height)
    for radius in np.arange(RING_M, 2 * reach_m, RING_M) * scale:
        draw.arc((x - radius, y - radius, x + radius, y + radius), 180, 360, fill=_GRID)


def _name_rings(picture: Image.Image, reach_m: float, scale: float) -> None:
    """Write the distances, over the points."""
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(_FONT_PX)
    for ring in np.arange(RING_M, reach_m + RING_M / 2, RING_M):
        place = picture.width / 2 + 4, picture.height - ring * scale + 3
        draw.text(place, f"{ring:.0f} m", fill=_INK, font=font, stroke_width=2, stroke_fill=EMPTY_CANVAS)


def _draw_view(picture: Image.Image, place: Place, projection: Float64, image_px: tuple[float, float], far_m: float) -> None:
    """Draw the two rays that bound what the network sees."""
    columns = np.array([[column, projection[1, 2]] for column in image_px])
    ends = unproject_pixels(projection, columns, np.full(2, far_m))[:, [0, 2]]
    draw = ImageDraw.Draw(picture)
    for end in ends:
        draw.line([tuple(point) for point in place(np.stack([np.zeros(2), end])).tolist()], fill=_RIM)


def _draw_points(canvas: NDArray[np.uint8], points_m: Float64, place: Place) -> None:
    """Draw points a pixel large, or two where they are few; where they overlap, the highest is seen."""
    low, high = _HEIGHTS_M
    kept = points_m[(points_m[:, 1] > low) & (points_m[:, 1] < high)]
    kept = kept[np.argsort(-kept[:, 1], kind="stable")]
    pixel = np.floor(place(kept[:, [0, 2]])).astype(np.int64)
    share = np.clip((high - kept[:, 1:2]) / (high - low), 0.0, 1.0)
    color = np.round(_POINT_LOW + share * (_POINT_HIGH - _POINT_LOW)).astype(np.uint8)
    reach = 2 if len(kept) < 30_000 else 1
    for down in range(reach):
        for right in range(reach):
            at = pixel + np.array([right, down])
            is_inside = ((at >= 0) & (at < (canvas.shape[1], canvas.shape[0]))).all(axis=1)
            canvas[at[is_inside, 1], at[is_inside, 0]] = color[is_inside]
