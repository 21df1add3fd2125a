"""Small pieces of HTML: escaped text, numbers in words, tables, tiles, bars.

Why    One place that escapes; scene names and params come from the user's data
Reads  strings and numbers
Writes strings of HTML
"""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from typing import Literal

MISSING = "–"  # noqa: RUF001  what a reader sees where there is no number
"""Text where there is no number."""

GAP = "\N{NO-BREAK SPACE}"
"""Between a number and its unit, so that a line never ends there."""


@dataclass(frozen=True)
class Cell:
    """One table cell: its HTML, and a CSS class."""

    html: str
    css: str = ""


def text(value: object) -> str:
    """Return a value as escaped HTML text."""
    return escape(str(value), quote=True)


def percent(share: float | None, *, digits: int = 1) -> str:
    """Return a share as per cent; a dash for None or NaN, and never 0 for what is only small."""
    if share is None or math.isnan(share):
        return MISSING
    least = 10.0**-digits
    if 0 < 100 * share < least / 2:
        return f"&lt;{GAP}{least:.{digits}f}{GAP}%"
    return f"{100 * share:.{digits}f}{GAP}%"


def number(value: float | None, *, digits: int = 0, unit: str = "") -> str:
    """Return a number with thousands separators; a dash for None or NaN."""
    if value is None or math.isnan(value):
        return MISSING
    return f"{value:,.{digits}f}{GAP if unit else ''}{unit}"


def size(num_bytes: float) -> str:
    """Return a number of bytes with a fitting decimal unit."""
    for unit in ("B", "kB", "MB", "GB"):
        if num_bytes < 1000:
            return f"{num_bytes:.0f}{GAP}{unit}" if unit == "B" else f"{num_bytes:.1f}{GAP}{unit}"
        num_bytes /= 1000
    return f"{num_bytes:.1f}{GAP}TB"


def seconds(value: float) -> str:
    """Return a duration with a fitting unit, and never 0 for what is only short."""
    if 0 < value < 0.0005:
        return f"&lt;{GAP}1{GAP}ms"
    if value < 1:
        return f"{1000 * value:.0f}{GAP}ms"
    return next(f"{value / length:.1f}{GAP}{unit}" for length, unit, below in _TIME_UNITS if value < below)


def moment(iso: str) -> str:
    """Return a UTC time of a lineage as read by people, to the second: ``2026-11-21 12:18:33 UTC``; other text as it is."""
    try:
        time = datetime.fromisoformat(iso)
    except ValueError:
        return text(iso)
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def plural(count: int, noun: str) -> str:
    """Return a count with its noun, e.g. ``2 scenes``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def bar(share: float | None, css: str = "") -> str:
    """Return a horizontal bar filled to a share of its width."""
    width = 0.0 if share is None or math.isnan(share) else min(100.0, max(0.0, 100 * share))
    return f'<span class="bar {css}" aria-hidden="true"><i style="width:{width:.1f}%"></i></span>'


def table(heads: Sequence[str], body: Iterable[Sequence[Cell | str]], *, caption: str, has_total: bool = False) -> str:
    """Return a table that scrolls sideways by itself; cells are HTML, the first of a row is its heading.

    Args:
        heads: column headings, HTML; a leading ``|`` aligns a text column to the left.
        body: rows of cells.
        caption: what the table shows, plain text.
        has_total: the last row is the total.
    """
    lines = list(body)
    head = "".join(
        f'<th scope="col"{_css("text") if name.startswith("|") else ""}>{name.removeprefix("|")}</th>' for name in heads
    )
    trs = []
    for k, row in enumerate(lines):
        cells = [cell if isinstance(cell, Cell) else Cell(cell) for cell in row]
        tds = "".join(f"<td{_css(cell.css)}>{cell.html}</td>" for cell in cells[1:])
        total = _css("total") if has_total and k == len(lines) - 1 else ""
        trs.append(f'<tr{total}><th scope="row">{cells[0].html}</th>{tds}</tr>')
    return (
        f'<figure class="sheet"><figcaption>{text(caption)}</figcaption>'
        f'<div class="scroll" tabindex="0" role="region" aria-label="{text(caption)}"><table>'
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(trs)}</tbody></table></div></figure>"
    )


def tiles(values: Iterable[tuple[str, str, str]]) -> str:
    """Return big numbers: (name, value, more), each HTML."""
    items = (
        f'<li><span class="name">{name}</span><span class="value">{value}</span><span class="more">{more}</span></li>'
        for name, value, more in values
    )
    return f'<ul class="tiles">{"".join(items)}</ul>'


def facts(values: Iterable[tuple[str, str]]) -> str:
    """Return a list of names and HTML values."""
    return f"<dl>{''.join(f'<dt>{text(name)}</dt><dd>{value}</dd>' for name, value in values)}</dl>"


def section(anchor: str, heading: str, body: str) -> str:
    """Return a section with a heading that the table of contents can point to."""
    return f'<section id="{anchor}" aria-labelledby="{anchor}-h"><h2 id="{anchor}-h">{text(heading)}</h2>{body}</section>'


def swatch(rgb: Sequence[int]) -> str:
    """Return a small square of a colour."""
    return f'<span class="swatch" style="background:rgb({rgb[0]},{rgb[1]},{rgb[2]})" aria-hidden="true"></span>'


def image(content: bytes, kind: Literal["jpeg", "gif"], *, alt: str, width: int, height: int) -> str:
    """Return an image element with its bytes inside."""
    data = base64.b64encode(content).decode("ascii")
    return f'<img src="data:image/{kind};base64,{data}" alt="{text(alt)}" width="{width}" height="{height}">'


_TIME_UNITS = ((1.0, "s", 120.0), (60.0, "min", 7200.0), (3600.0, "h", math.inf))


def _css(name: str) -> str:
    return f' class="{name}"' if name else ""
