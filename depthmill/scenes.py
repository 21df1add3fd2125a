"""A scene from Python: see it in Rerun, or as a video."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flows.run.listener import Listener
    from flows.viewing.work import Choices, Seen


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
    from flows.viewing.work import view_scene

    choices = _choices(data, scene, out, cameras, predictions, manifest, overrides)
    return view_scene(choices, listener or SILENT, points=points)


def video(
    data: str | Path,
    scene: str | None = None,
    *,
    out: str | Path | None = None,
    cameras: Sequence[str] = (),
    predictions: str | Path | None = None,
    pictures: Sequence[str] = (),
    fps: float | None = None,
    manifest: str | None = None,
    overrides: Sequence[str] = (),
    listener: Listener | None = None,
) -> Seen:
    """Write a video of a scene: its pictures beside each other, key frame by key frame.

    Args:
        data: recipe file, or path or URL of a store.
        scene: its name; None = the manifest's first.
        out: file to write, ending with .webm or .mp4; None = ``<scene>.webm`` here.
        cameras: channels; none = all, a row of pictures each.
        predictions: folder that ``predict_files`` or ``depthmill predict`` wrote.
        pictures: names of pictures, see ``depthmill video --help``; none = those that tell the most.
        fps: frames a second; None = as fast as the drive was.
        manifest: fingerprint of another manifest than the recipe's own or the store's newest.
        overrides: changed recipe keys.
        listener: is told of the progress; None = nobody is.

    Returns:
        ``path`` of the video, ``text`` and ``data`` about it.

    Raises:
        RecipeError: PyAV is not installed, the recipe or an option has a mistake, or the manifest is not made yet.
        ManifestError: there is no such scene or camera.
        StoreError: a unit cannot be read, or the file cannot be written.
        SourceError: an image or a prediction is damaged.
    """
    from flows.run.making import SILENT
    from flows.viewing.work import film_scene

    choices = _choices(data, scene, out, cameras, predictions, manifest, overrides)
    return film_scene(choices, listener or SILENT, pictures=pictures, fps=fps)


def _choices(
    data: str | Path,
    scene: str | None,
    out: str | Path | None,
    cameras: Sequence[str],
    predictions: str | Path | None,
    manifest: str | None,
    overrides: Sequence[str],
) -> Choices:
    from flows.viewing.work import Choices

    return Choices(
        data=str(data),
        scene=scene,
        cameras=tuple(cameras),
        manifest=manifest,
        overrides=overrides,
        predictions=None if predictions is None else Path(predictions),
        out=None if out is None else Path(out),
    )
