"""The sections "Steps" and "Precision over the steps".

Reads  steps.csv, evaluations.csv
Writes HTML with charts
"""

from __future__ import annotations

from flows.reports.training import curves
from flows.reports.training.curves import COLORS, column_series, measured_section, measured_series, steps_chart
from flows.reports.training.files import StepColumns
from flows.reports.uvtr.files import BoxFiles
from model.uvtr.detection_metric import OFFICIAL, PRESENT
from model.uvtr.family import UvtrFamily

_TERMS = tuple(name for name in UvtrFamily.loss_columns if name != "loss")


def steps_section(training: BoxFiles) -> str | None:
    """Return the section with the loss curves, None without a step."""
    return curves.steps_section(training.steps, _step_charts)


def _step_charts(steps: StepColumns) -> list[str]:
    series = column_series(steps, zip(_TERMS, _TERMS, COLORS, strict=False))
    return [
        curves.column_chart(steps, "loss", "Loss", is_log=True),
        steps_chart(series, "Terms of the loss", is_log=True),
        curves.rate_chart(steps),
    ]


def validation_section(training: BoxFiles) -> str | None:
    """Return the section with the precision over the steps: means, and every class that has objects. None without one."""
    rows = training.evaluations or []
    names = [name for name in dict.fromkeys(row.name for row in rows) if name != OFFICIAL]
    charts = []
    for name in names:
        of_name = [row for row in rows if row.name == name]
        lines = [
            ("2 m", COLORS[0], [(row.step, row.ap_at_2_m) for row in of_name]),
            ("4 m", COLORS[1], [(row.step, row.ap_at_4_m) for row in of_name]),
            ("mean of four", COLORS[2], [(row.step, row.ap) for row in of_name]),
        ]
        series = measured_series(lines)
        top = 1.06 * max((line.y.max() for line in series), default=0.0)
        mark = training.mark("kept")
        chart = steps_chart(series, f"AP: {name}", y_bounds=(0.0, max(0.05, top)), mark=mark)
        charts += [chart] if chart else []
    if not charts:
        return None
    intro = f"Average precision, 0 to 1, at two thresholds and in the mean; {PRESENT} first."
    return measured_section("Precision over the steps", intro, charts, mark=training.mark("kept"))
