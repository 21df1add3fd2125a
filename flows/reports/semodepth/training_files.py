"""What a training leaves in its folder, read back; whatever is not there yet is None.

Reads training.json, steps.csv, evaluations.csv, evaluation/frames.parquet, evaluation/ranges.parquet, evaluation/strips.npz
"""

from __future__ import annotations

import csv
import json
import math
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from storage_schemas.errors import StoreError
from storage_schemas.evaluation import METRIC_COLUMNS, read_evaluation
from storage_schemas.layout import Columns

STEP_COLUMNS = ("step", "epoch", "samples", "loss", "log", "linear", "grad", "sparse", "mae_mm", "lr", "seconds")

METRICS = tuple(column.name for column in METRIC_COLUMNS)

STRIP_MAPS = ("radar_m", "target_m", "with_radar_m", "without_radar_m", "truth_m")
"""Maps of a strip, (n, h, w) float32 metres, 0 = nothing; the last is optional."""

StepColumns = dict[str, NDArray[np.float64]]
"""Columns of steps.csv, NaN where it is empty."""


@dataclass(frozen=True)
class EvaluationRow:
    """One row of evaluations.csv.

    Attributes:
        step: optimiser step after which it was measured.
        radar: ``on`` or ``off``.
        group: ``all``, ``day`` or ``night``.
        cap_m: pixels beyond it were not counted.
        values: metric -> value, NaN where it is empty.
    """

    step: int
    radar: str
    group: str
    cap_m: float
    values: Mapping[str, float]


@dataclass(frozen=True)
class Strip:
    """One frame kept as pictures.

    Attributes:
        key: frame key.
        image_u8: (h, w, 3) RGB.
        maps: name of ``STRIP_MAPS`` -> (h, w) float32 metres, 0 = nothing.
    """

    key: str
    image_u8: NDArray[np.uint8]
    maps: Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True)
class TrainingFiles:
    """Everything in a training's folder that the page shows; None = the file is not there.

    Attributes:
        folder: of the training.
        about: training.json.
        steps: steps.csv.
        evaluations: evaluations.csv.
        frames: frames.parquet.
        ranges: ranges.parquet.
        strips: strips.npz.
    """

    folder: Path
    about: dict[str, Any] | None
    steps: StepColumns | None
    evaluations: list[EvaluationRow] | None
    frames: Columns | None
    ranges: Columns | None
    strips: list[Strip] | None


def read_training_files(folder: Path) -> TrainingFiles:
    """Read a training's folder.

    Raises:
        StoreError: it is no folder of a training, or one of its files is damaged; names the file and what to do.
    """
    check_training_folder(folder)
    about, steps = folder / "training.json", folder / "steps.csv"
    evaluation = folder / "evaluation"
    is_evaluated = (evaluation / "frames.parquet").is_file() and (evaluation / "ranges.parquet").is_file()
    frames, ranges = read_evaluation(str(evaluation)) if is_evaluated else (None, None)
    return TrainingFiles(
        folder,
        read_about(about) if about.is_file() else None,
        _steps(steps) if steps.is_file() else None,
        _evaluations(folder / "evaluations.csv") if (folder / "evaluations.csv").is_file() else None,
        frames,
        ranges,
        _strips(evaluation / "strips.npz") if (evaluation / "strips.npz").is_file() else None,
    )


def check_training_folder(folder: Path) -> None:
    """Check that a folder is that of a training, complete or not; else StoreError."""
    if not folder.is_dir():
        raise StoreError(f"'{folder}' is not a folder, expected that of a training. Give the folder that depthmill train wrote")
    if not (folder / "training.json").is_file() and not (folder / "steps.csv").is_file():
        raise StoreError(
            f"'{folder}' holds neither training.json nor steps.csv, so it is not the folder of a training. "
            "Give the folder that depthmill train wrote"
        )


def read_about(path: Path) -> dict[str, Any]:
    """Return a training.json; StoreError if it is damaged."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise damaged_file(path, error) from error
    if not isinstance(found, dict):
        raise damaged_file(path, f"it holds a {type(found).__name__}, expected an object")
    return found


def _steps(path: Path) -> StepColumns:
    lines = read_lines(path, STEP_COLUMNS)
    return {name: np.array([number_in(path, line, name) for line in lines]) for name in STEP_COLUMNS}


def _evaluations(path: Path) -> list[EvaluationRow]:
    lines = read_lines(path, ("step", "radar", "group", "cap_m", *METRICS))
    return [
        EvaluationRow(
            int(number_in(path, line, "step")),
            line["radar"],
            line["group"],
            number_in(path, line, "cap_m"),
            {name: number_in(path, line, name) for name in METRICS},
        )
        for line in lines
    ]


def read_lines(path: Path, wanted: Sequence[str]) -> list[dict[str, str]]:
    """Return the lines of a CSV file; the last is left out if a training that goes on has not written it to its end yet."""
    try:
        content = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise damaged_file(path, error) from error
    reader = csv.DictReader(content[: content.rfind("\n") + 1].splitlines())
    missing = [name for name in wanted if name not in (reader.fieldnames or ())]
    if missing:
        raise damaged_file(path, f"column '{missing[0]}' is missing from its first line")
    lines = list(reader)
    for number, line in enumerate(lines, start=2):
        if None in line or None in line.values():
            raise damaged_file(path, f"line {number} has another number of values than the first")
    return lines


def number_in(path: Path, line: Mapping[str, str], name: str) -> float:
    """Return a number of a line of a CSV file, NaN where there is none; StoreError names file, column and step."""
    try:
        return float(line[name]) if line[name] else math.nan
    except ValueError as error:
        raise damaged_file(path, f"{name} is '{line[name]}' at step {line['step']}, expected a number") from error


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Return the arrays of an .npz file; StoreError if it is damaged."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise damaged_file(path, error) from error


def _strips(path: Path) -> list[Strip]:
    found = read_arrays(path)
    missing = [name for name in ("frame_keys", "image_u8", *STRIP_MAPS[:-1]) if name not in found]
    if missing:
        raise damaged_file(path, f"array '{missing[0]}' is missing")
    shape = found["image_u8"].shape[:3]
    for name in STRIP_MAPS:
        if name in found and found[name].shape != shape:
            raise damaged_file(path, f"{name} is {found[name].shape}, its images are {shape}")
    return [
        Strip(str(key), found["image_u8"][k], {name: found[name][k] for name in STRIP_MAPS if name in found})
        for k, key in enumerate(found["frame_keys"])
    ]


def damaged_file(path: Path, why: object) -> StoreError:
    """Return the error of a file of a training that cannot be read."""
    return StoreError(f"'{path}' cannot be read: {why}. Delete it, then train or evaluate again to have it written anew")
