"""Interpolate a depth map between its measured pixels: another dense training target.

Why    Sparse supervision can be filled instead of accumulated (Singh et al.; gt_interp of ZJU-4DRadarCam); both can be compared
Reads  the depth store named by ``of``: depth_m (frame, y, x) metres, 0 = no measurement
Writes depth_interpolated.depth_m, same grid: measured pixels bit for bit, piecewise linear over the Delaunay triangulation of
       the measured pixels between them, 0 outside their hull and in triangles that are left out
Source docs/method/pipeline.md#interpolated-target
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipeline.stage import StageInput, StageParams, StageResult, StageSpec, depth_result
from storage_schemas.catalog import DEPTH_ACCUMULATED, DEPTH_CLEAN, DEPTH_INTERPOLATED, DEPTH_SINGLE
from storage_schemas.errors import SourceError
from storage_schemas.layout import StoreLayout

_SOURCES = {layout.name: layout for layout in (DEPTH_SINGLE, DEPTH_ACCUMULATED, DEPTH_CLEAN)}


class Params(StageParams):
    """What is interpolated, and which triangles are left empty."""

    of: Literal["depth_single", "depth_accumulated", "depth_clean"] | None = Field(
        default=None, description="store to interpolate; null = the recipe wants no interpolated depth"
    )
    linear_in: Literal["depth", "inverse_depth"] = Field(
        default="depth",
        description="what is linear over a triangle; inverse depth is what is linear in the image of a flat surface",
    )
    max_edge_px: float | None = Field(
        default=None, gt=0.0, description="px: triangles with a longer edge stay empty; null = all are filled, as published"
    )
    max_depth_ratio: float | None = Field(
        default=None,
        gt=1.0,
        description="a triangle stays empty if its farthest corner is more than this times as far as its nearest, so that none "
        "is stretched from an object to what lies behind it. null: all are filled, as published",
    )
    max_points: int = Field(
        default=100_000,
        ge=3,
        description="measured pixels a map that are triangulated (1 s for 100,000). Of more, the nearest return of each cell of "
        "k x k pixels is, with the least k that suffices; the others still keep their own depth",
    )


def interpolate_frame(steps: NDArray[np.uint16], p: Params) -> NDArray[np.uint16]:
    """Interpolate one depth map.

    Args:
        steps: (height, width) uint16 depth, 1/256 m, 0 = no measurement.
        p: the rule.

    Returns:
        (height, width) uint16, 1/256 m, truncated; 0 = outside the hull, or in a triangle that is left out.
    """
    from pipeline.kernels.interpolate import ROUNDING, fill_triangles, triangulate

    rows, columns = thinned_pixels(steps, max_points=p.max_points)
    depth = steps[rows, columns].astype(np.float64)
    triangles = triangulate(columns, rows)
    triangles = np.ascontiguousarray(triangles[_is_filled(columns, rows, depth, triangles, p)])
    filled = np.zeros(steps.shape)
    if p.linear_in == "depth":
        fill_triangles(columns, rows, depth, triangles, filled)
    else:
        fill_triangles(columns, rows, 1.0 / depth, triangles, filled)
        np.divide(1.0, filled, out=filled, where=filled > 0)
    return np.where(steps > 0, steps, (filled + ROUNDING).astype(np.uint16))


def thinned_pixels(steps: NDArray[np.uint16], *, max_points: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return rows and columns (n,) of the measured pixels that become vertices, row by row; n <= max_points.

    Where there are more measured pixels, the nearest of each cell of k x k pixels stays, with the least k that suffices.
    """
    rows, columns = np.nonzero(steps)
    depth, width = steps[rows, columns], steps.shape[1]
    order = np.lexsort((columns, rows, depth))  # nearest first; of equals the upper, then the left one
    chosen, cell_px = np.arange(len(rows)), 1
    while len(chosen) > max_points:
        cell_px += 1
        cell = (rows // cell_px) * (width // cell_px + 1) + columns // cell_px
        chosen = np.sort(order[np.unique(cell[order], return_index=True)[1]])
    return rows[chosen], columns[chosen]


def _is_filled(
    columns: NDArray[np.int64], rows: NDArray[np.int64], depth: NDArray[np.float64], triangles: NDArray[np.int32], p: Params
) -> NDArray[np.bool_]:
    """Say which triangles (t,) keep to the limits on edges and depths."""
    keep = np.ones(len(triangles), bool)
    if p.max_edge_px is not None:
        x, y = columns[triangles], rows[triangles]
        keep &= np.hypot(x - np.roll(x, 1, axis=1), y - np.roll(y, 1, axis=1)).max(axis=1, initial=0.0) <= p.max_edge_px
    if p.max_depth_ratio is not None:
        corners = depth[triangles]
        keep &= corners.max(axis=1, initial=0.0) <= p.max_depth_ratio * corners.min(axis=1, initial=np.inf)
    return keep


def kernel(unit: StageInput, p: Params) -> StageResult:
    """Interpolate all key frames of one scene and camera.

    Raises:
        SourceError: the store to interpolate is not made for this scene.
    """
    if p.of is None:
        raise AssertionError("the plan has no interpolate_depth unit for a recipe that names no store to interpolate")
    if p.of not in unit.units:
        raise SourceError(
            f"scene {unit.scene}, camera {unit.camera} has no {p.of} to interpolate: its source has nothing to make it from. "
            "Name another store in stages.interpolate_depth.of, or set it to null"
        )
    sparse = unit.units[p.of].arrays
    maps = np.stack([interpolate_frame(steps, p) for steps in sparse["depth_m"]])
    num_measured = np.count_nonzero(maps, axis=(1, 2)).astype(np.int32)
    before = float(np.count_nonzero(sparse["depth_m"])) / max(1, maps.size)
    pixels_are = f"filled from {100 * before:.1f} % in {p.of}"
    return depth_result(maps, num_measured, sparse["timestamp_us"], pixels_are=pixels_are)


def _reads_of(p: Params) -> tuple[StoreLayout, ...]:
    return () if p.of is None else (_SOURCES[p.of],)


STAGE = StageSpec(
    "interpolate_depth",
    version=1,
    reads=tuple(_SOURCES.values()),
    optional=tuple(_SOURCES.values()),
    writes=DEPTH_INTERPOLATED,
    params=Params,
    kernel=kernel,
    is_wanted=lambda p: p.of is not None,
    reads_of=_reads_of,
)
