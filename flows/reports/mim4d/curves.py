"""The sections "Steps" and "Progress": how each term of the loss fell, and how rendered depth and colour of unseen clips grew.

Reads  steps.csv, evaluations.csv
Writes HTML with charts
"""

from __future__ import annotations

from collections.abc import Sequence

from flows.reports.html.curves import finite, smoothed
from flows.reports.html.line_chart import Series
from flows.reports.mim4d.files import RenderFiles
from flows.reports.mim4d.results import DRAWN, volume_name
from flows.reports.training import curves
from flows.reports.training.curves import measured_section, measured_series, raw_series, steps_chart
from flows.reports.training.files import StepColumns

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


def steps_section(training: RenderFiles) -> str | None:
    """Return the section with the loss curves, None without a step."""
    return curves.steps_section(training.steps, _step_charts)


def validation_section(training: RenderFiles) -> str | None:
    """Return the section with what was measured over the steps, None without a measurement."""
    rows = [row for row in training.evaluations or () if row.frames == "all"]
    if not rows:
        return None
    mark, charts = training.mark("kept"), []
    for name, pixels, title in MEASURES:
        series = []
        for volume, css in DRAWN.items():
            points = [(row.step, getattr(row, name)) for row in rows if (row.pixels, row.volume) == (pixels, volume)]
            series += measured_series(volume_name(volume), css, points)
        charts.append(steps_chart(series, title, from_zero=True, mark=mark))
    intro = "Rays of clips that were not trained on, unless the evaluated split says otherwise."
    if mark:
        intro += " The vertical line is the checkpoint that was kept."
    return measured_section("Rendering over the steps", intro, charts)


def _step_charts(steps: StepColumns) -> list[str]:
    loss, alt = raw_series(steps, "loss", "Loss")
    charts = [steps_chart(loss, "Loss", alt=alt, from_zero=True)]
    return [*charts, *(_terms_chart(steps, title, columns) for title, columns in TERM_CHARTS), curves.rate_chart(steps)]


def _terms_chart(steps: StepColumns, title: str, columns: Sequence[tuple[str, str]]) -> str:
    series = []
    for mode, (mode_words, colours) in MODE_WORDS.items():
        for (column, pixels), css in zip(columns, colours, strict=False):
            x, y = finite(steps["step"], steps[f"{mode}_{column}"])
            if len(x):
                series.append(Series(", ".join(filter(None, (mode_words, pixels))), *smoothed(x, y), css))
    return steps_chart(series, title, from_zero=True)
