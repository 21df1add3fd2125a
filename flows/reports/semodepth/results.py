"""The sections "Results" and "Error by range": every metric by time of day and distance, with radar and without.

Reads  evaluation/frames.parquet, evaluation/ranges.parquet
Writes HTML with charts and tables
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from flows.reports.html.line_chart import Series, chart_key, line_chart, value_bounds
from flows.reports.html.markup import MISSING, Cell, bar, number, percent, section, table, text, tiles
from flows.reports.semodepth.files import METRICS, SemoDepthFiles
from model.semodepth.summary import METRIC_FORMATS, NOTHING_MEASURED, RangeRow, SummaryRow, summarise, summarise_ranges

Rows = Mapping[tuple[str, float, str], SummaryRow]
"""(group, cap in metres, radar) -> its row."""

RADAR_WORDS = {"on": "with radar", "off": "without radar"}


def results_section(training: SemoDepthFiles) -> str | None:
    """Return the section, None without an evaluation."""
    if training.frames is None or not len(training.frames["frame_key"]):
        return None
    rows = {(row.group, float(row.cap_m), row.radar): row for row in summarise(training.frames)}
    if not rows:
        num_frames = len(set(training.frames["frame_key"]))
        return section("results", "Results", f"<p><b>{NOTHING_MEASURED}</b> Frames looked at: {number(num_frames)}.</p>")
    groups = {group for group, _, _ in rows}
    charted = charted_groups(groups)
    cases = sorted(
        {(group, cap_m) for group, cap_m, _ in rows if group in charted},
        key=lambda case: (("all", "day", "night").index(case[0]), case[1]),
    )
    body = (
        "<p>Each metric is measured on the pixels of a frame that have a target not beyond the cap, and the mean is taken over "
        f"frames. <b>Without radar</b> is the same network given an empty radar map.{_alone_words(groups)}</p>"
        + _headline(rows, cases)
        + _comparison(rows, cases)
        + f"<details><summary>All metrics</summary>{_all_metrics(rows, cases)}</details>"
    )
    return section("results", "Results", body)


def range_section(training: SemoDepthFiles) -> str | None:
    """Return the section, None without an evaluation or without a measured pixel."""
    rows = summarise_ranges(training.ranges) if training.ranges is not None else []
    if not rows:
        return None
    groups = charted_groups(row.group for row in rows)
    every = np.array([row.mae_mm / 1000 for row in rows])
    bounds = value_bounds(every, from_zero=True)
    charts = "".join(_range_chart([row for row in rows if row.group == group], group, bounds) for group in groups)
    body = (
        "<p>Mean |error| of all pixels whose target lies in a range, pooled over frames; the charts share one vertical axis.</p>"
        f'<div class="charts">{charts}</div>{_range_table(rows, groups)}'
    )
    return section("range", "Error by range", body)


def best_error(about: Mapping[str, Any]) -> tuple[str, str]:
    """Return the error that the kept checkpoint had, as a big number."""
    return "Best MAE to 80 m on validation", number((about.get("best") or {}).get("mae_mm"), unit="mm")


def _alone_words(groups: Collection[str]) -> str:
    """Return a sentence if all frames are by day or all at night: the page then has no group but "all"."""
    phrases = {"day": "by day", "night": "at night"}
    alone = [phrases[group] for group in phrases if group in groups]
    return f" All frames are {alone[0]}." if len(alone) == 1 else ""


def metric_words(name: str, value: float | None) -> str:
    """Return a metric with its fitting digits, without its unit."""
    return number(value, digits=METRIC_FORMATS[name].decimals)


def metric_head(name: str) -> str:
    """Return the name and the unit of a metric: ``MAE, mm``."""
    return METRIC_FORMATS[name].head.replace(" [", ", ").replace("]", "").replace("delta", "δ")


def charted_groups(groups: Iterable[str]) -> list[str]:
    """Return the groups that deserve a place of their own: if all frames are by day, or all at night, that is the same as all."""
    unique = list(dict.fromkeys(groups))
    return [group for group in unique if group == "all" or {"day", "night"} <= set(unique)]


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
    entries = []
    for group in dict.fromkeys(group for group, _ in cases):
        on, off = (_value(rows, (group, cap_m, radar), "mae_mm") for radar in ("on", "off"))
        if math.isnan(on):
            more = "a network of the camera alone"
        elif math.isnan(off):
            more = "not measured without radar"
        else:
            more = f"{number(off, unit='mm')} without radar, {change_words(on, off)}"
        main = off if math.isnan(on) else on
        entries.append((f"MAE to {cap_m:.0f} m, {group_words(group)}", number(main, unit="mm"), more))
    return tiles(entries)


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


def _range_chart(rows: Sequence[RangeRow], group: str, bounds: tuple[float, float]) -> str:
    series = []
    for radar, heading in RADAR_WORDS.items():
        of_radar = sorted((row for row in rows if row.radar == radar), key=lambda row: row.low_m)
        middle = np.array([(row.low_m + row.high_m) / 2 for row in of_radar])
        if of_radar:
            series.append(Series(heading, middle, np.array([row.mae_mm / 1000 for row in of_radar]), radar))
    title = f"Mean |error|, m: {group_words(group)}"
    chart = line_chart(
        series,
        x_label="range of the target, m",
        alt=f"{title} by range",
        x_bounds=(min(row.low_m for row in rows), max(row.high_m for row in rows)),
        y_bounds=bounds,
    )
    return f"<figure>{chart}<figcaption><b>{text(title)}</b> {chart_key(series)}</figcaption></figure>"


def _range_table(rows: Sequence[RangeRow], groups: Sequence[str]) -> str:
    row_by_bin = {(row.group, row.low_m, row.high_m, row.radar): row for row in rows}
    top = max(row.mae_mm for row in rows) or 1.0
    heads = ["Range", "share of<br>pixels"]
    for group in groups:
        name = group_words(group)
        heads += [f"{name}<br>with radar, m", "<br>without", "change<br>by radar"]
    measured = next(radar for radar in RADAR_WORDS if any(row.radar == radar for row in rows))
    total = sum(row.num_pixels for row in rows if row.group == "all" and row.radar == measured) or 1
    lines: list[list[Cell | str]] = []
    for low, high in sorted({(row.low_m, row.high_m) for row in rows}):
        counted = row_by_bin.get(("all", low, high, measured))
        cells: list[Cell | str] = [
            f"{low:g}–{high:g} m",  # noqa: RUF001  a range
            number(100 * counted.num_pixels / total if counted else None, digits=1, unit="%"),
        ]
        for group in groups:
            on, off = (row_by_bin.get((group, low, high, radar)) for radar in RADAR_WORDS)
            for row, css in ((on, "on"), (off, "off")):
                mm = row.mae_mm if row else None
                cells.append(Cell(number(None if mm is None else mm / 1000, digits=2) + bar((mm or 0) / top, css)))
            cells.append(change_words(on.mae_mm if on else None, off.mae_mm if off else None))
        lines.append(cells)
    return table(heads, lines, caption="Mean |error| by range, metres")
