"""An assessment as text for a terminal, as a Markdown page, and as data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from math import isnan
from typing import Any

from flows.assessment.summary import MEASURES, Summary
from flows.text import duration
from model.train.paired_bootstrap import too_few_text
from pipeline.kernels.depth_errors import CHANCE_COLUMNS, READINGS, ErrorCounts, ErrorReadings

COLUMNS = ("coverage", "too near", "too far", "mean error", "MAE", "bad", "bad near", "bad far")
"""Columns of every table of errors."""

LEGEND = (
    "too near, too far: more than 10 m and 10 % off, share of the compared pixels; "
    "of the others: mean error and mean absolute error in metres (negative = too near), and bad: more than 0.5 m and 3 % off"
)

MISSING = "-"

WITHOUT = "without "
"""Beginning of the names of recipes that lack one addition."""


def overview_text(summary: Summary, *, target: str) -> str:
    """Return what the terminal shows: all stores, the target by range, what was removed, and how sure it is.

    Args:
        summary: of the frames.
        target: the store whose groups are shown.
    """
    parts = [headline(summary), aligned(_store_table(summary)), LEGEND, "", *ambiguity_lines(summary, target)]
    parts += ["", f"{target} by range:", aligned(_group_table(summary, target, "range", _main(summary)))]
    if changes := change_lines(summary, target):
        parts += ["", *changes]
    if removed := removed_lines(summary, target):
        parts += ["", *removed]
    if intervals := interval_lines(summary, target):
        parts += ["", *intervals]
    return "\n".join(parts)


def markdown_page(summary: Summary, *, title: str, target: str) -> str:
    """Return every figure of an assessment as one Markdown page."""
    parts = [f"# {title}", headline(summary), markdown(_store_table(summary)), LEGEND + "."]
    parts += ["\n".join(ambiguity_lines(summary, target))]
    for line in (*change_lines(summary, target), *removed_lines(summary, target), *interval_lines(summary, target)):
        parts.append(line)
    for layout in summary.layouts:
        for grouping in summary.groupings(layout):
            parts += [f"## {layout} by {grouping}", markdown(_group_table(summary, layout, grouping, _main(summary)))]
    return "\n\n".join(parts) + "\n"


def headline(summary: Summary) -> str:
    """Say what was measured, against what, and how long a frame took."""
    held = f" and {summary.neighbours} on either side" if summary.neighbours else ""
    against = "exact depth" if summary.against == "truth" else f"the key sweep, held out{held}: an upper bound of the errors"
    frames, scenes = _count(summary.num_frames, "frame"), _count(summary.num_scenes, "scene")
    return f"{frames} of {scenes} against {against} ({duration(summary.seconds / max(1, summary.num_frames))} a frame)"


def ambiguity_lines(summary: Summary, target: str) -> list[str]:
    """Say which share of the errors a neighbouring pixel of the reference explains, and a place aside by chance."""
    lines = []
    for name in _main(summary):
        errors = summary.total(name, target)
        gross, bad = _share(errors.gross_ambiguous), _share(errors.bad_ambiguous)
        # a place aside can make more errors than it explains: it then explains none
        by_chance = " and ".join(_share(max(share, 0.0)) for share in (errors.gross_by_chance, errors.bad_by_chance))
        lines.append(
            f"{target}, {name}: a neighbouring pixel of the reference explains {gross} of the gross errors and {bad} of the bad "
            f"pixels (a place {CHANCE_COLUMNS} pixels aside: {by_chance})"
        )
    return lines


def removed_lines(summary: Summary, target: str) -> list[str]:
    """Say what the assessed recipe lacks of each other recipe's pixels, and what share of it was good."""
    lines = []
    for name in summary.contenders[1:]:
        removed = summary.groups.get((name, target), {}).get(("removed", name), ErrorReadings()).plain
        total = summary.total(name, target).plain
        if not removed.measured:
            continue
        what = "in place of the published recipe" if name == "published" else f"by {name.removeprefix(WITHOUT)}"
        scattered = summary.groups[name, target].get(("removed, shape", "scattered"), ErrorReadings()).plain
        lines.append(
            f"removed {what}: {_share(removed.measured / total.measured)} of the measured pixels; of those compared "
            f"({removed.compared:,}) {_share(removed.good_share)} were good, {_share(removed.near_share)} too near, "
            f"{_share(removed.far_share)} too far"
            + (f"; among scattered returns ({scattered.compared:,}) {_share(scattered.good_share)}" if scattered.compared else "")
        )
    return lines


def interval_lines(summary: Summary, target: str) -> list[str]:
    """Give the difference to the published recipe with its interval over scenes, or why there is none."""
    if "published" not in summary.contenders[1:]:
        return []
    lines = []
    for measure, attribute in MEASURES.items():
        low, high, num_scenes = summary.interval(measure, target, other="published")
        if low is None or high is None:
            return too_few_text({target: num_scenes})
        mine, other = (getattr(summary.total(name, target).plain, attribute) for name in (summary.contenders[0], "published"))
        scale, unit = (1.0, "m") if measure == "mae_m" else (100.0, "% points")
        lines.append(
            f"{target}, {measure.removesuffix('_m')}: {scale * (mine - other):+.3f} {unit} to published; mean over frames in "
            f"[{scale * low:+.3f}, {scale * high:+.3f}] (95 % over {num_scenes} scenes)"
        )
    return lines


