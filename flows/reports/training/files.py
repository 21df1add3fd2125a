"""What every training leaves in its folder, read back; whatever is not there yet is None.

Reads training.json, steps.csv, evaluations.csv
"""

from __future__ import annotations

import csv
import math
import zipfile
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from storage_schemas.errors import StoreError
from storage_schemas.regular_files import read_regular
from storage_schemas.seals import read_sealed_json

STEPS_FILE, EVALUATIONS_FILE = "steps.csv", "evaluations.csv"

StepColumns = dict[str, NDArray[np.float64]]
"""Columns of steps.csv, NaN where it is empty."""

R = TypeVar("R")
F = TypeVar("F")


@dataclass(frozen=True)
class TrainingFiles(Generic[R]):
    """What the page of any training shows; a family adds its own files. None = the file is not there.

    Attributes:
        folder: of the training.
        about: training.json; None = the training has not come to its end.
        steps: steps.csv.
        evaluations: rows of evaluations.csv.
    """

    folder: Path
    about: dict[str, Any] | None
    steps: StepColumns | None
    evaluations: list[R] | None

    @property
    def config(self) -> dict[str, Any]:
        """The training's configuration; empty while training.json is not there."""
        return (self.about or {}).get("config") or {}

    @property
    def evaluation(self) -> dict[str, Any]:
        """The group of its configuration that says how it is evaluated; empty if there is none."""
        return self.config.get("evaluation") or {}

    @property
    def split_words(self) -> str:
        """The split that was measured on, in words."""
        split = self.evaluation.get("split")
        return "the evaluated split" if split is None else f"split {split}"

    def mark(self, label: str) -> tuple[float, str] | None:
        """Return the step whose checkpoint was kept as the best, with words for it; None if it is not known."""
        step = ((self.about or {}).get("best") or {}).get("step")
        return None if step is None else (step, label)


def read_training(
    folder: Path,
    step_columns: Sequence[str],
    evaluation_columns: Sequence[str],
    to_row: Callable[[dict[str, Any]], R | None],
    *,
    numbers: Collection[str] | None,
) -> tuple[Path, dict[str, Any] | None, StepColumns | None, list[R] | None]:
    """Return the fields of ``TrainingFiles``.

    Args:
        folder: of a training, complete or not.
        step_columns: those that steps.csv must have, all numbers.
        evaluation_columns: those that evaluations.csv must have.
        to_row: makes a row of evaluations.csv of its values; None leaves it out.
        numbers: those of its columns that ``to_row`` gets as numbers, the others are texts; None = in both files every column
            that holds only numbers.

    Raises:
        StoreError: it is no folder of a training, or one of its files is damaged; names the file and what to do.
    """
    _check_folder(folder)
    steps = read_table(folder / STEPS_FILE, step_columns, numbers=None if numbers is None else step_columns)
    rows = read_table(folder / EVALUATIONS_FILE, evaluation_columns, numbers=numbers)
    return (
        folder,
        _read_about(folder / "training.json"),
        None if steps is None else _columns(steps, step_columns),
        None if rows is None else [made for row in rows if (made := to_row(row)) is not None],
    )


def read_table(path: Path, columns: Sequence[str], *, numbers: Collection[str] | None) -> list[dict[str, Any]] | None:
    """Return the rows of a CSV file that a trainer writes, None where there is no such file.

    The last line is left out if a training that goes on has not written it to its end yet.

    Args:
        path: the file.
        columns: those that it must have, ``step`` among them.
        numbers: columns whose values are made numbers, NaN where they are empty, the others stay texts; None = those that it
            must have, and every other that holds only numbers.

    Raises:
        StoreError: it is damaged; names the file and the column or line.
    """
    if not path.is_file():
        return None
    content = read_text(path)
    reader = csv.DictReader(content[: content.rfind("\n") + 1].splitlines())
    missing = [name for name in columns if name not in (reader.fieldnames or ())]
    if missing:
        raise damaged_file(path, f"column '{missing[0]}' is missing from its first line")
    lines = list(reader)
    for number, line in enumerate(lines, start=2):
        if None in line or None in line.values():
            raise damaged_file(path, f"line {number} has another number of values than the first")
    if numbers is None:
        numbers = [name for name in reader.fieldnames or () if name in columns or all(_is_number(line[name]) for line in lines)]
    return [{**line, **{name: _number_in(path, line, name) for name in numbers}} for line in lines]


def read_text(path: Path) -> str:
    """Return the content of a text file; StoreError if it is damaged."""
    try:
        return read_regular(path).decode("utf-8")  # a hole of terabytes, or a pipe, is an error
    except (OSError, ValueError) as error:
        raise damaged_file(path, error) from error


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Return the arrays of an .npz file; StoreError if it is damaged."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise damaged_file(path, error) from error


def read_frames(path: Path, frames_of: Callable[[dict[str, NDArray[Any]]], list[F]]) -> list[F] | None:
    """Return the frames of pictures.npz, None where there is no such file.

    Args:
        path: of the file.
        frames_of: makes the frames of its arrays; ValueError says what of them is wrong.

    Raises:
        StoreError: it is damaged; names it.
    """
    if not path.is_file():
        return None
    arrays = read_arrays(path)
    try:
        return frames_of(arrays)
    except ValueError as error:
        raise damaged_file(path, error) from error


def damaged_file(path: Path, why: object) -> StoreError:
    """Return the error of a file of a training that cannot be read."""
    return StoreError(f"'{path}' cannot be read: {why}. Delete it, then train or evaluate again to have it written anew")


def _check_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise StoreError(f"'{folder}' is not a folder, expected that of a training. Give the folder that depthmill train wrote")
    if not (folder / "training.json").is_file() and not (folder / STEPS_FILE).is_file():
        raise StoreError(
            f"'{folder}' holds neither training.json nor steps.csv, so it is not the folder of a training. "
            "Give the folder that depthmill train wrote"
        )


def _read_about(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    try:
        return read_sealed_json(read_regular(path))
    except ValueError as error:
        raise damaged_file(path, error) from error


def _columns(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> StepColumns:
    """Return the columns of numbers; without a row those that there must be."""
    names = [name for name, value in rows[0].items() if isinstance(value, float)] if rows else columns
    return {name: np.array([row[name] for row in rows], np.float64) for name in names}


def _is_number(value: str) -> bool:
    try:
        float(value or "nan")
    except ValueError:
        return False
    return True


def _number_in(path: Path, line: Mapping[str, str], name: str) -> float:
    try:
        return float(line[name]) if line[name] else math.nan
    except ValueError as error:
        raise damaged_file(path, f"{name} is '{line[name]}' at step {line['step']}, expected a number") from error
