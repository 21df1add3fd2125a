"""An ``Analysis`` in Markdown tables, which are also what the command says."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from model.monoddle.analysis.analysis import Analysis, few_objects_text
from model.monoddle.analysis.analysis_folder import TITLE
from model.monoddle.analysis.centre_shift import ShiftRow
from model.monoddle.analysis.oracle import OracleDistanceRow, OracleRow
from model.monoddle.precision.average_precision import NUM_STEPS, least_overlap
from model.monoddle.precision.precision_groups import GroupRow

MISSING = "-"

REPLACED_WORDS = {
    "nothing": "nothing",
    "depth": "depth",
    "centre": "projected centre",
    "location": "location (both)",
    "size": "size",
    "heading": "heading",
    "box": "image box",
    "everything": "everything",
}

_LEAST_GAIN = 1.0
"""Points of AP that a bias must cost to be spoken of."""

SHIFT_WORDS = {"depth_m": "deeper, m", "side_px": "to the right, px"}


def analysis_text(analysis: Analysis, title: str) -> str:
    """Return everything as Markdown, with a title, and a warning where too few objects count."""
    blocks = _beginning(analysis, title)
    for category in measured_categories(analysis):
        blocks += [*_replacements(analysis, category), *_replacements_by_distance(analysis, category)]
        for by in ("distance", "occlusion", "height"):
            blocks += _groups([row for row in analysis.groups if row.category == category and row.by in ("all", by)], by)
        blocks += [
            f"## {category}: average precision if every centre were moved",
            "AP R40 at moderate, of the annotated objects as detections and of the detector's own.",
            *(_shifts([row for row in analysis.shifts if (row.category, row.by) == (category, by)], by) for by in SHIFT_WORDS),
            *bias_text(analysis, category),
        ]
    return "\n\n".join(blocks) + "\n"


def summary_text(analysis: Analysis, title: str) -> str:
    """Return what the command prints of it: the replacements, and the groups by distance."""
    blocks = _beginning(analysis, title)
    for category in measured_categories(analysis):
        by_distance = [row for row in analysis.groups if row.category == category and row.by in ("all", "distance")]
        blocks += [*_replacements(analysis, category), *_groups(by_distance, "distance"), *bias_text(analysis, category)]
    return "\n\n".join(blocks) + "\n"


def bias_text(analysis: Analysis, category: str) -> list[str]:
    """Return a sentence about the depth that would be better if all of it were larger or smaller; none if it would not.

    Where few objects count, or little would be gained, the highest point of a curve is chance.
    """
    name = category, "3d", "strict"
    rows = [row for row in analysis.shifts if row[:2] == ("own", "depth_m") and (row.category, row.metric, row.overlap) == name]
    best = max(rows, key=lambda row: (row.r40, -abs(row.shift)))
    (as_detected,) = (row for row in rows if row.shift == 0)
    if best.num_truth <= NUM_STEPS or best.r40 < as_detected.r40 + _LEAST_GAIN:
        return []
    where = f"{abs(best.shift):g} m {'deeper' if best.shift > 0 else 'nearer'}"
    return [
        f"The depth of {category} is biased: with every centre {where} the AP of {metric_name('3d', 'strict', category)} at "
        f"{best.difficulty} would be {best.r40:.2f} instead of {as_detected.r40:.2f}."
    ]


def measured_categories(analysis: Analysis) -> list[str]:
    """Return the categories of which an object counts."""
    return list(dict.fromkeys(row.category for row in analysis.groups if row.by == "all" and row.num_truth))


def _beginning(analysis: Analysis, title: str) -> list[str]:
    return [f"{TITLE}{title}", _matches(analysis), *(f"Warning: {text}" for text in few_objects_text(analysis.counts))]


def _replacements(analysis: Analysis, category: str) -> list[str]:
    return [
        f"## {category}: average precision if a quantity were right",
        "AP R40 at easy, moderate and hard. Matched detections take the quantity from their objects; scores stay.",
        _oracle([row for row in analysis.oracle if row.category == category]),
    ]


def metric_name(metric: str, overlap: str, category: str) -> str:
    """Return the name of a metric with its least overlap: ``3D@0.7``; AOS has 2D's."""
    return "AOS" if metric == "aos" else f"{metric.upper()}@{least_overlap(category, overlap):g}"


def oracle_cells(rows: Sequence[OracleRow]) -> tuple[list[str], dict[str, list[list[float]]]]:
    """Return the columns of a category, and by replacement its AP R40: for each column those of the difficulties."""
    names = list(dict.fromkeys((row.metric, row.overlap) for row in rows))
    cells = {
        what: [[row.r40 for row in rows if (row.replaced, row.metric, row.overlap) == (what, *name)] for name in names]
        for what in dict.fromkeys(row.replaced for row in rows)
    }
    return [metric_name(*name, rows[0].category) for name in names], cells


