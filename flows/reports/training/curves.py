"""The section "Steps", and curves over the steps: of the loss and its terms, and of what was measured on the way.

Reads  StepColumns, points (step, value)
Writes HTML with charts
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from flows.reports.html import markup
from flows.reports.html.curves import FEW_POINTS, finite, moving_median, smoothed, thinned
from flows.reports.html.line_chart import Series, chart_figure, chart_key, line_chart
from flows.reports.html.markup import plural, section
from flows.reports.training.files import StepColumns

COLORS = ("on", "off", "third", "fourth")
"""Classes of the lines' colours, as many as a chart has lines at most."""

Mark = tuple[float, str]
"""A vertical line in a chart: its step and its words."""


def steps_section(
    steps: StepColumns | None, charts: Callable[[StepColumns], Iterable[str]], *, hint: str = " Lines are moving medians."
) -> str | None:
    """Return the section with the loss curves, None without a step.

    Args:
        steps: of the training.
        charts: makes the charts.
        hint: how lines are drawn where there are many steps, in words.
    """
    if steps is None or not len(steps["step"]):
        return None
    num = len(steps["step"])
    intro = f"<p>{plural(num, 'step')}.{_pace_words(steps)}{hint if num > FEW_POINTS else ''}</p>"
    return section("steps", "Loss over the steps", f'{intro}<div class="charts">{"".join(charts(steps))}</div>')


def column_chart(steps: StepColumns, name: str, title: str, *, is_log: bool = False, from_zero: bool = False) -> str:
    """Return a column over the steps, single steps behind their median; "" without a finite value."""
    x, y = finite(steps["step"], steps[name])
    if not len(x):
        return ""
    series = [Series("", *thinned(x, y), "on")]
    if len(x) > FEW_POINTS:
        series = [Series("", *thinned(x, y), "on", "dots"), Series("", *moving_median(x, y), "on")]
    alt = f"{title} over {len(x)} steps, from {y[0]:.4g} to {y[-1]:.4g}"
    return steps_chart(series, title, alt=alt, is_log=is_log, from_zero=from_zero)


def column_series(steps: StepColumns, columns: Iterable[tuple[str, str, str]]) -> list[Series]:
    """Return a smooth line for each (column, name, class of the colour); none for a column without a finite value."""
    return [
        Series(name, *smoothed(x, y), css)
        for column, name, css in columns
        for x, y in [finite(steps["step"], steps[column])]
        if len(x)
    ]


def rate_chart(steps: StepColumns) -> str:
    """Return the learning rate over the steps, "" where none is noted."""
    x, y = finite(steps["step"], steps["lr"])
    if not len(x):
        return ""
    turns = np.flatnonzero(np.diff(y)) if len(x) > 1 else np.zeros(0, int)
    kept = np.unique(np.concatenate([[0], turns, turns + 1, [len(x) - 1]]))  # a staircase needs only its corners
    return steps_chart([Series("", *thinned(x[kept], y[kept]), "on")], "Learning rate", from_zero=True)


def measured_series(lines: Iterable[tuple[str, str, Sequence[tuple[float, float]]]]) -> list[Series]:
    """Return a line for each (name, class of the colour, points (step, value)); none for one without a finite value."""
    return [
        Series(name, x, y, css)
        for name, css, points in lines
        for x, y in [finite(*np.array(points, np.float64).reshape(-1, 2).T)]
        if len(x)
    ]


def steps_chart(
    series: Sequence[Series],
    title: str,
    *,
    alt: str = "",
    is_log: bool = False,
    from_zero: bool = False,
    y_bounds: tuple[float, float] | None = None,
    mark: Mark | None = None,
) -> str:
    """Return lines over the steps, "" without a line.

    Args:
        series: the lines.
        title: below the chart.
        alt: what the chart shows; default: the title, over the steps.
        is_log: logarithmic vertical axis if all values are positive.
        from_zero: the vertical axis begins at 0.
        y_bounds: ends of the vertical axis; default: of the data.
        mark: a vertical line.
    """
    if not series:
        return ""
    is_log = is_log and all(float(line.y.min()) > 0 for line in series)
    step, name = mark or (None, "")
    chart = line_chart(
        series,
        x_label="step (logarithmic vertical axis)" if is_log else "step",
        alt=alt or f"{title} over the steps",
        is_log=is_log,
        from_zero=from_zero,
        y_bounds=y_bounds,
        mark_x=step,
        mark_words=name,
    )
    return chart_figure(chart, title, chart_key(series))


def measured_section(heading: str, intro: str, charts: Iterable[str], *, mark: Mark | None, kept: str = "kept") -> str:
    """Return the section of what was measured over the steps.

    Args:
        heading: of the section.
        intro: HTML before the charts.
        charts: of ``steps_chart``.
        mark: the vertical line in them.
        kept: what the checkpoint at that line was.
    """
    if mark:
        intro += f" The vertical line is the checkpoint that was {kept}."
    return section("validation", heading, f'<p>{intro}</p><div class="charts">{"".join(charts)}</div>')


def _pace_words(steps: StepColumns) -> str:
    """Return how long a step took and how many frames were seen, "" where it is not noted."""
    seconds = finite(steps["step"], steps["seconds"])[1]
    samples = finite(steps["step"], steps["samples"])[1]
    if not len(seconds) or not len(samples):
        return ""
    return f" A step took {markup.seconds(float(np.median(seconds)))} in the median, and {samples.sum():,.0f} frames were seen."
