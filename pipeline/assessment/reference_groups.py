"""Groups of a held-out sweep's pixels: whose annotated box holds the return, and whether its neighbours lie on a surface.

Why    A filter that eats leaves and wires is no gain. Few drives have annotations of them, but the returns around a return tell:
       those of a surface lie on it, those of leaves and grass scatter
Reads  points of the key sweep, annotated boxes, the key frame's pose
Writes Labels
Source docs/method/pipeline.md#measuring-supervision; scatter is the sphericity of Weinmann et al.
       (doi 10.1016/j.isprsjprs.2015.01.016)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from pipeline.geometry import inverse, rigid, transform_points
from pipeline.kernels.depth_errors import NO_GROUP, Labels
from pipeline.poses import image_from_world, world_from_sensor
from storage_schemas.encoding import STEPS_PER_M

UNANNOTATED = "no box"
"""Group of the pixels that lie in no annotated box."""

SHAPES = ("scattered", "on a surface")
"""Scattered returns are those of leaves, grass and wires, and some at edges of objects."""

NEIGHBOURS = 16
"""Returns, its own included, that say whether a return lies on a surface."""

LEAST_SCATTER = 0.05
"""Smallest eigenvalue of their covariance over the largest, from which they scatter; looked at on pictures of two drives."""


@dataclass(frozen=True)
class PixelReturns:
    """The returns that pixels have their depth of.

    Attributes:
        world_m: (n, 3) float64 places in the world frame.
        row: (n,) int64 image rows.
        column: (n,) int64 image columns.
        scatter: (n,) float64 from 0 for returns on a surface to 1 for a ball of returns; 0 where there are too few to tell.
    """

    world_m: NDArray[np.float64]
    row: NDArray[np.int64]
    column: NDArray[np.int64]
    scatter: NDArray[np.float64]


def returns_of_pixels(
    points_m: NDArray[np.float32], sweep: dict[str, Any], keyframe: dict[str, Any], steps: NDArray[np.uint16]
) -> PixelReturns:
    """Return those returns of a sweep whose depth a pixel of a map has.

    Args:
        points_m: (n, 3 or more) in the sensor frame.
        sweep: row of ``frames.sweeps``.
        keyframe: row of ``frames.keyframes``.
        steps: (height, width) uint16 map, 1/256 m, 0 = nothing.
    """
    local = points_m[:, :3].astype(np.float64)
    world = transform_points(world_from_sensor(sweep), local)
    matrix = image_from_world(keyframe)
    projected = world @ matrix[:, :3].T + matrix[:, 3]
    with np.errstate(divide="ignore", invalid="ignore"):
        u, v = projected[:, 0] / projected[:, 2], projected[:, 1] / projected[:, 2]
        seen = np.flatnonzero((projected[:, 2] > 1) & (u >= 0) & (u < steps.shape[1]) & (v >= 0) & (v < steps.shape[0]))
    row, column = v[seen].astype(np.int64), u[seen].astype(np.int64)
    is_its = np.abs(projected[seen, 2] * STEPS_PER_M - steps[row, column]) < 2  # rounding may differ by a step
    chosen = seen[is_its]
    return PixelReturns(world[chosen], row[is_its], column[is_its], scatter_of(local, local[chosen]))


def scatter_of(points_m: NDArray[np.float64], chosen_m: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how far the nearest returns of each chosen one are from lying on a surface.

    Args:
        points_m: (n, 3) all returns.
        chosen_m: (k, 3) those to tell of.

    Returns:
        (k,) smallest eigenvalue of the covariance of the ``NEIGHBOURS`` nearest over the largest; 0 with fewer returns.
    """
    points_m = points_m[np.isfinite(points_m).all(axis=1)]  # some sensors write infinity where nothing came back
    if len(points_m) < NEIGHBOURS or not len(chosen_m):
        return np.zeros(len(chosen_m))
    _, near = cKDTree(points_m).query(chosen_m, k=NEIGHBOURS)
    around = points_m[near] - points_m[near].mean(axis=1, keepdims=True)
    values = np.linalg.eigvalsh(np.einsum("nki,nkj->nij", around, around))
    return np.asarray(np.maximum(values[:, 0], 0.0) / np.maximum(values[:, 2], 1e-12))


def class_labels(returns: Sequence[PixelReturns], boxes: Sequence[dict[str, Any]], steps: NDArray[np.uint16]) -> Labels:
    """Return whose box holds each pixel's return.

    Args:
        returns: of the key sweeps.
        boxes: rows of ``frames.boxes`` of the key frame, standing ones too.
        steps: (height, width) uint16 the reference, 0 = in no group.
    """
    names = (*sorted({box["category"] for box in boxes})[: NO_GROUP - 1], UNANNOTATED)
    label = np.full(steps.shape, NO_GROUP, np.uint8)
    label[steps > 0] = len(names) - 1
    for of_sweep in returns:
        for box in boxes:
            width, length, height = box["size_wlh_m"]
            local = transform_points(inverse(rigid(box["center_m"], box["world_from_box_wxyz"])), of_sweep.world_m)
            inside = (np.abs(local) <= np.array([length, width, height]) / 2).all(axis=1)
            if box["category"] in names:
                label[of_sweep.row[inside], of_sweep.column[inside]] = names.index(box["category"])
    return Labels("class", names, label)


def shape_labels(returns: Sequence[PixelReturns], steps: NDArray[np.uint16]) -> Labels:
    """Return whether the neighbours of each pixel's return scatter.

    Args:
        returns: of the key sweeps.
        steps: (height, width) uint16 the reference, 0 = in no group.
    """
    label = np.full(steps.shape, NO_GROUP, np.uint8)
    label[steps > 0] = SHAPES.index("on a surface")
    for of_sweep in returns:
        scatters = of_sweep.scatter > LEAST_SCATTER
        label[of_sweep.row[scatters], of_sweep.column[scatters]] = SHAPES.index("scattered")
    return Labels("shape", SHAPES, label)
