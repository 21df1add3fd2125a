"""The figures of an evaluation as Markdown, for table.md and the console."""

from __future__ import annotations

from collections.abc import Sequence

from model.uvtr.detection_metric import MetricRow
from model.uvtr.metric_groups import RANGE, GroupRow

_COLUMNS = (
    ("objects", "num_truth", "d"),
    ("found", "num_found", "d"),
    ("AP", "ap", ".3f"),
    ("0.5 m", "ap_at_0_5_m", ".3f"),
    ("1 m", "ap_at_1_m", ".3f"),
    ("2 m", "ap_at_2_m", ".3f"),
    ("4 m", "ap_at_4_m", ".3f"),
    ("ATE m", "ate_m", ".3f"),
    ("ASE", "ase", ".3f"),
    ("AOE rad", "aoe_rad", ".3f"),
    ("AVE m/s", "ave_mps", ".3f"),
    ("AAE", "aae", ".3f"),
    ("NDS", "nds", ".3f"),
)


def metric_table(
    rows: Sequence[MetricRow], groups: Sequence[GroupRow], *, warnings: Sequence[str], iou: float | None, note: str
) -> str:
    """Return everything that an evaluation says: a note, warnings, the metric, and the groups; classes without boxes left out.

    Args:
        rows: of the metric.
        groups: by range and visibility.
        warnings: what misleads.
        iou: of the vehicles on the ground; None = a network that does not say.
        note: below the title.
    """
    lines = [note, *(f"- {warning}" for warning in warnings)]
    if iou is not None:
        lines.append(f"Vehicles on the ground: IoU {_number(iou, '.3f')}.")
    heads = [head for head, _, _ in _COLUMNS]
    lines += ["", f"| class | {' | '.join(heads)} |", f"|---|{'--:|' * len(heads)}"]
    for row in rows:
        if row.num_truth or row.num_found or row.name not in _names_of_classes(rows):
            numbers = (_number(getattr(row, name), form) for _, name, form in _COLUMNS)
            lines.append(f"| {row.name} | {' | '.join(numbers)} |")
    lines += ["", "| group | objects | classes | AP | AP@2 m |", "|---|--:|--:|--:|--:|"]
    for group in groups:
        name = f"{group.name} m" if group.group == RANGE else f"visibility {group.name}"
        lines.append(f"| {name} | {group.num_truth} | {group.num_classes} | {group.ap:.3f} | {group.ap_at_2_m:.3f} |")
    return "\n".join(lines)


def _names_of_classes(rows: Sequence[MetricRow]) -> set[str]:
    return {row.name for row in rows[2:]}


def _number(value: float, form: str) -> str:
    return "" if value != value else format(value, form)
