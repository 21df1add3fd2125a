"""The files that evaluations and predictions write: tables of named rows, arrays, and the folder of a prediction.

Each file is written whole or not at all. Tables have one way to be written and read, so that a damaged file always gives the same
error text.
"""

from __future__ import annotations

import csv
import io
import os
import re
import typing
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from storage_schemas.errors import OutTakenError, SourceError, StoreError
from storage_schemas.files import StoreFiles, explain_write_error, written_whole
from storage_schemas.regular_files import read_regular
from storage_schemas.seals import check_digest, sealed_digests

R = TypeVar("R", bound=NamedTuple)

DIGESTS_FILE = "digests.json"
"""Digests of the tables of an evaluation's folder that cannot carry their own; a flipped bit would decide which is better."""


def put_tables(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Write tables of an evaluation, each atomically in this order, and their digests; StoreError if it cannot be written.

    The digests of a former evaluation go first: in between, the tables have none.
    """
    files = StoreFiles(folder)
    files.remove(DIGESTS_FILE)
    for name, content in contents.items():
        files.put(name, content)
    files.put(DIGESTS_FILE, sealed_digests(contents))


def read_table(path: Path) -> str:
    """Return the text of a table of an evaluation.

    Raises:
        FileNotFoundError: there is none.
        OSError: it cannot be read.
        ValueError: it is not what was written, or no UTF-8.
    """
    content, beside = read_regular(path), path.with_name(DIGESTS_FILE)
    check_digest(read_regular(beside) if os.path.lexists(beside) else None, path.name, content)
    return content.decode()


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
        missing: text of the error if the file does not exist.

    Raises:
        StoreError: the file is missing or damaged.
    """
    types = typing.get_type_hints(kind)
    try:
        reader = csv.reader(io.StringIO(read_table(path), newline=""))
        header = tuple(next(reader, ()))
        if header != kind._fields:
            raise ValueError(f"its columns are {', '.join(header)}, expected {', '.join(kind._fields)}")
        return [kind(*(types[name](value) for name, value in zip(kind._fields, line, strict=True))) for line in reader]
    except FileNotFoundError as error:
        raise StoreError(missing) from error
    except (OSError, ValueError) as error:
        raise StoreError(f"'{path}' cannot be read: {error}. Delete it, then run depthmill evaluate") from error


def arrays_as_npz(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Return named arrays as a compressed .npz file."""
    content = io.BytesIO()
    np.savez_compressed(content, **dict[str, Any](arrays))
    return content.getvalue()


EVALUATION_FILES = (
    "table.md", "table.tex", "frames.parquet", "ranges.parquet", "strips.npz", "average_precision.csv", "pictures.npz",
    "rendering.csv", "clips.csv", "rows.csv", "nuscenes_metric.csv", "metric_groups.csv", "matches.npz", "results_nuscenes.json",
    "segmentation.csv",
)  # fmt: skip
"""Files that evaluations of any family write beside each other; ``table.md`` names the manifest in its title."""


def check_evaluation_out(folder: Path) -> None:
    """Check that an evaluation may be written here: into a folder without its files, or in place of a former evaluation.

    Raises:
        StoreError: a file that would be replaced is of no evaluation; nothing was written.
    """
    there = [name for name in EVALUATION_FILES if os.path.lexists(folder / name)]
    if "table.md" in there and _is_of_an_evaluation(folder / "table.md"):
        return
    there = [name for name in there if not _is_of_an_evaluation(folder / name)]
    if not there:  # a killed evaluation leaves its rows without a table
        return
    raise OutTakenError(
        f"folder '{folder}' holds {', '.join(map(repr, there))} that no evaluation wrote, and this one would replace "
        f"{'it' if len(there) == 1 else 'them'}. Nothing was written. Move {'it' if len(there) == 1 else 'them'} away, or choose "
        "another folder with --out"
    )


_PROOFS = {
    "table.md": re.compile(rb" of manifest [0-9a-f]{16}\b"),
    "frames.parquet": re.compile(rb"depthmill-sha256:"),
    "ranges.parquet": re.compile(rb"depthmill-sha256:"),
    "average_precision.csv": re.compile(rb"^category,metric,overlap,"),
    "nuscenes_metric.csv": re.compile(rb"^name,num_truth,num_found,ap,"),
    "metric_groups.csv": re.compile(rb"^group,name,num_truth,num_classes,"),
    "segmentation.csv": re.compile(rb"^iou,num_covered,num_cells"),
}
"""What tells by the content that an evaluation wrote a file; the others are written after these."""


def _is_of_an_evaluation(path: Path) -> bool:
    try:
        return path.name in _PROOFS and _PROOFS[path.name].search(read_regular(path)) is not None
    except (OSError, SourceError):
        return False


def check_out(out: Path) -> None:
    """Check that a prediction may be written here; StoreError if ``out`` is a file or not empty."""
    try:
        if out.exists() and not out.is_dir():
            raise OutTakenError(f"'{out}' is a file, expected a folder to write. Choose another --out")
        if out.is_dir() and any(out.iterdir()):
            raise OutTakenError(
                f"'{out}' is not empty; predict never mixes with what is there. Choose another --out, or delete the folder first"
            )
    except OSError as error:
        raise _explained(error, out) from error


def put_file(path: Path, content: bytes) -> None:
    """Write one file of a prediction whole or not at all; StoreError if it cannot be written."""
    try:
        with written_whole(path, is_flushed=False) as stream:  # not flushed: a second run writes lost files again
            stream.write(content)
    except OSError as error:
        raise _explained(error, path) from error


def _explained(error: OSError, path: Path) -> StoreError:
    return explain_write_error(
        error,
        f"'{path}'",
        if_full="What was written before is whole; free some space, then predict again into another --out",
        if_denied="Choose an --out in a folder that you may write to",
        otherwise="Choose another --out",
    )
