"""Votes of other sweeps: a return that they see through is no surface.

Why    Dust, unannotated movers and spurious returns win pixels of a long window, because the nearest return counts
How    Each return is looked up in the range tables of other sweeps of its LiDAR (`range_table`). Hit: one of 5x3 cells there
       lies within a margin of the return. Else free: the nearest of 3x3 cells lies farther than the return by the margin, or
       nothing came back where a beam was fired. A few sweeps look at every return, by one look-up each in a table of the
       nearest of nine. All look at what one of these called free, and only there 15 cells are read.
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
from pipeline.kernels.cells_around import is_any_between
from pipeline.kernels.range_table import (
    ASIDE,
    CHUNK,
    COLUMNS,
    COLUMNS_PER_RAD,
    EMPTY,
    HALF_ROWS,
    PI,
    ROWS_PER_RAD,
    STEPS_PER_M,
    RangeTable,
    angle_of,
    nearest_of_nine,
)

FAR_OFFSETS = range(15, 51)
FAR_LEAST_FREE = 3
FAR_OUTVOTE = 2.0
"""The far rule: offsets that a slow mover has left behind, while the near ones confirm it."""

_COUNTED = np.uint32(1), np.uint32(1 << 8)
_COUNTED_FAR = np.uint32(1 | 1 << 16), np.uint32(1 << 8 | 1 << 24)
"""What a free vote and a hit add to the four counts of a return."""


@dataclass(frozen=True)
class Votes:
    """What the other sweeps say of each return.

    Attributes:
        free: (n,) uint8 votes for free space, of all offsets where a scout gave one, else 0.
        dropped: (k,) int64 numbers of the returns that are seen through, ascending.
    """

    free: NDArray[np.uint8]
    dropped: NDArray[np.int64]


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
    free = np.zeros(columns_of[:, 1].max(initial=0), np.uint8)
    _look(xyz, columns_of, tables, voters_of(sweeps, choice.scouts), world_from_sensor, choice, free)
    chosen = _nonzero(free)
    asked = np.ascontiguousarray(xyz[:, chosen])
    asked_of = np.searchsorted(chosen, columns_of)
    counts = np.zeros(len(chosen), np.uint32)
    _look(asked, asked_of, tables, voters_of(sweeps, choice.offsets), world_from_sensor, choice, counts)
    free[chosen] = counts.astype(np.uint8)
    return Votes(free, chosen[_is_seen_through(counts, choice)])


def _is_seen_through(counts: NDArray[np.uint32], choice: FreeSpace) -> NDArray[np.bool_]:
    """Apply the rule to (n,) counts of ``_count_all``."""
    free, hits, far_free, far_hits = (np.asarray(counts >> np.uint32(shift)).astype(np.uint8) for shift in (0, 8, 16, 24))
    seen_through = (free >= choice.least_free) & (free > choice.outvote * hits)
    if choice.far_rule:
        seen_through |= (far_free >= FAR_LEAST_FREE) & (far_free > FAR_OUTVOTE * far_hits)
    return np.asarray(seen_through)


def _nonzero(votes: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return the numbers of the values that are not 0, ascending; eight zeros are passed over at once."""
    whole = len(votes) // 8 * 8
    found = np.empty(np.count_nonzero(votes), np.int64)
    count = _fill_nonzero(votes, votes[:whole].view(np.uint64), found)
    found[count:] = whole + np.flatnonzero(votes[whole:])
    return found


@njit(cache=True, error_model="numpy")
def _fill_nonzero(votes, words, found):  # type: ignore[no-untyped-def]  # numba reads no annotations
    count = 0
    for word in range(len(words)):
        if words[word] != 0:
            for i in range(8 * word, 8 * word + 8):
                if votes[i] != 0:
                    found[count] = i
                    count += 1
    return count


def _look(
    xyz: NDArray[np.float32],
    columns_of: NDArray[np.int64],
    tables: Mapping[int, RangeTable],
    voters: list[tuple[int, int, int]],
    world_from_sensor: NDArray[np.float64],
    choice: FreeSpace,
    counts: NDArray[np.uint8] | NDArray[np.uint32],
) -> None:
    """Add the votes of some offsets to (n,) uint8 free votes, or to (n,) uint32 counts of `_count_all`; one voter at a time."""
    if not voters or not xyz.shape[1]:
        return
    pairs = np.array(voters)
    sensor_from_world = inverse(world_from_sensor)
    matrices = (sensor_from_world[pairs[:, 0]] @ world_from_sensor[pairs[:, 1]])[:, :3].astype(np.float32)
    is_far = (pairs[:, 2] >= FAR_OFFSETS.start) & (pairs[:, 2] < FAR_OFFSETS.stop)
    spans = columns_of[pairs[:, 1]]
    first = np.flatnonzero(np.diff(pairs[:, 0], prepend=-1))
    places, limits, lows = (np.empty(CHUNK, np.int32) for _ in range(3))
    nearest = np.empty((0, 0), np.uint16)
    for start, stop in zip(first, [*first[1:], len(pairs)], strict=True):
        table = tables[int(pairs[start, 0])]
        if nearest.shape != table.steps.shape:
            nearest = np.empty_like(table.steps)
        nearest_of_nine(table.steps, table.is_told, table.is_scanned, nearest)
        rule = (np.float32(choice.margin_m), np.float32(choice.margin_share), np.float32(choice.range_m))
        where = (np.int32(table.first_row), np.int32(table.rows), nearest.reshape(-1))
        given = (xyz, spans[start:stop], matrices[start:stop])
        if counts.dtype == np.uint32:
            steps = table.steps.reshape(-1)
            _count_all(*given, is_far[start:stop], *where, steps, *rule, places, limits, lows, counts)
        else:
            _count_free(*given, *where, *rule, places, limits, counts)


