"""The section "Average precision": every metric and difficulty, how many objects are behind it, and when that is too few.

Reads  evaluation/average_precision.csv
Writes HTML
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from flows.reports.html.markup import number, section, table, text
from flows.reports.monoddle.files import DetectionFiles
from model.monoddle.precision.average_precision import NUM_STEPS, ApRow

METRIC_WORDS = {"3d": "3D", "bev": "BEV", "2d": "2D", "aos": "AOS"}


def results_section(training: DetectionFiles) -> str | None:
    """Return the section, None without an evaluation."""
    if not training.precision:
        return None
    evaluation = training.evaluation
    intro = (
        "<p>AP<sub>R40</sub> in per cent, over all frames together. <b>3D</b> and <b>BEV</b> ask for the overlap of boxes in "
        "space and from above, <b>2D</b> in the image; <b>AOS</b> is 2D weighted by the direction. Difficulties are KITTI's and "
        "each holds the one before.</p>"
    )
    if evaluation.get("split") is not None:
        intro += f"<p>Measured on split {text(evaluation['split'])}{_height_words(evaluation)}.</p>"
    categories = dict.fromkeys(row.category for row in training.precision)
    blocks = [_category(category, [row for row in training.precision if row.category == category]) for category in categories]
    return section("precision", "Average precision", intro + "".join(blocks))


def best_precision(about: Mapping[str, Any]) -> tuple[str, str]:
    """Return the average precision that the kept checkpoint had, as a big number."""
    chosen = (about.get("config") or {}).get("evaluation") or {}
    measure = " ".join(str(chosen[key]) for key in ("category", "metric", "overlap") if key in chosen)
    return f"AP<sub>R40</sub> {text(measure)}, moderate", number((about.get("best") or {}).get("ap_r40"), digits=2)


def metric_name(row: ApRow) -> str:
    """Return the name of a row's metric with its least overlap: ``3D@0.7``; AOS has 2D's."""
    name = METRIC_WORDS[row.metric]
    return name if row.metric == "aos" else f"{name}@{row.min_overlap:g}"


def few_words(rows: Sequence[ApRow]) -> str:
    """Return a warning about too few objects, "" where there are enough; ``rows`` are the difficulties of one metric."""
    few = [row for row in rows if row.num_truth <= NUM_STEPS]
    if not few:
        return ""
    step = 100 / NUM_STEPS
    ceilings = ", ".join(f"{row.difficulty} {step * max(0, row.num_truth - 1):g}" for row in few)
    return (
        f"AP says little where fewer than {NUM_STEPS + 1} objects count: with N of them perfect detections get {step:g} times "
        f"N - 1: {ceilings}."
    )


def _category(category: str, rows: Sequence[ApRow]) -> str:
    by_metric: dict[str, list[ApRow]] = {}
    for row in rows:
        by_metric.setdefault(metric_name(row), []).append(row)
    first = next(iter(by_metric.values()))
    heads = [text(category), *(text(row.difficulty) for row in first)]
    lines = [[name, *(number(row.r40, digits=2) for row in of_metric)] for name, of_metric in by_metric.items()]
    lines.append(["Objects that count", *(number(row.num_truth) for row in first)])
    lines.append(["Detections high enough", *(number(row.num_found) for row in first)])
    few = few_words(first)
    older = [[name, *(number(row.r11, digits=2) for row in of_metric)] for name, of_metric in by_metric.items()]
    return (
        table(heads, lines, caption=f"AP R40 of {category}, per cent")
        + (f'<p class="note">{text(few)}</p>' if few else "")
        + f"<details><summary>R11, the older 11 points</summary>{table(heads, older, caption=f'AP R11 of {category}')}</details>"
    )


def _height_words(evaluation: Mapping[str, Any]) -> str:
    scale = evaluation.get("height_scale", 1.0)
    return "" if scale == 1.0 else f", least box heights times {scale:g}, because its images are not of KITTI's size"
