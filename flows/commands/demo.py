"""``depthmill demo``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.command_line.options import Dask, Device, NoPrefect, WithPrefect, Workers


def demo(
    out: Annotated[Path, typer.Option("--out", help="folder for the demo")] = Path("demo"),
    workers: Workers = None,
    dask: Dask = None,
    device: Device = None,
    prefect: WithPrefect = False,
    no_prefect: NoPrefect = False,
) -> None:
    """Try everything on simulated drives, in two or three minutes.

    It simulates a small world, runs every stage, trains a small network and measures it. No data is needed.
    """
    from depthmill.recipes import orchestrator
    from flows.command_line.answers import console, echo
    from flows.command_line.tables import as_shown
    from flows.new_recipe.demo import prepare_demo
    from flows.prefect_api import uses_prefect
    from flows.run.making import make_units
    from flows.run.opening import open_with_settings
    from flows.run.train import train_recipe
    from flows.run.training import missing_for_training
    from storage_schemas.install_command import install_command

    recipe = prepare_demo(out)
    echo(f"recipe {recipe}")
    opened = open_with_settings(recipe, None, workers, dask, device=device)
    chosen, listener = orchestrator(prefect=uses_prefect(prefect=prefect, no_prefect=no_prefect)), console()
    if make_units(opened, chosen, listener).num_failed:
        raise typer.Exit(1)
    if missing := missing_for_training():
        echo(f"no training: {', '.join(missing)} is not installed. Run: {install_command('train')}")
    else:
        echo(as_shown(train_recipe(opened, chosen, listener, where=str(recipe)).text))
    echo(f"Try: depthmill plan {recipe} --set stages.clean_horizon.near_m=25")
