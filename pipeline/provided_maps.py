"""Depth maps that a data set provides as 16-bit PNGs beside its images: one file a frame, metres times 256, 0 = nothing.

Source docs/method/formats.md#zju-4dradarcam. The integers are those of storage_schemas.encoding, so nothing is converted.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.stage import MapReader, StageInput, StageResult, depth_result
from storage_schemas.encoding import STEPS_PER_M
from storage_schemas.errors import SourceError
from storage_schemas.image_files import opened_image
from storage_schemas.layout import StoreLayout

_LEAST_PIXELS = 20
"""Measured pixels of a map that may all have one value by chance if there are fewer."""

NEAREST_M = 1.0
"""The farthest pixel of a camera on a road lies beyond this."""

_IS_16_BIT = ("I;16", "I;16B", "I;16L")


def read_maps(unit: StageInput, layout: StoreLayout) -> NDArray[np.uint16]:
    """Return the maps of all key frames of a unit that the source provides for a layout.

    Args:
        unit: scene and camera; the files it reads are noted.
        layout: what the maps become.

    Returns:
        (frame, y, x) uint16 steps of 1/256 m, 0 = no measurement.

    Raises:
        SourceError: a file is missing, no 16-bit grey PNG, or of another size than its image; names the file.
    """
    height, width = unit.image_size()
    maps = np.empty((len(unit.keyframes), height, width), np.uint16)
    for frame, keyframe in enumerate(unit.keyframes):
        maps[frame] = _read_map(unit, keyframe, layout)
    return maps


def pack_maps(unit: StageInput, layout: StoreLayout) -> StageResult:
    """Return provided maps as the content of a depth store, integer for integer; errors as ``read_maps``."""
    depth = read_maps(unit, layout)
    num_measured = np.count_nonzero(depth, axis=(1, 2)).astype(np.int32)
    return depth_result(depth, num_measured, unit.timestamps_us(), counts=counts_of_maps(depth))


def counts_of_maps(steps: NDArray[np.uint16]) -> dict[str, float]:
    """Count maps (frame, y, x) that say one depth everywhere, empty ones beside others, and those that end before 1 m.

    Sound maps give no count.
    """
    top, num_measured = steps.max(axis=(1, 2)), np.count_nonzero(steps, axis=(1, 2))
    is_flat = (num_measured >= _LEAST_PIXELS) & (np.count_nonzero(steps == top[:, None, None], axis=(1, 2)) == num_measured)
    num_empty = int((num_measured == 0).sum())
    is_near = (num_measured >= _LEAST_PIXELS) & (top < NEAREST_M * STEPS_PER_M) & ~is_flat
    counts = {
        "maps_of_one_value": int(is_flat.sum()),
        "maps_empty": num_empty if num_empty < len(steps) else 0,
        "maps_too_near": int(is_near.sum()),
    }
    return {name: float(count) for name, count in counts.items() if count}


def _read_map(unit: StageInput, keyframe: dict[str, Any], layout: StoreLayout) -> NDArray[np.uint16]:
    assert isinstance(unit.raw, MapReader)  # the plan has these stages only for sources that provide such maps
    file = unit.raw.map_file(layout, keyframe["file"])
    content = unit.raw.read_bytes(file)
    unit.used_files.add(file)
    with opened_image(content, what=f"depth map '{file}'", remedy="Copy it again, then run the same command") as image:
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
