"""What the training of any family leaves in its folder, without knowing the names of its columns.

Reads training.json, steps.csv, evaluations.csv, every table.md
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.reports.training.files import TrainingFiles, read_text, read_training

STEP_COLUMNS = ("step", "epoch", "samples", "lr", "seconds")
"""Columns of steps.csv that the trainer writes for every family."""


@dataclass(frozen=True)
class PlainFiles(TrainingFiles[dict[str, Any]]):
    """Everything in a training's folder that the page shows.

    Attributes:
        tables: by the place in the folder, the text of every table.md; the evaluation's come first.
    """

    tables: dict[str, str]


def read_files(folder: Path) -> PlainFiles:
    """Read a training's folder; a column is of numbers if all its values are. StoreError as ``read_training``."""
    common = read_training(folder, STEP_COLUMNS, ("step",), dict, numbers=None)
    places = sorted(path.relative_to(folder) for path in folder.rglob("table.md"))
    places.sort(key=lambda place: place.parts[0] != "evaluation")
    return PlainFiles(*common, {str(place): read_text(folder / place) for place in places})
