"""Depth maps that a data set brings along as 16-bit PNGs beside its images: one file a frame, metres times 256, 0 = nothing.

Source docs/method/formats.md#zju-4dradarcam. The integers are those of storage_schemas.encoding, so nothing is converted.
"""

from __future__ import annotations

import io
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.stage import StageInput, StageResult, share_text
from storage_schemas.errors import SourceError
from storage_schemas.layout import UnitData

_IS_16_BIT = ("I;16", "I;16B", "I;16L")


def map_file(image_file: str, folder: str) -> str:
    """Return the file of a frame's map below the source's root: that of its image, in another folder, as .png."""
    return f"{folder}/{PurePosixPath(image_file).stem}.png"


def read_maps(unit: StageInput, folder: str) -> NDArray[np.uint16]:
    """Return a folder's maps of all key frames of a unit.

    Args:
        unit: scene and camera; the files it reads are noted.
        folder: name of the folder below the source's root.

    Returns:
        (frame, y, x) uint16 steps of 1/256 m, 0 = no measurement.

    Raises:
        SourceError: a file is missing, no 16-bit grey PNG, or of another size than its image; names the file.
    """
    height, width = unit.image_size()
    maps = np.empty((len(unit.keyframes), height, width), np.uint16)
    for frame, keyframe in enumerate(unit.keyframes):
        maps[frame] = _read_map(unit, keyframe, folder)
    return maps


def pack_maps(unit: StageInput, folder: str) -> StageResult:
    """Return a folder's maps as the content of a depth store, integer for integer; errors as ``read_maps``."""
    depth = read_maps(unit, folder)
    num_measured = np.count_nonzero(depth, axis=(1, 2)).astype(np.int32)
    data = UnitData(arrays={"depth_m": depth, "num_measured": num_measured, "timestamp_us": unit.timestamps_us()})
    counts = {"frames": float(len(depth)), "share_measured": float(num_measured.mean() / depth[0].size)}
    return StageResult(data, counts, share_text(num_measured, depth[0].size))


def _read_map(unit: StageInput, keyframe: dict[str, Any], folder: str) -> NDArray[np.uint16]:
    from PIL import Image, UnidentifiedImageError

    file = map_file(keyframe["file"], folder)
    content = unit.raw.read_bytes(file)
    unit.used_files.add(file)
    try:
        with Image.open(io.BytesIO(content)) as image:
            if image.format != "PNG" or image.mode not in _IS_16_BIT:
                raise SourceError(
                    f"depth map '{file}' is {image.format} of mode {image.mode}, expected a 16-bit grey PNG of metres times 256. "
                    "It was written again by something that lost bits; copy the original"
                )
            if image.size != (keyframe["width"], keyframe["height"]):
                raise SourceError(
                    f"depth map '{file}' is {image.width}x{image.height}, its image '{keyframe['file']}' is "
                    f"{keyframe['width']}x{keyframe['height']}. Both must cover the same pixels; copy the right file"
                )
            return np.asarray(image).astype(np.uint16)
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise SourceError(f"depth map '{file}' cannot be read: {error}. Copy it again, then run the same command") from error
