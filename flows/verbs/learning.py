"""Verbs that learn and measure: train, ablate, evaluate, compare, predict."""

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
from storage_schemas.errors import RecipeError


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
    no_prefect: NoPrefect = False,
    as_json: AsJson = False,
) -> None:
    """Train every variant of a recipe's ablation group with every seed, and print the table: mean, spread, difference."""
    from flows.ablate_verb import ablate_and_print

    opened = open_with_settings(recipe, overrides, workers)
    if ablate_and_print(
        opened, where=str(recipe), manifest=manifest, out=out, plan_only=plan_only, no_prefect=no_prefect, is_json=as_json
    ):
        raise typer.Exit(1)


def evaluate(
    context: typer.Context,
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
    """Measure a network on a split: depth at 50, 70 and 80 m, with and without radar; of a detector KITTI's average precision.

    Of a pre-training of MIM4D rendered depth and colour, beside the controls.
    """
    from flows.detection_verbs import OpenedDetector, evaluate_detector_and_print
    from flows.evaluate_verb import evaluate_and_print, open_network
    from flows.render_verbs import OpenedPretraining, evaluate_renderings_and_print

    opened = open_network(checkpoint, recipe, reference=reference, max_depth_m=max_depth, plug_in=plug_in)
    if isinstance(opened, OpenedDetector):
        _refuse_options_of_depth(context, f"a detector has none: checkpoint '{checkpoint}' is one")
        pinned, machine = open_pinned(recipe, manifest)
        evaluate_detector_and_print(opened, pinned, machine, split=split, out=out, as_json=as_json)
        return
    if isinstance(opened, OpenedPretraining):
        _refuse_options_of_depth(context, f"a pre-training has none: checkpoint '{checkpoint}' is one")
        pinned, machine = open_pinned(recipe, manifest)
        evaluate_renderings_and_print(opened, pinned, machine, split=split, out=out, as_json=as_json)
        return
    network, name, row_band = opened
    pinned, machine = open_pinned(recipe, manifest)
    evaluate_and_print(network, name, pinned, machine, split=split, target=target, row_band=row_band, out=out, as_json=as_json)


def compare(
    context: typer.Context,
    a: Annotated[Path, typer.Argument(help="a training, or a folder that evaluate wrote")],
    b: Annotated[Path, typer.Argument(help="another one")],
    metric: Metric = "mae_mm",
    cap: Cap = 80.0,
    radar: Radar = "on",
    as_json: AsJson = False,
) -> None:
    """Compare two evaluations of depth frame by frame, with a bootstrap interval; of two detectors, their average precisions.

    Two pre-trainings of MIM4D are compared clip by clip.
    """
    from flows.detection_verbs import compare_detectors_and_print
    from flows.evaluate_verb import compare_and_print, evaluation_of, kind_of_evaluations
    from flows.render_verbs import compare_renderings_and_print

    kind = kind_of_evaluations(a, b)
    if kind == "objects":
        _refuse_options_of_depth(context, "a detector has none: these are evaluations of detectors")
        compare_detectors_and_print(evaluation_of(a), evaluation_of(b), as_json=as_json)
        return
    if kind == "renderings":
        _refuse_options_of_depth(context, "a pre-training has none: these are evaluations of pre-trainings")
        compare_renderings_and_print(evaluation_of(a), evaluation_of(b), as_json=as_json)
        return
    compare_and_print(a, b, metric=metric, cap_m=cap, radar=radar, as_json=as_json)


def predict(
    context: typer.Context,
    checkpoint: Checkpoint,
    what: Annotated[
        str,
        typer.Argument(
            help="a recipe file, a store, or a folder: with image/ and radar/ (or radar_png/), for a detector with image_2/ (or "
            "image/) and calib/"
        ),
    ],
    out: Annotated[Path, typer.Option("--out", help="folder to write; must not exist or be empty")],
    manifest: ManifestChoice = None,
    split: SplitChoice = "val",
    pictures: Annotated[bool, typer.Option(help="write pictures too")] = True,
    reference: Reference = False,
    max_depth: MaxDepth = 120.0,
    plug_in: PlugIn = False,
    as_json: AsJson = False,
) -> None:
    """Predict depth: 16-bit PNGs of 1/256 m, and pictures; with a detector KITTI's result files, and pictures."""
    from flows.detection_inputs import image_folder
    from flows.detection_verbs import OpenedDetector, predict_folder, predict_split
    from flows.evaluate_verb import open_network
    from flows.predict_files import predict_files, predict_manifest
    from flows.render_verbs import OpenedPretraining, refuse_to_predict
    from flows.settings import Settings
    from flows.training import machine_of_settings

    opened = open_network(checkpoint, what, reference=reference, max_depth_m=max_depth, plug_in=plug_in)
    if isinstance(opened, OpenedDetector):
        _refuse_options_of_depth(context, f"a detector has none: checkpoint '{checkpoint}' is one")
        if image_folder(Path(what)) is not None:
            here = machine_of_settings(Settings(), image_root=None)
            count = predict_folder(opened, Path(what), out, pictures=pictures, machine=here)
        else:
            pinned, machine = open_pinned(what, manifest)
            count = predict_split(opened, pinned, out, split=split, pictures=pictures, machine=machine)
        say({"folder": str(out), "frames": count}, f"wrote the objects of {count} frames to {out}", as_json=as_json)
        return
    if isinstance(opened, OpenedPretraining):
        refuse_to_predict(checkpoint)
    network, _, row_band = opened
    if (Path(what) / "image").is_dir():
        count = predict_files(
            network, Path(what), out, pictures=pictures, machine=machine_of_settings(Settings(), image_root=None)
        )
    else:
        pinned, machine = open_pinned(what, manifest)
        count = predict_manifest(network, pinned, out, split=split, row_band=row_band, pictures=pictures, machine=machine)
    say({"folder": str(out), "frames": count}, f"wrote {count} depth maps to {out}", as_json=as_json)


def _refuse_options_of_depth(context: typer.Context, words: str) -> None:
    """Check that no option was given that says something of depth only; RecipeError names it."""
    for name in ("target", "max_depth", "plug_in", "metric", "cap", "radar"):
        source = context.get_parameter_source(name) if name in context.params else None
        if source is not None and source.name == "COMMANDLINE":
            raise RecipeError(f"--{name.replace('_', '-')} is of depth networks, and {words}. Leave it out")
