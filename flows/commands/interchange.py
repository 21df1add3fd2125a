"""Verbs between the stores and the public layout: export, import."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.command_line.options import AsJson, ManifestChoice, Overrides, StoreOrRecipe
from flows.run.opening import open_store, open_with_settings, own_manifest, say
from storage_schemas.errors import RecipeError


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
    from pipeline.exporters.da3_depth_results import export_da3_depth_results
    from pipeline.exporters.semodepth import export_semodepth
    from storage_schemas.manifest import open_manifest

    _check_layout(layout)
    write = export_semodepth if layout == "semodepth" else export_da3_depth_results
    if recipe.endswith((".yaml", ".yml")):
        opened = open_with_settings(Path(recipe), overrides)
        chosen = open_manifest(opened.store, manifest or own_manifest(opened))
        counts = write(chosen, opened.source.reader(), out)
    else:
        counts = write(open_manifest(open_store(recipe), manifest), None, out)
    words = f"wrote {out}: " + ", ".join(f"{count} {split} samples" for split, count in counts.items())
    say({"folder": str(out), "samples": counts}, words, as_json=as_json)


def import_(
    folder: Annotated[Path, typer.Argument(help="folder in the public layout")],
    store: Annotated[str, typer.Option(help="store to fill")],
    layout: Annotated[str, typer.Option(help="semodepth")] = "semodepth",
    as_json: AsJson = False,
) -> None:
    """Read a folder in the public layout into a store; the inverse of export."""
    from pipeline.exporters.semodepth import import_semodepth
    from storage_schemas.store import Store

    _check_layout(layout)
    if layout == "da3_depth_results":
        raise RecipeError(
            "depth maps of that layout are brought in by a recipe: set stages.predict_mono_depth.teacher to depth_maps and "
            f"maps to '{folder}', then run it"
        )
    manifest = import_semodepth(folder, Store(store))
    words = f"imported {len(manifest)} samples as manifest {manifest.path.fingerprint} into {store}"
    say({"store": store, "manifest": manifest.path.fingerprint, "samples": len(manifest)}, words, as_json=as_json)


def _check_layout(layout: str) -> None:
    if layout not in ("semodepth", "da3_depth_results"):
        raise RecipeError(f"layout '{layout}' is unknown; expected one of: semodepth, da3_depth_results")
