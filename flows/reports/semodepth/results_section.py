"""The section "Results": every metric by time of day and distance, with radar and without.

Reads  evaluation/frames.parquet
Writes HTML
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence

from flows.reports.semodepth.training_files import METRICS, TrainingFiles
from flows.reports.store.markup import MISSING, Cell, bar, number, percent, section, table, tiles
from model.semodepth.summary import METRIC_FORMATS, SummaryRow, summarise

Rows = Mapping[tuple[str, float, str], SummaryRow]
"""(group, cap in metres, radar) -> its row."""

RADAR_WORDS = {"on": "with radar", "off": "without radar"}


def results_section(found: TrainingFiles) -> str | None:
    """Return the section, None without an evaluation."""
    if found.frames is None or not len(found.frames["frame_key"]):
        return None
    rows = {(row.group, float(row.cap_m), row.radar): row for row in summarise(found.frames)}
    there = {group for group, _, _ in rows}
    shown = charted_groups(there)
    cases = sorted(
        {(group, cap_m) for group, cap_m, _ in rows if group in shown},
        key=lambda case: (("all", "day", "night").index(case[0]), case[1]),
    )
    body = (
        "<p>Each metric is measured on the pixels of a frame that have a target not beyond the cap, and the mean is taken over "
        f"frames. <b>Without radar</b> is the same network given an empty radar map.{_alone_words(there)}</p>"
        + _headline(rows, cases)
        + _comparison(rows, cases)
        + f"<details><summary>All metrics</summary>{_all_metrics(rows, cases)}</details>"
    )
    return section("results", "Results", body)


def _alone_words(groups: Collection[str]) -> str:
    """Say so where all frames are of one kind, and "day" or "night" would say the same as "all"."""
    words = {"day": "by day", "night": "at night"}
    alone = [words[group] for group in words if group in groups]
    return f" All frames are {alone[0]}." if len(alone) == 1 else ""


def metric_words(name: str, value: float | None) -> str:
    """Return a metric with its fitting digits, without its unit."""
    return number(value, digits=METRIC_FORMATS[name].decimals)


def metric_head(name: str) -> str:
    """Return the name and the unit of a metric: ``MAE, mm``."""
    return METRIC_FORMATS[name].head.replace(" [", ", ").replace("]", "").replace("delta", "δ")


def charted_groups(groups: Iterable[str]) -> list[str]:
    """Return the groups that deserve a place of their own: if all frames are by day, or all at night, that is the same as all."""
    found = list(dict.fromkeys(groups))
    return [group for group in found if group == "all" or {"day", "night"} <= set(found)]


def group_words(group: str) -> str:
    """Return a group of frames in words."""
    return "all frames" if group == "all" else group


def change_words(on: float | None, off: float | None) -> str:
    """Return how much smaller (minus) or larger an error is with radar than without, in per cent of the latter."""
    if on is None or off is None or math.isnan(on) or math.isnan(off) or off == 0:
        return MISSING
    share = (on - off) / off
    if abs(share) < 0.0005:
        return percent(0.0)
    sign = "+" if share > 0 else "−" if share < 0 else ""  # noqa: RUF001  a minus as wide as the plus
    return f"{sign}{percent(abs(share))}"


def _headline(rows: Rows, cases: Sequence[tuple[str, float]]) -> str:
    cap_m = max(cap for _, cap in cases)
    shown = []
    for group in dict.fromkeys(group for group, _ in cases):
        on, off = (_value(rows, (group, cap_m, radar), "mae_mm") for radar in ("on", "off"))
        if math.isnan(on):
            more = "a network of the camera alone"
        elif math.isnan(off):
            more = "not measured without radar"
        else:
            more = f"{number(off, unit='mm')} without radar, {change_words(on, off)}"
        main = off if math.isnan(on) else on
        shown.append((f"MAE to {cap_m:.0f} m, {group_words(group)}", number(main, unit="mm"), more))
    return tiles(shown)


def _comparison(rows: Rows, cases: Sequence[tuple[str, float]]) -> str:
    top = max((value for row in rows.values() if not math.isnan(value := _number(row, "mae_mm"))), default=1.0) or 1.0
    lines: list[list[Cell | str]] = []
    for group, cap_m in cases:
        keys = {radar: (group, cap_m, radar) for radar in RADAR_WORDS}
        on, off = (_value(rows, keys[radar], "mae_mm") for radar in RADAR_WORDS)
        counted = rows.get(keys["on"]) or rows[keys["off"]]
        cells: list[Cell | str] = [f"{group_words(group)}, to {cap_m:.0f} m", number(counted.num_frames)]
        cells += [Cell(number(value) + bar(value / top, css)) for value, css in ((on, "on"), (off, "off"))]
        cells.append(change_words(on, off))
        for name in ("rmse_mm", "delta1"):
            cells += [metric_words(name, _value(rows, keys[radar], name)) for radar in RADAR_WORDS]
        lines.append(cells)
    heads = (
        "Frames and distance",
        "frames",
        "MAE, mm<br>with radar",
        "<br>without",
        "change<br>by radar",
        "RMSE, mm<br>with radar",
        "<br>without",
        "δ1<br>with radar",
        "<br>without",
    )
    return table(heads, lines, caption="With and without radar")


def _all_metrics(rows: Rows, cases: Sequence[tuple[str, float]]) -> str:
    heads = ["Frames and distance", "|radar", *map(metric_head, METRICS)]
    lines: list[list[Cell | str]] = [
        [
            f"{group_words(group)}, to {cap_m:.0f} m",
            Cell(radar, "text"),
            *(metric_words(name, _value(rows, (group, cap_m, radar), name)) for name in METRICS),
        ]
        for group, cap_m in cases
        for radar in RADAR_WORDS
        if (group, cap_m, radar) in rows
    ]
    return table(heads, lines, caption="All metrics, means over frames")


def _value(rows: Rows, key: tuple[str, float, str], name: str) -> float:
    return _number(rows[key], name) if key in rows else math.nan


def _number(row: SummaryRow, name: str) -> float:
    value = getattr(row, name)
    return math.nan if value is None else float(value)
