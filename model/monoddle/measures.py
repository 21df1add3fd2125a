"""The numbers by which ablations compare detectors: their names in a recipe, how they are printed, and where a training has them.

``Car/3d@0.7/moderate`` is R40 of a class, metric, least overlap and difficulty.

Reads  <training>/evaluation/average_precision.csv
Source docs/method/monoddle.md#average-precision, #published-tables
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from model.monoddle.config import MonoDdleTrainConfig
from model.monoddle.evaluation import read_average_precision
from model.monoddle.precision.average_precision import LOOSE_OVERLAP, STRICT_OVERLAP, least_overlap, split_measured
from model.train.measures import Measure

DIFFICULTIES = ("easy", "moderate", "hard")
OVERLAPS = ("strict", "loose")


class PrecisionNames(NamedTuple):
    """Which average precision: values of the first columns of average_precision.csv."""

    category: str
    metric: str
    overlap: str
    difficulty: str

    @property
    def measure(self) -> str:
        """Return its name in a recipe."""
        return precision_name(self.category, self.metric, least_overlap(self.category, self.overlap), self.difficulty)


def measured_precisions(categories: Iterable[str]) -> Iterator[PrecisionNames]:
    """Yield every average precision of some classes; none of a class that KITTI defines no overlap for."""
    for category in split_measured(categories)[0]:
        for metric, overlaps in (("3d", OVERLAPS), ("bev", OVERLAPS), ("2d", OVERLAPS[:1]), ("aos", OVERLAPS[:1])):
            for overlap in overlaps:
                for difficulty in DIFFICULTIES:
                    yield PrecisionNames(category, metric, overlap, difficulty)


def detection_measures(config: MonoDdleTrainConfig) -> dict[str, Measure]:
    """Return every measure of a training, by name."""
    measures = {}
    for names in measured_precisions(config.network.train_classes):
        overlap = least_overlap(names.category, names.overlap)
        head = f"{names.category} {names.metric.upper()}@{overlap:g} {names.difficulty} [%]"
        measures[names.measure] = Measure(names.measure, head, 2, True)
    return measures


def published_precisions(category: str) -> dict[str, tuple[str, ...]]:
    """Return the columns of published tables by title: 3D and BEV, the strict overlap first."""
    columns_by_title = {}
    for table in (STRICT_OVERLAP, LOOSE_OVERLAP):
        for metric in ("3d", "bev"):
            overlap = table.get(category, 0.0)
            title = f"{category} {metric.upper()}@{overlap:g}, AP_R40"
            columns_by_title[title] = tuple(precision_name(category, metric, overlap, difficulty) for difficulty in DIFFICULTIES)
    return columns_by_title


def read_detection_measures(folder: Path) -> dict[str, float]:
    """Return the precisions of a training's evaluation, by name; StoreError if it is missing or damaged."""
    rows = read_average_precision(folder / "evaluation")
    return {precision_name(row.category, row.metric, row.min_overlap, row.difficulty): row.r40 for row in rows}


def overlap_table(metric: str, overlap: str) -> str:
    """Return the overlap table of a metric: boxes in the image have one only."""
    return "strict" if metric == "2d" else overlap


def precision_name(category: str, metric: str, min_overlap: float, difficulty: str) -> str:
    """Return the name of an average precision in a recipe."""
    return f"{category}/{metric}@{min_overlap:g}/{difficulty}"
