"""Depth maps as 16-bit PNG, with everything a reader needs beside them as JSON: for whoever wants the maps and nothing else.

Reads  the depth stores, the index and, if they are asked for, the images that a manifest was built from
Writes <out>/depth/<store>/<scene>/<camera>/<name of the image file>.png  uint16, metres * 256, 0 = no measurement
       <out>/npz/<store>/...npz      if asked for: depth_m float32 (y, x) metres, intrinsic_px (3, 3), world_from_cam (4, 4)
       <out>/images/<scene>/<camera>/<image file>  if asked for: the bytes of the source
       <out>/frames.json             every frame: paths relative to <out>, split, time, camera matrix, pose

Every key frame of every scene is written, also those of no split and those that the manifest leaves out as samples.
"""

from __future__ import annotations

import io
import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.exporters.image_file import image_file
from pipeline.exporters.out_folder import check_out, whole_folder
from pipeline.poses import intrinsic_of, world_from_cam
from pipeline.stage import RawReader
from pipeline.types import ALL
from storage_schemas.awaited import counted
from storage_schemas.catalog import FRAMES, IMAGES
from storage_schemas.dataset import depth_stores
from storage_schemas.encoding import decode_depth
from storage_schemas.errors import ManifestError, RecipeError
from storage_schemas.layout import rows
from storage_schemas.manifest import Manifest
from storage_schemas.public_files import encode_png
from storage_schemas.store import UnitPath

BEST_FIRST = ("depth_clean", "depth_accumulated", "depth_interpolated", "depth_single", "depth_mono", "depth_truth")
"""The store that is written unless others are named: the first of these that every sample has, or else some sample."""
NO_SPLIT = "no split"
"""Key under which frames of no split are counted."""
MOST_THREADS = 8
"""Maps of a scene that are encoded at once; zlib leaves the interpreter free meanwhile."""

_ABOUT = {
    "depth_png": "uint16, metres = value / 256, 0 = no measurement; the size of the image",
    "intrinsic_px": "3x3 camera matrix in pixels; null = not known",
    "world_from_cam": "4x4 pose of the camera at the image's time, metres; x right, y down, z forward; null = not known",
    "timestamp_us": "time of the image in microseconds",
    "source_image": "path of the image in the data set",
    "is_sample": "false for a key frame that the manifest leaves out as a sample, e.g. the last one of a scene",
}


@dataclass(frozen=True)
class DepthPngOptions:
    """What is written.

    Attributes:
        stores: names of depth stores; empty = the best that the manifest has; ("all",) = all that it has.
        with_images: copy the image files too.
        with_npz: write metres with camera matrix and pose as .npz too.
    """

    stores: tuple[str, ...] = ()
    with_images: bool = False
    with_npz: bool = False


def export_depth_png(
    manifest: Manifest, raw: RawReader | None, out: Path, options: DepthPngOptions | None = None
) -> dict[str, int]:
    """Write depth maps of every key frame of a manifest's scenes.

    Args:
        manifest: whose units are read.
        raw: reader of image files, for stores that refer to images instead of holding them; None if the source is not at hand.
        out: folder to write; must not exist or be empty.
        options: what is written; None = the best store, PNG only.

    Returns:
        Frames of each split, and under "no split" those of none.

    Raises:
        RecipeError: a store that was asked for is not in the manifest; names those that are.
        ManifestError: there is no depth map, or two frames of a scene and camera share a file name.
        SourceError: an image file that the store refers to is missing or has changed.
        StoreError: ``out`` is not empty, the disk is full, or writing is not permitted; nothing is left behind.
    """
    check_out(out)
    options = options or DepthPngOptions()
    stores = _chosen_stores(manifest, options.stores)
    views = _views(manifest, stores)
    counts: Counter[str] = Counter()
    num_frames = sum(len(view.frames) for view in views)
    head = {"manifest": manifest.path.fingerprint, "stores": list(stores), "about": _ABOUT}
    with (
        whole_folder(out) as folder,
        (folder / "frames.json").open("w", encoding="utf-8") as stream,
        ThreadPoolExecutor(min(os.cpu_count() or 1, MOST_THREADS)) as threads,
    ):
        stream.write(f'{json.dumps(head, indent=1)[:-2]},\n "frames": [\n')
        written = (entry for view in views for entry in _written(manifest, view, raw, folder, options, threads))
        for number, entry in enumerate(counted(written, "frames are written", total=num_frames)):
            stream.write(("" if number == 0 else ",\n") + json.dumps(entry))  # a line each, for programs that read lines
            counts[entry["split"] or NO_SPLIT] += 1
        stream.write("\n]}\n")
    return {split: counts[split] for split in ("train", "val", "test", NO_SPLIT) if counts[split]}


@dataclass(frozen=True)
class _View:
    """What one camera saw of one scene: its key frames in the order of its units, and the units."""

    frames: Sequence[dict[str, Any]]
    units: dict[str, UnitPath]


def _chosen_stores(manifest: Manifest, wanted: tuple[str, ...]) -> tuple[str, ...]:
    there = tuple(layout.name for layout in depth_stores(manifest) if any(manifest.samples[layout.pin]))
    if not there:
        raise ManifestError(
            f"manifest {manifest.path.fingerprint} has no depth maps. Run a recipe whose source has LiDAR, or that names a "
            "monocular depth model in stages.predict_mono_depth.teacher, and export again"
        )
    if not wanted:
        everywhere = [layout.name for layout in depth_stores(manifest) if all(manifest.samples[layout.pin])]
        return (next((name for names in (everywhere, there) for name in BEST_FIRST if name in names), there[0]),)
    if wanted == ("all",):
        return there
    for name in wanted:
        if name not in there:
            raise RecipeError(
                f"--depth is '{name}', and manifest {manifest.path.fingerprint} has no such store; it has {', '.join(there)}"
            )
    return tuple(dict.fromkeys(wanted))


