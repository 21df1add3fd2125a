"""``depthmill export``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.command_line.answers import say
from flows.command_line.options import AsJson, ManifestChoice, Overrides, StoreOrRecipe


def export(
    recipe: StoreOrRecipe,
    out: Annotated[Path, typer.Option("--out", help="folder to write; must not exist or be empty")],
    layout: Annotated[
        str,
        typer.Option(
            help="semodepth: text manifests, 16-bit PNG depth, .npy radar; da3_depth_results: a teacher's depth, one .npz a frame"
        ),
    ] = "semodepth",
    overrides: Overrides = None,
    manifest: ManifestChoice = None,
    as_json: AsJson = False,
) -> None:
    """Write a manifest in a layout that other programs read."""
    from flows.run.interchange import export_manifest

    counts = export_manifest(recipe, out, layout=layout, overrides=overrides, manifest=manifest)
    text = f"wrote {out}: " + ", ".join(f"{count} {split} samples" for split, count in counts.items())
    say({"folder": str(out), "samples": counts}, text, as_json=as_json)
