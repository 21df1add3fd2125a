"""The sections "Steps" and "Progress": how each term of the loss fell, and how rendered depth and colour of unseen clips grew.

Reads  steps.csv, evaluations.csv
Writes HTML with charts
"""

from __future__ import annotations

from flows.reports.mim4d.files import RenderFiles
from flows.reports.mim4d.results import DRAWN, volume_name
from flows.reports.training import curves
from flows.reports.training.curves import column_series, measured_section, measured_series, steps_chart
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
        rows_of_pixels = [row for row in rows if row.pixels == pixels]
        series = measured_series(
            (volume_name(volume), css, [(row.step, getattr(row, name)) for row in rows_of_pixels if row.volume == volume])
            for volume, css in DRAWN.items()
        )
        charts.append(steps_chart(series, title, from_zero=True, mark=mark))
    intro = "Rays of clips that were not trained on, unless the evaluated split says otherwise."
    return measured_section("Rendering over the steps", intro, charts, mark=mark)


def _step_charts(steps: StepColumns) -> list[str]:
    charts = [curves.column_chart(steps, "loss", "Loss", from_zero=True)]
    for title, terms in TERM_CHARTS:
        columns = [
            (f"{mode}_{term}", ", ".join(filter(None, (mode_words, pixels))), css)
            for mode, (mode_words, colours) in MODE_WORDS.items()
            for (term, pixels), css in zip(terms, colours, strict=False)
        ]
        charts.append(steps_chart(column_series(steps, columns), title, from_zero=True))
    return [*charts, curves.rate_chart(steps)]
