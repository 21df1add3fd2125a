"""The sections "Rendering" and "Error by range": depth and colour of every volume beside its controls.

Reads  evaluation/rendering.csv
Writes HTML with a chart and tables
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np

from flows.reports.html.line_chart import Series, chart_figure, chart_key, line_chart
from flows.reports.html.markup import Cell, bar, number, percent, section, table, text
from flows.reports.mim4d.files import RenderFiles
from model.mim4d.loss import DIRECT, RECONSTRUCT
from model.mim4d.probes.probe_files import range_ends
from model.mim4d.ray_errors import (
    ANY_RANGE,
    CONSTANT,
    COPIED,
    COPIED_WARPED,
    REBUILT_SWAPPED,
    SWAPPED,
    VOLUMES,
    RenderRow,
)

VOLUME_WORDS = {
    DIRECT: "Own volume (direct)",
    RECONSTRUCT: "Rebuilt from the other frames",
    COPIED: "Nearest frame's, as it is",
    COPIED_WARPED: "Nearest frame's, warped",
    SWAPPED: "Another scene's",
    REBUILT_SWAPPED: "Rebuilt from another scene's frames",
    CONSTANT: "None: median depth, mean colour",
}
"""Words by volume, in the order of the tables; all but the first two are controls."""

DRAWN = {DIRECT: "third", RECONSTRUCT: "on", COPIED_WARPED: "off", SWAPPED: "fourth"}
"""Volumes that get a line in a chart, and the class of its colour."""

_FRAMES = {"all": "all frames", "key": "key frames", "history": "the other frames"}
_PIXELS = {"all": "all pixels", "masked": "hidden patches", "visible": "visible patches"}

Row = Sequence[Cell | str]


def results_section(training: RenderFiles) -> str | None:
    """Return the section, None without an evaluation."""
    rows = [row for row in training.rendering or () if row.range_m == ANY_RANGE]
    if not rows:
        return None
    intro = (
        f"<p>Rays to LiDAR points that none was trained on, of every frame of every clip of {text(training.split_words)}; "
        f"{_count_words(rows)}. A frame's <b>own volume</b> is made of its images with patches hidden"
    )
    if any(row.volume == RECONSTRUCT for row in rows):
        intro += (
            ", the <b>rebuilt</b> one of the other frames alone. The rest are controls, drawn by the same renderer: rebuilding "
            "has to beat the nearest frame's volume, warped to where the vehicle is, and what it makes of another scene's "
            "frames; a frame's own volume has to beat another scene's: these know no more than where roads usually are.</p>"
        )
    else:
        intro += ". The rest are controls: another scene's volume knows no more than where roads usually are.</p>"
    detail = f"<details><summary>By frames and pixels</summary>{_detail_table(rows)}</details>"
    return section("rendering", "Rendered depth and colour", intro + _verdict(rows) + _headline_table(rows) + detail)


def range_section(training: RenderFiles) -> str | None:
    """Return the section, None without an evaluation."""
    rows = [row for row in training.rendering or () if row.range_m != ANY_RANGE]
    if not rows:
        return None
    lines = [
        (volume_name(volume), css, {row.range_m: row.abs_rel for row in rows if row.volume == volume})
        for volume, css in DRAWN.items()
    ]
    chart = range_chart(lines, "AbsRel of depth", x_label="distance of the point, m", alt="AbsRel by range")
    intro = "<p>Mean error over distance, of rays to held-out points, by the point's distance along the ray.</p>"
    return section("range", "Error by range", f'{intro}<div class="charts">{chart}</div>{_range_table(rows)}')


def range_chart(lines: Sequence[tuple[str, str, Mapping[str, float]]], title: str, *, x_label: str, alt: str) -> str:
    """Return errors by range, "" without a line.

    Args:
        lines: name, class of the colour, and errors by range, of each line.
        title: below the chart.
        x_label: below the horizontal axis.
        alt: what the chart shows.
    """
    series = []
    for name, css, errors in lines:
        points = [(sum(range_ends(range_m)) / 2, errors[range_m]) for range_m in sorted(errors, key=range_ends)]
        if points:
            middle, value = np.array(points).T
            series.append(Series(name, middle, value, css))
    if not series:
        return ""
    ends = [end for _, _, errors in lines for range_m in errors for end in range_ends(range_m)]
    chart = line_chart(series, x_label=x_label, alt=alt, from_zero=True, x_bounds=(min(ends), max(ends)))
    return chart_figure(chart, title, chart_key(series))


def best_rendering(about: Mapping[str, Any]) -> tuple[str, str]:
    """Return the relative error of depth that the kept checkpoint had, as a big number."""
    frames = (((about.get("config") or {}).get("network")) or {}).get("num_frames")
    volume = "own volume" if frames == 1 else "rebuilt"
    return f"AbsRel of depth, {volume}", number((about.get("best") or {}).get("abs_rel"), digits=3)


def volume_name(volume: str) -> str:
    """Return the words of a volume; a name that this page does not know stays as it is."""
    return VOLUME_WORDS.get(volume, volume)


def _count_words(rows: Sequence[RenderRow]) -> str:
    first = next(row for row in rows if (row.frames, row.pixels) == ("all", "all"))
    return f"{first.num_rays:,} such rays, and {first.num_colours:,} whose colour is compared"


def _verdict(rows: Sequence[RenderRow]) -> str:
    """Return in words which controls depth does not beat, "" where it beats all."""
    whole = {row.volume: row.abs_rel for row in rows if (row.frames, row.pixels) == ("all", "all")}
    lines = []
    for volume in (DIRECT, RECONSTRUCT):
        if volume not in whole:
            continue
        # the direct volume is not rebuilt, so the swapped rebuilding is no control of it
        controls = [name for name in VOLUMES[2:] if not (volume == DIRECT and name == REBUILT_SWAPPED)]
        better = [volume_name(name) for name in controls if name in whole and not whole[volume] < whole[name]]
        if better:
            lines.append(f"{volume_name(volume)}: depth is no better than {', '.join(better)}.")
    return f'<p class="note">{text(" ".join(lines))}</p>' if lines else ""


def _headline_table(rows: Sequence[RenderRow]) -> str:
    row_by_case = {row[:3]: row for row in rows}
    volumes = [name for name in VOLUMES if (name, "all", "all") in row_by_case]
    top = max((row_by_case[name, "all", "all"].abs_rel for name in volumes), default=1.0) or 1.0
    hidden_heads = ("AbsRel,<br>hidden patches", "colour L1,<br>hidden patches")
    heads = ("Volume", "AbsRel", "RMSE, m", "ratio<br>below 1.25", "colour L1", *hidden_heads)
    lines: list[Row] = []
    for name in volumes:
        row, hidden = row_by_case[name, "all", "all"], row_by_case.get((name, "all", "masked"))
        css = "on" if name in (DIRECT, RECONSTRUCT) else "off"
        lines.append(
            [
                text(volume_name(name)),
                Cell(number(row.abs_rel, digits=3) + bar(row.abs_rel / top, css)),
                number(row.rmse_m, digits=2),
                percent(row.delta1),
                number(row.rgb_l1, digits=3),
                number(hidden.abs_rel if hidden else None, digits=3),
                number(hidden.rgb_l1 if hidden else None, digits=3),
            ]
        )
    return table(heads, lines, caption="All frames; colours from 0 to 1")


def _detail_table(rows: Sequence[RenderRow]) -> str:
    row_by_case = {row[:3]: row for row in rows}
    heads = ("Volume", "|frames", "|pixels", "AbsRel", "RMSE, m", "ratio<br>below 1.25", "rays", "colour L1", "colours")
    lines: list[Row] = []
    for volume, frames, pixels in product(VOLUMES, _FRAMES, _PIXELS):
        row = row_by_case.get((volume, frames, pixels))
        if row is not None:
            lines.append(
                [
                    text(volume_name(volume)),
                    Cell(_FRAMES[frames], "text"),
                    Cell(_PIXELS[pixels], "text"),
                    number(row.abs_rel, digits=3),
                    number(row.rmse_m, digits=2),
                    percent(row.delta1),
                    number(row.num_rays),
                    number(row.rgb_l1, digits=3),
                    number(row.num_colours),
                ]
            )
    return table(heads, lines, caption="By frames and pixels")


def _range_table(rows: Sequence[RenderRow]) -> str:
    ranges = sorted({row.range_m for row in rows}, key=range_ends)
    row_by_bin = {(row.volume, row.range_m): row for row in rows}
    lines: list[Sequence[Cell | str]] = []
    for volume in VOLUMES:
        if any(row.volume == volume for row in rows):
            of_volume = (row_by_bin.get((volume, range_m)) for range_m in ranges)
            lines.append([text(volume_name(volume)), *(number(row.abs_rel if row else None, digits=3) for row in of_volume)])
    counts = [max(row.num_rays for row in rows if row.range_m == range_m) for range_m in ranges]
    lines.append(["Rays", *map(number, counts)])
    heads = ("Volume", *(f"{range_m.replace('-', '–')} m" for range_m in ranges))  # noqa: RUF001  a range
    return table(heads, lines, caption="AbsRel by range", has_total=True)
