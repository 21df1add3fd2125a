"""``depthmill predict``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.command_line.answers import say
from flows.command_line.options import (
    AsJson,
    Checkpoint,
    Device,
    Frames,
    ManifestChoice,
    MaxDepth,
    PlugIn,
    Reference,
    SplitChoice,
    names_of_frames,
    refuse_options,
)
from storage_schemas.errors import RecipeError


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
    frames: Frames = None,
    reference: Reference = False,
    max_depth: MaxDepth = 120.0,
    plug_in: PlugIn = False,
    device: Device = None,
    as_json: AsJson = False,
) -> None:
    """Write depth maps and pictures that a network predicts.

    Depth is written as 16-bit PNGs of 1/256 m. A detector writes KITTI's result files and pictures, one of all cameras
    a nuScenes result file and pictures. Every frame gets a picture; with --frames only those that are named.
    """
    named = names_of_frames(frames)
    if named and not pictures:
        raise RecipeError("--frames says whose pictures are wanted, and --no-pictures that none are. Leave one of them out")
    from depthmill.networks import load_model, refuse_wrong_data
    from pipeline.exporters.out_folder import check_out

    refuse_wrong_data(what)
    check_out(out, who="predict")
    model = load_model(checkpoint, reference=reference, max_depth_m=max_depth, plug_in=plug_in, used_on=what)
    refuse_options(model.family, context, f"checkpoint '{checkpoint}' is one")
    if not model.family.predicts:
        model.family.refuse_to_predict(str(checkpoint))
    count = model.predict_files(what, out, manifest=manifest, split=split, pictures=pictures, frames=named, device=device)
    say({"folder": str(out), "frames": count}, model.family.predicted_text(count, out), as_json=as_json)
