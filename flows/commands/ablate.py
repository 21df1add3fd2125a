"""``depthmill ablate``."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.command_line.options import (
    AsJson,
    Dask,
    Device,
    Log,
    ManifestChoice,
    NoPrefect,
    Overrides,
    RecipeFile,
    WithPrefect,
    Workers,
)

if TYPE_CHECKING:
    from flows.ablation.ablation import Ablation, Run


def ablate(
    recipe: RecipeFile,
    overrides: Overrides = None,
    manifest: ManifestChoice = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="folder of the table; default <store>/runs/ablations/<name>; trainings stay theirs"),
    ] = None,
    plan_only: Annotated[bool, typer.Option("--plan", help="print what would be trained, and stop")] = False,
    workers: Workers = None,
    dask: Dask = None,
    log: Log = None,
    device: Device = None,
    prefect: WithPrefect = False,
    no_prefect: NoPrefect = False,
    as_json: AsJson = False,
) -> None:
    """Train every variant with every seed, and compare them.

    The recipe's ablation group has the variants. The table has mean, spread and paired difference.
    """
    from depthmill.recipes import orchestrator
    from flows.ablation.ablation import read_ablation
    from flows.ablation.table import RESULTS_FILE, TABLE_FILE, refuse_other_folder, results_of, table_text
    from flows.ablation.table import as_json as table_json
    from flows.ablation.training import train_variants
    from flows.command_line.answers import console, echo, print_json
    from flows.command_line.tables import as_shown
    from flows.prefect_api import uses_prefect
    from flows.run.opening import open_with_settings

    opened = open_with_settings(recipe, overrides, workers, dask, log, device)
    ablation = read_ablation(opened, where=str(recipe), manifest=manifest, out=out)
    refuse_other_folder(ablation.folder)
    listener = console(as_json=as_json)
    if not as_json:
        echo(plan_text(ablation))
    results = results_of(ablation, {})  # read first: a damaged training must be reported before hours of work
    if not plan_only:
        chosen = orchestrator(prefect=uses_prefect(prefect=prefect, no_prefect=no_prefect))
        results = train_variants(ablation, opened, chosen, listener, is_making=manifest is None)
    failures = len({result.run.folder for result in results if result.error is not None})
    if as_json:
        print_json(table_json(ablation, results))
    elif not plan_only:
        echo(as_shown(f"\n{table_text(ablation, results, is_whole=False)}"))
        echo(f"Table: {ablation.address}/{TABLE_FILE}; every seed: {ablation.address}/{RESULTS_FILE}")
        if failures:
            failed = f"{failures} training{'s' if failures != 1 else ''} failed"
            echo(f"{failed}. Fix it, then run the same command; what is complete is not trained again")
    if failures:
        raise typer.Exit(1)


def plan_text(ablation: Ablation) -> str:
    """Return what is to be trained: a row for each variant, a column for each seed, and how long it may take."""
    from flows.command_line.tables import aligned
    from flows.text import duration

    table = [["variant", *(f"seed {seed}" for seed in ablation.seeds), "changes"]]
    for name, changes in ablation.variants.items():
        changed = ", ".join(f"{key}: {value}" for key, value in changes.items())
        same = ablation.same_as.get(name)
        changed = changed or "nothing" if same is None else f"{changed or 'nothing'} (the same training as {same})"
        table.append([name, *(ablation.runs[name][seed].state for seed in ablation.seeds), changed])
    lines = [aligned(table)]
    states = [run.state for run in ablation.trainings]
    num_left = len(states) - states.count("complete")
    counts = ", ".join(f"{states.count(state)} {state}" for state in ("complete", "begun", "to do") if state in states)
    guess = _seconds_left(ablation.trainings) if num_left else None
    left = "" if guess is None else f", about {duration(guess)} (from the complete ones)"
    return "\n".join([*lines, f"{len(states)} trainings on manifest {ablation.manifest}: {counts}{left}"])


def _seconds_left(runs: Sequence[Run]) -> float | None:
    """Estimate how long the others take as if none were begun; None if none is complete."""
    from model.train.loop import read_training

    seconds = [float(read_training(run.folder)["seconds"]) for run in runs if run.state == "complete"]
    return statistics.fmean(seconds) * (len(runs) - len(seconds)) if seconds else None
