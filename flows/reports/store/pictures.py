"""Pictures of one frame: the camera image with radar, and each depth map as coloured points on the dimmed image.

Why    A number says that something is wrong, a picture says what
Reads  FrameContent
Writes Panel: an RGB picture at most 720 px wide with title, caption and alternative text
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from flows.reports.store.chosen_frames import FrameContent, RadarReturns
from flows.reports.store.colormap import DROPPED, color_of_step, depth_colors, error_colors
from flows.reports.store.depth_errors import is_gross
from storage_schemas.encoding import STEPS_PER_M

MAX_WIDTH_PX = 720
"""Width of a picture: two beside each other fill a desktop window, and 36 of them stay below the size limit."""

EMPTY_CANVAS = (22, 26, 34)
"""Colour of the canvas where there is no camera image."""

DIMMED = 0.34
"""Brightness of the image below points."""

SHADING = 0.3
"""How much the brightness of the image shades the colours of a dense map on it."""

TITLES = {
    "depth_single": "Single sweep",
    "depth_accumulated": "Accumulated",
    "depth_clean": "Clean",
    "depth_truth": "Exact depth",
}
"""Words for the depth stores."""


@dataclass(frozen=True)
class Panel:
    """One picture of a frame."""

    title: str
    picture: Image.Image
    caption: str
    alt: str


def frame_panels(content: FrameContent) -> list[Panel]:
    """Draw all pictures of a frame; those whose data is absent are left out."""
    size = _picture_size(content)
    panels = [_camera_panel(content, size)]
    base = dimmed(content.image, size)
    dropped = _dropped(content)
    for layout in ("depth_single", "depth_accumulated", "depth_clean"):
        if layout in content.maps:
            panels.append(
                _depth_panel(content.key, layout, content.maps[layout], base, dropped if layout == "depth_clean" else None)
            )
    truth = content.maps.get("depth_truth")
    if truth is not None:
        compared = [layout for layout in ("depth_accumulated", "depth_clean") if layout in content.maps]
        reach = min((_mark_reach_px(is_gross(content.maps[layout], truth), base) for layout in compared), default=0)
        panels += [_error_panel(content.key, layout, content.maps[layout], truth, base, reach) for layout in compared]
    return panels


def draw_points(
    canvas: NDArray[np.uint8], mask: NDArray[np.bool_], priority: NDArray[np.uint16], colors: NDArray[np.uint8], reach_px: int
) -> NDArray[np.bool_]:
    """Draw the true pixels of a mask into a canvas of another size, as squares; where they meet, the higher priority is seen.

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
    """Sparse points grow so that they are seen, dense ones stay so that they do not hide each other."""
    share = np.count_nonzero(mask) / (canvas.shape[0] * canvas.shape[1])
    return 0 if share > 0.08 else 1 if share > 0.003 else 2


def _mark_reach_px(mask: NDArray[np.bool_], canvas: NDArray[np.uint8]) -> int:
    """Marks of what is wrong grow only while they are rare, so that a picture does not exaggerate or hide what it is about."""
    share = np.count_nonzero(mask) / (canvas.shape[0] * canvas.shape[1])
    return 0 if share > 0.004 else 1 if share > 0.0003 else 2


def _picture_size(content: FrameContent) -> tuple[int, int]:
    if content.maps:
        height, width = next(iter(content.maps.values())).shape
    elif content.image is not None:
        width, height = content.image.size
    else:
        width, height = MAX_WIDTH_PX, MAX_WIDTH_PX * 9 // 16
    scale = min(1.0, MAX_WIDTH_PX / width)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _camera_panel(content: FrameContent, size: tuple[int, int]) -> Panel:
    if content.image is None:
        picture = Image.new("RGB", size, EMPTY_CANVAS)
    else:
        picture = content.image.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)
    caption, radar = content.image_note, content.radar
    if radar is not None:
        source = next(iter(content.maps.values())).shape[::-1] if content.maps else content.image.size if content.image else size
        draw_radar(picture, radar, size[0] / source[0], size[1] / source[1])
        caption = "; ".join(filter(None, (caption, f"{len(radar.depth_m)} radar returns")))
    title = "Camera and radar" if radar is not None else "Camera"
    return Panel(title, picture, caption, f"{title} of frame {content.key}. {caption}")


