"""``depthmill run``."""

from __future__ import annotations

from typing import Annotated

import typer

from flows.command_line.options import AsJson, Dask, Device, Log, NoPrefect, Overrides, RecipeFile, WithPrefect, Workers


def run(
    recipe: RecipeFile,
    overrides: Overrides = None,
    workers: Workers = None,
    prefect: WithPrefect = False,
    no_prefect: NoPrefect = False,
    dask: Dask = None,
    log: Log = None,
    device: Device = None,
    as_json: AsJson = False,
    report: Annotated[bool, typer.Option(help="write report.html beside the run's events")] = True,
) -> None:
    """Make everything that the plan lists.

    Running again does only what is left.
    """
    import depthmill
    from flows.command_line.answers import console, print_json
    from flows.prefect_api import uses_prefect

    made = depthmill.run(
        recipe,
        overrides=overrides or (),
        workers=workers,
        dask=dask,
        log=log,
        device=device,
        prefect=uses_prefect(prefect=prefect, no_prefect=no_prefect),
        report=report,
        listener=console(as_json=as_json),
    )
    if as_json:
        print_json(made.as_json())
    if made.num_failed:
        raise typer.Exit(1)