def shift_cells(rows: Sequence[ShiftRow]) -> tuple[list[str], Mapping[float, list[float]]]:
    """Return the columns of a category and a kind of shift, and by shift its AP R40 in them."""
    keys = list(dict.fromkeys((row.detections, row.metric, row.overlap) for row in rows))
    names = [f"{detections} {metric_name(metric, overlap, rows[0].category)}" for detections, metric, overlap in keys]
    by_key = {(row.shift, row.detections, row.metric, row.overlap): row.r40 for row in rows}
    return names, {shift: [by_key[shift, *key] for key in keys] for shift in dict.fromkeys(row.shift for row in rows)}


def number_text(value: float, decimals: int) -> str:
    """Return a number, or a dash where there is none."""
    return MISSING if math.isnan(value) else f"{value:.{decimals}f}"


def distance_cells(rows: Sequence[OracleDistanceRow]) -> tuple[list[str], dict[str, list[float]]]:
    """Return the groups of distances of one category and table, and by replacement the AP R40 of each."""
    groups = list(dict.fromkeys(row.group for row in rows))
    cells = {what: [row.r40 for row in rows if row.replaced == what] for what in dict.fromkeys(row.replaced for row in rows)}
    return groups, cells


def _replacements_by_distance(analysis: Analysis, category: str) -> list[str]:
    blocks = []
    for overlap in ("strict", "loose"):
        rows = [row for row in analysis.oracle_by_distance if (row.category, row.overlap) == (category, overlap)]
        groups, cells = distance_cells(rows)
        body = [[REPLACED_WORDS[what], *(number_text(value, 2) for value in values)] for what, values in cells.items()]
        blocks.append(_table([f"right, {metric_name('3d', overlap, category)} at {rows[0].difficulty}", *groups], body))
    return blocks


def _matches(analysis: Analysis) -> str:
    heads = ["objects", "matched", "missed", "detections", "matched, passed over", "found twice", "of no object"]
    body = [[f"{row.category} {row.difficulty}", *(str(value) for value in row[2:])] for row in analysis.counts]
    return _table([f"{analysis.num_frames:,} {'frame' if analysis.num_frames == 1 else 'frames'}", *heads], body)


def _oracle(rows: Sequence[OracleRow]) -> str:
    columns, cells = oracle_cells(rows)
    body = [
        [REPLACED_WORDS[what], *(" ".join(number_text(value, 2) for value in values) for values in of_what)]
        for what, of_what in cells.items()
    ]
    return _table(["right", *columns], body)


def _groups(rows: Sequence[GroupRow], by: str) -> list[str]:
    category = rows[0].category
    tables = (("3d", "strict"), ("3d", "loose"), ("bev", "strict"))
    precisions = [f"AP {metric_name(*table, category)}" for table in tables]
    recalls = [f"recall {metric_name('3d', overlap, category)}" for overlap in ("strict", "loose")]
    measured = [
        [
            row.group,
            str(row.num_truth),
            *(number_text(value, 1) for value in (row.recall_image, row.recall_3d_strict, row.recall_3d_loose)),
            *(number_text(value, 2) for value in (row.r40_3d_strict, row.r40_3d_loose, row.r40_bev_strict)),
        ]
        for row in rows
    ]
    errors = [
        [
            row.group,
            str(row.num_matched),
            f"{row.depth_bias_m:+.2f}" if row.num_matched else MISSING,
            number_text(row.depth_mae_m, 2),
            number_text(row.depth_mae_percent, 1),
            number_text(row.centre_mae_px, 1),
            number_text(row.lateral_mae_m, 2),
            _together(row.height_mae_m, row.width_mae_m, row.length_mae_m),
            number_text(row.heading_mae_deg, 1),
            number_text(row.turned_percent, 1),
            number_text(row.overlap_3d, 2),
        ]
        for row in rows
    ]
    heads = ["errors of matched", "objects", "depth, bias m", "depth m", "depth %", "centre px", "to the side m", "h w l m"]
    intro = f"Per cent of the objects that count at {rows[0].difficulty}. A matched object has a detection where it is seen."
    if by == "occlusion":
        intro += " A false alarm is not hidden by anything, so there is no AP."
    return [
        f"## {category} by {by}",
        intro,
        _table([by, "objects", "matched", *recalls, *precisions], measured),
        _table([*heads, "heading °", "turned %", "3D overlap"], errors),
    ]


def _together(*values: float) -> str:
    return MISSING if all(map(math.isnan, values)) else " ".join(number_text(value, 2) for value in values)


def _shifts(rows: Sequence[ShiftRow], by: str) -> str:
    columns, cells = shift_cells(rows)
    body = [[f"{shift:+g}" if shift else "0", *(number_text(value, 2) for value in values)] for shift, values in cells.items()]
    return _table([SHIFT_WORDS[by], *columns], body)


def _table(heads: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|", *(f"| {' | '.join(cells)} |" for cells in body)]
    return "\n".join(lines)
