"""Verbs between the stores and the public layout: export, import."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.verbs.opening import open_store, open_with_settings, own_manifest, say
from flows.verbs.options import AsJson, ManifestChoice, Overrides, StoreOrRecipe
from storage_schemas.errors import RecipeError


def export(
    recipe: StoreOrRecipe,
    out: Annotated[Path, typer.Option("--out", help="folder to write; must not exist or be empty")],
    layout: Annotated[str, typer.Option(help="semodepth: text manifests, 16-bit PNG depth, .npy radar")] = "semodepth",
    overrides: Overrides = None,
    manifest: ManifestChoice = None,
    as_json: AsJson = False,
) -> None:
    """Write a manifest in the layout that the public training scripts read."""
    from pipeline.exporters.semodepth import export_semodepth
    from storage_schemas.manifest import open_manifest

    _check_layout(layout)
    if recipe.endswith((".yaml", ".yml")):
        opened = open_with_settings(Path(recipe), overrides)
        chosen = open_manifest(opened.store, manifest or own_manifest(opened))
        counts = export_semodepth(chosen, opened.source.reader(), out)
    else:
        counts = export_semodepth(open_manifest(open_store(recipe), manifest), None, out)
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
    manifest = import_semodepth(folder, Store(store))
    words = f"imported {len(manifest)} samples as manifest {manifest.path.fingerprint} into {store}"
    say({"store": store, "manifest": manifest.path.fingerprint, "samples": len(manifest)}, words, as_json=as_json)


def _check_layout(layout: str) -> None:
    if layout != "semodepth":
        raise RecipeError(f"layout '{layout}' is unknown; expected: semodepth")
