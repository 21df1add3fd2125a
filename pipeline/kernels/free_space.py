"""Votes of other sweeps: a return that they see through is no surface.

Why    Dust, unannotated movers and spurious returns win pixels of a long window, because the nearest return counts
How    Each return is looked up in the range tables of other sweeps of its LiDAR (`range_table`). Free: the nearest of the 3x3 cells
       there lies farther than the return by a margin, or nothing came back where a beam was fired. Hit: one of the nine
       cells lies within the margin. A few sweeps look at every return, by one look-up each in a table of the nearest of nine.
       The others look only at what one of these called free, and only there nine cells are read.
Cost   benchmarks/free_space.py. The floor is reading each return once for each scout: 12 bytes. One voter at a time looks at
       all sweeps that it votes on, so that its table (0.4 MB) stays in the second-level cache.
Source docs/method/pipeline.md#free-space-votes; ``pipeline.kernels.free_space_twin`` is the readable float64 version
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from pipeline.free_space_choice import FreeSpace
from pipeline.geometry import inverse
from pipeline.kernels.range_table import (
    _COLUMNS_PER_RAD,
    _HALF_ROWS,
    _PI,
    _ROWS_PER_RAD,
    COLUMNS,
    EMPTY,
    NO_PLACE,
    STEPS_PER_M,
    RangeTable,
    angle_of,
    nearest_of_nine,
)

FAR_OFFSETS = range(15, 51)
FAR_LEAST_FREE = 3
FAR_OUTVOTE = 2.0
"""The far rule: offsets that a slow mover has left behind, while the near ones confirm it."""

CHUNK = 1024
"""Returns whose places are computed before they are looked up: 14 kB of working memory in the first-level cache."""


@dataclass(frozen=True)
class Votes:
    """What the other sweeps say of each return.

    Attributes:
        free: (n,) uint8 votes for free space, of all offsets where a scout gave one, else 0.
        is_dropped: (n,) bool: seen through.
    """

    free: NDArray[np.uint8]
    is_dropped: NDArray[np.bool_]


def voters_of(sweeps: Sequence[dict[str, Any]], offsets: Sequence[int]) -> list[tuple[int, int, int]]:
    """Return (voter, sweep that is voted on, offset) for all pairs within the unbroken chain of each LiDAR, by voter.

    The place of a sweep in its chain is that of its time, whatever the order of ``sweeps``.
    """
    chains: dict[tuple[str, Any], list[int]] = {}
    for number in sorted(range(len(sweeps)), key=lambda n: sweeps[n]["timestamp_us"]):
        chains.setdefault((sweeps[number]["channel"], sweeps[number]["chain"]), []).append(number)
    return [
        (chain[place], chain[place + shift], offset)
        for chain in chains.values()
        for place in range(len(chain))
        for offset in offsets
        for shift in (-offset, offset)
        if 0 <= place + shift < len(chain)
    ]


def vote(
    xyz: NDArray[np.float32],
    columns_of: NDArray[np.int64],
    tables: Mapping[int, RangeTable],
    sweeps: Sequence[dict[str, Any]],
    world_from_sensor: NDArray[np.float64],
    choice: FreeSpace,
) -> Votes:
    """Let sweeps vote on each other's returns.

    Args:
        xyz: (3, n) float32 returns, those of a sweep together, each in its sensor's own frame.
        columns_of: (num_sweeps, 2) first and one past the last column of each sweep.
        tables: range table of each sweep, by its number.
        sweeps: rows of ``frames.sweeps``.
        world_from_sensor: (num_sweeps, 4, 4) poses.
        choice: the rule.
    """
    by_scouts = np.zeros((1, columns_of[:, 1].max(initial=0)), np.uint8)
    _look(xyz, columns_of, tables, voters_of(sweeps, choice.scouts), world_from_sensor, choice, by_scouts)
    free = by_scouts[0]
    chosen = np.flatnonzero(free)
    asked = np.ascontiguousarray(xyz[:, chosen])
    asked_of = np.searchsorted(chosen, columns_of)
    by_all = np.zeros((4, len(chosen)), np.uint8)
    _look(asked, asked_of, tables, voters_of(sweeps, choice.offsets), world_from_sensor, choice, by_all)
    num_free, num_hits, far_free, far_hits = by_all
    seen_through = (num_free >= choice.least_free) & (num_free > choice.outvote * num_hits)
    if choice.far_rule:
        seen_through |= (far_free >= FAR_LEAST_FREE) & (far_free > FAR_OUTVOTE * far_hits)
    free[chosen] = num_free
    is_dropped = np.zeros(len(free), bool)
    is_dropped[chosen[seen_through]] = True
    return Votes(free, is_dropped)


def _look(
    xyz: NDArray[np.float32],
    columns_of: NDArray[np.int64],
    tables: Mapping[int, RangeTable],
    voters: list[tuple[int, int, int]],
    world_from_sensor: NDArray[np.float64],
    choice: FreeSpace,
    counts: NDArray[np.uint8],
) -> None:
    """Add the votes of some offsets to (1, n) free votes, or to (4, n) free votes and hits, all and far; one voter at a time."""
    if not voters or not xyz.shape[1]:
        return
    pairs = np.array(voters)
    sensor_from_world = inverse(world_from_sensor)
    matrices = (sensor_from_world[pairs[:, 0]] @ world_from_sensor[pairs[:, 1]])[:, :3].astype(np.float32)
    is_far = (pairs[:, 2] >= FAR_OFFSETS.start) & (pairs[:, 2] < FAR_OFFSETS.stop)
    spans = columns_of[pairs[:, 1]]
    first = np.flatnonzero(np.diff(pairs[:, 0], prepend=-1))
    places, limits, lows = np.empty(CHUNK, np.int32), np.empty(CHUNK, np.int32), np.empty(CHUNK, np.int32)
    for start, stop in zip(first, [*first[1:], len(pairs)], strict=True):
        table = tables[int(pairs[start, 0])]
        height = table.steps.shape[1]
        nearest = np.empty(1 + table.steps.size, np.uint16)
        nearest_of_nine(table.steps, table.has_beam, table.is_scanned, np.empty(height + 2, np.uint16), nearest)
        rule = (np.float32(choice.margin_m), np.float32(choice.margin_share), np.float32(choice.range_m))
        where = (nearest, np.int32(table.first_row), np.int32(height))
        given = (xyz, spans[start:stop], matrices[start:stop])
        if len(counts) > 1:
            _count_all(*given, is_far[start:stop], *where, table.steps.reshape(-1), *rule, places, limits, lows, *counts)
        else:
            _count_free(*given, *where, *rule, places, limits, lows, *counts)


@njit(cache=True, error_model="numpy")
def _places_of(xs, ys, zs, m, first_row, height, margin_m, margin_share, range_m, places, limits, lows):  # type: ignore[no-untyped-def]  # numba reads no annotations
    """Write where points fall in a voter's table, and the steps between which a range is a hit; farther is free.

    Args:
        xs, ys, zs: (n,) float32 in the frame of their own sensor.
        m: (3, 4) float32 from there to the voter's sensor.
        first_row: row of the sphere that is row 0 of the table.
        height: rows of the table.
        margin_m, margin_share, range_m: of ``FreeSpace``.
        places: (n,) int32 output: entry of ``nearest_of_nine``.
        limits: (n,) int32 output.
        lows: (n,) int32 output.
    """
    zero, per_m = np.float32(0), np.float32(STEPS_PER_M)
    last_column, none, one = np.int32(COLUMNS - 1), np.int32(NO_PLACE), np.int32(1)
    m00, m01, m02, m03 = m[0, 0], m[0, 1], m[0, 2], m[0, 3]
    m10, m11, m12, m13 = m[1, 0], m[1, 1], m[1, 2], m[1, 3]
    m20, m21, m22, m23 = m[2, 0], m[2, 1], m[2, 2], m[2, 3]
    for i in range(len(xs)):  # branch-free, so that the compiler makes vector code of it
        px, py, pz = xs[i], ys[i], zs[i]
        x = m00 * px + m01 * py + m02 * pz + m03
        y = m10 * px + m11 * py + m12 * pz + m13
        z = m20 * px + m21 * py + m22 * pz + m23
        flat = x * x + y * y
        away = np.sqrt(flat + z * z)
        column = (angle_of(y, x) + _PI) * _COLUMNS_PER_RAD
        row = angle_of(z, np.sqrt(flat)) * _ROWS_PER_RAD + _HALF_ROWS
        is_there = (away <= range_m) & (column >= zero) & (row >= zero)
        share = away * margin_share
        margin = margin_m if margin_m > share else share
        at_row = np.int32(row if is_there else zero) - first_row
        at_column = min(np.int32(column if is_there else zero), last_column)
        is_there = is_there & (at_row >= np.int32(0)) & (at_row < height)
        places[i] = one + at_column * height + at_row if is_there else none
        limits[i] = np.int32((away + margin) * per_m if is_there else zero)
        lows[i] = np.int32((away - margin) * per_m if is_there else zero)


@njit(cache=True, error_model="numpy")
def _count_free(xyz, spans, matrices, nearest, first_row, height, margin_m, margin_share, range_m, places, limits, lows, free):  # type: ignore[no-untyped-def]
    """Add 1 to the returns that one voter sees through; entry NO_PLACE of its table is 0, which nothing is beyond."""
    for pair in range(len(spans)):
        for start in range(spans[pair, 0], spans[pair, 1], CHUNK):
            stop = min(start + CHUNK, spans[pair, 1])
            xs, ys, zs = xyz[0, start:stop], xyz[1, start:stop], xyz[2, start:stop]
            _places_of(xs, ys, zs, matrices[pair], first_row, height, margin_m, margin_share, range_m, places, limits, lows)
            of_chunk = free[start:stop]
            for i in range(stop - start):
                of_chunk[i] += np.uint8(np.int32(nearest[np.uint64(places[i])]) > limits[i])


@njit(cache=True, error_model="numpy")
def _count_all(
    xyz, spans, matrices, is_far, nearest, first_row, height, steps, margin_m, margin_share, range_m, places, limits, lows,
    free, hits, far_free, far_hits,
):  # type: ignore[no-untyped-def]  # fmt: skip
    """Count the free votes and hits of one voter on the returns that a scout called free."""
    one = np.uint8(1)
    for pair in range(len(spans)):
        for start in range(spans[pair, 0], spans[pair, 1], CHUNK):
            stop = min(start + CHUNK, spans[pair, 1])
            xs, ys, zs = xyz[0, start:stop], xyz[1, start:stop], xyz[2, start:stop]
            _places_of(xs, ys, zs, matrices[pair], first_row, height, margin_m, margin_share, range_m, places, limits, lows)
            for i in range(stop - start):
                step = np.int32(nearest[np.uint64(places[i])])
                at = start + i
                if step > limits[i]:
                    free[at] += one
                    far_free[at] += np.uint8(is_far[pair])
                elif step >= lows[i] or _is_hit(steps, places[i] - 1, height, lows[i], limits[i]):
                    hits[at] += one
                    far_hits[at] += np.uint8(is_far[pair])


@njit(cache=True, error_model="numpy")
def _is_hit(steps, cell, height, low, limit):  # type: ignore[no-untyped-def]
    """Say whether one of the 3x3 cells around a cell lies within the margin; a cell of -1 is no place."""
    if cell < 0:
        return False
    column, row = cell // height, cell % height
    for across in range(-1, 2):
        base = (column + across + COLUMNS) % COLUMNS * height
        for r in range(max(row - 1, 0), min(row + 2, height)):
            step = np.int32(steps[base + r])
            if low <= step <= limit and step != np.int32(EMPTY):
                return True
    return False
