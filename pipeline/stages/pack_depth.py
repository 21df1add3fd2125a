"""Bring a data set's own sparse LiDAR depth into the store, integer for integer.

Why    Where a set gives depth maps and no point clouds, they are what a single sweep is elsewhere: anchor and truth (D_gt)
Reads  frames (file names), gt/<name>.png
Writes depth_single.depth_m (frame, y, x) metres, 0 = no measurement
Source specs/semodepth.md section 5
"""

from __future__ import annotations

from pipeline.given_maps import pack_maps
from pipeline.stage import NoParams, StageInput, StageResult, StageSpec
from storage_schemas.catalog import DEPTH_SINGLE, FRAMES


class Params(NoParams):
    """Nothing to choose: the maps are taken as they are."""


def kernel(unit: StageInput, p: Params) -> StageResult:
    """Pack the sparse depth of all key frames of one scene and camera."""
    return pack_maps(unit, "gt")


STAGE = StageSpec("pack_depth", version=1, reads=(FRAMES,), writes=DEPTH_SINGLE, params=Params, kernel=kernel, needs="given")
