"""Depth of a model as the public ``DA3_depth_results``: one .npz and one picture a frame; teacher ``depth_maps`` reads it back.

Reads  depth_mono_raw and images of a manifest
Writes <out>/{training,testing}/<name>.npz: depth float32 (grid_y, grid_x) metres, intrinsics (3, 3) of that grid where the camera
       is known, conf and sky where the model gives them; <name>_vis.jpg: the image above, inverse depth in colour below
Source docs/method/formats.md#da3-depth-results. The public program writes both halves into one folder, where testing overwrites
       training, and colours depth between its extremes, where one outlier flattens the picture; neither is done here
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.exporters.image_file import image_file
from pipeline.exporters.out_folder import check_out, whole_folder
from pipeline.mono_depth.maps import FOLDER_OF_SPLIT, SUFFIX, map_key
from pipeline.poses import intrinsic_of
from pipeline.stage import RawReader
from pipeline.types import ALL
from storage_schemas.awaited import counted
from storage_schemas.catalog import DEPTH_MONO_RAW, FRAMES, IMAGES, VALUE_KINDS
from storage_schemas.errors import ManifestError
from storage_schemas.image_files import IMAGE_FORMATS
from storage_schemas.layout import rows
from storage_schemas.manifest import Manifest
from storage_schemas.store import Store, StoredUnit, UnitPath

PERCENTILES = (2.0, 98.0)
"""Inverse depth at the ends of the colours."""

INFERNO = np.array(
    [
        *((0, 0, 4), (11, 7, 36), (33, 12, 74), (61, 9, 101), (87, 16, 110), (113, 25, 110), (138, 34, 106), (163, 44, 97)),
        *((188, 55, 84), (210, 70, 68), (228, 90, 49), (241, 115, 29), (249, 142, 9), (252, 172, 17), (249, 203, 53)),
        *((242, 234, 105), (252, 255, 164)),
    ],
    np.float64,
)
"""Colours of matplotlib's inferno (CC0) at 17 places from far to near; between them it is interpolated, at most 7 of 255 off."""

JPEG_QUALITY = 90


def export_da3_depth_results(manifest: Manifest, raw: RawReader | None, out: Path) -> dict[str, int]:
    """Write the model's maps of every key frame of a manifest's scenes.

    Args:
        manifest: the model's units are among those it was built from.
        raw: reader of image files, for stores that refer to images instead of holding them; None if the source is not at hand.
        out: folder to write; must not exist or be empty.

    Returns:
        Maps per half: training, testing.

    Raises:
        ManifestError: there is no map of a model, its values are not metres, or two frames have one file name.
        SourceError: an image file that the store refers to is missing or has changed.
        StoreError: ``out`` is not empty, the disk is full, or writing is not permitted; nothing is left behind.
    """
    check_out(out)
    frames = _listed(manifest)
    counts: Counter[str] = Counter()
    with whole_folder(out) as temporary:
        contents = zip(frames, _contents(manifest.store, frames, raw), strict=True)
        for frame, (parts, picture) in counted(contents, "depth maps are written", total=len(frames)):
            file = temporary / frame.key
            file.parent.mkdir(exist_ok=True)
            np.savez_compressed(f"{file}{SUFFIX}", **parts)
            Path(f"{file}_vis.jpg").write_bytes(picture)
            counts[file.parent.name] += 1
    return {name: counts[name] for name in dict.fromkeys(FOLDER_OF_SPLIT.values()) if counts[name]}


