"""Measure what depth each image row has.

Why    A network that knows nothing but the row is the least that a depth network must beat
Reads  depth_single.depth_m
Writes row_depth.median_m (frame, y) metres, 0 = no measured pixel in the row
"""

from __future__ import annotations

import numpy as np
from pydantic import Field

from pipeline.stage import StageInput, StageParams, StageResult, StageSpec
from storage_schemas.catalog import DEPTH_SINGLE
from storage_schemas.encoding import STEPS_PER_M
from storage_schemas.layout import ArraySpec, StoreLayout, UnitData

ROW_DEPTH = StoreLayout(
    "row_depth",
    version=1,
    description="Depth of each image row",
    arrays=(
        ArraySpec("median_m", ("frame", "y"), "float32", "m", "median of the measured depths of a row; 0 = none"),
        ArraySpec("timestamp_us", ("frame",), "int64", "us", "time of the image"),
    ),
)


class Params(StageParams):
    """What counts."""

    min_pixels: int = Field(default=1, ge=1, description="measured pixels that a row needs")


def kernel(unit: StageInput, p: Params) -> StageResult:
    """Measure every row of every key frame of one scene and camera."""
    steps = unit.units["depth_single"].arrays["depth_m"]
    median_m = np.zeros(steps.shape[:2], np.float32)
    for frame, row in np.argwhere((steps > 0).sum(axis=2) >= p.min_pixels):
        values = steps[frame, row]
        median_m[frame, row] = np.median(values[values > 0]) / STEPS_PER_M
    data = UnitData(arrays={"median_m": median_m, "timestamp_us": unit.units["depth_single"].arrays["timestamp_us"]})
    return StageResult(data, {"frames": float(len(steps))}, f"{len(steps)} frames")


STAGE = StageSpec("measure_rows", version=1, reads=(DEPTH_SINGLE,), writes=ROW_DEPTH, params=Params, kernel=kernel)
