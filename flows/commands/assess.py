"""``depthmill assess``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.command_line.answers import console, say
from flows.command_line.options import AsJson, Overrides, RecipeFile


def assess(
    recipe: RecipeFile,
    overrides: Overrides = None,
    scenes: Annotated[
        list[str] | None, typer.Option("--scenes", help="a scene to take frames of (repeatable); default: all")
    ] = None,
    frames: Annotated[int, typer.Option("--frames", min=1, help="key frames to measure, taken evenly")] = 20,
    reference: Annotated[
        str, typer.Option(help="truth: exact depth; sweep: the key sweep, held out; auto: truth where all scenes have it")
    ] = "auto",
    hold_out: Annotated[
        int,
        typer.Option(
            "--hold-out",
            min=0,
            help="sweeps on either side of the key sweep that are held out, too; 1 where revolutions of the scanner overlap",
        ),
    ] = 0,
    against: Annotated[
        str, typer.Option(help="published: measure the published recipe, too, on the same frames; none: this recipe alone")
    ] = "published",
    parts: Annotated[bool, typer.Option("--parts", help="also without each addition of the recipe, one by one")] = False,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="folder for tables, figures of every frame and pictures; must not exist or be empty"),
    ] = None,
    pictures: Annotated[int, typer.Option(min=0, help="with --out: so many of the worst frames are drawn")] = 5,
    as_json: AsJson = False,
) -> None:
    """Measure how wrong the depth maps of a recipe are.

    They are compared with exact depth, or with a LiDAR sweep that nothing else used.

    Units that the store has are read; what it lacks is made in memory for these frames and not stored. Where the recipe's
    manifest is there, the figures are kept beside the run logs, and depthmill report shows them.
    """
    from depthmill import recipes

    answer = recipes.assess(
        recipe,
        overrides=overrides or (),
        scenes=scenes or (),
        frames=frames,
        reference=reference,
        hold_out=hold_out,
        against=against,
        parts=parts,
        out=out,
        pictures=pictures,
        listener=console(as_json=as_json),
    )
    say(answer.data, answer.text, as_json=as_json)