def draw_radar(picture: Image.Image, radar: RadarReturns, scale_x: float, scale_y: float) -> None:
    """Draw radar returns into a picture as ringed circles, the nearest on top; the scales turn their pixels into its."""
    draw = ImageDraw.Draw(picture)
    radius = max(3.0, picture.width / 140)
    for k in np.argsort(-radar.depth_m):
        x, y = float(radar.u_px[k]) * scale_x, float(radar.v_px[k]) * scale_y
        color = tuple(int(c) for c in depth_colors(radar.depth_m[k : k + 1])[0])
        draw.ellipse((x - radius - 1.5, y - radius - 1.5, x + radius + 1.5, y + radius + 1.5), fill=(10, 10, 12))
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=color)


def dimmed(image: Image.Image | None, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Return the image in dark grey, resized to ``size`` (width, height), as (height, width, 3); an empty canvas for None."""
    if image is None:
        return np.full((size[1], size[0], 3), EMPTY_CANVAS, np.uint8)
    grey = np.asarray(image.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0).convert("L"), np.float32) * DIMMED
    return np.repeat(grey.astype(np.uint8)[..., None], 3, axis=2)


def _dropped(content: FrameContent) -> NDArray[np.bool_] | None:
    before, after = content.maps.get("depth_accumulated"), content.maps.get("depth_clean")
    return None if before is None or after is None else np.asarray((before > 0) & (after == 0))


def _depth_panel(
    key: str, layout: str, steps: NDArray[np.uint16], base: NDArray[np.uint8], dropped: NDArray[np.bool_] | None
) -> Panel:
    canvas, measured = base.copy(), steps > 0
    values = steps[measured]
    reach = point_reach_px(measured, canvas)
    seen = draw_points(canvas, measured, np.uint16(65535) - values, color_of_step()[values], reach)
    if not reach:  # the points hide the image; its brightness lets its edges be seen through them
        shade = 1.0 - SHADING + SHADING / DIMMED / 255.0 * base[seen]
        canvas[seen] = (canvas[seen] * shade).astype(np.uint8)
    caption = f"{100 * values.size / steps.size:.1f} % of pixels measured"
    if values.size:
        caption += f", median {np.median(values) / STEPS_PER_M:.1f} m"
    if dropped is not None:
        num = int(np.count_nonzero(dropped))
        reach = _mark_reach_px(dropped, canvas)
        draw_points(canvas, dropped, np.zeros(num, np.uint16), np.full((num, 3), DROPPED, np.uint8), reach)
        caption += f"; {num:,} dropped"
    return Panel(
        TITLES[layout], Image.fromarray(canvas), caption, f"{TITLES[layout]} depth of frame {key} as coloured points. {caption}"
    )


def _error_panel(
    key: str, layout: str, steps: NDArray[np.uint16], truth: NDArray[np.uint16], base: NDArray[np.uint8], gross_reach_px: int
) -> Panel:
    """Draw errors; gross ones reach as far before cleaning as after it, else the better map could look the worse."""
    canvas = (base * 0.6).astype(np.uint8)
    measured, gross = steps > 0, is_gross(steps, truth)
    for mask, reach in ((measured & ~gross, point_reach_px(measured, canvas)), (gross, gross_reach_px)):
        error = steps[mask].astype(np.int32) - truth[mask]
        error[truth[mask] == 0] = -65535  # measured before the open sky: nearer than anything
        draw_points(canvas, mask, np.abs(error).astype(np.uint16), error_colors(error / STEPS_PER_M), reach)
    num, share = int(np.count_nonzero(gross)), np.count_nonzero(gross) / max(1, np.count_nonzero(measured))
    caption = f"{num:,} gross errors, {100 * share:.2f} % of measured pixels"
    title = f"Error of {TITLES[layout].lower()}"
    return Panel(title, Image.fromarray(canvas), caption, f"{title} depth of frame {key} against the exact depth. {caption}")