def _views(manifest: Manifest, stores: tuple[str, ...]) -> list[_View]:
    """Return every scene and camera with maps, in order."""
    units: dict[tuple[str, str], dict[str, UnitPath]] = {}
    for path in manifest.named_units():
        units.setdefault((path.scene, path.camera), {})[path.layout] = path
    samples: dict[tuple[str, str], dict[int, dict[str, Any]]] = {}
    for row in manifest.rows():
        samples.setdefault((row["scene"], row["camera"]), {})[row["frame"]] = row
    return [
        _View(
            _frames(manifest, units, samples.get((scene, camera), {}), scene, camera),
            {name: path for name, path in of_view.items() if name in (*stores, IMAGES.name)},
        )
        for (scene, camera), of_view in sorted(units.items())
        if any(name in of_view for name in stores)
    ]


def _frames(
    manifest: Manifest,
    units: dict[tuple[str, str], dict[str, UnitPath]],
    samples: dict[int, dict[str, Any]],
    scene: str,
    camera: str,
) -> list[dict[str, Any]]:
    """Return what is known of every frame of a view: from the index, or from the manifest where there is no index."""
    path = units.get((scene, ALL), {}).get(FRAMES.name)
    if path is None:  # a folder in a public layout was imported
        found = [
            _frame(row, row["split"], row["is_night"], number=number, is_sample=True) for number, row in sorted(samples.items())
        ]
    else:
        index = manifest.store.open_unit(path)
        about = rows(index.table("scene"))[0]
        split = next((row["split"] for row in samples.values()), about["split"])
        keyframes = [row for row in rows(index.table("keyframes")) if row["camera"] == camera]
        found = [
            _frame(row, split, about["is_night"], number=number, is_sample=number in samples)
            for number, row in enumerate(keyframes)
        ]
    names = Counter(PurePosixPath(frame["source_image"]).stem for frame in found)
    for name, count in names.items():
        if count > 1:
            raise ManifestError(
                f"{count} frames of scene {scene}, camera {camera} have the same file name '{name}', so one would overwrite the "
                "other. Rename the image files of the source"
            )
    return [{"scene": scene, "camera": camera, **frame} for frame in found]


def _frame(row: dict[str, Any], split: str | None, is_night: bool | None, *, number: int, is_sample: bool) -> dict[str, Any]:
    has_pose = "world_from_ego_translation_m" in row
    pose = world_from_cam(row) if has_pose else np.array(row["world_from_cam"], np.float64)
    matrix = intrinsic_of(row) if len(row["intrinsic_px"]) == 9 else np.zeros(0)
    return {
        "number": number,
        "split": split or None,
        "is_night": is_night,
        "is_sample": is_sample,
        "timestamp_us": row["timestamp_us"],
        "height": row["height"],
        "width": row["width"],
        "source_image": row["file"],
        "intrinsic_px": _known(matrix, (3, 3)),
        "world_from_cam": _known(pose, (4, 4)),
    }


def _known(values: NDArray[np.float64], shape: tuple[int, int]) -> list[list[float]] | None:
    if values.size != shape[0] * shape[1] or not np.isfinite(values).all():
        return None
    matrix: list[list[float]] = values.reshape(shape).tolist()
    return matrix


def _written(
    manifest: Manifest, view: _View, raw: RawReader | None, folder: Path, options: DepthPngOptions, threads: ThreadPoolExecutor
) -> Iterator[dict[str, Any]]:
    """Write the files of a view; yield the entry of each frame in frames.json."""
    store = manifest.store
    maps = {name: store.open_unit(path) for name, path in view.units.items() if name != IMAGES.name}
    images = store.open_unit(view.units[IMAGES.name]) if options.with_images and IMAGES.name in view.units else None
    files = images.table("files") if images is not None else {}
    at_once = 2 * MOST_THREADS  # no more maps than these are in memory
    for begin in range(0, len(view.frames), at_once):
        contents = []
        for frame in view.frames[begin : begin + at_once]:
            steps = {name: unit.array("depth_m", frame["number"]) for name, unit in maps.items()}
            image = None if images is None else image_file(images, files, frame["number"], raw)
            contents.append(_Content(frame, steps, image))
        yield from threads.map(lambda content: _write_frame(content, folder, options), contents)


@dataclass(frozen=True)
class _Content:
    frame: dict[str, Any]
    steps: dict[str, NDArray[np.uint16]]
    image: bytes | None


def _write_frame(content: _Content, folder: Path, options: DepthPngOptions) -> dict[str, Any]:
    """Write the files of one frame; return its entry in frames.json."""
    frame, source = content.frame, PurePosixPath(content.frame["source_image"])
    place = f"{frame['scene']}/{frame['camera']}/{source.stem}"
    entry = {name: value for name, value in frame.items() if name != "number"} | {"depth_png": {}}
    for name, steps in content.steps.items():
        entry["depth_png"][name] = _put(folder, f"depth/{name}/{place}.png", encode_png(steps))
        if options.with_npz:
            arrays = {key: np.array(frame[key]) for key in ("intrinsic_px", "world_from_cam") if frame[key] is not None}
            stream = io.BytesIO()
            np.savez_compressed(stream, depth_m=decode_depth(steps), **arrays)
            entry.setdefault("depth_npz", {})[name] = _put(folder, f"npz/{name}/{place}.npz", stream.getvalue())
    if content.image is not None:
        entry["image"] = _put(folder, f"images/{place}{source.suffix}", content.image)
    return entry


def _put(folder: Path, key: str, content: bytes) -> str:
    file = folder / key
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    return key
