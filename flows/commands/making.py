"""Verbs that make the stores: plan, run, status."""

from __future__ import annotations

from typing import Annotated

import typer

from flows.command_line.options import AsJson, Dask, NoPrefect, Overrides, RecipeFile, Workers
from flows.run.opening import open_with_settings, print_json


def plan(
    recipe: RecipeFile,
    overrides: Overrides = None,
    workers: Workers = None,
    as_json: AsJson = False,
    check: Annotated[bool, typer.Option("--check", help="exit with 3 if there is anything to do")] = False,
    units: Annotated[bool, typer.Option("--units", help="name every unit to do")] = False,
) -> None:
    """Say what a run would do and why; nothing is written to the store."""
    from flows.run.materialize import estimate_seconds
    from flows.text import plan_text

    opened = open_with_settings(recipe, overrides, workers)
    found = opened.plan()
    seconds = estimate_seconds(found, opened.runs_folder, opened.settings.workers)
    if as_json:
        print_json(
            {
                "to_do": [
                    {
                        "stage": item.stage,
                        "scene": item.identity.scene,
                        "camera": item.identity.camera,
                        "unit": item.path.key,
                        "reason": item.reason,
                    }
                    for item in found.to_do
                ],
                "num_units": len(found.items),
                "estimated_seconds": seconds,
            }
        )
    else:
        if units:
            for item in found.to_do:
                typer.echo(f"{item.path.key}  {item.reason}")
        typer.echo(plan_text(found, seconds=seconds, workers=opened.settings.workers))
        if found.to_do and (first := opened.source.preparation()):
            typer.echo(first)
    if check and found.to_do:
        raise typer.Exit(3)


def run(
    recipe: RecipeFile,
    overrides: Overrides = None,
    workers: Workers = None,
    no_prefect: NoPrefect = False,
    dask: Dask = None,
    as_json: AsJson = False,
    report: Annotated[bool, typer.Option(help="write report.html beside the run's events")] = True,
) -> None:
    """Do everything that the plan lists; running again does only what is left."""
    from flows.run.making import run_and_print

    opened = open_with_settings(recipe, overrides, workers)
    if run_and_print(opened, no_prefect=no_prefect, as_json=as_json, report=report, dask=dask):
        raise typer.Exit(1)


def status(recipe: RecipeFile, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Say what of a recipe is there, which manifest is the newest, and how the last run went."""
    from flows.run.run_log import last_summary
    from flows.text import duration
    from storage_schemas.manifest import manifest_paths

    opened = open_with_settings(recipe, overrides)
    found = opened.plan()
    manifests = [path.fingerprint for path in manifest_paths(opened.store)]
    last = last_summary(opened.runs_folder)
    if as_json:
        print_json(
            {
                "up_to_date": len(found.items) - len(found.to_do),
                "to_do": len(found.to_do),
                "manifests": manifests,
                "last_run": last,
            }
        )
        return
    typer.echo(f"store     {opened.store.root}")
    typer.echo(f"units     {len(found.items) - len(found.to_do)} of {len(found.items)} up to date")
    wanted = found.manifest
    state = "up to date" if wanted.reason is None else f"to do: {wanted.reason}"
    typer.echo(f"manifest  {wanted.path.fingerprint} ({state}); {len(manifests)} in the store")
    if last:
        typer.echo(
            f"last run  {last['num_ok']} ok, {last['num_errors']} errors, {last['num_skipped']} skipped "
            f"in {duration(last['seconds'])}: {last['folder']}"
        )
