"""The numbers by which ablations compare detectors: their names in a recipe, how they are printed, and where a training has them.

``Car/3d@0.7/moderate`` is R40 of a class, metric, least overlap and difficulty.

Reads  <training>/evaluation/average_precision.csv
Source docs/method/monoddle.md#average-precision, #published-tables
"""

from __future__ import annotations

import csv
from pathlib import Path

from model.monoddle.average_precision import LOOSE_OVERLAP, STRICT_OVERLAP
from model.monoddle.config import MonoDdleTrainConfig
from model.monoddle.evaluation import AP_FILE
from model.train.measures import Measure
from storage_schemas.errors import StoreError

DIFFICULTIES = ("easy", "moderate", "hard")


def detection_measures(config: MonoDdleTrainConfig) -> dict[str, Measure]:
    """Return every measure of a training, by name."""
    measures = {}
    for category in config.network.train_classes:
        strict, loose = STRICT_OVERLAP.get(category), LOOSE_OVERLAP.get(category)
        for metric, overlaps in (("3d", (strict, loose)), ("bev", (strict, loose)), ("2d", (strict,)), ("aos", (strict,))):
            for overlap in overlaps:
                for difficulty in DIFFICULTIES:
                    if overlap is not None:  # None: KITTI defines no overlap for this class, so it cannot be measured
                        name = _name(category, metric, overlap, difficulty)
                        head = f"{category} {metric.upper()}@{overlap:g} {difficulty} [%]"
                        measures[name] = Measure(name, head, 2, True)
    return measures


def published_precisions(category: str) -> dict[str, tuple[str, ...]]:
    """Return the columns of published tables by title: 3D and BEV, the strict overlap first."""
    columns_by_title = {}
    for table in (STRICT_OVERLAP, LOOSE_OVERLAP):
        for metric in ("3d", "bev"):
            overlap = table.get(category, 0.0)
            title = f"{category} {metric.upper()}@{overlap:g}, AP_R40"
            columns_by_title[title] = tuple(_name(category, metric, overlap, difficulty) for difficulty in DIFFICULTIES)
    return columns_by_title


def read_detection_measures(folder: Path) -> dict[str, float]:
    """Return the precisions of a training's evaluation, by name; StoreError if it is missing or damaged."""
    path = folder / "evaluation" / AP_FILE
    try:
        with open(path, newline="", encoding="utf-8") as stream:
            return {
                _name(row["category"], row["metric"], float(row["min_overlap"]), row["difficulty"]): float(row["r40"])
                for row in csv.DictReader(stream)
            }
    except (OSError, KeyError, ValueError) as error:
        raise StoreError(
            f"'{path}' cannot be read: {type(error).__name__}: {error}. Delete that training's folder and train it again"
        ) from error


def _name(category: str, metric: str, min_overlap: float, difficulty: str) -> str:
    return f"{category}/{metric}@{min_overlap:g}/{difficulty}"
