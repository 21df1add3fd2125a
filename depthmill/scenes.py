"""A scene from Python: see it in Rerun, or as a video."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flows.run.listener import Listener
    from flows.viewing.work import Seen


def view(
    data: str | Path,
    scene: str | None = None,
    *,
    out: str | Path | None = None,
    cameras: Sequence[str] = (),
    predictions: str | Path | None = None,
    points: int = 30_000,
    manifest: str | None = None,
    overrides: Sequence[str] = (),
    listener: Listener | None = None,
) -> Seen:
    """Write a Rerun recording of a scene: cameras, LiDAR, depth as points, radar, boxes, predictions and errors over time.

    Args:
        data: recipe file, or path or URL of a store; a store alone shows no LiDAR sweeps, which lie in the source.
        scene: its name; None = the manifest's first.
        out: file to write, ending with .rrd; None = ``<scene>.rrd`` here.
        cameras: channels; none = all.
        predictions: folder that ``predict_files`` or ``depthmill predict`` wrote.
        points: points of a depth map or a sweep, at most; 0 = all.
        manifest: fingerprint of another manifest than the recipe's own or the store's newest.
        overrides: changed recipe keys.
        listener: is told of the progress; None = nobody is.

    Returns:
        ``path`` of the recording, ``text`` and ``data`` about it.

    Raises:
        RecipeError: rerun-sdk is not installed, the recipe has a mistake, or its manifest is not made yet.
        ManifestError: there is no such scene or camera.
        StoreError: a unit cannot be read, or the file cannot be written.
        SourceError: an image or a prediction is damaged.
    """
    from flows.run.making import SILENT
    from flows.viewing.work import Choices, view_scene

    choices = Choices(
        data=str(data),
        scene=scene,
        cameras=tuple(cameras),
        manifest=manifest,
        overrides=overrides,
        predictions=None if predictions is None else Path(predictions),
        out=None if out is None else Path(out),
    )
    return view_scene(choices, listener or SILENT, points=points)
