"""Verbs that learn and measure: train, evaluate, compare, predict."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.verbs.opening import open_pinned, open_with_settings, say
from flows.verbs.options import (
    AsJson,
    Cap,
    Checkpoint,
    ManifestChoice,
    MaxDepth,
    Metric,
    NoPrefect,
    Overrides,
    PlugIn,
    Radar,
    RecipeFile,
    Reference,
    SplitChoice,
    StoreOrRecipe,
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
    no_prefect: NoPrefect = False,
    as_json: AsJson = False,
) -> None:
    """Make what is missing, train on the manifest, evaluate, write the report; the same command goes on after a stop."""
    from flows.train_verb import train_and_print

    opened = open_with_settings(recipe, overrides, workers)
    if train_and_print(
        opened, where=str(recipe), manifest=manifest, out=out, restart=restart, no_prefect=no_prefect, as_json=as_json
    ):
        raise typer.Exit(1)


def evaluate(
    checkpoint: Checkpoint,
    recipe: StoreOrRecipe,
    manifest: ManifestChoice = None,
    split: SplitChoice = "val",
    target: Annotated[str, typer.Option(help="store of the truth, e.g. depth_single, depth_truth")] = "depth_single",
    out: Annotated[
        Path | None, typer.Option("--out", help="folder for tables and pictures; default: beside the checkpoint")
    ] = None,
    reference: Reference = False,
    max_depth: MaxDepth = 120.0,
    plug_in: PlugIn = False,
    as_json: AsJson = False,
) -> None:
    """Measure a network on a split: the published metrics at 50, 70 and 80 m, by day and night, with and without radar."""
    from flows.evaluate_verb import evaluate_and_print, open_network

    network, name, row_band = open_network(checkpoint, recipe, reference=reference, max_depth_m=max_depth, plug_in=plug_in)
    pinned, machine = open_pinned(recipe, manifest)
    evaluate_and_print(network, name, pinned, machine, split=split, target=target, row_band=row_band, out=out, as_json=as_json)


def compare(
    a: Annotated[Path, typer.Argument(help="a training, or a folder that evaluate wrote")],
    b: Annotated[Path, typer.Argument(help="another one")],
    metric: Metric = "mae_mm",
    cap: Cap = 80.0,
    radar: Radar = "on",
    as_json: AsJson = False,
) -> None:
    """Compare two evaluations frame by frame, with a bootstrap interval of the difference."""
    from flows.evaluate_verb import compare_and_print

    compare_and_print(a, b, metric=metric, cap_m=cap, radar=radar, as_json=as_json)


def predict(
    checkpoint: Checkpoint,
    what: Annotated[str, typer.Argument(help="folder with image/ and radar/ (or radar_png/), a recipe file, or a store")],
    out: Annotated[Path, typer.Option("--out", help="folder to write; must not exist or be empty")],
    manifest: ManifestChoice = None,
    split: SplitChoice = "val",
    pictures: Annotated[bool, typer.Option(help="write pictures beside the depth maps")] = True,
    reference: Reference = False,
    max_depth: MaxDepth = 120.0,
    plug_in: PlugIn = False,
    as_json: AsJson = False,
) -> None:
    """Predict depth: 16-bit PNGs of 1/256 m, and pictures."""
    from flows.evaluate_verb import open_network
    from flows.predict_files import predict_files, predict_manifest
    from flows.settings import Settings
    from flows.training import machine_of_settings

    network, _, row_band = open_network(checkpoint, what, reference=reference, max_depth_m=max_depth, plug_in=plug_in)
    if (Path(what) / "image").is_dir():
        count = predict_files(
            network, Path(what), out, pictures=pictures, machine=machine_of_settings(Settings(), image_root=None)
        )
    else:
        pinned, machine = open_pinned(what, manifest)
        count = predict_manifest(network, pinned, out, split=split, row_band=row_band, pictures=pictures, machine=machine)
    say({"folder": str(out), "frames": count}, f"wrote {count} depth maps to {out}", as_json=as_json)