@njit(cache=True, error_model="numpy")
def _places_of(xs, ys, zs, m, first_row, height, margin_m, margin_share, range_m, places, limits, lows):  # type: ignore[no-untyped-def]
    """Write where points (n,) fall in a voter's table, and the steps between which a range is a hit; farther is free.

    ``m`` (3, 4) float32 leads from the points' frame to the voter's sensor. A place is an entry of the table with its border;
    0, a corner, where the voter says nothing. ``lows`` may be None.
    """
    zero, per_m = np.float32(0), np.float32(STEPS_PER_M)
    last_column, none, one, aside = np.int32(COLUMNS - 1), np.int32(0), np.int32(1), np.int32(ASIDE)
    tall = np.int32(height + 2)  # numba adds 32-bit numbers to a 64-bit one, of which a vector holds half as many
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
        column = (angle_of(y, x) + PI) * COLUMNS_PER_RAD
        row = angle_of(z, np.sqrt(flat)) * ROWS_PER_RAD + HALF_ROWS
        is_there = (away <= range_m) & (column >= zero) & (row >= zero)
        share = away * margin_share
        margin = margin_m if margin_m > share else share
        at_row = np.int32(np.int32(row if is_there else zero) - first_row)
        at_column = np.int32(min(np.int32(column if is_there else zero), last_column) + aside)
        is_there = is_there & (at_row >= none) & (at_row < height)
        place = np.int32(np.int32(at_column * tall) + np.int32(at_row + one))
        places[i] = place if is_there else none
        limits[i] = np.int32((away + margin) * per_m if is_there else zero)
        if lows is not None:
            lows[i] = np.int32((away - margin) * per_m if is_there else zero)


@njit(cache=True, error_model="numpy")
def _count_free(xyz, spans, matrices, first_row, height, nearest, margin_m, margin_share, range_m, places, limits, free):  # type: ignore[no-untyped-def]
    """Add 1 to the returns that one voter sees through; entry 0 of its table is 0, so it sees through nothing."""
    for pair in range(len(spans)):
        for start in range(spans[pair, 0], spans[pair, 1], CHUNK):
            stop = min(start + CHUNK, spans[pair, 1])
            xs, ys, zs = xyz[0, start:stop], xyz[1, start:stop], xyz[2, start:stop]
            _places_of(xs, ys, zs, matrices[pair], first_row, height, margin_m, margin_share, range_m, places, limits, None)
            of_chunk = free[start:stop]
            for i in range(stop - start):
                of_chunk[i] += np.uint8(np.int32(nearest[np.uint64(places[i])]) > limits[i])


@njit(cache=True, error_model="numpy")
def _count_all(  # type: ignore[no-untyped-def]
    xyz, spans, matrices, is_far, first_row, height, nearest, steps, margin_m, margin_share, range_m, places, limits, lows, counts
):
    """Count the free votes and hits of one voter on the returns that a scout called free.

    ``counts`` (n,) uint32 holds four numbers of 8 bits, from the lowest on: free votes, hits, and both again of far offsets.
    A cell without a return lies beyond every limit. Entry 0 of a table is no place: its neighbours would lie before the table,
    so the one after the border is looked at instead, for nothing.
    """
    zero, last, tall = np.int32(0), np.int32(EMPTY), np.int64(height + 2)
    first_place = np.int32(ASIDE * (height + 2) + 1)
    for pair in range(len(spans)):
        of_free, of_hit = _COUNTED_FAR if is_far[pair] else _COUNTED
        for start in range(spans[pair, 0], spans[pair, 1], CHUNK):
            stop = min(start + CHUNK, spans[pair, 1])
            xs, ys, zs = xyz[0, start:stop], xyz[1, start:stop], xyz[2, start:stop]
            _places_of(xs, ys, zs, matrices[pair], first_row, height, margin_m, margin_share, range_m, places, limits, lows)
            of_chunk = counts[start:stop]
            for i in range(stop - start):  # without a branch: the processor could not predict it
                place, limit = places[i], limits[i]
                around = np.int64(max(place, first_place))
                low = np.uint16(max(lows[i], zero))
                is_near = is_any_between(steps, around, tall, low, np.uint16(min(limit, last)))  # type: ignore[call-arg, var-annotated]
                is_hit = is_near & (place > zero)
                is_free = (np.int32(nearest[np.uint64(place)]) > limit) & (not is_hit)
                of_chunk[i] += (of_hit if is_hit else np.uint32(0)) + (of_free if is_free else np.uint32(0))
