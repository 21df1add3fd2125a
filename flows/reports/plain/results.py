"""The section "Results": the Markdown tables of an evaluation as HTML.

Reads  every table.md
Writes HTML
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from flows.reports.html.markup import Cell, section, table, text
from flows.reports.plain.files import PlainFiles


def results_section(training: PlainFiles) -> str | None:
    """Return the section, None without a table."""
    blocks = [
        ("" if len(training.tables) == 1 else f"<h3><code>{text(place)}</code></h3>") + tables_html(markdown, caption=place)
        for place, markdown in training.tables.items()
    ]
    return section("results", "Results", "".join(blocks)) if blocks else None


def tables_html(markdown: str, *, caption: str) -> str:
    """Return the tables and the lines of a Markdown text as HTML; other marks of Markdown stay as they are.

    Args:
        markdown: lines that begin with ``|`` are a table, and the line before them is its caption.
        caption: of a table that has no line before it.
    """
    parts: list[str] = []
    before, rows = "", []
    for line in [*map(str.strip, markdown.splitlines()), "", "#"]:
        if line.startswith("|"):
            rows.append(_cells(line))
            continue
        if rows:
            parts.append(_table(rows, before or caption))
            before, rows = "", []
        if line:
            parts += [f"<p>{text(before)}</p>"] if before else []
            before = line.lstrip("# ")
    return "".join(parts)


def _cells(line: str) -> list[str]:
    return [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line.strip("|"))]


def _table(rows: Sequence[Sequence[str]], caption: str) -> str:
    heads, *body = rows
    body = [row for row in body if not all(re.fullmatch(r":?-+:?", cell) for cell in row)]  # the line below the heads
    is_text = [not all(_is_number(row[column]) for row in body if column < len(row)) for column in range(len(heads))]
    lines = [
        [Cell(text(cell), "text" if column < len(heads) and is_text[column] else "") for column, cell in enumerate(row)]
        for row in body
    ]
    return table([f"{'|' * is_text[k]}{text(head)}" for k, head in enumerate(heads)], lines, caption=caption)


def _is_number(cell: str) -> bool:
    return re.fullmatch(r"[-+−–]?[\d.,]*(e[-+]?\d+)?\s*%?|[-+]?(nan|inf)", cell, re.I) is not None  # noqa: RUF001  dashes
