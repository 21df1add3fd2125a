"""What is drawn over the image that a detector looked at: boxes, heat, uncertainty, LiDAR points.

Reads  DetectionFrame
Writes pictures of the network's input, of any size
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from flows.reports.html.colormap import turbo
from flows.reports.html.depth_pictures import dimmed, points_on
from flows.reports.monoddle.box_lines import EDGES, FRONT, corners, seen_lines
from model.data.rectified_camera import project_points
from model.monoddle.detection_frames import BoxList, DetectionFrame, Float64

Size = tuple[int, int]
Rgb = tuple[int, int, int]

TRUTH: Rgb = (64, 224, 255)
"""Colour of what is annotated."""

DETECTED: Rgb = (255, 150, 30)
"""Colour of what was found; told apart from ``TRUTH`` by brightness too."""

SHADOW: Rgb = (10, 10, 12)
"""Colour around letters, so that they can be read on any image."""

_HOT = np.array([255.0, 196.0, 48.0])
_LINE_PX, _FONT_PX = 2, 13
_LEGEND_PX, _COLORS_FROM, _COLORS_OVER = 96, 0.06, 0.86  # the ends of turbo are too dark
_LEAST_RANGE = 0.2  # of the log scale; an untrained network says about the same everywhere
_GREY = 0.6  # brightness of the image below heat
_TINT = 0.55  # of the colours of the uncertainty; the rest is the image, so that one sees what is doubted


def boxes_in_image(frame: DetectionFrame, size: Size) -> Image.Image:
    """Draw the boxes of the image, annotated ones first."""
    picture, panel_from_image = panel_input(frame, size)
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(_FONT_PX)
    for boxes, color in ((frame.truth, TRUTH), (frame.detections, DETECTED)):
        ends = moved(panel_from_image, boxes.box_px.reshape(-1, 2, 2))
        for k, (first, last) in enumerate(ends):
            (left, right), (top, bottom) = np.sort([first, last], axis=0).T.tolist()
            if right < 0 or bottom < 0 or left >= size[0] or top >= size[1]:
                continue
            draw.rectangle((left, top, right, bottom), outline=color, width=_LINE_PX)
            label, below = (f"{boxes.category[k]} {boxes.score[k]:.2f}", bottom + 1)
            if color == TRUTH:
                label, below = str(boxes.category[k]), top - _FONT_PX - 4
            place = np.clip((left + 2, below), 1, np.subtract(size, (draw.textlength(label, font=font) + 3, _FONT_PX + 4)))
            draw.text(tuple(place.tolist()), label, fill=color, font=font, stroke_width=2, stroke_fill=SHADOW)
    return picture


def boxes_in_space(frame: DetectionFrame, size: Size) -> Image.Image:
    """Draw the edges of the boxes in space through the frame's projection, with crosses on their front faces."""
    picture, panel_from_image = panel_input(frame, size)
    _draw_edges(picture, frame, panel_from_image, _LINE_PX)
    return picture


def lidar_picture(frame: DetectionFrame, size: Size) -> Image.Image:
    """Draw the LiDAR points over the dimmed image, coloured by their depth, the nearest on top, and the boxes in space."""
    _, panel_from_image = panel_input(frame, size)
    points_m = frame.lidar_m.astype(np.float64)
    pixel = np.floor(moved(panel_from_image, project_points(frame.projection, points_m))).astype(np.int64)
    is_seen = ((pixel >= 0) & (pixel < size)).all(axis=1) & (points_m[:, 2] > 0)
    depth_m = np.full((size[1], size[0]), np.inf)
    np.minimum.at(depth_m, (pixel[is_seen, 1], pixel[is_seen, 0]), points_m[is_seen, 2])
    measured_m = np.where(np.isfinite(depth_m), depth_m, 0.0).astype(np.float32)
    picture = points_on(dimmed(Image.fromarray(frame.image_u8), size), measured_m)
    _draw_edges(picture, frame, panel_from_image, 1)
    return picture


def heat_picture(frame: DetectionFrame, heat: NDArray[np.float32], size: Size) -> Image.Image:
    """Draw a heat map (rows, columns) over the grey image; by its square root, so that weak centres are seen."""
    share = np.sqrt(np.clip(_resized(heat, size), 0.0, 1.0))[..., None]
    return Image.fromarray(np.round(_grey(frame, size) * _GREY * (1.0 - share) + _HOT * share).astype(np.uint8))


