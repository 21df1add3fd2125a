"""``depthmill import``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.command_line.answers import say
from flows.command_line.layouts import check_layout
from flows.command_line.options import AsJson
from storage_schemas.errors import RecipeError


def import_(
    folder: Annotated[Path, typer.Argument(help="folder in the public layout")],
    store: Annotated[str, typer.Option(help="store to fill")],
    layout: Annotated[str, typer.Option(help="semodepth")] = "semodepth",
    as_json: AsJson = False,
) -> None:
    """Read a folder in the public layout into a store; the inverse of export."""
    from pipeline.exporters.semodepth import import_semodepth
    from storage_schemas.store import Store

    check_layout(layout)
    if layout == "da3_depth_results":
        raise RecipeError(
            "depth maps of that layout are brought in by a recipe: set stages.predict_mono_depth.teacher to depth_maps and "
            f"maps to '{folder}', then run it"
        )
    manifest = import_semodepth(folder, Store(store))
    text = f"imported {len(manifest)} samples as manifest {manifest.path.fingerprint} into {store}"
    say({"store": store, "manifest": manifest.path.fingerprint, "samples": len(manifest)}, text, as_json=as_json)
