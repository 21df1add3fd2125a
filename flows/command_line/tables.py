"""Tables on the console: aligned columns, and on a terminal Markdown tables without their marks.

Why    Commands answer with Markdown, which can be pasted and which files of a training hold too. On a terminal its bars and rules
       are noise, and a column that says the same in every row takes the place of figures
How    rich lays columns out. In a pipe or a file nothing is wrapped, and Markdown stays as it is
"""

from __future__ import annotations

import io
import re
import shutil
import sys
from collections.abc import Collection, Iterator, Sequence

_RULE = re.compile(r":?-+:?")
_LEAST_LAST_COLUMN = 30
"""Characters that the last column has at least where it is wrapped; on a narrower terminal lines are left to it."""
_UNLIMITED = 100_000


def aligned(rows: Sequence[Sequence[str]], *, right: Collection[int] = ()) -> str:
    """Return rows as lines with aligned columns; on a terminal the last column is wrapped within itself.

    Args:
        rows: cells; the first row may be the heads.
        right: numbers of the columns that are aligned at the right.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    num_columns = max(map(len, rows), default=0)
    if not num_columns:
        return ""
    table = Table.grid(padding=(0, 2))
    for number in range(num_columns):
        is_last = number == num_columns - 1
        table.add_column(justify="right" if number in right else "left", no_wrap=not is_last, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    fixed = sum(max(len(row[number]) for row in rows) + 2 for number in range(num_columns - 1))
    is_wrapped = sys.stdout.isatty() and (width := shutil.get_terminal_size().columns) - fixed >= _LEAST_LAST_COLUMN
    stream = io.StringIO()
    Console(file=stream, width=width if is_wrapped else _UNLIMITED, force_terminal=False, color_system=None).print(table)
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines())


def as_shown(text: str) -> str:
    """Return an answer as it is printed: on a terminal its Markdown tables are laid out, elsewhere it is unchanged."""
    return "\n".join(_laid_out(text.splitlines())) if sys.stdout.isatty() else text


def _laid_out(lines: Sequence[str]) -> Iterator[str]:
    table: list[str] = []
    for line in (*lines, None):
        if line is not None and line.startswith("|"):
            table.append(line)
            continue
        if table:
            yield from _table_lines(table)
            table = []
        if line is not None:
            yield line.lstrip("#").lstrip() if line.startswith("#") else line


def _table_lines(table: Sequence[str]) -> Iterator[str]:
    """Yield the lines of one Markdown table; what is the same in every row is said once, below it."""
    rows = [[cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line.strip().strip("|"))] for line in table]
    rules = rows[1] if len(rows) > 1 and all(_RULE.fullmatch(cell) for cell in rows[1]) else None
    if rules is None or any(len(row) != len(rules) for row in rows):
        yield from table
        return
    heads, body = rows[0], rows[2:]
    same = [number for number, head in enumerate(heads) if head and len(body) > 1 and len({row[number] for row in body}) == 1]
    if len(same) == len(heads):
        same = []
    kept = [number for number in range(len(heads)) if number not in same]
    right = [place for place, number in enumerate(kept) if rules[number].endswith(":")]
    yield from aligned([[row[number] for number in kept] for row in (heads, *body)], right=right).splitlines()
    if same:
        yield "in every row: " + ", ".join(f"{heads[number]} {body[0][number]}" for number in same)
