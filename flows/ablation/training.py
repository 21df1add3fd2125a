"""Do an ablation: make what is missing, train one variant and seed after the other, write the table after each."""

from __future__ import annotations

import traceback
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from flows.ablation.ablation import Ablation, Run
from flows.ablation.table import TABLE_FILE, Result, results_of, write_ablation
from flows.run.listener import Listener
from flows.run.making import make_units
from flows.run.opening import Opened
from flows.run.orchestrator import Orchestrator, Series
from flows.run.training import Training, machine_of
from storage_schemas.errors import DepthmillError
from storage_schemas.manifest import open_manifest

if TYPE_CHECKING:
    from model.train.loop import OnProgress


def train_variants(
    ablation: Ablation, opened: Opened, orchestrator: Orchestrator, listener: Listener, *, is_making: bool
) -> list[Result]:
    """Do every training of an ablation that is not complete; one that fails does not stop the others.

    Args:
        ablation: the plan.
        opened: the recipe.
        orchestrator: carries it out.
        listener: is told of every unit and, now and then, of each training.
        is_making: make the units that are missing first.

    Returns:
        The result of every variant and seed, with the reason if its training failed.

    Raises:
        DepthmillError: units failed, so nothing was trained; or the table cannot be written.
    """
    to_do = [run for run in ablation.trainings if run.state != "complete"]
    if to_do and is_making and opened.plan().to_do:
        num_failed = make_units(opened, orchestrator, listener).num_failed
        if num_failed:
            raise DepthmillError(
                f"{num_failed} units failed, so nothing was trained. Fix what the newest folder in '{opened.runs.root}' "
                "names in events.jsonl, then run the same command; only what is left is done"
            )
    for run in ablation.trainings:
        if run.state == "complete" and opened.runs.has_news(run.folder):
            _training(run, opened, ablation.manifest).keep(f"depthmill ablate, {run.title}")
    errors: dict[Path, str] = {}
    numbers = {run.folder: number for number, run in enumerate(ablation.trainings, start=1)}
    runs = {run.title: run for run in to_do}

    def train(run: Run) -> str | None:
        state = "going on with" if run.state == "begun" else "training"
        listener.say(f"{state} {numbers[run.folder]} of {len(numbers)}: {run.title} ({run.address})")
        return _attempt(run, opened, ablation.manifest, listener.steps())

    def on_done(title: str, error: str | None) -> None:
        if error is not None:
            errors[runs[title].folder] = error
            listener.warn(f"FAILED {title}: {error}")
        write_ablation(ablation, results_of(ablation, errors))
        opened.runs.keep(ablation.folder)

    if to_do:
        listener.work_begins()
        trainings = {title: partial(train, run) for title, run in runs.items()}
        orchestrator.train_series(Series(ablation.name, ablation.manifest, trainings, on_done, ablation.folder / TABLE_FILE))
    results = results_of(ablation, errors)
    write_ablation(ablation, results)
    opened.runs.keep(ablation.folder)
    return results


def _training(run: Run, opened: Opened, manifest: str) -> Training:
    return Training(run.config, open_manifest(opened.store, manifest), run.folder, machine_of(opened), opened.runs)


def _attempt(run: Run, opened: Opened, manifest: str, on_progress: OnProgress | None) -> str | None:
    """Train and measure one, from wherever a former run stopped; return None, or why it failed."""
    try:
        training = _training(run, opened, manifest)
        with training.held(f"depthmill ablate, {run.title}"):
            for part in training.parts(on_progress).values():
                part()
    except DepthmillError as error:
        return str(error)
    except Exception as error:  # any error, e.g. a full GPU, is reported; raised, it would end the other trainings too
        return f"{type(error).__name__}: {error}\n{traceback.format_exc(limit=-3)}"
    return None
