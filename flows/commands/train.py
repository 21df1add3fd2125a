"""``depthmill train``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

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


def train(
    recipe: RecipeFile,
    overrides: Overrides = None,
    manifest: ManifestChoice = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="folder of the training; default <store>/runs/trainings/<name>")
    ] = None,
    restart: Annotated[
        bool,
        typer.Option(
            "--restart/--resume", help="throw away what a former run left; by default a training goes on where it stopped"
        ),
    ] = False,
    workers: Workers = None,
    dask: Dask = None,
    log: Log = None,
    device: Device = None,
    prefect: WithPrefect = False,
    no_prefect: NoPrefect = False,
    as_json: AsJson = False,
) -> None:
    """Train on the data of a recipe, measure, and write a report.

    What is missing is made first. After a stop, the same command goes on.
    """
    import depthmill
    from flows.command_line.answers import console, say
    from flows.prefect_api import uses_prefect

    trained = depthmill.train(
        recipe,
        overrides=overrides or (),
        workers=workers,
        dask=dask,
        log=log,
        device=device,
        manifest=manifest,
        out=out,
        restart=restart,
        prefect=uses_prefect(prefect=prefect, no_prefect=no_prefect),
        listener=console(as_json=as_json),
    )
    if trained.num_failed:
        raise typer.Exit(1)
    say(trained.as_json() if as_json else {}, trained.text, as_json=as_json)
