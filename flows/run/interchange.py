"""Stores written in, and read from, the layouts of other programs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from flows.run.opening import is_recipe, open_store, open_with_settings, own_manifest
from pipeline.exporters.da3_depth_results import export_da3_depth_results
from pipeline.exporters.depth_png import DepthPngOptions, export_depth_png
from pipeline.exporters.out_folder import check_out
from pipeline.exporters.semodepth import export_semodepth, import_semodepth
from pipeline.finding import Finding, finding_lines
from pipeline.run import SUSPICIOUS
from pipeline.stage import RawReader
from storage_schemas.errors import RecipeError
from storage_schemas.manifest import Manifest, open_manifest
from storage_schemas.store import Store, UnitPath

EXPORTERS: dict[str, Callable[[Manifest, RawReader | None, Path], dict[str, int]]] = {
    "semodepth": export_semodepth,
    "depth_png": export_depth_png,
    "da3_depth_results": export_da3_depth_results,
}


def export_manifest(
    recipe: str,
    out: Path,
    *,
    layout: str,
    overrides: Sequence[str] | None = None,
    manifest: str | None = None,
    depth_png: DepthPngOptions | None = None,
) -> dict[str, int]:
    """Write a manifest in a layout; return the number of samples by split.

    Args:
        recipe: a recipe file or a store; what a store does not hold is read from a recipe's source.
        out: folder to write; must not exist or be empty.
        layout: semodepth, depth_png or da3_depth_results.
        overrides: changed recipe keys.
        manifest: fingerprint of another manifest than the recipe's own or the store's newest.
        depth_png: what of depth_png is written.

    Raises:
        RecipeError: the layout is unknown, or is not depth_png and has its options; the recipe has a mistake, or its manifest is
            not made yet.
        StoreError: ``out`` is not empty or cannot be written.
    """
    _check_layout(layout)
    check_out(out)
    export = EXPORTERS[layout]
    if depth_png is not None:
        if layout != "depth_png":
            raise RecipeError(f"--depth, --images and --npz are of --layout depth_png, and it is '{layout}'. Leave them out")
        export = partial(export_depth_png, options=depth_png)
    if is_recipe(recipe):
        opened = open_with_settings(Path(recipe), overrides)
        return export(open_manifest(opened.store, manifest or own_manifest(opened)), opened.source.reader(), out)
    return export(open_manifest(open_store(recipe), manifest), None, out)


def import_folder(folder: Path, store: str, *, layout: str) -> Manifest:
    """Read a folder in a layout into a store and return its manifest; the inverse of ``export_manifest``.

    Raises:
        RecipeError: the layout is unknown, or is brought in by a recipe.
        SourceError: a file of the folder is missing or broken.
    """
    _check_layout(layout)
    if layout == "depth_png":
        raise RecipeError("layout 'depth_png' is written and not read: it has no radar and no boxes. Import semodepth")
    if layout == "da3_depth_results":
        raise RecipeError(
            "depth maps of that layout are brought in by a recipe: set stages.predict_mono_depth.teacher to depth_maps and "
            f"maps to '{folder}', then run it"
        )
    return import_semodepth(folder, Store(store))


def import_warnings(manifest: Manifest) -> list[str]:
    """Return a line for each kind of map that cannot be right in what was imported, also by a former import of the same bytes."""
    findings = []
    for key, fingerprint in manifest.store.lineage(manifest.path).identity.inputs.items():
        layout, scene, camera = key.rsplit("/", 2)
        counts = manifest.store.lineage(UnitPath(layout, scene, camera, fingerprint)).counts
        where = f"({layout} {camera})"
        if counts.get("share_measured") == 0:
            findings.append(Finding(f"no pixel is measured {where}", scene, advice="Check how these maps were written"))
        findings += [
            Finding(f"{what} {where}", scene, int(counts[name]), advice=advice)
            for name, (what, advice) in SUSPICIOUS.items()
            if counts.get(name)
        ]
    return finding_lines(findings, len({row["scene"] for row in manifest.rows()}))


def _check_layout(layout: str) -> None:
    if layout not in EXPORTERS:
        raise RecipeError(f"layout '{layout}' is unknown; expected one of: {', '.join(EXPORTERS)}")
