"""What the training of a detector of all cameras leaves in its folder, read back; whatever is not there yet is None.

Reads training.json, steps.csv, evaluations.csv, evaluation/{nuscenes_metric,metric_groups,segmentation}.csv,
      evaluation/table.md for its warnings, evaluation/pictures.npz
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.reports.training.files import TrainingFiles, read_frames, read_text, read_training
from model.uvtr.detection_metric import MetricRow
from model.uvtr.evaluation import (
    GROUPS_FILE,
    METRIC_FILE,
    PICTURES_FILE,
    SegmentationRow,
    read_groups,
    read_metric,
    read_segmentation,
)
from model.uvtr.family import UvtrFamily
from model.uvtr.key_frame_pictures import PictureFrame, frames_of
from model.uvtr.metric_groups import GroupRow

STEP_COLUMNS = ("step", "epoch", "samples", *UvtrFamily.loss_columns, "lr", "seconds")
EVALUATION_COLUMNS = ("step", *UvtrFamily.evaluation_columns)
_NUMBERS = tuple(name for name in EVALUATION_COLUMNS if name != "name")


@dataclass(frozen=True)
class MeasuredAt:
    """One row of evaluations.csv.

    Attributes:
        step: optimiser step after which it was measured.
        name: a class, or which mean it is.
        ap_at_2_m: 0 to 1.
        ap_at_4_m: 0 to 1.
        ap: mean over four thresholds, 0 to 1.
    """

    step: int
    name: str
    ap_at_2_m: float
    ap_at_4_m: float
    ap: float


@dataclass(frozen=True)
class BoxFiles(TrainingFiles[MeasuredAt]):
    """Everything in a training's folder that the page shows; None = the file is not there.

    Attributes:
        metric: nuscenes_metric.csv.
        groups: metric_groups.csv.
        segmentation: segmentation.csv.
        notes: lines above the tables of table.md: what was measured by what, and what misleads.
        frames: pictures.npz.
    """

    metric: list[MetricRow] | None
    groups: list[GroupRow] | None
    segmentation: SegmentationRow | None
    notes: list[str]
    frames: list[PictureFrame] | None


def read_files(folder: Path) -> BoxFiles:
    """Read a training's folder, complete or not; StoreError if it is no such folder or one of its files is damaged."""
    common = read_training(folder, STEP_COLUMNS, EVALUATION_COLUMNS, _row, numbers=_NUMBERS)
    evaluation = folder / "evaluation"
    return BoxFiles(
        *common,
        read_metric(evaluation) if (evaluation / METRIC_FILE).is_file() else None,
        read_groups(evaluation) if (evaluation / GROUPS_FILE).is_file() else None,
        read_segmentation(evaluation),
        _notes(evaluation / "table.md"),
        read_frames(evaluation / PICTURES_FILE, frames_of),
    )


def _row(row: Mapping[str, Any]) -> MeasuredAt:
    return MeasuredAt(int(row["step"]), row["name"], row["ap_at_2_m"], row["ap_at_4_m"], row["ap"])


def _notes(path: Path) -> list[str]:
    """Return the lines of table.md between its title and its first table."""
    if not path.is_file():
        return []
    above = read_text(path).partition("\n|")[0].splitlines()[1:]
    return [line.removeprefix("- ") for line in above if line]