def depth_picture(image_u8: NDArray[np.uint8], depth_m: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return (2 grid_y, grid_x, 3) uint8: the image at the map's size, below it inverse depth, dark far, bright near.

    Args:
        image_u8: (height, width, 3) RGB.
        depth_m: (grid_y, grid_x) metres, 0 = nothing, which comes out black.
    """
    from PIL import Image

    height, width = depth_m.shape
    above = np.asarray(Image.fromarray(image_u8).resize((width, height), Image.Resampling.BILINEAR))
    is_valid = depth_m > 0
    below = np.zeros((height, width, 3), np.uint8)
    if is_valid.any():
        per_m = 1.0 / depth_m[is_valid].astype(np.float64)
        far, near = np.percentile(per_m, PERCENTILES)
        share = np.clip((per_m - far) / max(near - far, 1e-12), 0.0, 1.0)
        places = np.linspace(0.0, 1.0, len(INFERNO))
        below[is_valid] = np.rint(np.stack([np.interp(share, places, channel) for channel in INFERNO.T], axis=-1))
    return np.concatenate([above, below])


@dataclass(frozen=True)
class _Frame:
    """One key frame: its file's name, what the index says of it, and the units that hold it."""

    key: str
    frame_key: str
    number: int
    keyframe: dict[str, Any]
    depth: UnitPath
    images: UnitPath


def _listed(manifest: Manifest) -> list[_Frame]:
    """Return every key frame of the model's units, also those that the manifest leaves out as the last of their scene."""
    of_layout: dict[str, dict[tuple[str, str], UnitPath]] = {}
    for path in manifest.named_units():
        of_layout.setdefault(path.layout, {})[path.scene, path.camera] = path
    frame_of_key: dict[str, _Frame] = {}
    for (scene, camera), depth in sorted(of_layout.get(DEPTH_MONO_RAW.name, {}).items()):
        index = manifest.store.open_unit(of_layout[FRAMES.name][scene, ALL])
        split = index.table("scene")["split"][0]
        keyframes = [row for row in rows(index.table("keyframes")) if row["camera"] == camera]
        for number, row in enumerate(keyframes):
            frame_key = f"{scene}/{camera}/{row['timestamp_us']}"
            key = map_key(split, row["sample_token"], frame_key)
            frame = _Frame(key, frame_key, number, row, depth, of_layout[IMAGES.name][scene, camera])
            if (former := frame_of_key.setdefault(key, frame)) is not frame:
                raise ManifestError(
                    f"frames '{former.frame_key}' and '{frame_key}' would both be written to {key}{SUFFIX}. Export one camera at "
                    "a time (cameras: in the recipe)"
                )
    if not frame_of_key:
        raise ManifestError(
            f"manifest {manifest.path.fingerprint} was built without {DEPTH_MONO_RAW.name}. Name a teacher in "
            "stages.predict_mono_depth.teacher, run the recipe, and export again"
        )
    return list(frame_of_key.values())


def _contents(store: Store, frames: list[_Frame], raw: RawReader | None) -> Iterator[tuple[dict[str, NDArray[Any]], bytes]]:
    """Return arrays and picture of every frame, opening each unit once: frames come unit by unit."""
    from PIL import Image

    opened: tuple[UnitPath, StoredUnit, StoredUnit, Any] | None = None
    for frame in frames:
        if opened is None or opened[0] != frame.depth:
            images = store.open_unit(frame.images)
            opened = (frame.depth, store.open_unit(frame.depth), images, images.table("files"))
        parts = _parts(opened[1], frame)
        content = image_file(opened[2], opened[3], frame.number, raw)
        with Image.open(io.BytesIO(content), formats=IMAGE_FORMATS) as image:
            picture = depth_picture(np.asarray(image.convert("RGB")), parts["depth"])
        stream = io.BytesIO()
        Image.fromarray(picture).save(stream, format="JPEG", quality=JPEG_QUALITY)
        yield parts, stream.getvalue()


def _parts(unit: StoredUnit, frame: _Frame) -> dict[str, NDArray[Any]]:
    kind = VALUE_KINDS[int(unit.array("value_kind", frame.number))]
    if kind != "metric":
        raise ManifestError(
            f"frame '{frame.frame_key}': the teacher gives {kind} values (unit '{unit.path.key}'), the layout holds metres. "
            "Choose a teacher of metres, e.g. depth_anything_3 with da3_output focal or metres"
        )
    parts: dict[str, NDArray[Any]] = {"depth": unit.array("value", frame.number).astype(np.float32)}
    intrinsic = intrinsic_of(frame.keyframe)
    if np.isfinite(intrinsic).all():
        num_rows, num_columns = parts["depth"].shape
        scale = np.diag([num_columns / frame.keyframe["width"], num_rows / frame.keyframe["height"], 1.0])
        parts["intrinsics"] = (scale @ intrinsic).astype(np.float32)
    for stored, name, dtype in (("confidence", "conf", np.float32), ("is_sky", "sky", np.bool_)):
        if stored in unit.array_names:
            parts[name] = unit.array(stored, frame.number).astype(dtype)
    return parts
