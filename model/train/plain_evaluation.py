"""An evaluation that is nothing but the rows that a family measures: written, read and compared without knowing what they are.

Writes  rows.csv and table.md into the evaluation's folder
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from model.train.result_files import put_tables, read_table
from storage_schemas.errors import DepthmillError, StoreError
from storage_schemas.files import StoreFiles


def write_rows(folder: Path, rows: Sequence[Mapping[str, Any]], *, title: str, file: str) -> None:
    """Write rows as CSV, and as a Markdown table for people; StoreError if the folder cannot be written."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    put_tables(folder, {file: text.getvalue().encode()})
    StoreFiles(folder).put("table.md", plain_table(rows, title=title).encode())


def plain_table(rows: Sequence[Mapping[str, Any]], *, title: str) -> str:
    """Return rows as a Markdown table under a title."""
    if not rows:
        return f"### {title}\n\nNothing was measured.\n"
    lines = [f"| {' | '.join(rows[0])} |", f"|{' --- |' * len(rows[0])}"]
    lines += [f"| {' | '.join(_text(value) for value in row.values())} |" for row in rows]
    return f"### {title}\n\n" + "\n".join(lines) + "\n"


def read_rows_of(path: Path) -> list[dict[str, str]]:
    """Return the rows of an evaluation; StoreError if the file is missing."""
    try:
        return list(csv.DictReader(io.StringIO(read_table(path), newline="")))
    except (OSError, csv.Error, ValueError) as error:
        raise StoreError(f"evaluation '{path}' cannot be read: {error}. Run depthmill evaluate again") from error


def read_first_row(path: Path, columns: Sequence[str]) -> dict[str, float]:
    """Return numbers of the first row by column; a number that is not there or is NaN is left out.

    Raises:
        StoreError: the evaluation is missing, empty or damaged.
    """
    rows = read_rows_of(path)
    if not rows:
        raise StoreError(f"evaluation '{path}' has no row. Run depthmill evaluate again")
    try:
        numbers = {name: float(rows[0][name]) for name in columns if rows[0].get(name)}
    except ValueError as error:
        raise StoreError(f"evaluation '{path}' is damaged: {error}. Run depthmill evaluate again") from error
    return {name: value for name, value in numbers.items() if value == value}


def compare_rows(a: Path, b: Path, *, file: str, columns: Sequence[str]) -> tuple[list[dict[str, Any]], str]:
    """Compare two evaluations row by row; rows are paired by the texts in them.

    Returns:
        A dict for each row and column that both have, and the same as a table.

    Raises:
        DepthmillError: they have no row in common.
        StoreError: a file is missing or damaged.
    """
    first, second = (_by_label(read_rows_of(folder / file), columns) for folder in (a, b))
    differences = [
        {
            "row": label,
            "measure": name,
            "a": values[name],
            "b": second[label][name],
            "difference": second[label][name] - values[name],
        }
        for label, values in first.items()
        for name in columns
        if name in values and name in second.get(label, {})
    ]
    if not differences:
        raise DepthmillError(f"'{a}' and '{b}' have no measure in common. Evaluate both on the same manifest and split")
    lines = [f"a = {a}", f"b = {b}", "", "| row | measure | a | b | b - a |", "|---|---|---|---|---|"]
    lines += [
        f"| {row['row']} | {row['measure']} | {row['a']:.6g} | {row['b']:.6g} | {row['difference']:+.6g} |" for row in differences
    ]
    return differences, "\n".join(lines)


def _by_label(rows: Sequence[Mapping[str, str]], columns: Sequence[str]) -> dict[str, dict[str, float]]:
    numbers_by_label: dict[str, dict[str, float]] = {}
    for row in rows:
        numbers: dict[str, float] = {}
        texts = []
        for name, value in row.items():
            try:
                numbers[name] = float(value)
            except ValueError:
                texts.append(value)
        numbers_by_label.setdefault("/".join(texts) or "all", {name: numbers[name] for name in columns if name in numbers})
    return numbers_by_label


def _text(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
