"""``depthmill view``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.command_line import completion
from flows.command_line.answers import console, echo, say
from flows.command_line.options import AsJson, ManifestChoice, Overrides, StoreOrRecipe

SceneChoice = Annotated[
    str | None,
    typer.Argument(help="name of a scene; default: the first of the manifest", autocompletion=completion.scenes),
]
Cameras = Annotated[list[str] | None, typer.Option("--camera", help="a camera to show (repeatable); default: all")]
PredictionsFolder = Annotated[
    Path | None,
    typer.Option("--predictions", help="folder of depthmill predict: shown, and compared with the depth maps"),
]


def view(
    recipe: StoreOrRecipe,
    scene: SceneChoice = None,
    overrides: Overrides = None,
    camera: Cameras = None,
    predictions: PredictionsFolder = None,
    manifest: ManifestChoice = None,
    out: Annotated[Path | None, typer.Option("--out", help="file to write; default: <scene>.rrd here")] = None,
    points: Annotated[int, typer.Option(min=0, help="points of a depth map or a sweep, at most; 0 = all")] = 30_000,
    open_viewer: Annotated[bool, typer.Option("--open", help="then open it in the Rerun viewer, a window of its own")] = False,
    serve: Annotated[
        bool, typer.Option("--serve", help="then serve the viewer as a page of this machine, until Ctrl-C; for SSH tunnels")
    ] = False,
    port: Annotated[
        int, typer.Option(min=1, max=65534, help="with --serve: port of the page; its data comes from the next one")
    ] = 9090,
    as_json: AsJson = False,
) -> None:
    """Write a scene as a Rerun recording, to look at in 3D.

    Cameras, LiDAR, depth as points, radar, boxes and errors stand on one time line. It needs the extra
    view, and says how to install it. Open a recording with: rerun <scene>.rrd
    """
    from depthmill import scenes
    from flows.viewing.viewer import open_window, page_address, refuse_taken_ports, serve_page

    if serve:
        refuse_taken_ports(port)
    seen = scenes.view(
        recipe,
        scene,
        out=out,
        cameras=camera or (),
        predictions=predictions,
        points=points,
        manifest=manifest,
        overrides=overrides or (),
        listener=console(as_json=as_json),
    )
    then = "" if open_viewer or serve else f"\nNext: rerun {seen.path}"
    say(seen.data, seen.text + then, as_json=as_json)
    if open_viewer:
        open_window(seen.path)
    if serve:
        echo(f"{page_address(port)}   (Ctrl-C ends it)", err=as_json)
        serve_page(seen.path, port=port)
