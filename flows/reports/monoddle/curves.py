"""The sections "Steps" and "Precision over the steps": how each term of the loss fell, and how the average precision grew.

Reads  steps.csv, evaluations.csv
Writes HTML with charts
"""

from __future__ import annotations

from collections.abc import Sequence

from flows.reports.monoddle.files import DetectionFiles, MeasuredAt
from flows.reports.monoddle.results import METRIC_WORDS
from flows.reports.training import curves
from flows.reports.training.curves import COLORS, Mark, column_series, measured_section, measured_series, steps_chart
from flows.reports.training.files import StepColumns

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


def steps_section(training: DetectionFiles) -> str | None:
    """Return the section with the loss curves, None without a step."""
    return curves.steps_section(training.steps, _step_charts)


def validation_section(training: DetectionFiles) -> str | None:
    """Return the section with the average precision at moderate difficulty over the steps, None without one."""
    rows = [row for row in training.evaluations or () if row.difficulty == "moderate"]
    if not rows:
        return None
    mark = training.mark("kept")
    charts = [
        _precision_chart([row for row in rows if row.category == category], f"{category}, {title}", lines, mark)
        for category in dict.fromkeys(row.category for row in rows)
        for title, lines in PRECISION_CHARTS
    ]
    intro = "R40 at moderate difficulty, per cent; strict and loose are the two tables of least overlaps."
    return measured_section("Precision over the steps", intro, charts, mark=mark)


def _step_charts(steps: StepColumns) -> list[str]:
    charts = [curves.column_chart(steps, "loss", "Loss", is_log=True)]
    for title, terms in TERM_CHARTS:
        names = [term.replace("_", " ") for term in terms] if len(terms) > 1 else [""]
        series = column_series(steps, zip(terms, names, COLORS, strict=False))
        charts.append(steps_chart(series, title, is_log=terms[0] not in _LOGARITHMS))
    return [*charts, curves.rate_chart(steps)]


def _precision_chart(rows: Sequence[MeasuredAt], title: str, lines: Sequence[tuple[str, str]], mark: Mark | None) -> str:
    series = measured_series(
        (
            METRIC_WORDS[metric] if metric in ("2d", "aos") else f"{METRIC_WORDS[metric]} {overlap}",
            css,
            [(row.step, row.r40) for row in rows if (row.metric, row.overlap) == (metric, overlap)],
        )
        for (metric, overlap), css in zip(lines, COLORS, strict=False)
    )
    top = 1.06 * max((line.y.max() for line in series), default=0.0)
    alt = f"Average precision over the steps, {title}"
    return steps_chart(series, f"AP R40, moderate: {title}", alt=alt, y_bounds=(0.0, max(5.0, top)), mark=mark)
