"""Bring a data set's own interpolated LiDAR depth into the store, integer for integer.

Why    It is the dense training target of sets that have no sweeps to accumulate
Reads  frames (file names), the map of each image that the source provides (ZJU-4DRadarCam: gt_interp/<name>.png)
Writes depth_interpolated.depth_m (frame, y, x) metres, 0 = outside the hull of the measured pixels
Source docs/method/formats.md#zju-4dradarcam
"""

from __future__ import annotations

from pipeline.capability import provided
from pipeline.provided_maps import pack_maps
from pipeline.stage import NoParams, StageInput, StageResult, StageSpec
from storage_schemas.catalog import DEPTH_INTERPOLATED, FRAMES


class Params(NoParams):
    """Nothing to choose: the maps are taken as they are."""


def kernel(unit: StageInput, p: Params) -> StageResult:
    """Pack the interpolated depth of all key frames of one scene and camera."""
    return pack_maps(unit, DEPTH_INTERPOLATED)


STAGE = StageSpec(
    "pack_interpolated",
    version=1,
    reads=(FRAMES,),
    writes=DEPTH_INTERPOLATED,
    params=Params,
    kernel=kernel,
    needs=provided(DEPTH_INTERPOLATED),
    never_zero=(("share_measured", "no pixel is measured"),),
)
