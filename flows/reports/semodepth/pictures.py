"""The section "Frames": a few evaluated frames in pictures with their numbers; and a predicted frame as one picture.

Why    The worst frame says more about a network than its mean
Reads  Strip, evaluation/frames.parquet; a frame and its predicted depth
Writes HTML with the pictures inside, JPEG bytes
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from flows.reports.html import charts
from flows.reports.html.colormap import FAR_M, NEAR_M, TICKS_M, depth_colors, depth_position, error_colors
from flows.reports.html.depth_pictures import (
    DIMMED,
    EMPTY_CANVAS,
    MAX_WIDTH_PX,
    Depth,
    RadarReturns,
    dense_picture,
    dimmed,
    draw_radar,
    errors_on,
    median_words,
    points_on,
)
from flows.reports.html.markup import Cell, section, table, text
from flows.reports.html.pictures import Panel, jpeg_bytes, picture_grids
from flows.reports.semodepth.files import SemoDepthFiles, Strip
from flows.reports.semodepth.results import RADAR_WORDS, metric_head, metric_words
from model.semodepth.predict import Predicted
from storage_schemas.layout import Columns, rows

LEAST_WIDTH_PX = 360
"""Smaller frames are enlarged by a whole factor, so that their pixels stay squares."""

SEEN_THROUGH = 0.45
"""How much the brightness of the image darkens the colours of a dense error map."""

PANEL_WIDTH_PX = 640
"""Width of each of the three pictures; smaller frames are enlarged to it."""

_AT_LARGEST_CAP = ("rmse_mm", "imae_per_km", "abs_rel", "delta1")

_GAP_PX, _FOOT_PX, _SCALE_PX, _FONT_PX = 8, 54, 360, 15
_INK = (225, 229, 236)

T = TypeVar("T", bound=np.generic)


def pictures_section(training: SemoDepthFiles) -> str | None:
    """Return the section, None where no frame was kept."""
    if not training.strips:
        return None
    grids = picture_grids([strip_panels(strip) for strip in training.strips])
    numbers = _Numbers(training.frames)
    blocks = "".join(
        f'<article class="frame"><h3><code>{text(strip.key)}</code> {_tags(strip, numbers)}</h3>'
        f"{numbers.table_of(strip.key)}{grid}</article>"
        for strip, grid in zip(training.strips, grids, strict=True)
    )
    legends = (
        f"<figure>{charts.depth_legend()}<figcaption>Depth in metres, also of radar circles</figcaption></figure>"
        f"<figure>{charts.error_legend()}<figcaption>Error in metres: prediction minus reference; for what radar changes, "
        "prediction with radar minus without</figcaption></figure>"
    )
    intro = (
        "<p>Frames that the evaluator kept: the first, one in the middle of the errors, the worst, one at night. Sparse "
        f'points are drawn larger than they are.</p><div class="legends">{legends}</div>'
    )
    return section("frames", "Frames", intro + blocks)


def strip_panels(strip: Strip) -> list[Panel]:
    """Draw a frame: image, radar, target and truth or what radar changes, both predictions, both errors.

    The errors are against the exact depth where it is known, else against the target. Without a prediction without radar, what
    needs it is left out.
    """
    factor = max(1, -(-LEAST_WIDTH_PX // strip.image_u8.shape[1]))
    image = Image.fromarray(_enlarged(strip.image_u8, factor))
    maps = {name: _enlarged(values, factor) for name, values in strip.maps.items()}
    scale = min(1.0, MAX_WIDTH_PX / image.width)
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    base = dimmed(image, size)
    truth, without = strip.maps.get("truth_m"), strip.maps["without_radar_m"]
    has_without = bool(np.any(without > 0))  # an evaluation may be made with radar only, then this map is empty
    reference, reference_name = (strip.maps["target_m"], "the target") if truth is None else (truth, "the exact depth")

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
    predictions = {"with_radar_m": "with radar", **({"without_radar_m": "without radar"} if has_without else {})}
    for name, radar in predictions.items():
        panels.append(_panel(strip.key, f"Prediction {radar}", dense_picture(maps[name], size), median_words(strip.maps[name])))
    reference_drawn = maps["target_m" if truth is None else "truth_m"]
    for name, radar in predictions.items():
        picture = errors_on(base, maps[name], reference_drawn)
        panels.append(_panel(strip.key, f"Error {radar}", picture, _error_words(strip.maps[name], reference, reference_name)))
    return panels


def radar_returns(radar_m: Depth) -> RadarReturns:
    """Return the returns of a radar map (h, w) in metres, 0 = nothing; each at the middle of its pixel."""
    row, column = np.nonzero(radar_m > 0)
    return RadarReturns(column + 0.5, row + 0.5, radar_m[row, column].astype(np.float64))


def frame_jpeg(predicted: Predicted) -> bytes:
    """Return the picture of a frame with its depth (h, w) in metres."""
    frame, depth_m = predicted
    height, width = depth_m.shape
    size = PANEL_WIDTH_PX, max(1, round(PANEL_WIDTH_PX * height / width))
    image = Image.fromarray(frame.image_u8)
    panels = [image.resize(size, Image.Resampling.BILINEAR), Image.fromarray(dimmed(image, size))]
    panels.append(dense_picture(depth_m, size))
    radar_note = "no radar"
    if frame.radar_m is not None:
        returns = radar_returns(frame.radar_m)
        draw_radar(panels[1], returns, size[0] / width, size[1] / height)
        radar_note = f"{len(returns.depth_m)} radar return{'' if len(returns.depth_m) == 1 else 's'}"
    canvas = Image.new("RGB", (3 * size[0] + 2 * _GAP_PX, size[1] + _FOOT_PX), EMPTY_CANVAS)
    for number, panel in enumerate(panels):
        canvas.paste(panel, (number * (size[0] + _GAP_PX), 0))
    _draw_foot(canvas, size, (frame.name, radar_note))
    return jpeg_bytes(canvas)


class _Numbers:
    """The metrics of single frames, and where a frame stands among all."""

    def __init__(self, frames: Columns | None) -> None:
        self._rows: dict[str, list[dict[str, Any]]] = {}
        for row in [] if frames is None else rows(frames):
            self._rows.setdefault(row["frame_key"], []).append(row)
        self._cap_m = max((row["cap_m"] for of_frame in self._rows.values() for row in of_frame), default=0.0)
        errors = {key: error for key in self._rows if (error := self._error_mm(key)) is not None}
        self._order = sorted(errors, key=lambda key: errors[key])

    def place_words(self, key: str) -> str:
        """Return where a frame stands among all by its error with radar, "" if it has none."""
        if key not in self._order:
            return ""
        place, num = self._order.index(key) + 1, len(self._order)
        if place == num > 1:
            return f"worst of {num:,}"
        return f"error rank {place:,} of {num:,}"

    def day_words(self, key: str) -> str:
        """Return day or night, "" if it is not known."""
        return "" if key not in self._rows else "night" if self._rows[key][0]["is_night"] else "day"

    def table_of(self, key: str) -> str:
        """Return the metrics of a frame with radar and without, "" if it was not measured."""
        if key not in self._rows:
            return ""
        caps = sorted({row["cap_m"] for row in self._rows[key]})
        largest = f"to {self._cap_m:.0f} m"
        heads = ["Radar", *(f"MAE, mm<br>to {cap:.0f} m" for cap in caps)]
        heads += [f"{metric_head(name)}<br>{largest}" for name in _AT_LARGEST_CAP]
        lines: list[Sequence[Cell | str]] = []
        for radar, heading in RADAR_WORDS.items():
            row_by_cap = {row["cap_m"]: row for row in self._rows[key] if row["radar"] == radar}
            if row_by_cap:
                cells = [metric_words("mae_mm", row_by_cap[cap]["mae_mm"] if cap in row_by_cap else None) for cap in caps]
                last = row_by_cap.get(self._cap_m, {})
                lines.append([heading, *cells, *(metric_words(name, last.get(name)) for name in _AT_LARGEST_CAP)])
        num = max(row["num_pixels"] for row in self._rows[key])
        return table(heads, lines, caption=f"Metrics of this frame, {num:,} pixels with a target to {self._cap_m:.0f} m")

    def _error_mm(self, key: str) -> float | None:
        error_by_radar = {row["radar"]: row["mae_mm"] for row in self._rows[key] if row["cap_m"] == self._cap_m}
        return error_by_radar.get("on", error_by_radar.get("off"))


def _tags(strip: Strip, numbers: _Numbers) -> str:
    labels = (numbers.day_words(strip.key), numbers.place_words(strip.key))
    return " ".join(f'<span class="tag">{text(label)}</span>' for label in labels if label)


def _panel(key: str, title: str, picture: Image.Image, caption: str) -> Panel:
    return Panel(title, picture, caption, f"{title} of frame {key}. {caption}".strip())


def _radar_panel(strip: Strip, image: Image.Image, size: tuple[int, int]) -> Panel:
    returns = radar_returns(strip.maps["radar_m"])
    picture = Image.fromarray(dimmed(image, size))
    height, width = strip.maps["radar_m"].shape
    draw_radar(picture, returns, size[0] / width, size[1] / height)
    num = len(returns.depth_m)
    return _panel(strip.key, "Radar", picture, f"{num} return{'' if num == 1 else 's'}, enlarged" if num else "no return")


def _dense_errors(error_m: Depth, base: NDArray[np.uint8]) -> Image.Image:
    """Draw a signed map in all pixels; the brightness of the image lets its edges be seen through the colours."""
    colors = np.asarray(Image.fromarray(error_colors(error_m)).resize((base.shape[1], base.shape[0]), Image.Resampling.BOX))
    return Image.fromarray((colors * (1.0 - SEEN_THROUGH + SEEN_THROUGH / DIMMED / 255.0 * base)).astype(np.uint8))


def _enlarged(values: NDArray[T], factor: int) -> NDArray[T]:
    return values if factor == 1 else values.repeat(factor, axis=0).repeat(factor, axis=1)


def _measured_words(depth_m: Depth) -> str:
    return f"{100 * np.mean(depth_m > 0):.1f} % of pixels measured"


def _error_words(depth_m: Depth, reference_m: Depth, reference_name: str) -> str:
    mask = reference_m > 0
    if not np.any(mask):
        return f"nothing to compare with in {reference_name}"
    return f"mean |error| {np.abs(depth_m[mask] - reference_m[mask]).mean():.2f} m against {reference_name}, at any distance"


def _draw_foot(canvas: Image.Image, size: tuple[int, int], notes: tuple[str, str]) -> None:
    """Write the frame's name below its image, what radar there is below the radar, and the colour scale below the depth."""
    draw, font, top = ImageDraw.Draw(canvas), ImageFont.load_default(_FONT_PX), size[1] + 10
    for number, note in enumerate(notes):
        draw.text((number * (size[0] + _GAP_PX) + 6, top), note, fill=_INK, font=font)
    left = 2 * (size[0] + _GAP_PX) + 16
    depths = NEAR_M * (FAR_M / NEAR_M) ** np.linspace(0.0, 1.0, _SCALE_PX)
    scale = Image.fromarray(np.repeat(depth_colors(depths)[None], 12, axis=0))
    canvas.paste(scale, (left, top))
    for metres in TICKS_M:
        x = left + float(depth_position(np.array(float(metres)))) * (_SCALE_PX - 1)
        draw.text((x, top + 15), f"{metres}", fill=_INK, font=font, anchor="ma")
    draw.text((left + _SCALE_PX + 18, top + 15), "m", fill=_INK, font=font, anchor="la")
