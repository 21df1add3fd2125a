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
            help="semodepth: text manifests, 16-bit PNG depth, .npy radar; depth_png: the depth maps of every frame with camera "
            "matrices and poses as JSON; da3_depth_results: depth of a monocular depth model, one .npz a frame"
        ),
    ] = "semodepth",
    depth: Annotated[
        list[str] | None,
        typer.Option(
            "--depth",
            help="with depth_png: store to write, e.g. depth_single (repeatable), or all; default: the best there is",
        ),
    ] = None,
    images: Annotated[bool, typer.Option("--images", help="with depth_png: copy the images too")] = False,
    npz: Annotated[bool, typer.Option("--npz", help="with depth_png: also .npz with metres, camera matrix and pose")] = False,
    overrides: Overrides = None,
    manifest: ManifestChoice = None,
    as_json: AsJson = False,
) -> None:
    """Write depth maps as PNG, or a layout that other programs read."""
    from flows.run.interchange import export_manifest
    from pipeline.exporters.depth_png import DepthPngOptions

    options = DepthPngOptions(tuple(depth or ()), with_images=images, with_npz=npz) if depth or images or npz else None
    counts = export_manifest(recipe, out, layout=layout, overrides=overrides, manifest=manifest, depth_png=options)
    noun = "frames" if layout == "depth_png" else "samples"
    text = f"wrote {out}: " + ", ".join(f"{count} {split} {noun}" for split, count in counts.items())
    say({"folder": str(out), "samples": counts}, text, as_json=as_json)
