"""Bring a data set's own radar depth maps into the store, as the points that they are.

Why    A map with a few hundred returns is points on pixels; the loader makes the same map of them again, bit for bit
Reads  frames (file names), the radar map of each image that the source provides (ZJU-4DRadarCam: radar_png/<name>.png)
Writes radar_points: u_px and v_px are column and row of the pixel, depth_m its value, row by row. The map does not hold
       cross-section and velocity, which are NaN. ``sensor`` is 0, the front radar
Source docs/method/semodepth.md#radar-map; docs/method/formats.md#zju-4dradarcam
"""

from __future__ import annotations

import numpy as np

from pipeline.capability import provided
from pipeline.provided_maps import counts_of_maps, read_maps
from pipeline.stage import NoParams, StageInput, StageResult, StageSpec
from storage_schemas.catalog import FRAMES, RADAR_CHANNELS, RADAR_POINTS
from storage_schemas.encoding import STEPS_PER_M
from storage_schemas.layout import UnitData


class Params(NoParams):
    """Nothing to choose: every pixel of the map that is not 0 is a return."""


def kernel(unit: StageInput, p: Params) -> StageResult:
    """Pack the radar returns of all key frames of one scene and camera."""
    steps = read_maps(unit, RADAR_POINTS)
    frame, row, column = np.nonzero(steps)
    num_points = np.bincount(frame, minlength=len(steps)).astype(np.int32)
    unknown = np.full(len(frame), np.nan, np.float32)
    data = UnitData(
        arrays={
            "u_px": column.astype(np.float64),
            "v_px": row.astype(np.float64),
            "depth_m": steps[frame, row, column] / STEPS_PER_M,
            "rcs_dbsm": unknown,
            "vx_comp_mps": unknown,
            "vy_comp_mps": unknown,
            "sensor": np.full(len(frame), RADAR_CHANNELS.index("RADAR_FRONT"), np.uint8),
            "frame_of_point": frame.astype(np.int32),
            "num_points": num_points,
            "timestamp_us": unit.timestamps_us(),
        }
    )
    mean = float(num_points.mean())
    counts = {"frames": len(num_points), "points_per_frame": mean, **_flat_only(counts_of_maps(steps))}
    return StageResult(data, counts, f"{len(num_points)} frames, {mean:.0f} returns a frame")


def _flat_only(counts: dict[str, float]) -> dict[str, float]:
    """Return counts without that of empty maps: a radar may see nothing."""
    return {name: count for name, count in counts.items() if name != "maps_empty"}


STAGE = StageSpec(
    "pack_radar",
    version=1,
    reads=(FRAMES,),
    writes=RADAR_POINTS,
    params=Params,
    kernel=kernel,
    needs=provided(RADAR_POINTS),
    never_zero=(("points_per_frame", "no radar return is there"),),
)