def change_lines(summary: Summary, target: str) -> list[str]:
    """Say how the errors of the assessed recipe compare with those of the published one; nothing without it."""
    if "published" not in summary.contenders[1:]:
        return []
    mine, other = (summary.total(name, target).plain for name in (summary.contenders[0], "published"))
    return [f"{target}, {summary.contenders[0]} to published: {change_text(mine, other)}"]


def change_text(mine: ErrorCounts, other: ErrorCounts) -> str:
    """Say by how many per cent errors changed, as shares of the compared pixels and, in brackets, as pixels."""
    parts = []
    for words, share, names in (
        ("too near", "near_share", ("near",)),
        ("too far", "far_share", ("far",)),
        ("bad", "bad_share", ("bad_near", "bad_far")),
        ("bad near", "bad_near_share", ("bad_near",)),
    ):
        pixels = [sum(getattr(counts, name) for name in names) for counts in (mine, other)]
        parts.append(f"{words} {_change(getattr(mine, share), getattr(other, share))} ({_change(*pixels)} pixels)")
    return ", ".join([*parts, f"MAE {_change(mine.mae_m, other.mae_m)}"])


def _change(mine: float, other: float) -> str:
    return f"{100 * (mine / other - 1):+.0f} %" if other and not isnan(mine / other) else MISSING


def _store_table(summary: Summary) -> list[list[str]]:
    rows = [["store", "recipe", *COLUMNS]]
    for layout in summary.layouts:
        for name in summary.contenders:
            if (name, layout) in summary.groups:
                rows.append([layout, name, *cells(summary.total(name, layout).plain)])
    return rows


def _group_table(summary: Summary, layout: str, grouping: str, names: Sequence[str]) -> list[list[str]]:
    rows = [[grouping, "recipe", *COLUMNS]]
    of_names = {name: summary.groups.get((name, layout), {}) for name in names}
    for group in dict.fromkeys(group for groups in of_names.values() for kind, group in groups if kind == grouping):
        rows += [[group, name, *cells(groups.get((grouping, group), ErrorReadings()).plain)] for name, groups in of_names.items()]
    return rows


def _main(summary: Summary) -> tuple[str, ...]:
    """Return the recipes that every table has: the assessed one, and the published one."""
    return tuple(name for name in summary.contenders if not name.startswith(WITHOUT))


def cells(counts: ErrorCounts) -> list[str]:
    """Return the columns of ``COLUMNS``."""
    return [
        _share(counts.coverage),
        _share(counts.near_share),
        _share(counts.far_share),
        _metres(counts.signed_m, sign="+"),
        _metres(counts.mae_m),
        _share(counts.bad_share),
        _share(counts.bad_near_share),
        _share(counts.bad_far_share),
    ]


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Return a table in columns: words on the left, numbers on the right."""
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if k < 2 else cell.rjust(width) for k, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    head, *body = rows
    rule = ["---" if k < 2 else "---:" for k in range(len(head))]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in (head, rule, *body))


def as_data(summary: Summary, *, target: str) -> dict[str, Any]:
    """Return every sum as data: counts, and the shares and metres that follow from them."""
    return {
        "against": summary.against,
        "held_out_neighbours": summary.neighbours if summary.against == "sweep" else None,
        "num_frames": summary.num_frames,
        "num_scenes": summary.num_scenes,
        "seconds": round(summary.seconds, 3),
        "target": target,
        "figures": [
            {"recipe": name, "store": layout, "by": grouping, "group": group, **_readings_data(errors)}
            for (name, layout), groups in summary.groups.items()
            for (grouping, group), errors in groups.items()
        ],
        "worst": [row.key for row in summary.worst(target, 5)],
    }


def _readings_data(errors: ErrorReadings) -> dict[str, Any]:
    return {reading: {**asdict(counts), **shares(counts)} for reading in READINGS if (counts := getattr(errors, reading))}


def shares(counts: ErrorCounts) -> dict[str, float | None]:
    """Return what follows from counts; None where nothing was compared."""
    names = ("coverage", "near_share", "far_share", "bad_share", "bad_near_share", "bad_far_share", "mae_m", "signed_m")
    return {name: None if isnan(value := getattr(counts, name)) else value for name in names}


def target_of(summary: Summary) -> str:
    """Return the store that the groups are shown of: the last measured one before interpolation."""
    layouts = [layout for layout in summary.layouts if layout != "depth_interpolated"]
    return (layouts or list(summary.layouts))[-1]


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'s' if number != 1 else ''}"


def _share(value: float) -> str:
    if isnan(value):
        return MISSING
    percent = 100 * value
    return f"{percent:.1f} %" if percent >= 9.95 else f"{percent:.2f} %" if percent >= 0.995 else f"{percent:.3f} %"


def _metres(value: float, *, sign: str = "") -> str:
    return MISSING if isnan(value) else f"{value:{sign}.3f}"
