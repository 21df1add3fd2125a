"""Tables of named rows as CSV: one way to write and to read them, so that a damaged file is always told in the same words."""

from __future__ import annotations

import csv
import io
import typing
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

from storage_schemas.errors import StoreError

R = TypeVar("R", bound=NamedTuple)


def rows_as_csv(kind: type[NamedTuple], rows: Iterable[Sequence[object]]) -> bytes:
    """Return rows of a kind with a line of their names before them."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(kind._fields)
    writer.writerows(rows)
    return text.getvalue().encode()


def read_rows(kind: type[R], path: Path, *, missing: str) -> list[R]:
    """Return the rows that ``rows_as_csv`` wrote.

    Args:
        kind: what a row is; its fields are str, int or float.
        path: of the file.
        missing: what to say if there is none.

    Raises:
        StoreError: the file is missing or damaged.
    """
    types = typing.get_type_hints(kind)
    try:
        with open(path, newline="", encoding="utf-8") as stream:
            reader = csv.reader(stream)
            header = tuple(next(reader, ()))
            if header != kind._fields:
                raise ValueError(f"its columns are {', '.join(header)}, expected {', '.join(kind._fields)}")
            return [kind(*(types[name](value) for name, value in zip(kind._fields, line, strict=True))) for line in reader]
    except FileNotFoundError as error:
        raise StoreError(missing) from error
    except (OSError, ValueError) as error:
        raise StoreError(f"'{path}' cannot be read: {error}. Delete it, then run depthmill evaluate") from error
