"""Which of two detectors is better: their average precisions side by side, where both were measured against the same objects.

Reads  average_precision.csv of two evaluations
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from model.monoddle.average_precision import ApRow
from model.monoddle.evaluation import read_average_precision
from storage_schemas.errors import DepthmillError

_KEY_COLUMNS = ("category", "metric", "overlap", "difficulty")


class DetectionComparisonError(DepthmillError):
    """Two evaluations of detectors that cannot be compared."""


def precision_differences(a: Sequence[ApRow], b: Sequence[ApRow]) -> list[dict[str, Any]]:
    """Return a row for each average precision that both have, with the difference b - a in points of R40.

    Raises:
        DetectionComparisonError: they have none in common, or one was measured against other objects; names the first.
    """
    others = {_key(row): row for row in b}
    pairs = [(row, others[_key(row)]) for row in a if _key(row) in others]
    if not pairs:
        names = [", ".join(dict.fromkeys(row.category for row in rows)) or "nothing" for rows in (a, b)]
        raise DetectionComparisonError(
            f"the evaluations have no average precision in common: a has {names[0]}, b has {names[1]}. Evaluate detectors of the "
            "same classes"
        )
    for row_a, row_b in pairs:
        if (row_a.num_truth, row_a.min_overlap) != (row_b.num_truth, row_b.min_overlap):
            raise DetectionComparisonError(
                f"the evaluations are of other objects: {row_a.category} {row_a.metric} {row_a.overlap} {row_a.difficulty} "
                f"counts {row_a.num_truth} in a and {row_b.num_truth} in b. Evaluate both on the same manifest and split"
            )
    return [
        {
            **dict(zip(_KEY_COLUMNS, _key(row_a), strict=True)),
            "num_truth": row_a.num_truth,
            "a": row_a.r40,
            "b": row_b.r40,
            "difference": row_b.r40 - row_a.r40,
        }
        for row_a, row_b in pairs
    ]


def comparison_text(differences: Sequence[Mapping[str, Any]]) -> str:
    """Return the differences as a table, and what they do not tell."""
    lines = ["", "| AP_R40 | difficulty | a | b | b - a | objects |", "|---|---|---|---|---|---|"]
    for row in differences:
        name = f"{row['category']} {row['metric']} {row['overlap']}"
        lines.append(
            f"| {name} | {row['difficulty']} | {row['a']:.2f} | {row['b']:.2f} | {row['difference']:+.2f} | {row['num_truth']} |"
        )
    lines.append(
        "\nAP is one number of all frames together, so frames give no interval for it. Trainings that differ in their seed only "
        "lie some points apart: compare means over seeds (depthmill ablate)."
    )
    return "\n".join(lines)


def compare_precisions(a: Path, b: Path) -> list[dict[str, Any]]:
    """Compare the average precisions of two evaluations.

    Raises:
        DetectionComparisonError: they were measured on other objects, or have no row in common.
        StoreError: a file is missing or damaged.
    """
    return precision_differences(*(read_average_precision(folder) for folder in (a, b)))


def _key(row: ApRow) -> tuple[str, ...]:
    return tuple(str(getattr(row, name)) for name in _KEY_COLUMNS)
