"""The rows of ``average_precision`` as a Markdown table in the arrangement of published tables.

Source arXiv 2103.16237 tables 1 and 2; docs/method/monoddle.md#published-tables
"""

from __future__ import annotations

from collections.abc import Sequence

from model.monoddle.precision.average_precision import NUM_STEPS, ApRow


def ap_table(rows: Sequence[ApRow]) -> str:
    """Return a Markdown table for each category: R40 and R11 for every metric, the difficulties beside each other.

    Args:
        rows: of ``average_precision``; the order of its columns is kept.

    Returns:
        Tables with a line about the objects behind them; where they are too few for 100 % it names the highest R40 that
        perfect detections would get. Lines end with a line feed; "" without rows.
    """
    return "\n".join(
        _category_table([row for row in rows if row.category == name]) for name in dict.fromkeys(row.category for row in rows)
    )


def _category_table(rows: Sequence[ApRow]) -> str:
    columns: dict[str, list[ApRow]] = {}
    for row in rows:
        name = "AOS" if row.metric == "aos" else f"{row.metric.upper()}@{row.min_overlap:g}"
        columns.setdefault(name, []).append(row)
    first = next(iter(columns.values()))
    lines = [
        f"| {rows[0].category}: {', '.join(row.difficulty for row in first)} | {' | '.join(columns)} |",
        "|---" * (len(columns) + 1) + "|",
        f"| AP_R40 | {' | '.join(_cell([row.r40 for row in column]) for column in columns.values())} |",
        f"| AP_R11 | {' | '.join(_cell([row.r11 for row in column]) for column in columns.values())} |",
        "",
        "Objects: " + ", ".join(f"{row.num_truth} {row.difficulty}" for row in first) + ".",
    ]
    if few := [row for row in first if row.num_truth <= NUM_STEPS]:
        ceilings = ", ".join(f"{row.difficulty} {100 / NUM_STEPS * max(0, row.num_truth - 1):g}" for row in few)
        lines.append(
            f"AP says little here: with N objects, fewer than {NUM_STEPS + 1}, perfect detections get an R40 of "
            f"{100 / NUM_STEPS:g}·(N-1): {ceilings}."
        )
    return "\n".join(lines) + "\n"


def _cell(values: Sequence[float]) -> str:
    return " ".join(f"{value:.2f}" for value in values)
