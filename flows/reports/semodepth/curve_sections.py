"""The sections "Steps" and "Validation": how the loss fell, and the error on frames that were not trained on.

Reads  steps.csv, evaluations.csv
Writes HTML with charts
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from flows.reports.semodepth.curves import finite, moving_median, thinned
from flows.reports.semodepth.line_chart import Series, chart_key, line_chart, value_bounds
from flows.reports.semodepth.results_section import RADAR_WORDS, charted_groups, metric_head
from flows.reports.semodepth.training_files import EvaluationRow, StepColumns, TrainingFiles
from flows.reports.store import markup
from flows.reports.store.markup import plural, section, text

TERMS = (("log", "on"), ("linear", "off"), ("grad", "third"), ("sparse", "fourth"))
"""Terms of the loss, and the class of their colour."""

FEW_STEPS = 40
"""Up to so many, single steps are drawn as a line; their median says nothing more."""


def steps_section(found: TrainingFiles) -> str | None:
    """Return the section with the loss curves, None without a step."""
    steps = found.steps
    if steps is None or not len(steps["step"]):
        return None
    raw = ""
    if len(steps["step"]) > FEW_STEPS:
        raw = " Light dots are single steps (of each stretch lowest, highest and two more), the line is their moving median."
    body = (
        f"<p>{plural(len(steps['step']), 'step')}.{pace_words(steps)}{raw}</p>"
        f'<div class="charts">{_raw_chart(steps, "loss", "Loss")}{_terms_chart(steps)}'
        f"{_raw_chart(steps, 'mae_mm', 'Training MAE, mm')}{rate_chart(steps)}</div>"
    )
    return section("steps", "Loss over the steps", body)


def loss_section(steps: StepColumns | None, charts: Sequence[str]) -> str | None:
    """Return the section with given charts of the steps, None without a step."""
    if steps is None or not len(steps["step"]):
        return None
    raw = " Lines are moving medians." if len(steps["step"]) > FEW_STEPS else ""
    body = f'<p>{plural(len(steps["step"]), "step")}.{pace_words(steps)}{raw}</p><div class="charts">{"".join(charts)}</div>'
    return section("steps", "Loss over the steps", body)


def loss_series(steps: StepColumns) -> tuple[list[Series], str]:
    """Return the lines of the loss, and them in words; none without a finite one."""
    x, y = finite(steps["step"], steps["loss"])
    if not len(x):
        return [], ""
    series = [Series("", *thinned(x, y), "on", "dots" if len(x) > FEW_STEPS else "line")]
    if len(x) > FEW_STEPS:
        series.append(Series("", *moving_median(x, y), "on"))
    return series, f"Loss over {len(x)} steps, from {y[0]:.4g} to {y[-1]:.4g}"


def pace_words(steps: StepColumns) -> str:
    """Return how long a step took and how many frames were seen, "" where it is not noted."""
    seconds = finite(steps["step"], steps["seconds"])[1]
    samples = finite(steps["step"], steps["samples"])[1]
    if not len(seconds) or not len(samples):
        return ""
    return f" A step took {markup.seconds(float(np.median(seconds)))} in the median, and {samples.sum():,.0f} frames were seen."


def validation_section(found: TrainingFiles) -> str | None:
    """Return the section with the validation errors over steps, None without one."""
    rows = found.evaluations
    if not rows:
        return None
    cap_m = max(row.cap_m for row in rows)
    shown = [row for row in rows if row.cap_m == cap_m]
    best = (found.about or {}).get("best") or {}
    figures = "".join(_error_chart(shown, group, best.get("step")) for group in charted_groups(row.group for row in shown))
    figures += _metric_chart(shown, "delta1", best.get("step")) + _metric_chart(shown, "rmse_mm", best.get("step"))
    words = f"Pixels to {cap_m:.0f} m, means over the frames of {text(_split_words(found))}."
    if best:
        words += " The vertical line is the checkpoint that was kept as the best."
    return section("validation", "Validation error over the steps", f'<p>{words}</p><div class="charts">{figures}</div>')


def _split_words(found: TrainingFiles) -> str:
    split = (((found.about or {}).get("config") or {}).get("evaluation") or {}).get("split")
    return "the evaluated split" if split is None else f"split {split}"


def _raw_chart(steps: StepColumns, name: str, words: str) -> str:
    x, y = finite(steps["step"], steps[name])
    if not len(x):
        return ""
    series = [Series("", *thinned(x, y), "on", "dots" if len(x) > FEW_STEPS else "line")]
    if len(x) > FEW_STEPS:
        series.append(Series("", *moving_median(x, y), "on"))
    alt = f"{words} over {len(x)} steps, from {y[0]:.4g} to {y[-1]:.4g}"
    return chart_figure(line_chart(series, x_label="step (logarithmic vertical axis)", alt=alt, is_log=True), words)


def _terms_chart(steps: StepColumns) -> str:
    series = []
    for name, css in TERMS:
        x, y = finite(steps["step"], steps[name])
        is_positive = y > 0  # a term without weight or pixels is 0, which a logarithmic axis cannot show
        x, y = x[is_positive], y[is_positive]
        if len(x):
            series.append(Series(name, *(moving_median(x, y) if len(x) > FEW_STEPS else (x, y)), css))
    if not series:
        return ""
    chart = line_chart(series, x_label="step (logarithmic vertical axis)", alt="Terms of the loss over the steps", is_log=True)
    return chart_figure(chart, "Terms of the loss", chart_key(series))


def rate_chart(steps: StepColumns) -> str:
    """Return the learning rate over the steps, "" where none is noted."""
    x, y = finite(steps["step"], steps["lr"])
    if not len(x):
        return ""
    turns = np.flatnonzero(np.diff(y)) if len(x) > 1 else np.zeros(0, int)
    kept = np.unique(np.concatenate([[0], turns, turns + 1, [len(x) - 1]]))  # a staircase is its corners
    series = [Series("", *(thinned(x[kept], y[kept])), "on")]
    return chart_figure(line_chart(series, x_label="step", alt="Learning rate over the steps", from_zero=True), "Learning rate")


def _error_chart(rows: Sequence[EvaluationRow], group: str, best: float | None) -> str:
    words = f"MAE, mm: {'all frames' if group == 'all' else group}"
    return _chart([row for row in rows if row.group == group], "mae_mm", words, best, _bounds(rows, "mae_mm"))


def _metric_chart(rows: Sequence[EvaluationRow], name: str, best: float | None) -> str:
    own = [row for row in rows if row.group == "all"]
    return _chart(own, name, f"{metric_head(name)}: all frames", best, _bounds(own, name) if name != "delta1" else None)


def _chart(rows: Sequence[EvaluationRow], name: str, words: str, best: float | None, bounds: tuple[float, float] | None) -> str:
    series = []
    for radar, label in RADAR_WORDS.items():
        own = [row for row in rows if row.radar == radar]
        x, y = finite(_array([row.step for row in own]), _array([row.values[name] for row in own]))
        if len(x):
            series.append(Series(label, x, y, radar))
    if not series:
        return ""
    low, high = min(one.x.min() for one in series), max(one.x.max() for one in series)
    mark = best if best is not None and low <= best <= high else None
    chart = line_chart(series, x_label="step", alt=f"{words} over the steps", y_bounds=bounds, mark_x=mark, mark_words="best")
    return chart_figure(chart, words, chart_key(series))


def _bounds(rows: Sequence[EvaluationRow], name: str) -> tuple[float, float] | None:
    every = _array([row.values[name] for row in rows])
    every = every[np.isfinite(every)]
    return value_bounds(every, from_zero=True) if len(every) else None


def _array(values: Sequence[float]) -> NDArray[np.float64]:
    return np.array(values, np.float64)


def chart_figure(chart: str, words: str, key: str = "") -> str:
    """Return a chart with its words and the names of its lines."""
    return f"<figure>{chart}<figcaption><b>{text(words)}</b>{key}</figcaption></figure>"
