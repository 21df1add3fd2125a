"""The section "Where it is wrong": AP if a quantity were right, recall and errors by group, and the price of a moved centre.

Reads  evaluation/objects.parquet, measured_frames.parquet and cameras.parquet, and works out the rest
Writes HTML
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from flows.reports.html.line_chart import Series, chart_figure, chart_key
from flows.reports.html.markup import number, section, table, text
from flows.reports.monoddle.analysis_charts import category_charts
from flows.reports.monoddle.files import DetectionFiles
from model.monoddle.analysis.analysis import Analysis, few_objects_text
from model.monoddle.analysis.analysis_text import REPLACED_WORDS, measured_categories, oracle_cells
from model.monoddle.precision.precision_groups import GroupRow

_NOTHING = np.zeros(0)


def analysis_section(training: DetectionFiles) -> str | None:
    """Return the section, None where the evaluation keeps no objects or no cameras."""
    analysis = training.analysis
    if analysis is None:
        return None
    intro = (
        "<p>Detections that lie on an object in the image take one of its true quantities, and keep their score. What this "
        "adds to AP<sub>R40</sub> is the price of that quantity's error; what is left with everything right is the price of "
        "missed objects and false alarms.</p>"
        "<p>An object is seen where a detection lies on it in the image, however wrong its depth. In the last two charts "
        "every centre is moved: a detector whose curve is highest away from 0 is biased.</p>"
    )
    notes = "".join(f'<p class="note">{text(line)}</p>' for line in few_objects_text(analysis.counts))
    blocks = [_category(analysis, category) for category in measured_categories(analysis)]
    return section("analysis", "Where it is wrong", intro + notes + "".join(blocks))


def _category(analysis: Analysis, category: str) -> str:
    charts = [
        chart_figure(chart.svg, chart.title, chart_key([_key(words, css) for words, css in chart.keys]))
        for chart in category_charts(analysis, category)
    ]
    columns, cells = oracle_cells([row for row in analysis.oracle if row.category == category])
    lines = [
        [text(REPLACED_WORDS[what]), *(" ".join(number(value, digits=2) for value in values) for values in of_what)]
        for what, of_what in cells.items()
    ]
    counts = [row for row in analysis.counts if row.category == category]
    became = [
        [text(row.difficulty), *(number(value) for value in row[2:])]
        for row in counts
    ]  # fmt: skip
    heads = ["Objects", "matched", "missed", "Detections", "matched, passed over", "found twice", "of no object"]
    by_distance = [row for row in analysis.groups if row.category == category and row.by in ("all", "distance")]
    return (
        f'<div class="charts">{"".join(charts)}</div>'
        + table(["right", *columns], lines, caption=f"AP R40 of {category}: easy, moderate, hard, if a quantity were right")
        + f"<details><summary>Counts, and errors by distance of {text(category)}</summary>"
        + table([text(category), *heads], became, caption=f"What became of the objects and the detections of {category}")
        + _errors(by_distance)
        + "</details>"
    )


def _errors(rows: Sequence[GroupRow]) -> str:
    heads = ["distance", "matched", "depth, bias m", "depth m", "depth %", "centre px", "to the side m", "length m", "heading °"]
    lines = [
        [
            text(row.group),
            number(row.num_matched),
            number(row.depth_bias_m, digits=2),
            number(row.depth_mae_m, digits=2),
            number(row.depth_mae_percent, digits=1),
            number(row.centre_mae_px, digits=1),
            number(row.lateral_mae_m, digits=2),
            number(row.length_mae_m, digits=2),
            number(row.heading_mae_deg, digits=1),
        ]
        for row in rows
    ]
    return table(heads, lines, caption=f"Mean errors of matched {rows[0].category} objects that count at {rows[0].difficulty}")


def _key(words: str, css: str) -> Series:
    return Series(words, _NOTHING, _NOTHING, css)
