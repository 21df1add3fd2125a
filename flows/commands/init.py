"""``depthmill init``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.command_line.answers import say
from flows.command_line.options import AsJson


def init(
    data_root: Annotated[
        str,
        typer.Argument(help="folder or URL (s3://...) of a nuScenes-format data set, of ZJU-4DRadarCam or of KITTI object"),
    ],
    out: Annotated[Path, typer.Option("--out", help="recipe file to write; must not exist")] = Path("recipe.yaml"),
    store: Annotated[str | None, typer.Option(help="path or URL of the store; default: store/ beside the recipe")] = None,
    version: Annotated[
        str | None, typer.Option(help="of a nuScenes-format root with several, e.g. v1.0-mini; default: the largest")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Look at your data and write a recipe for it.

    Every key of the recipe is explained by what was found.
    """
    from flows.new_recipe.init import write_recipe

    written = write_recipe(data_root, out=out, store=store, version=version)
    warnings = "".join(f"warning: {line}\n" for line in written.warnings)
    text = f"{written.summary}\n{warnings}wrote {written.recipe}\nNext: depthmill plan {written.recipe}"
    answer = {"recipe": str(written.recipe), "found": written.summary, "warnings": list(written.warnings)}
    say(answer, text, as_json=as_json)
