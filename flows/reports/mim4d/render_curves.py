"""The sections "Steps" and "Progress": how each term of the loss fell, and how rendered depth and colour of unseen clips grew.

Reads  steps.csv, evaluations.csv
Writes HTML with charts
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from flows.reports.mim4d.render_files import MeasuredAt, RenderFiles
from flows.reports.mim4d.volume_words import DRAWN, volume_name
from flows.reports.semodepth.curve_sections import FEW_STEPS, chart_figure, loss_section, loss_series, rate_chart
from flows.reports.semodepth.curves import finite, moving_median
from flows.reports.semodepth.line_chart import Series, chart_key, line_chart
from flows.reports.semodepth.training_files import StepColumns
from flows.reports.store.markup import section

TERM_CHARTS = (
    ("Depth error, m", (("depth_visible_m", "seen"), ("depth_masked_m", "hidden"))),
    ("Colour error", (("rgb_visible", "seen"), ("rgb_masked", "hidden"))),
    ("Opacity: share of a ray that ends in the voxels", (("opacity", ""),)),
)
"""Words of each chart, and the columns of steps.csv in it without their mode, with words for pixels."""

MODE_WORDS = {"direct": ("own", ("third", "fourth")), "reconstruct": ("rebuilt", ("on", "off"))}
"""By mode its words, and the colours of its lines."""

MEASURES = (("abs_rel", "all", "AbsRel of depth"), ("rgb_l1", "masked", "Colour L1 in hidden patches"))
"""Columns of evaluations.csv, of which pixels, and their words."""


def render_steps_section(found: RenderFiles) -> str | None:
    """Return the section with the loss curves, None without a step."""
    steps = found.steps
    if steps is None:
        return None
    return loss_section(
        steps, [_loss_chart(steps), *(_terms_chart(steps, words, columns) for words, columns in TERM_CHARTS), rate_chart(steps)]
    )


def render_progress_section(found: RenderFiles) -> str | None:
    """Return the section with what was measured over the steps, None without a measurement."""
    rows = [row for row in found.evaluations or () if row.frames == "all"]
    if not rows:
        return None
    kept = ((found.about or {}).get("best") or {}).get("step")
    figures = "".join(
        _progress_chart([row for row in rows if row.pixels == pixels], name, words, kept) for name, pixels, words in MEASURES
    )
    words = "Rays of clips that were not trained on, unless the evaluated split says otherwise."
    if kept is not None:
        words += " The vertical line is the checkpoint that was kept."
    return section("validation", "Rendering over the steps", f'<p>{words}</p><div class="charts">{figures}</div>')


def _loss_chart(steps: StepColumns) -> str:
    series, words = loss_series(steps)
    return _chart(series, "Loss", words) if series else ""


def _terms_chart(steps: StepColumns, words: str, columns: Sequence[tuple[str, str]]) -> str:
    series = []
    for mode, (mode_words, colours) in MODE_WORDS.items():
        for (column, pixels), css in zip(columns, colours, strict=False):
            x, y = finite(steps["step"], steps[f"{mode}_{column}"])
            if len(x):
                line = moving_median(x, y) if len(x) > FEW_STEPS else (x, y)
                series.append(Series(", ".join(filter(None, (mode_words, pixels))), *line, css))
    return _chart(series, words, f"{words} over the steps") if series else ""


def _chart(series: Sequence[Series], words: str, alt: str) -> str:
    chart = line_chart(series, x_label="step", alt=alt, from_zero=True)
    return chart_figure(chart, words, chart_key(series) if any(one.name for one in series) else "")


def _progress_chart(rows: Sequence[MeasuredAt], name: str, words: str, kept: float | None) -> str:
    series = []
    for volume, css in DRAWN.items():
        own = [row for row in rows if row.volume == volume]
        x, y = finite(np.array([row.step for row in own], np.float64), np.array([getattr(row, name) for row in own], np.float64))
        if len(x):
            series.append(Series(volume_name(volume), x, y, css))
    if not series:
        return ""
    low, high = min(one.x.min() for one in series), max(one.x.max() for one in series)
    mark = kept if kept is not None and low <= kept <= high else None
    chart = line_chart(series, x_label="step", alt=f"{words} over the steps", from_zero=True, mark_x=mark, mark_words="kept")
    return chart_figure(chart, words, chart_key(series))
