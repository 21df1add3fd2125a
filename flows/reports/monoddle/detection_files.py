"""What the training of a detector leaves in its folder, read back; whatever is not there yet is None.

Reads training.json, steps.csv, evaluations.csv, evaluation/average_precision.csv, evaluation/pictures.npz
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from flows.reports.monoddle.pictures import DetectionFrame, frames_of
from flows.reports.semodepth.training_files import (
    StepColumns,
    check_training_folder,
    damaged_file,
    number_in,
    read_about,
    read_arrays,
    read_lines,
)
from model.monoddle.average_precision import ApRow
from model.monoddle.evaluation import AP_FILE, PICTURES_FILE, read_average_precision
from model.monoddle.family import MonoDdleFamily

STEP_COLUMNS = ("step", "epoch", "samples", *MonoDdleFamily.loss_columns, "lr", "seconds")
EVALUATION_COLUMNS = ("step", *MonoDdleFamily.evaluation_columns)


@dataclass(frozen=True)
class MeasuredAt:
    """One row of evaluations.csv.

    Attributes:
        step: optimiser step after which it was measured.
        category: what was looked for.
        metric: 2d, bev, 3d or aos.
        overlap: strict or loose.
        difficulty: easy, moderate or hard.
        r40: percent.
    """

    step: int
    category: str
    metric: str
    overlap: str
    difficulty: str
    r40: float


@dataclass(frozen=True)
class DetectionFiles:
    """Everything in a training's folder that the page shows; None = the file is not there.

    Attributes:
        folder: of the training.
        about: training.json.
        steps: steps.csv.
        evaluations: evaluations.csv.
        precision: average_precision.csv.
        frames: pictures.npz.
    """

    folder: Path
    about: dict[str, Any] | None
    steps: StepColumns | None
    evaluations: list[MeasuredAt] | None
    precision: list[ApRow] | None
    frames: list[DetectionFrame] | None


def read_detection_files(folder: Path) -> DetectionFiles:
    """Read a training's folder.

    Raises:
        StoreError: it is no folder of a training, or one of its files is damaged; names the file and what to do.
    """
    check_training_folder(folder)
    about, steps, evaluations = folder / "training.json", folder / "steps.csv", folder / "evaluations.csv"
    evaluation = folder / "evaluation"
    return DetectionFiles(
        folder,
        read_about(about) if about.is_file() else None,
        _steps(steps) if steps.is_file() else None,
        _evaluations(evaluations) if evaluations.is_file() else None,
        read_average_precision(evaluation) if (evaluation / AP_FILE).is_file() else None,
        _frames(evaluation / PICTURES_FILE) if (evaluation / PICTURES_FILE).is_file() else None,
    )


def _steps(path: Path) -> StepColumns:
    lines = read_lines(path, STEP_COLUMNS)
    return {name: np.array([number_in(path, line, name) for line in lines]) for name in STEP_COLUMNS}


def _evaluations(path: Path) -> list[MeasuredAt]:
    return [
        MeasuredAt(
            int(number_in(path, line, "step")),
            line["category"],
            line["metric"],
            line["overlap"],
            line["difficulty"],
            number_in(path, line, "r40"),
        )
        for line in read_lines(path, EVALUATION_COLUMNS)
    ]


def _frames(path: Path) -> list[DetectionFrame]:
    arrays = read_arrays(path)
    try:
        return frames_of(arrays)
    except ValueError as error:
        raise damaged_file(path, error) from error
