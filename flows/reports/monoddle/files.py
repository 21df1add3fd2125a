"""What the training of a detector leaves in its folder, read back; whatever is not there yet is None.

Reads training.json, steps.csv, evaluations.csv, evaluation/average_precision.csv, evaluation/pictures.npz
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.reports.training.files import TrainingFiles, read_frames, read_training
from model.monoddle.analysis.analysis import Analysis, can_be_analysed, read_analysis
from model.monoddle.detection_frames import DetectionFrame, frames_of
from model.monoddle.evaluation import AP_FILE, PICTURES_FILE, read_average_precision
from model.monoddle.family import MonoDdleFamily
from model.monoddle.precision.average_precision import ApRow

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
class DetectionFiles(TrainingFiles[MeasuredAt]):
    """Everything in a training's folder that the page shows; None = the file is not there.

    Attributes:
        precision: average_precision.csv.
        frames: pictures.npz.
        analysis: worked out from the objects and cameras that the evaluation keeps.
    """

    precision: list[ApRow] | None
    frames: list[DetectionFrame] | None
    analysis: Analysis | None = None


def read_files(folder: Path) -> DetectionFiles:
    """Read a training's folder; StoreError as ``read_training``."""
    common = read_training(folder, STEP_COLUMNS, EVALUATION_COLUMNS, _row, numbers=("step", "r40"))
    evaluation = folder / "evaluation"
    precision = read_average_precision(evaluation) if (evaluation / AP_FILE).is_file() else None
    analysis = read_analysis(evaluation) if precision and can_be_analysed(evaluation) else None
    return DetectionFiles(*common, precision, read_frames(evaluation / PICTURES_FILE, frames_of), analysis)


def _row(row: Mapping[str, Any]) -> MeasuredAt:
    return MeasuredAt(int(row["step"]), row["category"], row["metric"], row["overlap"], row["difficulty"], row["r40"])
