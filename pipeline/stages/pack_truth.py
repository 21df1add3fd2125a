"""Pack the exact depth of a simulated world, where the source knows it.

Why    With exact depth the error of the supervision can be measured
Reads  frames (file names), the truth/ folder of the simulated world
Writes depth_truth.depth_m (frame, y, x) metres, 0 = sky; depth_truth.surface
"""

from __future__ import annotations

from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from pipeline.capability import TRUTH
from pipeline.stage import NoParams, StageInput, StageResult, StageSpec, share_text
from storage_schemas.catalog import DEPTH_TRUTH, FRAMES
from storage_schemas.image_files import opened_image
from storage_schemas.layout import UnitData


class Params(NoParams):
    """Nothing to choose."""


def truth_file(image_file: str, kind: str) -> str:
    """Return the truth file beside an image file: kind is 'depth' or 'surface'."""
    image = PurePosixPath(image_file)
    return f"truth/{image.parent.name}/{image.stem}.{kind}.png"


def _read_png(unit: StageInput, file: str) -> NDArray[np.uint16]:
    unit.used_files.add(file)
    content, remedy = unit.raw.read_bytes(file), "Delete the simulated world and run again"
    with opened_image(content, what=f"truth map '{file}'", remedy=remedy) as image:
        return np.asarray(image).astype(np.uint16)


def kernel(unit: StageInput, p: Params) -> StageResult:
    """Pack the exact depth of all key frames of one scene and camera."""
    depth = np.stack([_read_png(unit, truth_file(keyframe["file"], "depth")) for keyframe in unit.keyframes])
    surface = np.stack([_read_png(unit, truth_file(keyframe["file"], "surface")).astype(np.uint8) for keyframe in unit.keyframes])
    num_measured = np.count_nonzero(depth, axis=(1, 2)).astype(np.int32)
    data = UnitData(
        arrays={"depth_m": depth, "surface": surface, "num_measured": num_measured, "timestamp_us": unit.timestamps_us()}
    )
    return StageResult(data, {"frames": len(depth)}, share_text(num_measured, depth[0].size))


STAGE = StageSpec("pack_truth", version=1, reads=(FRAMES,), writes=DEPTH_TRUTH, params=Params, kernel=kernel, needs=TRUTH)
