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
    from flows.networks import open_network, refuse_options
    from flows.reports import frame_drawer

    opened = open_network(checkpoint, recipe, reference=reference, max_depth_m=max_depth, plug_in=plug_in)
    refuse_options(opened.family, _given_of_depth(context), f"checkpoint '{checkpoint}' is one")
    pinned, machine = open_pinned(recipe, manifest)
    answer = opened.family.evaluate_checkpoint(
        opened.network,
        pinned,
        machine,
        split=split,
        target=target,
        folder=out or Path(f"evaluation-{opened.network.name}-{pinned.path.fingerprint}-{split}"),
        draw=frame_drawer(opened.family.name),
    )
    say(answer.data, answer.text, as_json=as_json)


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
    from flows.networks import evaluation_of, family_of_evaluations, refuse_options
    from model.train.family_types import CompareOptions

    family = family_of_evaluations(a, b)
    refuse_options(family, _given_of_depth(context), f"these are evaluations of {family.plural}")
    answer = family.compare(evaluation_of(a), evaluation_of(b), CompareOptions(metric, cap, radar))
    say(answer.data, f"a = {a}\nb = {b}\n{answer.text}", as_json=as_json)


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
    from flows.networks import open_network, refuse_options
    from flows.reports import frame_drawer
    from flows.settings import Settings
    from flows.training import machine_of_settings

    opened = open_network(checkpoint, what, reference=reference, max_depth_m=max_depth, plug_in=plug_in)
    family = opened.family
    refuse_options(family, _given_of_depth(context), f"checkpoint '{checkpoint}' is one")
    if not family.predicts:
        family.refuse_to_predict(str(checkpoint))
    draw = frame_drawer(family.name) if pictures else None
    if family.takes_folder(Path(what)):
        here = machine_of_settings(Settings(), image_root=None)
        count = family.predict_folder(opened.network, Path(what), out, draw=draw, machine=here)
    else:
        pinned, machine = open_pinned(what, manifest)
        count = family.predict_split(opened.network, pinned, out, split=split, draw=draw, machine=machine)
    say({"folder": str(out), "frames": count}, family.predicted_text(count, out), as_json=as_json)


def _given_of_depth(context: typer.Context) -> list[str]:
    """Return the options on the command line that say something of depth networks only."""
    names = [name for name in ("target", "max_depth", "plug_in", "metric", "cap", "radar") if name in context.params]
    sources = {name: context.get_parameter_source(name) for name in names}
    return [name for name, source in sources.items() if source is not None and source.name == "COMMANDLINE"]
