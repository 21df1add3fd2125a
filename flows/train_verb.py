"""What ``depthmill train`` does: make what is missing of the manifest, train, evaluate, print the table."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING

from flows.console import duration
from flows.materialize import Opened
from flows.run_verb import run_and_print, stop_soon_when_interrupted
from flows.training import Training, open_training, refuse_without_torch
from storage_schemas.errors import DepthmillError

if TYPE_CHECKING:
    from model.train.loop import Progress

SECONDS_PER_LINE = 10.0


class ProgressText:
    """Prints a line now and then, and one at every evaluation."""

    def __init__(self) -> None:
        self._start: float | None = None
        self._first_step = 0
        self._printed = 0.0

    def __call__(self, progress: Progress) -> None:
        """Tell of one step."""
        now = time.monotonic()
        if self._start is None:
            self._start, self._first_step = now, progress.step
        if progress.measured is None and now - self._printed < SECONDS_PER_LINE:
            return
        self._printed = now
        words = f" {progress.step}/{progress.num_steps} loss {progress.loss:.4f}, {progress.words}"
        words += "" if progress.measured is None else f", {progress.measured}"
        if done := progress.step - self._first_step:
            words += f"; {duration((now - self._start) / done * (progress.num_steps - progress.step))} left"
        print(words, flush=True)


def train_and_print(
    opened: Opened, *, where: str, manifest: str | None, out: Path | None, restart: bool, no_prefect: bool, as_json: bool
) -> int:
    """Run a recipe to its table.

    Args:
        opened: the recipe.
        where: name of the recipe file.
        manifest: train on this manifest; without it on the recipe's own, made first if it is not there.
        out: folder of the training.
        restart: throw away what a former run left in the folder.
        no_prefect: without Prefect.
        as_json: print JSON only.

    Returns:
        Number of units that failed; then nothing was trained.
    """
    refuse_without_torch()
    from model.families import parse_train_config

    parse_train_config(opened.recipe.train, where=where)  # a typo is told before an hour of work, not after it
    if manifest is None and opened.plan().to_do:
        failed = run_and_print(opened, no_prefect=no_prefect, as_json=False, report=True, is_quiet=as_json)
        if failed:
            return failed
    training = open_training(opened, where=where, manifest=manifest, out=out)
    _prepare_folder(training.folder, restart=restart)
    _train(training, no_prefect=no_prefect, as_json=as_json)
    return 0


def _train(training: Training, *, no_prefect: bool, as_json: bool) -> None:
    from model.train.loop import read_training

    if training.is_complete:
        if not as_json:
            print(f"nothing to do: training {training.folder.name} is complete (--restart trains it again)")
    else:
        if not as_json:
            last = training.folder / "last.pt"
            print(f"{'going on with' if last.is_file() else 'training'} {training.folder}", flush=True)
        on_progress = None if as_json else ProgressText()
        stop_soon_when_interrupted()
        if no_prefect:
            for part in training.parts(on_progress).values():
                part()
        else:
            from flows.train_flow import train_with_prefect

            train_with_prefect(training, on_progress)
    record = read_training(training.folder)
    if as_json:
        print(json.dumps({"folder": str(training.folder), **record, **training.extra_results()}, indent=1))
        return
    tables = sorted((training.folder / "evaluation").glob("**/table.md"))  # a second one if monocular depth was withheld
    for table in (*tables, *(training.folder / "probe").glob("table.md")):
        print(table.read_text(encoding="utf-8"))
    report = training.folder / "report.html"
    where = report if report.is_file() else training.folder
    print(f"trained {record['num_steps']} steps in {duration(record['seconds'])}: {where}")


def _prepare_folder(folder: Path, *, restart: bool) -> None:
    """Throw away a former run if asked to; refuse a folder that holds something else."""
    if not folder.is_dir() or not any(folder.iterdir()):
        return
    if not any((folder / name).is_file() for name in ("last.pt", "training.json", "steps.csv")):
        raise DepthmillError(f"folder '{folder}' holds something that is not a training. Choose another with --out")
    if restart:
        shutil.rmtree(folder)
