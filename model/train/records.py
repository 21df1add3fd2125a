"""What a training writes down while it runs: steps.csv, evaluations.csv, and the same for its loggers."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from model.train.checkpoint import flat_keys
from model.train.config import CommonConfig
from model.train.family import Family


class CsvRecord:
    """A CSV file that grows by a row at a time; on resuming, rows after the checkpoint's step are dropped.

    Attributes:
        last_step: that of the last row kept; 0 if there is none.

    Args:
        path: the file.
        columns: its columns; the first is the step.
        step: rows up to this step are kept.
    """

    def __init__(self, path: Path, columns: tuple[str, ...], *, step: int) -> None:
        kept: list[dict[str, str]] = []
        if path.is_file():
            with open(path, newline="", encoding="utf-8") as stream:
                kept = [row for row in csv.DictReader(stream) if row["step"].isdigit() and int(row["step"]) <= step and step > 0]
        self._columns = columns
        self._stream = open(path, "w", newline="", encoding="utf-8", buffering=1)  # noqa: SIM115  # open as long as the training
        self._writer = csv.DictWriter(self._stream, columns, extrasaction="ignore")
        self._writer.writeheader()
        whole = [row for row in kept if None not in row.values()]
        self._writer.writerows(whole)
        self.last_step = int(whole[-1]["step"]) if whole else 0

    def add(self, row: Mapping[str, Any]) -> None:
        """Append a row; floats are written with seven digits."""
        self._writer.writerow({key: f"{value:.7g}" if isinstance(value, float) else value for key, value in row.items()})

    def close(self) -> None:
        """Close the file."""
        self._stream.close()


class Records:
    """All records of one training folder.

    Attributes:
        last_measured: step of the last evaluation before this session; 0 if there was none.

    Args:
        folder: the training's folder.
        family: whose columns are written.
        config: what is trained; it names the loggers.
        manifest: fingerprint of the manifest.
        step: the step it goes on from, 0 at the beginning.

    Raises:
        RecipeError: the package of a logger is missing.
        LoggerError: a tracker cannot be reached, or refuses.
    """

    def __init__(self, folder: Path, family: Family[Any], config: CommonConfig, manifest: str, *, step: int) -> None:
        self._family = family
        columns = ("step", "epoch", "samples", *family.loss_columns, "lr", "seconds")
        self._steps = CsvRecord(folder / "steps.csv", columns, step=step)
        self._evaluations = CsvRecord(folder / "evaluations.csv", ("step", *family.evaluation_columns), step=step)
        self.last_measured = self._evaluations.last_step
        about = {"manifest": manifest, **flat_keys(config.model_dump(mode="json"))}
        from model.train.loggers import Curves  # loads Lightning, which takes as long as torch itself

        self._curves = Curves(config.loggers, folder, step=step, about=about)

    def add_step(self, row: Mapping[str, Any]) -> None:
        """Record one optimiser step."""
        self._steps.add(row)
        drawn = {f"train/{name}": row[name] for name in (*self._family.loss_columns, "lr")}
        self._curves.add({name: value for name, value in drawn.items() if not math.isnan(value)}, step=row["step"])

    def add_evaluation(self, row: Mapping[str, Any]) -> None:
        """Record one row of an evaluation's table; its texts name it, its measures are drawn."""
        self._evaluations.add(row)
        label = self._family.board_label(row)
        self._curves.add({f"{label}/{name}": row[name] for name in self._family.board_columns}, step=row["step"])

    def close(self) -> None:
        """Close all files."""
        self._steps.close()
        self._evaluations.close()
        self._curves.close()


def training_seconds(folder: Path) -> float:
    """Return the seconds that all steps of a training took, over all its sessions; 0 if nothing is recorded."""
    path = folder / "steps.csv"
    if not path.is_file():
        return 0.0
    with open(path, newline="", encoding="utf-8") as stream:
        return sum(float(row["seconds"]) for row in csv.DictReader(stream))
