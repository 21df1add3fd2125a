"""Verbs to begin with: init, demo, doctor."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.verbs.opening import open_with_settings, print_json, say
from flows.verbs.options import AsJson, NoPrefect, Workers


def init(
    data_root: Annotated[Path, typer.Argument(help="folder of a nuScenes-format data set, of ZJU-4DRadarCam or of KITTI object")],
    out: Annotated[Path, typer.Option("--out", help="recipe file to write; must not exist")] = Path("recipe.yaml"),
    store: Annotated[str | None, typer.Option(help="path or URL of the store; default: store/ beside the recipe")] = None,
    version: Annotated[
        str | None, typer.Option(help="of a nuScenes-format root with several, e.g. v1.0-mini; default: the largest")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Look at a data root and write a recipe for it, every key explained by what is there."""
    from flows.init_recipe import write_recipe

    written = write_recipe(data_root, out=out, store=store, version=version)
    words = f"{written.summary}\nwrote {written.recipe}\nNext: depthmill plan {written.recipe}"
    say({"recipe": str(written.recipe), "found": written.summary}, words, as_json=as_json)


def demo(
    out: Annotated[Path, typer.Option("--out", help="folder for the demo")] = Path("demo"),
    workers: Workers = None,
    no_prefect: NoPrefect = False,
) -> None:
    """Simulate a small world, run every stage on it, train a small network on it and measure it: two or three minutes."""
    from flows.demo import prepare_demo
    from flows.run_verb import run_and_print
    from flows.train_verb import train_and_print
    from flows.training import missing_for_training

    recipe = prepare_demo(out)
    typer.echo(f"recipe {recipe}")
    opened = open_with_settings(recipe, None, workers)
    if run_and_print(opened, no_prefect=no_prefect, as_json=False, report=True):
        raise typer.Exit(1)
    if missing := missing_for_training():
        typer.echo(f"no training: {', '.join(missing)} is not installed. Run: pip install 'depthmill[train]'")
    else:
        train_and_print(opened, where=str(recipe), manifest=None, out=None, restart=False, no_prefect=no_prefect, as_json=False)
    typer.echo(f"Try: depthmill plan {recipe} --set stages.clean_horizon.near_m=25")


def doctor(
    store: Annotated[str | None, typer.Argument(help="store path or URL, or a recipe file, to try writing to")] = None,
    dask: Annotated[str | None, typer.Option(help="address of a Dask scheduler to try, e.g. tcp://head:8786")] = None,
    as_json: AsJson = False,
) -> None:
    """Check this machine: versions, disk, store, Prefect, Dask, devices, and which engine of the scan is used and why."""
    from flows.doctor import diagnose

    if store is not None and store.endswith((".yaml", ".yml")):
        from pipeline.recipe import load_recipe  # not before: a plug-in that is refused must not hide what else there is to say

        store = load_recipe(store).store
    findings = diagnose(store, dask=dask)
    if as_json:
        print_json([finding._asdict() for finding in findings])
    else:
        for finding in findings:
            typer.echo(f"{'ok  ' if finding.is_ok else 'FAIL'}  {finding.about:<22} {finding.says}")
    if not all(finding.is_ok for finding in findings):
        raise typer.Exit(1)
