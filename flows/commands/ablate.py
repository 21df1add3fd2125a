"""What ``depthmill ablate`` does: print the plan, make what is missing, train what is not complete, print the table."""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

from flows.ablation.ablation import Ablation, Run, attempt, read_ablation
from flows.ablation.table import RESULTS_FILE, TABLE_FILE, as_json, refuse_other_folder, results_of, table_text, write_ablation
from flows.run.making import run_and_print, stop_soon_when_interrupted
from flows.run.materialize import Opened
from flows.run.train import ProgressText
from flows.text import duration
from storage_schemas.errors import DepthmillError


def ablate_and_print(
    opened: Opened,
    *,
    where: str,
    manifest: str | None,
    out: Path | None,
    plan_only: bool,
    no_prefect: bool,
    is_json: bool,
) -> int:
    """Do an ablation to its table.

    Args:
        opened: the recipe.
        where: name of the recipe file.
        manifest: train on this manifest; without it on the recipe's own, made first if it is not there.
        out: folder of the table.
        plan_only: print what would be trained, and stop.
        no_prefect: without Prefect.
        is_json: print JSON only.

    Returns:
        Number of trainings that failed.

    Raises:
        RecipeError: the group ``train:`` or ``ablation:`` has a mistake; nothing was made or trained.
        DepthmillError: units failed, so nothing was trained; or the table's folder holds something else.
    """
    ablation = read_ablation(opened, where=where, manifest=manifest, out=out)
    refuse_other_folder(ablation.folder)
    if not is_json:
        print(plan_text(ablation), flush=True)
    results_of(ablation, {})  # a damaged training is told before hours of work, not after them
    errors: dict[Path, str] = {}
    if not plan_only:
        to_do = [run for run in ablation.trainings if run.state != "complete"]
        if to_do and manifest is None and opened.plan().to_do:
            num_failed = run_and_print(opened, no_prefect=no_prefect, as_json=False, report=True, is_quiet=is_json)
            if num_failed:
                raise DepthmillError(
                    f"{num_failed} units failed, so nothing was trained. Mend what the newest folder in '{opened.runs_folder}' "
                    "names in events.jsonl, then run the same command; only what is left is done"
                )
        errors = _train_all(ablation, to_do, opened, no_prefect=no_prefect, is_quiet=is_json)
        write_ablation(ablation, results_of(ablation, errors))
    results = results_of(ablation, errors)
    if is_json:
        print(json.dumps(as_json(ablation, results), indent=1))
    elif not plan_only:
        print(f"\n{table_text(ablation, results, is_whole=False)}")
        print(f"Table: {ablation.folder / TABLE_FILE}; every seed: {ablation.folder / RESULTS_FILE}")
        if errors:
            print(f"{len(errors)} trainings failed. Mend it, then run the same command; what is complete is not trained again")
    return len(errors)


def plan_text(ablation: Ablation) -> str:
    """Return what is to be trained: a row for each variant, a column for each seed, and how long it may take."""
    table = [["variant", *(f"seed {seed}" for seed in ablation.seeds), "changes"]]
    for name, changes in ablation.variants.items():
        words = ", ".join(f"{key}: {value}" for key, value in changes.items())
        same = ablation.same_as.get(name)
        words = words or "nothing" if same is None else f"{words or 'nothing'} (the same training as {same})"
        table.append([name, *(ablation.runs[name][seed].state for seed in ablation.seeds), words])
    widths = [max(len(row[i]) for row in table) for i in range(len(table[0]) - 1)]
    lines = [
        "  ".join([*(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=False)), row[-1]]).rstrip() for row in table
    ]
    states = [run.state for run in ablation.trainings]
    num_left = len(states) - states.count("complete")
    counts = ", ".join(f"{states.count(one)} {one}" for one in ("complete", "begun", "to do") if one in states)
    guess = _seconds_left(ablation.trainings) if num_left else None
    left = "" if guess is None else f", about {duration(guess)} (from the complete ones)"
    return "\n".join([*lines, f"{len(states)} trainings on manifest {ablation.manifest}: {counts}{left}"])


def _seconds_left(runs: Sequence[Run]) -> float | None:
    """Estimate how long the others take as if none were begun; None if none is complete."""
    from model.train.loop import read_training

    seconds = [float(read_training(run.folder)["seconds"]) for run in runs if run.state == "complete"]
    return statistics.fmean(seconds) * (len(runs) - len(seconds)) if seconds else None


def _train_all(ablation: Ablation, to_do: Sequence[Run], opened: Opened, *, no_prefect: bool, is_quiet: bool) -> dict[Path, str]:
    """Train one after the other, and write the table after each; return why trainings failed, by folder."""
    if not to_do:
        return {}
    errors: dict[Path, str] = {}
    numbers = {run.folder: number for number, run in enumerate(ablation.trainings, start=1)}

    def train(run: Run) -> str | None:
        if not is_quiet:
            words = "going on with" if run.state == "begun" else "training"
            print(f"{words} {numbers[run.folder]} of {len(numbers)}: {run.title} ({run.folder})", flush=True)
        return attempt(run, opened, ablation.manifest, None if is_quiet else ProgressText())

    def on_done(run: Run, error: str | None) -> None:
        if error is not None:
            errors[run.folder] = error
            print(f"FAILED {run.title}: {error}", file=sys.stderr, flush=True)
        write_ablation(ablation, results_of(ablation, errors))

    stop_soon_when_interrupted()
    if no_prefect:
        for run in to_do:
            on_done(run, train(run))
    else:
        from flows.prefect.ablate import train_all_with_prefect

        train_all_with_prefect(ablation, {run.title: run for run in to_do}, train, on_done)
    return errors
