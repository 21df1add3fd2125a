"""``depthmill evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.command_line.answers import say
from flows.command_line.options import (
    AsJson,
    Device,
    Frames,
    ManifestChoice,
    MaxDepth,
    PlugIn,
    Reference,
    SplitChoice,
    SpreadPictures,
    StoreOrRecipe,
    Worst,
    names_of_frames,
    refuse_options,
    refuse_picture_options,
)


def evaluate(
    context: typer.Context,
    checkpoint: Annotated[
        str,
        typer.Argument(
            help="folder or URL of a training, a checkpoint file, or results of any detector: a folder of KITTI result files, or "
            "a nuScenes result file (.json)"
        ),
    ],
    recipe: StoreOrRecipe,
    manifest: ManifestChoice = None,
    split: SplitChoice = "val",
    target: Annotated[str, typer.Option(help="store of the truth, e.g. depth_single, depth_truth")] = "depth_single",
    out: Annotated[
        Path | None,
        typer.Option("--out", help="folder for tables and pictures; default: evaluation-<name>-<manifest>-<split> here"),
    ] = None,
    frames: Frames = None,
    worst: Worst = None,
    num_pictures: SpreadPictures = None,
    reference: Reference = False,
    max_depth: MaxDepth = 120.0,
    plug_in: PlugIn = False,
    device: Device = None,
    as_json: AsJson = False,
) -> None:
    """Measure a network on a split of a manifest.

    Depth is measured up to 50, 70 and 80 m, with radar and without it. A detector gets KITTI's average precision, one of all
    cameras nuScenes' mAP and NDS. Result files of any other detector are measured likewise. A pre-training of MIM4D gets
    rendered depth and colour, beside the controls.

    Pictures of a detector show frames spread evenly over the split. --worst adds those with the most errors, --frames those
    that you name.
    """
    named = names_of_frames(frames)
    from depthmill.networks import evaluate as evaluate_any
    from depthmill.networks import family_of_results, load_model, refuse_wrong_data

    refuse_wrong_data(recipe)
    family = None if reference else family_of_results(checkpoint)
    if family is not None:
        refuse_options(family, context, f"'{checkpoint}' holds result files")
        refuse_picture_options(context, f"'{checkpoint}' holds result files")
        answer = evaluate_any(checkpoint, recipe, manifest=manifest, split=split, out=out, device=device)
        say(answer.data, answer.text, as_json=as_json)
        return
    model = load_model(checkpoint, reference=reference, max_depth_m=max_depth, plug_in=plug_in, used_on=recipe)
    refuse_options(model.family, context, f"checkpoint '{checkpoint}' is one")
    answer = model.evaluate(
        recipe,
        manifest=manifest,
        split=split,
        target=target,
        out=out,
        device=device,
        frames=named,
        worst=worst,
        num_pictures=num_pictures,
    )
    say(answer.data, answer.text, as_json=as_json)
