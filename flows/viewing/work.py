"""What ``depthmill view`` and ``depthmill video`` do: open a scene and its predictions, check the file to write, write it."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.run.listener import Listener
from flows.run.opening import is_recipe, open_store, open_with_settings, own_manifest
from flows.viewing.pictures import TITLES
from flows.viewing.predictions import Predictions
from flows.viewing.scene import ViewedScene
from pipeline.stage import RawReader
from storage_schemas.awaited import awaited
from storage_schemas.errors import ManifestError, OutTakenError, RecipeError, StoreError
from storage_schemas.files import explain_write_error
from storage_schemas.install_command import install_command
from storage_schemas.manifest import Manifest, open_manifest

VIDEO_ENDINGS = (".webm", ".mp4")


@dataclass(frozen=True)
class Choices:
    """What is to be seen.

    Attributes:
        data: recipe file, or path or URL of a store.
        scene: name; None = the first one, with predictions the first that has some.
        cameras: channels; empty = all.
        manifest: fingerprint; None = the recipe's own, or the store's newest.
        overrides: changed recipe keys.
        predictions: folder that ``depthmill predict`` wrote; None = no predictions are shown.
        out: file to write; None = named after the scene, in the current folder.
    """

    data: str
    scene: str | None = None
    cameras: tuple[str, ...] = ()
    manifest: str | None = None
    overrides: Sequence[str] = ()
    predictions: Path | None = None
    out: Path | None = None


@dataclass(frozen=True)
class Seen:
    """What was written, for people and for programs."""

    path: Path
    text: str
    data: dict[str, Any]

    def __repr__(self) -> str:
        """Return what a person reads."""
        return self.text


def view_scene(choices: Choices, listener: Listener, *, points: int) -> Seen:
    """Write a Rerun recording of a scene.

    Args:
        choices: what is shown.
        listener: is told of the progress, and of what cannot be shown.
        points: points of a depth map or a sweep, at most; 0 = all.

    Raises:
        RecipeError: the recipe has a mistake, its manifest is not made yet, an option is wrong, there is no such scene or
            camera, or the extra is missing.
        OutTakenError: a folder is where the file shall be written.
        StoreError: a unit cannot be read, or the file cannot be written.
        SourceError: a prediction or an image is damaged.
    """
    refuse_without("rerun", "view", "rerun-sdk")
    if points < 0:
        raise RecipeError(f"--points {points} is too small; expected 1 or more, or 0 for all points")
    if choices.out is not None:
        check_file(choices.out, ".rrd", "recording")
    scene, predictions = open_scene(choices, listener)
    if not scene.has_cameras:
        raise RecipeError(
            f"scene '{scene.name}' of manifest {scene.manifest.path.fingerprint} has no camera matrix, so its pixels have no "
            "place in space: it was imported from files that do not say it. depthmill video shows its pictures"
        )
    if not scene.has_poses:
        listener.warn("warning: poses of the cameras are not known, so each frame stands where the first one does")
    out = choices.out or Path(f"{scene.name}.rrd")
    check_file(out, ".rrd", "recording")
    with awaited("Rerun is loaded"):
        from flows.viewing.recording import write_recording
    try:
        logged = write_recording(
            scene,
            out,
            predictions=predictions,
            most_points=points,
            about=about_text(scene, points),
        )
    except OSError as error:
        raise _refused(error, out, "recording") from error
    data = {"recording": str(out), **_facts(scene), "frames": logged.num_frames, "kept_share": logged.share}
    text = f"wrote {out}: {_words(scene, logged.num_frames)}, {_size(out)}"
    if logged.share < 1:
        text += f". Depth maps are thinned to {points:,} points (--points 0 keeps all)"
    return Seen(out, text, data)


def film_scene(choices: Choices, listener: Listener, *, pictures: Sequence[str], fps: float | None) -> Seen:
    """Write a video of a scene.

    Args:
        choices: what is shown.
        listener: is told of the progress, and of what cannot be shown.
        pictures: names of pictures; empty = those that tell the most.
        fps: frames a second; None = as fast as the drive was.

    Raises:
        RecipeError: the recipe has a mistake, its manifest is not made yet, an option is wrong, there is no such scene or
            camera, or the extra is missing.
        OutTakenError: a folder is where the file shall be written.
        StoreError: a unit cannot be read, or the file cannot be written.
        SourceError: a prediction or an image is damaged.
    """
    refuse_without("av", "video", "PyAV")
    for name in pictures:
        if name not in TITLES:
            raise RecipeError(f"--picture '{name}' is unknown; expected {', '.join(TITLES)}")
    if fps is not None and not 0.2 <= fps <= 60:
        raise RecipeError(f"--fps {fps:g} is out of range; expected 0.2 to 60")
    if choices.out is not None:
        check_file(choices.out, *VIDEO_ENDINGS, "video")
    scene, predictions = open_scene(choices, listener)
    out = choices.out or Path(f"{scene.name}.webm")
    check_file(out, *VIDEO_ENDINGS, "video")
    from flows.viewing.video import write_video

    try:
        made = write_video(scene, out, predictions=predictions, pictures=pictures, fps=fps)
    except OSError as error:
        raise _refused(error, out, "video") from error
    width, height = made.size
    data = {"video": str(out), **_facts(scene), "frames": made.num_frames, "fps": made.fps, "pictures": list(made.pictures)}
    text = f"wrote {out}: {_words(scene, made.num_frames)}, {width}x{height}, {made.fps:.2g} frames a second, {_size(out)}"
    if lacking := [name for name in pictures if name not in made.pictures]:
        text += f". Not there: {', '.join(lacking)}"
    return Seen(out, text, {**data, "width": width, "height": height})


def open_scene(choices: Choices, listener: Listener) -> tuple[ViewedScene, Predictions | None]:
    """Open the chosen scene, and the predictions; errors as ``view_scene``."""
    predictions = None if choices.predictions is None else Predictions(choices.predictions)
    manifest, raw = _opened(choices)
    name = choices.scene or _first_scene(manifest, predictions)
    scene = ViewedScene(manifest, name, choices.cameras, raw=raw, warn=lambda sentence: listener.warn(f"warning: {sentence}"))
    if predictions is not None and not any(predictions.has(row) for row in scene.rows):
        with_some = next((row["scene"] for row in manifest.rows() if predictions.has(row)), None)
        where = f"the first scene with some is '{with_some}'" if with_some else "no frame of this manifest has any"
        raise RecipeError(
            f"--predictions '{choices.predictions}' has none of scene '{name}'; {where}. Choose that scene, or predict its split"
        )
    return scene, predictions


def _opened(choices: Choices) -> tuple[Manifest, RawReader | None]:
    if not is_recipe(choices.data):
        if choices.overrides:
            raise RecipeError("--set changes a recipe, and a store was given. Give the recipe file")
        return open_manifest(open_store(choices.data), choices.manifest), None
    opened = open_with_settings(Path(choices.data), choices.overrides)
    return open_manifest(opened.store, choices.manifest or own_manifest(opened)), opened.source.reader()


def _first_scene(manifest: Manifest, predictions: Predictions | None) -> str:
    for row in manifest.rows():
        if predictions is None or predictions.has(row):
            return str(row["scene"])
    if predictions is not None and len(manifest):
        raise RecipeError(
            f"--predictions holds no frame of manifest {manifest.path.fingerprint}; expected depth/<scene>/<camera>/<time>.png "
            f"or data/<frame>.txt, e.g. depth/{manifest.samples['frame_key'][0]}.png. Predict a split of this recipe"
        )
    raise ManifestError(f"manifest {manifest.path.fingerprint} has no frame, so there is nothing to see")


def refuse_without(module: str, extra: str, package: str) -> None:
    """Check that the package of an optional extra is installed; RecipeError says how to install it."""
    if importlib.util.find_spec(module) is None:
        raise RecipeError(f"this command needs {package}, which is not installed here. Run: {install_command(extra)}")


def check_file(out: Path, *endings_and_what: str) -> None:
    """Check that a file of this kind may be written here.

    Args:
        out: the file; one that is there is replaced.
        endings_and_what: the endings that it may have, then what it is called in errors.

    Raises:
        RecipeError: the ending is another one, or the folder above it does not exist.
        OutTakenError: it is a folder.
    """
    *endings, what = endings_and_what
    try:
        is_folder, has_parent = out.is_dir(), out.absolute().parent.is_dir()
    except OSError as error:
        raise _refused(error, out, what) from error
    if is_folder:
        raise OutTakenError(
            f"cannot write {what} '{out}': it is a folder. Give --out a file name, e.g. {out / f'scene{endings[0]}'}"
        )
    if out.suffix.lower() not in endings:
        raise RecipeError(
            f"cannot write {what} '{out}': its name ends with '{out.suffix}', expected {' or '.join(endings)}. "
            f"Choose e.g. --out {out.with_suffix(endings[0])}"
        )
    if not has_parent:
        raise RecipeError(
            f"cannot write {what} '{out}': folder '{out.absolute().parent}' does not exist. "
            "Create it (mkdir -p) or choose another --out"
        )


def _refused(error: OSError, out: Path, what: str) -> StoreError:
    return explain_write_error(
        error,
        f"{what} '{out}'",
        if_full="Free some space, or choose another --out",
        if_denied="Choose an --out in a folder that you may write to",
        otherwise="Choose another --out",
    )


def about_text(scene: ViewedScene, points: int) -> str:
    """Return the page of explanations that stands in the viewer."""
    how_many = "All points are shown" if points == 0 else f"A map shows {points:,} points at most"
    return "\n".join(
        [
            f"# {scene.name}",
            "",
            f"Manifest `{scene.manifest.path.fingerprint}`, cameras {', '.join(scene.cameras)}.",
            "",
            "- **Depth** is coloured from 2 m (red) to 80 m (violet), logarithmically. Magenta points were removed by cleaning.",
            "- **Errors** are grey near 0, orange where the map is too near, blue where it is too far. Full colour is 10 m.",
            "- **Radar** returns are large points. An arrow shows the way of one second over ground. A radar measures only the",
            "  part of a velocity along its ray.",
            "- **Boxes** are light blue, orange if they move faster than 0.5 m/s, pink if a detector found them.",
            "- The 3D view goes with the car. Axes are those of the data set's world, moved to where the first camera begins.",
            f"- {how_many}.",
        ]
    )


def _facts(scene: ViewedScene) -> dict[str, Any]:
    return {"scene": scene.name, "cameras": list(scene.cameras), "manifest": scene.manifest.path.fingerprint}


def _words(scene: ViewedScene, num_frames: int) -> str:
    cameras = f"{len(scene.cameras)} cameras" if len(scene.cameras) > 1 else scene.cameras[0]
    return f"{scene.name}, {num_frames} key frame{'s' if num_frames != 1 else ''}, {cameras}"


def _size(path: Path) -> str:
    return f"{path.stat().st_size / 1e6:.1f} MB"
