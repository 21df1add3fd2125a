"""Depth and radar drawn in colours, alone or on the dimmed camera image.

Reads  images and maps in metres or in steps of 1/256 m, 0 = no measurement
Writes pictures, or canvases (height, width, 3) uint8 RGB
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from flows.reports.html.colormap import color_of_step, depth_colors, error_colors
from storage_schemas.encoding import STEPS_PER_M

MAX_WIDTH_PX = 720
"""Width of a picture: two beside each other fill a desktop window, and 36 of them stay below the size limit."""

EMPTY_CANVAS = (22, 26, 34)
"""Colour of the canvas where there is no camera image."""

DIMMED = 0.34
"""Brightness of the image below points."""

Depth = NDArray[np.float32]


@dataclass(frozen=True)
class RadarReturns:
    """Radar returns of one frame: image coordinates in pixels of the stored image, depth in metres; each (n,)."""

    u_px: NDArray[np.float64]
    v_px: NDArray[np.float64]
    depth_m: NDArray[np.float64]


def dimmed(image: Image.Image | None, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Return the image in dark grey, resized to ``size`` (width, height), as (height, width, 3); an empty canvas for None."""
    if image is None:
        return np.full((size[1], size[0], 3), EMPTY_CANVAS, np.uint8)
    grey = np.asarray(image.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0).convert("L"), np.float32) * DIMMED
    return np.repeat(grey.astype(np.uint8)[..., None], 3, axis=2)


def draw_points(
    canvas: NDArray[np.uint8], mask: NDArray[np.bool_], priority: NDArray[np.uint16], colors: NDArray[np.uint8], reach_px: int
) -> NDArray[np.bool_]:
    """Draw the true pixels of a mask into a canvas of another size, as squares; where they overlap, the higher priority is seen.

    Args:
        canvas: (height, width, 3) uint8 RGB; changed.
        mask: (y, x) pixels to draw.
        priority: (n,) of the true pixels, row by row.
        colors: (n, 3) of the same.
        reach_px: the square reaches this far from its centre, in canvas pixels.

    Returns:
        (height, width) the canvas pixels that were drawn.
    """
    y, x = np.nonzero(mask)
    order = np.argsort(priority, kind="stable")
    height, width = canvas.shape[:2]
    rank = np.zeros((height, width), np.int32)
    rank[(y * height // mask.shape[0])[order], (x * width // mask.shape[1])[order]] = np.arange(1, len(order) + 1)
    rank = _spread(_spread(rank, reach_px).T, reach_px).T
    seen = rank > 0
    canvas[seen] = colors[order][rank[seen] - 1]
    return seen


def _spread(rank: NDArray[np.int32], reach: int) -> NDArray[np.int32]:
    out = rank.copy()
    for shift in range(1, reach + 1):
        np.maximum(out[shift:], rank[:-shift], out=out[shift:])
        np.maximum(out[:-shift], rank[shift:], out=out[:-shift])
    return out


def point_reach_px(mask: NDArray[np.bool_], canvas: NDArray[np.uint8]) -> int:
    """Return by how many pixels a point grows: sparse points must be visible, dense points must not hide each other."""
    share = np.count_nonzero(mask) / (canvas.shape[0] * canvas.shape[1])
    return 0 if share > 0.08 else 1 if share > 0.003 else 2


def mark_reach_px(mask: NDArray[np.bool_], canvas: NDArray[np.uint8]) -> int:
    """Return by how many pixels a mark of an error grows: rare marks must be visible, many must not look like more."""
    share = np.count_nonzero(mask) / (canvas.shape[0] * canvas.shape[1])
    return 0 if share > 0.004 else 1 if share > 0.0003 else 2


def draw_radar(picture: Image.Image, radar: RadarReturns, scale_x: float, scale_y: float) -> None:
    """Draw radar returns into a picture as ringed circles, the nearest on top; the scales turn their pixels into its."""
    draw = ImageDraw.Draw(picture)
    radius = max(3.0, picture.width / 140)
    for k in np.argsort(-radar.depth_m):
        x, y = float(radar.u_px[k]) * scale_x, float(radar.v_px[k]) * scale_y
        color = tuple(int(c) for c in depth_colors(radar.depth_m[k : k + 1])[0])
        draw.ellipse((x - radius - 1.5, y - radius - 1.5, x + radius + 1.5, y + radius + 1.5), fill=(10, 10, 12))
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=color)


def depth_steps(depth_m: Depth) -> NDArray[np.uint16]:
    """Return depth in steps of 1/256 m for its colour; not a number becomes 0 = nothing, what is too far the farthest."""
    steps: NDArray[np.uint16] = (np.clip(np.nan_to_num(depth_m), 0.0, 65535 / STEPS_PER_M) * STEPS_PER_M).astype(np.uint16)
    return steps


def dense_colors(depth_m: Depth) -> NDArray[np.uint8]:
    """Return RGB colours (h, w, 3) of a map in metres; the colour of an empty canvas where there is nothing."""
    steps = depth_steps(depth_m)
    colors = color_of_step()[steps]
    colors[steps == 0] = EMPTY_CANVAS
    return colors


def dense_picture(depth_m: Depth, size: tuple[int, int]) -> Image.Image:
    """Draw a map in metres in all pixels, resized to ``size`` (width, height)."""
    return Image.fromarray(dense_colors(depth_m)).resize(size, Image.Resampling.BOX)


def median_words(depth_m: Depth | Sequence[float]) -> str:
    """Return the median of depths in metres, in words."""
    return f"median {np.median(depth_m):.1f} m"


def points_on(base: NDArray[np.uint8], depth_m: Depth) -> Image.Image:
    """Draw a sparse map on the dimmed image; where points overlap, the nearest is seen."""
    canvas, steps = base.copy(), depth_steps(depth_m)
    values = steps[steps > 0]
    draw_points(canvas, steps > 0, np.uint16(65535) - values, color_of_step()[values], point_reach_px(steps > 0, canvas))
    return Image.fromarray(canvas)


def errors_on(base: NDArray[np.uint8], depth_m: Depth, reference_m: Depth) -> Image.Image:
    """Draw signed errors where the reference is known; where points overlap, the largest is seen."""
    canvas, mask = (base * 0.6).astype(np.uint8), reference_m > 0
    error_m = np.nan_to_num(depth_m[mask]) - reference_m[mask]
    draw_points(canvas, mask, depth_steps(np.abs(error_m)), error_colors(error_m), _reach_px(mask, canvas))
    return Image.fromarray(canvas)


def _reach_px(mask: NDArray[np.bool_], canvas: NDArray[np.uint8]) -> int:
    """Errors of sparse points are told apart by hue only, so these points are a pixel larger than those of the target."""
    reach = point_reach_px(mask, canvas)
    return reach + 1 if reach else 0
