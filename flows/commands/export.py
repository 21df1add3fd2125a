"""``depthmill export``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.command_line.answers import say
from flows.command_line.layouts import check_layout
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
    """Write a manifest in a layout that public training scripts read."""
    from flows.run.opening import is_recipe, open_store, open_with_settings, own_manifest
    from pipeline.exporters.da3_depth_results import export_da3_depth_results
    from pipeline.exporters.semodepth import export_semodepth
    from storage_schemas.manifest import open_manifest

    check_layout(layout)
    write = export_semodepth if layout == "semodepth" else export_da3_depth_results
    if is_recipe(recipe):
        opened = open_with_settings(Path(recipe), overrides)
        chosen = open_manifest(opened.store, manifest or own_manifest(opened))
        counts = write(chosen, opened.source.reader(), out)
    else:
        counts = write(open_manifest(open_store(recipe), manifest), None, out)
    text = f"wrote {out}: " + ", ".join(f"{count} {split} samples" for split, count in counts.items())
    say({"folder": str(out), "samples": counts}, text, as_json=as_json)
