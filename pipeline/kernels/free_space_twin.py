"""Readable float64 twin of ``range_table`` and ``free_space``: true angles, one pair of sweeps at a time, no staging.

It differs from the fast kernels only where a direction lies on the border of a cell, or a range on the border of a margin.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.free_space_choice import FreeSpace
from pipeline.geometry import inverse, transform_points
from pipeline.kernels.free_space import FAR_LEAST_FREE, FAR_OFFSETS, FAR_OUTVOTE, voters_of
from pipeline.kernels.range_table import (
    ASIDE,
    COLUMNS,
    FOLLOWED_WITHIN,
    LEAST_IN_ROW,
    LEAST_SHARE_FOLLOWED,
    LEAST_SHARE_OF_COLUMNS,
    LEVEL,
    ROWS,
    SCANNED_WITHIN,
)
from storage_schemas.encoding import STEPS_PER_M

Cells = NDArray[np.int64]


class Seen(NamedTuple):
    """What one sweep saw.

    Attributes:
        image: (COLUMNS, ROWS) from ``range_image``.
        told: (COLUMNS, ROWS) bool from ``told_cells``.
    """

    image: NDArray[np.float64]
    told: NDArray[np.bool_]


def seen_by(points: NDArray[Any]) -> Seen:
    """Return what a sweep with these returns (n, 3+) saw."""
    image = range_image(points[:, :3].astype(np.float64))
    return Seen(image, told_cells(image))


def cells_of(points: NDArray[np.float64]) -> tuple[Cells, Cells, NDArray[np.float64]]:
    """Return column, row and range in metres of points (n, 3) in the sensor frame; row -1 where there is no direction."""
    x, y, z = points.T
    range_m = np.sqrt((points**2).sum(axis=1))
    azimuth, elevation = np.arctan2(y, x), np.arctan2(z, np.hypot(x, y))
    has_direction = np.isfinite(range_m) & (range_m > 0)
    with np.errstate(invalid="ignore"):
        column = np.where(has_direction, (azimuth + np.pi) / (2 * np.pi) * COLUMNS, 0).astype(np.int64)
        row = np.where(has_direction, (elevation + np.pi / 2) / np.pi * ROWS, -1).astype(np.int64)
    return np.minimum(column, COLUMNS - 1), np.minimum(row, ROWS - 1), range_m


def range_image(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (COLUMNS, ROWS) nearest range of the whole sphere in metres, cut to 1/256 m, inf without a return.

    Rows below the lowest or above the highest row with at least LEAST_IN_ROW returns are NaN: the sweep says nothing there.
    """
    column, row, range_m = cells_of(points)
    column, row, range_m = column[row >= 0], row[row >= 0], range_m[row >= 0]
    image = np.full((COLUMNS, ROWS), np.inf)
    np.minimum.at(image, (column, row), np.floor(np.minimum(range_m, 255.99) * STEPS_PER_M) / STEPS_PER_M)
    full = np.flatnonzero(np.bincount(row, minlength=ROWS) >= LEAST_IN_ROW)
    outside = np.ones(ROWS, bool)
    if len(full):
        outside[full[0] : full[-1] + 1] = False
    image[:, outside] = np.nan
    return image


def told_cells(image: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Say for each cell of a range image (COLUMNS, ROWS) whether nothing but emptiness around it means that nothing came back."""
    is_full = np.isfinite(image)
    followed = is_full & np.any([np.roll(is_full, -shift, axis=0) for shift in range(1, FOLLOWED_WITHIN + 1)], axis=0)
    in_row = is_full.sum(axis=0)
    has_beam = (in_row >= LEAST_SHARE_OF_COLUMNS * COLUMNS) & (followed.sum(axis=0) >= LEAST_SHARE_FOLLOWED * in_row)
    beside = np.array([has_beam[max(row - 1, 0) : row + 2].any() for row in range(ROWS)])
    looks_up = np.arange(ROWS) >= LEVEL
    shifts = range(-SCANNED_WITHIN, SCANNED_WITHIN + 1)
    is_scanned = np.any([np.roll(is_full.any(axis=1), shift) for shift in shifts], axis=0)
    return np.asarray((beside & looks_up)[None, :] & is_scanned[:, None])


def votes_of_pair(seen: Seen, points: NDArray[np.float64], choice: FreeSpace) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which points (n, 3), in the voter's sensor frame, have nothing near them in nine cells, and which the voter hits.

    It sees through what is the first and not the second.
    """
    column, row, range_m = cells_of(points)
    is_asked = (row >= 0) & (range_m <= choice.range_m)
    is_asked[is_asked] &= ~np.isnan(seen.image[column[is_asked], row[is_asked]])
    margin = np.maximum(choice.margin_m, choice.margin_share * range_m)
    low, limit = (np.floor((range_m + side * margin) * STEPS_PER_M) / STEPS_PER_M for side in (-1, 1))
    around = np.nan_to_num(np.pad(seen.image, ((ASIDE, ASIDE), (1, 1)), mode="wrap"), nan=np.inf, posinf=np.inf)
    cells = np.stack([around[column + c, row + r] for r in range(3) for c in range(2 * ASIDE + 1)])  # rows at the poles are empty
    nearest = np.min([around[column + ASIDE + c, row + r] for r in range(3) for c in (-1, 0, 1)], axis=0)
    is_silent = np.isinf(nearest) & ~seen.told[column, row]
    hit = ((cells >= low) & (cells <= limit)).any(axis=0)
    return is_asked & (nearest > limit) & ~is_silent, is_asked & hit


def count_votes(
    points: Sequence[NDArray[np.float64]],
    seen: Mapping[int, Seen],
    sweeps: Sequence[dict[str, Any]],
    world_from_sensor: NDArray[np.float64],
    choice: FreeSpace,
) -> list[NDArray[np.int64]]:
    """Return for each sweep (4, n) free votes, hits, free votes of far offsets and hits of these; zeros where no scout saw free.

    Args:
        points: (n, 3) of each sweep that are voted on, in its sensor frame.
        seen: what each sweep saw, by its number; of sweeps that vote on any point.
        sweeps: rows of ``frames.sweeps``.
        world_from_sensor: (num_sweeps, 4, 4) poses.
        choice: the rule.
    """
    counts = [np.zeros((4, len(of_sweep)), np.int64) for of_sweep in points]
    is_called = [np.zeros(len(of_sweep), bool) for of_sweep in points]
    for voter, sweep, offset in voters_of(sweeps, choice.offsets):
        if not len(points[sweep]):
            continue
        there = transform_points(inverse(world_from_sensor[voter]) @ world_from_sensor[sweep], points[sweep])
        looks_free, hit = votes_of_pair(seen[voter], there, choice)
        free = looks_free & ~hit
        is_far = offset in FAR_OFFSETS
        counts[sweep] += np.stack([free, hit, free & is_far, hit & is_far])
        if offset in choice.scouts:
            is_called[sweep] |= looks_free
    return [count * called for count, called in zip(counts, is_called, strict=True)]


def is_dropped(counts: NDArray[np.int64], choice: FreeSpace) -> NDArray[np.bool_]:
    """Apply the rule to (4, n) counts of ``count_votes``."""
    free, hits, far_free, far_hits = counts
    by_all = (free >= choice.least_free) & (free > choice.outvote * hits)
    by_far = (far_free >= FAR_LEAST_FREE) & (far_free > FAR_OUTVOTE * far_hits)
    return np.asarray(by_all | by_far if choice.far_rule else by_all)
