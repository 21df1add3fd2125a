"""The section "Pictures": chosen frames with image, radar, depth before and after each stage, and errors.

Why    A number says that something is wrong, a picture says what; the worst frames say more about a recipe than its mean
Reads  units of the chosen frames
Writes HTML with the pictures inside, each at most 720 px wide
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from flows.reports.html import charts
from flows.reports.html.colormap import DROPPED, color_of_step, error_colors
from flows.reports.html.depth_pictures import (
    DIMMED,
    EMPTY_CANVAS,
    MAX_WIDTH_PX,
    dimmed,
    draw_points,
    draw_radar,
    mark_reach_px,
    point_reach_px,
)
from flows.reports.html.markup import section, swatch, text
from flows.reports.html.pictures import Panel, picture_grids
from flows.reports.store.chosen_frames import FrameContent, fixed_frames, read_frame, worst_frames
from flows.reports.store.depth_errors import is_gross
from flows.reports.store.facts import View
from flows.reports.store.pixel_statistics import PixelStatistics
from storage_schemas.awaited import counted
from storage_schemas.encoding import STEPS_PER_M
from storage_schemas.store import Store

SHADING = 0.3
"""How much the brightness of the image shades the colours of a dense map on it."""

TITLES = {
    "depth_single": "Single sweep",
    "depth_accumulated": "Accumulated",
    "depth_clean": "Clean",
    "depth_truth": "Exact depth",
}
"""Words for the depth stores."""


def pictures_section(store: Store, views: Sequence[View], pixels: PixelStatistics) -> str:
    """Return the section with its legends and a block per chosen frame."""
    fixed = fixed_frames(store, views)
    chosen = fixed + worst_frames(store, views, pixels.frames, fixed)
    if not chosen:
        return section("pictures", "Pictures", '<p class="note">No unit with frames is in the store.</p>')
    keys, panels = [], []
    for frame in counted(chosen, "pictures of the report are drawn"):
        content = read_frame(store, frame)
        keys.append(content.key)
        panels.append(frame_panels(content))
    blocks = "".join(
        f'<article class="frame"><h3><code>{text(key)}</code> <span class="tag">frame {frame.frame}</span> '
        f'<span class="tag">{text(frame.why)}</span></h3>{grid}</article>'
        for frame, key, grid in zip(chosen, keys, picture_grids(panels), strict=True)
    )
    return section("pictures", "Pictures", _intro(has_truth=pixels.truth is not None) + blocks)


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
        reach = min((mark_reach_px(is_gross(content.maps[layout], truth), base) for layout in compared), default=0)
        panels += [_error_panel(content.key, layout, content.maps[layout], truth, base, reach) for layout in compared]
    return panels


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
        reach = mark_reach_px(dropped, canvas)
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
        error[truth[mask] == 0] = -65535  # a measured pixel in the sky counts as the largest error, too near
        draw_points(canvas, mask, np.abs(error).astype(np.uint16), error_colors(error / STEPS_PER_M), reach)
    num, share = int(np.count_nonzero(gross)), np.count_nonzero(gross) / max(1, np.count_nonzero(measured))
    caption = f"{num:,} gross errors, {100 * share:.2f} % of measured pixels"
    title = f"Error of {TITLES[layout].lower()}"
    return Panel(title, Image.fromarray(canvas), caption, f"{title} depth of frame {key} against the exact depth. {caption}")


def _intro(*, has_truth: bool) -> str:
    legends = (
        f"<figure>{charts.depth_legend()}<figcaption>Depth in metres, of points and of radar circles</figcaption></figure>"
        f"<figure><figcaption>{swatch(DROPPED)}Dropped by cleaning (on the clean map); rare ones are drawn larger"
        "</figcaption></figure>"
    )
    if has_truth:
        legends += (
            f"<figure>{charts.error_legend()}<figcaption>Error against the exact depth in metres; rare gross errors are drawn "
            "larger</figcaption></figure>"
        )
    return (
        "<p>Fixed frames are the same in every report of a recipe; the worst are picked by share of gross errors (where the "
        "exact depth is known) and by dropped pixels. To see a whole scene in space and time: "
        "<code>depthmill view RECIPE SCENE</code>; as a video: <code>depthmill video RECIPE SCENE</code>.</p>"
        f'<div class="legends">{legends}</div>'
    )
