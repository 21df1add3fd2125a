"""The section "Rendering": depth and colour of every volume beside its controls.

Reads  evaluation/rendering.csv
Writes HTML
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

from flows.reports.mim4d.render_files import RenderFiles
from flows.reports.mim4d.volume_words import volume_name
from flows.reports.semodepth.about_section import Tile, best_step
from flows.reports.store.markup import MISSING, Cell, bar, number, percent, section, table, text
from model.mim4d.loss import DIRECT, RECONSTRUCT
from model.mim4d.ray_errors import ANY_RANGE, REBUILT_SWAPPED, VOLUMES, RenderRow

_FRAMES = {"all": "all frames", "key": "key frames", "history": "the other frames"}
_PIXELS = {"all": "all pixels", "masked": "hidden patches", "visible": "visible patches"}

Row = Sequence[Cell | str]


def rendering_section(found: RenderFiles) -> str | None:
    """Return the section, None without an evaluation."""
    rows = [row for row in found.rendering or () if row.range_m == ANY_RANGE]
    if not rows:
        return None
    split = (((found.about or {}).get("config") or {}).get("evaluation") or {}).get("split")
    where = "the evaluated split" if split is None else f"split {split}"
    words = (
        f"<p>Rays to LiDAR points that none was trained on, of every frame of every clip of {text(where)}; {_count_words(rows)}. "
    )
    words += "A frame's <b>own volume</b> is made of its images with patches hidden"
    if any(row.volume == RECONSTRUCT for row in rows):
        words += (
            ", the <b>rebuilt</b> one of the other frames alone. The rest are controls, drawn by the same renderer: rebuilding "
            "has to beat the nearest frame's volume, warped to where the vehicle is, and what it makes of another scene's "
            "frames; a frame's own volume has to beat another scene's: these know no more than where roads usually are.</p>"
        )
    else:
        words += ". The rest are controls: another scene's volume knows no more than where roads usually are.</p>"
    detail = f"<details><summary>By frames and pixels</summary>{_detail_table(rows)}</details>"
    return section("rendering", "Rendered depth and colour", words + _verdict(rows) + _headline_table(rows) + detail)


def best_rendering(about: Mapping[str, Any]) -> Tile:
    """Return the relative error of depth that the kept checkpoint had, as a big number."""
    frames = (((about.get("config") or {}).get("network")) or {}).get("num_frames")
    words = "own volume" if frames == 1 else "rebuilt"
    value = (about.get("best") or {}).get("abs_rel")
    return f"AbsRel of depth, {words}", MISSING if value is None else number(value, digits=3), best_step(about)


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
        controls = [name for name in VOLUMES[2:] if not (volume == DIRECT and name == REBUILT_SWAPPED)]  # not rebuilt itself
        better = [volume_name(name) for name in controls if name in whole and not whole[volume] < whole[name]]
        if better:
            lines.append(f"{volume_name(volume)}: depth is no better than {', '.join(better)}.")
    return f'<p class="note">{text(" ".join(lines))}</p>' if lines else ""


def _headline_table(rows: Sequence[RenderRow]) -> str:
    found = {row[:3]: row for row in rows}
    volumes = [name for name in VOLUMES if (name, "all", "all") in found]
    top = max((found[name, "all", "all"].abs_rel for name in volumes), default=1.0) or 1.0
    heads = (
        "Volume",
        "AbsRel",
        "RMSE, m",
        "ratio<br>below 1.25",
        "colour L1",
        "AbsRel,<br>hidden patches",
        "colour L1,<br>hidden patches",
    )
    lines: list[Row] = []
    for name in volumes:
        row, hidden = found[name, "all", "all"], found.get((name, "all", "masked"))
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
    found = {row[:3]: row for row in rows}
    heads = ("Volume", "|frames", "|pixels", "AbsRel", "RMSE, m", "ratio<br>below 1.25", "rays", "colour L1", "colours")
    lines: list[Row] = []
    for volume, frames, pixels in product(VOLUMES, _FRAMES, _PIXELS):
        row = found.get((volume, frames, pixels))
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
