"""A frame as it would be seen from behind and above the camera: points and boxes in space.

Why    The image hides how far a box is off along the ray, and the view from above hides heights
Reads  points and boxes in the camera's frame, metres
Writes one picture
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from flows.reports.html.colormap import depth_colors
from flows.reports.html.depth_pictures import EMPTY_CANVAS
from flows.reports.monoddle.box_lines import EDGES, FRONT, NEAREST_M, corners, seen_lines
from model.data.rectified_camera import project_points
from model.monoddle.detection_frames import BoxList, Float64

EYE_M, LOOKED_AT_M = np.array([0.0, -7.0, -9.0]), np.array([0.0, 1.0, 16.0])
"""Where the viewer is and what is in the middle of the picture, in the camera's frame: 7 m above it and 9 m behind it."""

SHAPE = 0.45
"""Height of the picture, of its width."""

_FOCAL = 0.75  # focal length, of the width: about 67 degrees across
_HEIGHTS_M = (-2.5, 3.0)  # points above and below these, y down, are left out as in the view from above
_LINES_M, _HALF_WIDTH_M, _ROAD_M = range(10, 71, 10), 30.0, 1.65
_GRID, _INK, _FONT_PX = (48, 56, 70), (150, 160, 178), 13

Rgb = tuple[int, int, int]


def rear_view(points_m: Float64, boxes: Sequence[tuple[BoxList, Rgb]], *, width_px: int) -> Image.Image:
    """Draw a frame from behind and above.

    Args:
        points_m: (n, 3) in the camera's frame; coloured by their depth there, the nearest to the viewer on top.
        boxes: lists with their colours, drawn in this order; those that do not say where they are are left out.
        width_px: of the picture.
    """
    size = width_px, round(SHAPE * width_px)
    lens = np.array([[_FOCAL * width_px, 0, size[0] / 2, 0], [0, _FOCAL * width_px, size[1] / 2, 0], [0, 0, 1, 0]])
    picture = Image.new("RGB", size, EMPTY_CANVAS)
    _draw_distances(picture, lens)
    picture = _with_points(picture, points_m, lens)
    draw = ImageDraw.Draw(picture)
    for listed, color in boxes:
        for k in np.flatnonzero(listed.is_in_space):
            seen = from_eye(corners(listed.size_hwl_m[k], listed.location_m[k], float(listed.rotation_y_rad[k])))
            for line in np.clip(seen_lines(seen, (*EDGES, *FRONT), lens), -9999, 9999):
                draw.line([tuple(end) for end in line.tolist()], fill=color, width=1)
    return picture


def from_eye(points_m: Float64) -> Float64:
    """Return points (n, 3) of the camera's frame in the viewer's: x right, y down, z forward."""
    forward = (LOOKED_AT_M - EYE_M) / np.linalg.norm(LOOKED_AT_M - EYE_M)
    right = np.array([1.0, 0.0, 0.0])  # the viewer does not look to the side
    return np.asarray((points_m - EYE_M) @ np.stack([right, np.cross(forward, right), forward]).T)


def _with_points(picture: Image.Image, points_m: Float64, lens: Float64) -> Image.Image:
    low, high = _HEIGHTS_M
    kept = points_m[(points_m[:, 1] > low) & (points_m[:, 1] < high) & (points_m[:, 2] > 0)]
    seen = from_eye(kept)
    order = np.argsort(-seen[:, 2], kind="stable")
    order = order[seen[order, 2] > NEAREST_M]
    pixel, color = np.floor(project_points(lens, seen[order])).astype(np.int64), depth_colors(kept[order, 2])
    canvas = np.array(picture)
    for shift in ((0, 0), (0, 1), (1, 0), (1, 1)):
        at = pixel + np.array(shift)
        is_inside = ((at >= 0) & (at < picture.size)).all(axis=1)
        canvas[at[is_inside, 1], at[is_inside, 0]] = color[is_inside]
    return Image.fromarray(canvas)


def _draw_distances(picture: Image.Image, lens: Float64) -> None:
    """Draw lines across the road every 10 m, where it would be if it was flat, with their distances."""
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(_FONT_PX)
    for distance in _LINES_M:
        ends = np.array([[side * _HALF_WIDTH_M, _ROAD_M, float(distance)] for side in (-1, 1)])
        (left, top), (right, _) = project_points(lens, from_eye(ends)).tolist()
        draw.line((left, top, right, top), fill=_GRID)
        draw.text((max(left, 4), top - _FONT_PX - 3), f"{distance} m", fill=_INK, font=font)
