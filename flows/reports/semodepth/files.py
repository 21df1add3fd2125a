"""What the training of a depth network leaves in its folder, read back; whatever is not there yet is None.

Reads training.json, steps.csv, evaluations.csv, evaluation/frames.parquet, evaluation/ranges.parquet, evaluation/strips.npz
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flows.reports.training.files import TrainingFiles, damaged_file, read_arrays, read_training
from storage_schemas.evaluation import METRIC_COLUMNS, read_evaluation
from storage_schemas.layout import Columns

STEP_COLUMNS = ("step", "epoch", "samples", "loss", "log", "linear", "grad", "sparse", "mae_mm", "lr", "seconds")

METRICS = tuple(column.name for column in METRIC_COLUMNS)

STRIP_MAPS = ("radar_m", "target_m", "with_radar_m", "without_radar_m", "truth_m")
"""Maps of a strip, (n, h, w) float32 metres, 0 = nothing; the last is optional."""


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
class SemoDepthFiles(TrainingFiles[EvaluationRow]):
    """Everything in a training's folder that the page shows; None = the file is not there.

    Attributes:
        frames: frames.parquet.
        ranges: ranges.parquet.
        strips: strips.npz.
    """

    frames: Columns | None
    ranges: Columns | None
    strips: list[Strip] | None


def read_files(folder: Path) -> SemoDepthFiles:
    """Read a training's folder; StoreError as ``read_training``."""
    numbers = ("step", "cap_m", *METRICS)
    common = read_training(folder, STEP_COLUMNS, (*numbers, "radar", "group"), _row, numbers=numbers)
    evaluation = folder / "evaluation"
    is_evaluated = (evaluation / "frames.parquet").is_file() and (evaluation / "ranges.parquet").is_file()
    frames, ranges = read_evaluation(str(evaluation)) if is_evaluated else (None, None)
    return SemoDepthFiles(*common, frames, ranges, _strips(evaluation / "strips.npz"))


def _row(row: Mapping[str, Any]) -> EvaluationRow:
    values = {name: row[name] for name in METRICS}
    return EvaluationRow(int(row["step"]), row["radar"], row["group"], row["cap_m"], values)


def _strips(path: Path) -> list[Strip] | None:
    if not path.is_file():
        return None
    arrays = read_arrays(path)
    missing = [name for name in ("frame_keys", "image_u8", *STRIP_MAPS[:-1]) if name not in arrays]
    if missing:
        raise damaged_file(path, f"array '{missing[0]}' is missing")
    shape = arrays["image_u8"].shape[:3]
    for name in STRIP_MAPS:
        if name in arrays and arrays[name].shape != shape:
            raise damaged_file(path, f"{name} is {arrays[name].shape}, its images are {shape}")
    return [
        Strip(str(key), arrays["image_u8"][k], {name: arrays[name][k] for name in STRIP_MAPS if name in arrays})
        for k, key in enumerate(arrays["frame_keys"])
    ]
