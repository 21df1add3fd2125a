"""``depthmill video``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.command_line.answers import console, say
from flows.command_line.options import AsJson, ManifestChoice, Overrides, StoreOrRecipe
from flows.commands.view import Cameras, PredictionsFolder, SceneChoice


def video(
    recipe: StoreOrRecipe,
    scene: SceneChoice = None,
    overrides: Overrides = None,
    camera: Cameras = None,
    predictions: PredictionsFolder = None,
    manifest: ManifestChoice = None,
    picture: Annotated[
        list[str] | None,
        typer.Option(
            "--picture",
            help="a picture to show (repeatable): camera, single, accumulated, clean, removed, interpolated, mono, truth, "
            "predicted, errors_clean, errors_predicted; default: the four that tell the most",
        ),
    ] = None,
    fps: Annotated[float | None, typer.Option(help="frames a second; default: as fast as the drive was")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="file to write, .webm or .mp4; default: <scene>.webm here")] = None,
    as_json: AsJson = False,
) -> None:
    """Write a video of a scene.

    Its pictures stand beside each other, key frame by key frame, with colour scales. It needs the extra video,
    and says how to install it.
    """
    from depthmill import scenes

    seen = scenes.video(
        recipe,
        scene,
        out=out,
        cameras=camera or (),
        predictions=predictions,
        pictures=picture or (),
        fps=fps,
        manifest=manifest,
        overrides=overrides or (),
        listener=console(as_json=as_json),
    )
    say(seen.data, seen.text, as_json=as_json)