def uncertainty_picture(frame: DetectionFrame, log_scale: NDArray[np.float32], size: Size) -> Image.Image:
    """Tint the grey image by the uncertainty (rows, columns), with the key of the colours in a corner."""
    low, high = doubt_range(log_scale)
    share = np.clip((_resized(log_scale, size) - low) / (high - low), 0.0, 1.0)
    colors = turbo(_COLORS_FROM + _COLORS_OVER * share)
    picture = Image.fromarray(np.round(_grey(frame, size) * (1.0 - _TINT) + colors * _TINT).astype(np.uint8))
    _draw_key(picture, f"{low:.2f}", f"{high:.2f}")
    return picture


def doubt_range(log_scale: NDArray[np.float32]) -> tuple[float, float]:
    """Return the log scales at the two ends of the colours: a few cells do not stretch them, and noise does not fill them."""
    low, high = np.percentile(log_scale, (2, 98)).tolist()
    return low, max(high, low + _LEAST_RANGE)


def panel_input(frame: DetectionFrame, size: Size) -> tuple[Image.Image, Float64]:
    """Return the network's input at a panel's size, and the map (3, 3) from pixels of the whole image to the panel's."""
    picture = Image.fromarray(frame.image_u8).resize(size, Image.Resampling.BILINEAR)
    height, width = frame.image_u8.shape[:2]
    return picture, np.diag([size[0] / width, size[1] / height, 1.0]) @ frame.input_from_image


def moved(matrix: Float64, points_px: Float64) -> Float64:
    """Return points (..., 2) through an affine map (3, 3)."""
    return np.asarray(points_px @ matrix[:2, :2].T + matrix[:2, 2])


def _draw_edges(picture: Image.Image, frame: DetectionFrame, panel_from_image: Float64, width_px: int) -> None:
    draw = ImageDraw.Draw(picture)
    for boxes, color in ((frame.truth, TRUTH), (frame.detections, DETECTED)):
        for corner_m in _far_first(boxes):
            for pairs, width in ((EDGES, width_px), (FRONT, 1)):
                for line in moved(panel_from_image, seen_lines(corner_m, pairs, frame.projection)):
                    draw.line([tuple(end) for end in np.clip(line, -9999, 9999).tolist()], fill=color, width=width)


def _far_first(boxes: BoxList) -> list[Float64]:
    """Return the corners of the boxes that say where they are, the farthest first."""
    kept = np.flatnonzero(boxes.is_in_space)
    order = kept[np.argsort(-boxes.location_m[kept, 2])]
    return [corners(boxes.size_hwl_m[k], boxes.location_m[k], float(boxes.rotation_y_rad[k])) for k in order]


def _grey(frame: DetectionFrame, size: Size) -> NDArray[np.float32]:
    """Return the network's input in grey at a panel's size, (height, width, 1)."""
    return np.asarray(Image.fromarray(frame.image_u8).resize(size, Image.Resampling.BILINEAR).convert("L"), np.float32)[..., None]


def _resized(values: NDArray[np.float32], size: Size) -> NDArray[np.float32]:
    return np.asarray(Image.fromarray(values.astype(np.float32)).resize(size, Image.Resampling.BILINEAR))


def _draw_key(picture: Image.Image, low: str, high: str) -> None:
    """Draw the colours from blue to red in the lower left corner, with the values at their ends."""
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(_FONT_PX)
    words = low, high
    widths = [round(draw.textlength(word, font=font)) for word in words]
    top, left = picture.height - _FONT_PX - 12, 6
    draw.rectangle((left, top, left + sum(widths) + _LEGEND_PX + 24, picture.height - 6), fill=SHADOW)
    draw.text((left + 6, top + 1), low, fill=(225, 229, 236), font=font)
    bar = left + widths[0] + 12
    for x, color in enumerate(turbo(_COLORS_FROM + _COLORS_OVER * np.linspace(0, 1, _LEGEND_PX))):
        draw.line((bar + x, top + 5, bar + x, top + _FONT_PX), fill=tuple(int(part) for part in color))
    draw.text((bar + _LEGEND_PX + 6, top + 1), high, fill=(225, 229, 236), font=font)
