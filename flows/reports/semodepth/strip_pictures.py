"""Pictures of one evaluated frame: what went in, what should have come out, what came out, and by how much it is off.

Reads  Strip
Writes Panel, pictures at most 720 px wide
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from flows.reports.semodepth.training_files import Strip
from flows.reports.store.chosen_frames import RadarReturns
from flows.reports.store.colormap import color_of_step, error_colors
from flows.reports.store.pictures import (
    DIMMED,
    EMPTY_CANVAS,
    MAX_WIDTH_PX,
    Panel,
    dimmed,
    draw_points,
    draw_radar,
    point_reach_px,
)
from storage_schemas.encoding import STEPS_PER_M

LEAST_WIDTH_PX = 360
"""Smaller frames are enlarged by a whole factor, so that their pixels stay squares."""

SEEN_THROUGH = 0.45
"""How much the brightness of the image darkens the colours of a dense error map."""

Depth = NDArray[np.float32]
T = TypeVar("T", bound=np.generic)


def strip_panels(strip: Strip) -> list[Panel]:
    """Draw a frame: image, radar, target and truth or what radar changes, both predictions, both errors.

    The errors are against the exact depth where it is known, else against the target. Without a prediction without radar, what
    needs it is left out.
    """
    factor = max(1, -(-LEAST_WIDTH_PX // strip.image_u8.shape[1]))
    image = Image.fromarray(_enlarged(strip.image_u8, factor))
    maps = {name: _enlarged(one, factor) for name, one in strip.maps.items()}
    scale = min(1.0, MAX_WIDTH_PX / image.width)
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    base = dimmed(image, size)
    truth, without = strip.maps.get("truth_m"), strip.maps["without_radar_m"]
    has_without = bool(np.any(without > 0))  # an evaluation may be made with radar only, then this map is empty
    reference, words = (strip.maps["target_m"], "the target") if truth is None else (truth, "the exact depth")

    panels = [
        _panel(strip.key, "Image", image.resize(size, Image.Resampling.BILINEAR), ""),
        _radar_panel(strip, image, size),
        _panel(strip.key, "Target", points_on(base, maps["target_m"]), _measured_words(strip.maps["target_m"])),
    ]
    if truth is not None:
        panels.append(_panel(strip.key, "Exact depth", points_on(base, maps["truth_m"]), _measured_words(truth)))
    elif has_without:
        change = strip.maps["with_radar_m"] - without
        picture = _dense_errors(_enlarged(change, factor), base)
        panels.append(_panel(strip.key, "What radar changes", picture, f"in the mean by {np.abs(change).mean():.2f} m"))
    shown = {"with_radar_m": "with radar", **({"without_radar_m": "without radar"} if has_without else {})}
    for name, radar in shown.items():
        panels.append(_panel(strip.key, f"Prediction {radar}", _dense(maps[name], size), _median_words(strip.maps[name])))
    reference_drawn = maps["target_m" if truth is None else "truth_m"]
    for name, radar in shown.items():
        picture = errors_on(base, maps[name], reference_drawn)
        panels.append(_panel(strip.key, f"Error {radar}", picture, _error_words(strip.maps[name], reference, words)))
    return panels


def radar_returns(radar_m: Depth) -> RadarReturns:
    """Return the returns of a radar map (h, w) in metres, 0 = nothing; each at the middle of its pixel."""
    row, column = np.nonzero(radar_m > 0)
    return RadarReturns(column + 0.5, row + 0.5, radar_m[row, column].astype(np.float64))


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


def _panel(key: str, title: str, picture: Image.Image, caption: str) -> Panel:
    return Panel(title, picture, caption, f"{title} of frame {key}. {caption}".strip())


def _radar_panel(strip: Strip, image: Image.Image, size: tuple[int, int]) -> Panel:
    returns = radar_returns(strip.maps["radar_m"])
    picture = Image.fromarray(dimmed(image, size))
    height, width = strip.maps["radar_m"].shape
    draw_radar(picture, returns, size[0] / width, size[1] / height)
    num = len(returns.depth_m)
    return _panel(strip.key, "Radar", picture, f"{num} return{'' if num == 1 else 's'}, enlarged" if num else "no return")


def _dense(depth_m: Depth, size: tuple[int, int]) -> Image.Image:
    return Image.fromarray(dense_colors(depth_m)).resize(size, Image.Resampling.BOX)


def _dense_errors(error_m: Depth, base: NDArray[np.uint8]) -> Image.Image:
    """Draw a signed map in all pixels; the brightness of the image lets its edges be seen through the colours."""
    colors = np.asarray(Image.fromarray(error_colors(error_m)).resize((base.shape[1], base.shape[0]), Image.Resampling.BOX))
    return Image.fromarray((colors * (1.0 - SEEN_THROUGH + SEEN_THROUGH / DIMMED / 255.0 * base)).astype(np.uint8))


def _reach_px(mask: NDArray[np.bool_], canvas: NDArray[np.uint8]) -> int:
    """Errors of sparse points are told apart by hue only, so these points are a pixel larger than those of the target."""
    reach = point_reach_px(mask, canvas)
    return reach + 1 if reach else 0


def points_on(base: NDArray[np.uint8], depth_m: Depth) -> Image.Image:
    """Draw a sparse map on the dimmed image; where points meet the nearest is seen."""
    canvas, steps = base.copy(), depth_steps(depth_m)
    values = steps[steps > 0]
    draw_points(canvas, steps > 0, np.uint16(65535) - values, color_of_step()[values], point_reach_px(steps > 0, canvas))
    return Image.fromarray(canvas)


def errors_on(base: NDArray[np.uint8], depth_m: Depth, reference_m: Depth) -> Image.Image:
    """Draw signed errors where the reference is known; where points meet the largest is seen."""
    canvas, mask = (base * 0.6).astype(np.uint8), reference_m > 0
    error_m = np.nan_to_num(depth_m[mask]) - reference_m[mask]
    draw_points(canvas, mask, depth_steps(np.abs(error_m)), error_colors(error_m), _reach_px(mask, canvas))
    return Image.fromarray(canvas)


def _enlarged(values: NDArray[T], factor: int) -> NDArray[T]:
    return values if factor == 1 else values.repeat(factor, axis=0).repeat(factor, axis=1)


def _measured_words(depth_m: Depth) -> str:
    return f"{100 * np.mean(depth_m > 0):.1f} % of pixels measured"


def _median_words(depth_m: Depth) -> str:
    return f"median {np.median(depth_m):.1f} m"


def _error_words(depth_m: Depth, reference_m: Depth, words: str) -> str:
    mask = reference_m > 0
    if not np.any(mask):
        return f"nothing to compare with in {words}"
    return f"mean |error| {np.abs(depth_m[mask] - reference_m[mask]).mean():.2f} m against {words}, at any distance"
