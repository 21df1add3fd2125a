"""``depthmill run``."""

from __future__ import annotations

from typing import Annotated

import typer

from flows.command_line.options import AsJson, Dask, NoPrefect, Overrides, RecipeFile, Workers


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
    from flows.command_line.answers import console, orchestrator, print_json
    from flows.run.making import make_units
    from flows.run.opening import open_with_settings

    opened = open_with_settings(recipe, overrides, workers)
    pool = None
    if dask is not None:
        from flows.workers.dask_pool import dask_workers

        pool = dask_workers(dask)
    made = make_units(opened, orchestrator(no_prefect=no_prefect), console(is_quiet=as_json), report=report, pool=pool)
    if as_json:
        print_json(made.as_json(opened.settings.workers))
    if made.num_failed:
        raise typer.Exit(1)
