"""The sections "Steps" and "Precision over the steps": how each term of the loss fell, and how the average precision grew.

Reads  steps.csv, evaluations.csv
Writes HTML with charts
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from flows.reports.monoddle.detection_files import DetectionFiles, MeasuredAt
from flows.reports.monoddle.precision_section import METRIC_WORDS
from flows.reports.semodepth.curve_sections import FEW_STEPS, chart_figure, loss_section, loss_series, rate_chart
from flows.reports.semodepth.curves import finite, moving_median
from flows.reports.semodepth.line_chart import Series, chart_key, line_chart
from flows.reports.semodepth.training_files import StepColumns
from flows.reports.store.markup import section

COLORS = ("on", "off", "third", "fourth")
"""Classes of the lines' colours."""

TERM_CHARTS = (
    ("Terms in the image", ("heatmap", "offset_2d", "size_2d", "offset_3d")),
    ("Terms in space", ("depth", "size_3d", "heading_class", "heading_residual")),
    ("Distillation from the teacher", ("distill",)),
    ("Mean distance from the teacher, m", ("teacher_mae_m",)),
    ("Mean log scale of the uncertainty", ("teacher_log_scale",)),
)
"""Words of each chart and the columns of steps.csv in it; one that is not part of a training is nowhere a number."""

_LOGARITHMS = ("teacher_log_scale",)

PRECISION_CHARTS = (
    ("in space and from above", (("3d", "strict"), ("bev", "strict"), ("3d", "loose"), ("bev", "loose"))),
    ("in the image", (("2d", "strict"), ("aos", "strict"))),
)
"""Words of each chart, and metric and overlap of its lines."""


def detection_steps_section(found: DetectionFiles) -> str | None:
    """Return the section with the loss curves, None without a step."""
    steps = found.steps
    if steps is None:
        return None
    return loss_section(
        steps, [_loss_chart(steps), *(_terms_chart(steps, words, names) for words, names in TERM_CHARTS), rate_chart(steps)]
    )


def precision_curves_section(found: DetectionFiles) -> str | None:
    """Return the section with the average precision at moderate difficulty over the steps, None without one."""
    rows = [row for row in found.evaluations or () if row.difficulty == "moderate"]
    if not rows:
        return None
    kept = ((found.about or {}).get("best") or {}).get("step")
    figures = "".join(
        _precision_chart([row for row in rows if row.category == category], f"{category}, {words}", lines, kept)
        for category in dict.fromkeys(row.category for row in rows)
        for words, lines in PRECISION_CHARTS
    )
    words = "R40 at moderate difficulty, per cent; strict and loose are the two tables of least overlaps."
    if kept is not None:
        words += " The vertical line is the checkpoint that was kept."
    return section("validation", "Precision over the steps", f'<p>{words}</p><div class="charts">{figures}</div>')


def _loss_chart(steps: StepColumns) -> str:
    series, words = loss_series(steps)
    return _chart(series, "Loss", words) if series else ""


def _terms_chart(steps: StepColumns, words: str, names: Sequence[str]) -> str:
    """Draw the terms that are part of this training; "" if none is."""
    series = []
    for name, color in zip(names, COLORS, strict=False):
        x, y = finite(steps["step"], steps[name])
        if len(x):
            series.append(Series(name.replace("_", " "), *(moving_median(x, y) if len(x) > FEW_STEPS else (x, y)), color))
    if not series:
        return ""
    key = chart_key(series) if len(names) > 1 else ""
    return _chart(series, words, f"{words} over the steps", key=key, may_be_log=names[0] not in _LOGARITHMS)


def _chart(series: Sequence[Series], words: str, alt: str, *, key: str = "", may_be_log: bool = True) -> str:
    """Draw on a logarithmic axis where all values are positive: a Laplace term may fall below 0."""
    is_log = may_be_log and all(float(one.y.min()) > 0 for one in series)
    label = "step (logarithmic vertical axis)" if is_log else "step"
    return chart_figure(line_chart(series, x_label=label, alt=alt, is_log=is_log), words, key)


def _precision_chart(rows: Sequence[MeasuredAt], words: str, lines: Sequence[tuple[str, str]], kept: float | None) -> str:
    series = []
    for (metric, overlap), color in zip(lines, COLORS, strict=False):
        own = [row for row in rows if (row.metric, row.overlap) == (metric, overlap)]
        x, y = finite(np.array([row.step for row in own], np.float64), np.array([row.r40 for row in own], np.float64))
        if len(x):
            name = METRIC_WORDS[metric] if metric in ("2d", "aos") else f"{METRIC_WORDS[metric]} {overlap}"
            series.append(Series(name, x, y, color))
    if not series:
        return ""
    low, high = min(one.x.min() for one in series), max(one.x.max() for one in series)
    top = max(5.0, 1.06 * max(one.y.max() for one in series))
    mark = kept if kept is not None and low <= kept <= high else None
    alt = f"Average precision over the steps, {words}"
    chart = line_chart(series, x_label="step", alt=alt, y_bounds=(0.0, top), mark_x=mark, mark_words="kept")
    return chart_figure(chart, f"AP R40, moderate: {words}", chart_key(series))
