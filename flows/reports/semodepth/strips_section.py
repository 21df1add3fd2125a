"""The section "Frames": a few evaluated frames in pictures, each with its numbers.

Why    The worst frame says more about a network than its mean
Reads  evaluation/strips.npz, evaluation/frames.parquet
Writes HTML with the pictures inside
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flows.reports.semodepth.results_section import RADAR_WORDS, metric_head, metric_words
from flows.reports.semodepth.strip_pictures import strip_panels
from flows.reports.semodepth.training_files import Strip, TrainingFiles
from flows.reports.store import charts
from flows.reports.store.gallery_section import encode_pictures, picture_grid
from flows.reports.store.markup import Cell, section, table, text
from storage_schemas.layout import Columns, rows

_AT_LARGEST_CAP = ("rmse_mm", "imae_per_km", "abs_rel", "delta1")


def strips_section(found: TrainingFiles) -> str | None:
    """Return the section, None where no frame was kept."""
    if not found.strips:
        return None
    panels = [strip_panels(strip) for strip in found.strips]
    encoded = iter(encode_pictures([panel.picture for own in panels for panel in own]))
    numbers = _Numbers(found.frames)
    blocks = "".join(
        f'<article class="frame"><h3><code>{text(strip.key)}</code> {_tags(strip, numbers)}</h3>'
        f"{numbers.table_of(strip.key)}{picture_grid(own, [next(encoded) for _ in own])}</article>"
        for strip, own in zip(found.strips, panels, strict=True)
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


class _Numbers:
    """The metrics of single frames, and where a frame stands among all."""

    def __init__(self, frames: Columns | None) -> None:
        self._rows: dict[str, list[dict[str, Any]]] = {}
        for row in [] if frames is None else rows(frames):
            self._rows.setdefault(row["frame_key"], []).append(row)
        self._cap_m = max((row["cap_m"] for own in self._rows.values() for row in own), default=0.0)
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
        for radar, words in RADAR_WORDS.items():
            own = {row["cap_m"]: row for row in self._rows[key] if row["radar"] == radar}
            if own:
                cells = [metric_words("mae_mm", own[cap]["mae_mm"] if cap in own else None) for cap in caps]
                last = own.get(self._cap_m, {})
                lines.append([words, *cells, *(metric_words(name, last.get(name)) for name in _AT_LARGEST_CAP)])
        num = max(row["num_pixels"] for row in self._rows[key])
        return table(heads, lines, caption=f"Metrics of this frame, {num:,} pixels with a target to {self._cap_m:.0f} m")

    def _error_mm(self, key: str) -> float | None:
        own = {row["radar"]: row["mae_mm"] for row in self._rows[key] if row["cap_m"] == self._cap_m}
        return own.get("on", own.get("off"))


def _tags(strip: Strip, numbers: _Numbers) -> str:
    words = (numbers.day_words(strip.key), numbers.place_words(strip.key))
    return " ".join(f'<span class="tag">{text(one)}</span>' for one in words if one)
