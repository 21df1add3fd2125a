"""How far one LiDAR sweep saw in each direction: a table of ranges in the sensor's own frame.

Cells are 0.25 degrees of azimuth by 0.3 degrees of elevation. A cell holds the range of its nearest return in steps of 1/256 m.
The rows of a table reach from the lowest to the highest beam of its sweep. All returns count, those of the own car and of moving
objects too: where the sweep sees a bonnet, it sees nothing behind it.

Angles come from float32 arithmetic without a branch, which the compiler turns into vector code; a polynomial replaces atan2.
Its error of 2e-6 rad moves a direction by less than 1/2000 of a cell. No fastmath: the same result on every machine.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

COLUMNS = 1440
"""Cells around: 0.25 degrees each; column 0 begins at azimuth -180 degrees, counted from x towards y."""

ROWS = 600
"""Cells from straight down to straight up: 0.3 degrees each."""

EMPTY = np.uint16(65535)
"""A cell without a return."""

STEPS_PER_M = 256
LAST_STEP = 65534
"""Longer ranges are stored as this: 255.99 m."""

LEAST_IN_ROW = 8
"""Rows at the ends of the table hold at least so many returns, so that a stray return makes no high table."""

LEAST_SHARE_OF_COLUMNS = 0.01
LEAST_SHARE_FOLLOWED = 0.5
FOLLOWED_WITHIN = 2
"""A row has a beam if 1 % of its cells hold a return and half of these have another within the next two cells. So an empty cell
means something only where the beam is fired often enough to hit every cell."""

SCANNED_WITHIN = 8
"""An azimuth is scanned if any beam returned within so many cells (2 degrees); a scanner that does not turn sees a sector only."""

NO_PLACE = 0
"""First entry of a table's ``nearest_of_nine``: where directions fall that the sweep says nothing about. It holds 0."""


class RangeTable(NamedTuple):
    """Ranges of one sweep.

    Attributes:
        first_row: row of the sphere (0 = straight down) that is row 0 of the table.
        steps: (COLUMNS, rows) uint16 nearest range in each cell, 1/256 m, EMPTY without a return.
        has_beam: (rows,) bool: an empty cell of this row means that nothing came back.
        is_scanned: (COLUMNS,) bool: the sensor looked in this direction.
    """

    first_row: int
    steps: NDArray[np.uint16]
    has_beam: NDArray[np.bool_]
    is_scanned: NDArray[np.bool_]


_PI = np.float32(np.pi)
_HALF_PI = np.float32(np.pi / 2)
_COLUMNS_PER_RAD = np.float32(COLUMNS / (2 * np.pi))
_ROWS_PER_RAD = np.float32(ROWS / np.pi)
_HALF_ROWS = np.float32(ROWS / 2)
_ATAN = tuple(np.float32(c) for c in (0.999977218, -0.332622797, 0.193540193, -0.116426046, 0.0526469009, -0.011718967))
_A0, _A1, _A2, _A3, _A4, _A5 = _ATAN
"""atan(t) = t (A0 + A1 t^2 + ...) for 0 <= t <= 1, our own least maximum error: 1.7e-6."""


@njit(cache=True, error_model="numpy", inline="always")
def angle_of(y, x):  # type: ignore[no-untyped-def]  # numba reads no annotations
    """Return atan2(y, x) of float32 values, NaN for (0, 0)."""
    zero = np.float32(0)
    across, along = abs(y), abs(x)
    is_steep = across > along
    t = (along if is_steep else across) / (across if is_steep else along)
    square = t * t
    flat = t * (_A0 + square * (_A1 + square * (_A2 + square * (_A3 + square * (_A4 + square * _A5)))))
    turned = _HALF_PI - flat if is_steep else flat
    angle = _PI - turned if x < zero else turned
    return -angle if y < zero else angle


@njit(cache=True, error_model="numpy")
def _cells_of(raw, columns, rows, steps):  # type: ignore[no-untyped-def]
    """Write column, row of the sphere and range in steps of points (n, 3+); row -1 where a point has no direction."""
    one, zero, last_step = np.float32(1), np.float32(0), np.float32(LAST_STEP)
    last_column, last_row = np.int32(COLUMNS - 1), np.int32(ROWS - 1)
    per_m = np.float32(STEPS_PER_M)
    none = np.int32(-1)
    for i in range(len(raw)):
        x, y, z = raw[i, 0], raw[i, 1], raw[i, 2]
        flat = x * x + y * y
        range_m = np.sqrt(flat + z * z)
        column = (angle_of(y, x) + _PI) * _COLUMNS_PER_RAD
        row = angle_of(z, np.sqrt(flat)) * _ROWS_PER_RAD + _HALF_ROWS
        is_there = (column >= zero) & (row >= zero) & (range_m * zero == zero)
        columns[i] = min(np.int32(column if is_there else zero), last_column)
        rows[i] = min(np.int32(row), last_row) if is_there else none
        step = range_m * per_m if is_there else one
        steps[i] = np.uint16(np.int32(step if step < last_step else last_step))


@njit(cache=True, error_model="numpy")
def _fill(columns, rows, steps, first_row, table):  # type: ignore[no-untyped-def]
    height = table.shape[1]
    flat = table.reshape(-1)
    flat[:] = EMPTY
    for i in range(len(rows)):
        row = rows[i] - first_row
        if 0 <= row < height:
            at = np.uint64(columns[i] * height + row)
            flat[at] = min(flat[at], steps[i])


@njit(cache=True, error_model="numpy")
def _count_rows(rows, count):  # type: ignore[no-untyped-def]
    for row in rows:
        if row >= 0:
            count[row] += 1


@njit(cache=True, error_model="numpy")
def _count_followed(table, count, followed, in_column):  # type: ignore[no-untyped-def]
    """Count per row the cells with a return and those of them with another within the next cells; per column those with one."""
    num_columns, height = table.shape
    for column in range(num_columns):
        here = table[column]
        next1, next2 = table[(column + 1) % num_columns], table[(column + 2) % num_columns]
        for row in range(height):
            is_full = np.int32(here[row] != EMPTY)
            count[row] += is_full
            followed[row] += is_full & (np.int32(next1[row] != EMPTY) | np.int32(next2[row] != EMPTY))
        total = np.int32(0)
        for row in range(height):
            total += np.int32(here[row] != EMPTY)
        in_column[column] = total


def range_table(points: NDArray[np.float32]) -> RangeTable:
    """Return the table of one sweep.

    Args:
        points: (n, 3+) float32 in the sensor frame, all returns; one without a direction or with a NaN counts for nothing.
    """
    count = len(points)
    columns, rows, steps = np.empty(count, np.int32), np.empty(count, np.int32), np.empty(count, np.uint16)
    _cells_of(points, columns, rows, steps)
    in_row = np.zeros(ROWS, np.int64)
    _count_rows(rows, in_row)
    full = np.flatnonzero(in_row >= LEAST_IN_ROW)
    first, stop = (int(full[0]), int(full[-1]) + 1) if len(full) else (0, 1)
    table = np.empty((COLUMNS, stop - first), np.uint16)
    _fill(columns, rows, steps, first, table)
    occupied, followed, in_column = (
        np.zeros(stop - first, np.int32),
        np.zeros(stop - first, np.int32),
        np.zeros(COLUMNS, np.int32),
    )
    _count_followed(table, occupied, followed, in_column)
    has_beam = (occupied >= LEAST_SHARE_OF_COLUMNS * COLUMNS) & (followed >= LEAST_SHARE_FOLLOWED * occupied)
    return RangeTable(first, table, has_beam, _near_any(in_column > 0))


def _near_any(there: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Say for each column whether one is there within SCANNED_WITHIN columns, around the circle."""
    total = np.cumsum(np.concatenate([there[-SCANNED_WITHIN:], there, there[:SCANNED_WITHIN]]))
    width = 2 * SCANNED_WITHIN + 1
    return np.asarray((total[width - 1 :] - np.concatenate([[0], total[:-width]])) > 0)


@njit(cache=True, error_model="numpy")
def nearest_of_nine(table, has_beam, is_scanned, across, out):  # type: ignore[no-untyped-def]
    """Write for each cell the nearest range in the 3x3 cells around it, around the circle; 0 where empty cells say nothing.

    Args:
        table: (COLUMNS, rows) uint16.
        has_beam: (rows,) bool.
        is_scanned: (COLUMNS,) bool.
        across: (rows + 2,) uint16 working memory.
        out: (1 + COLUMNS * rows,) uint16 output; entry NO_PLACE is 0, cell (c, r) is entry 1 + c * rows + r.
    """
    num_columns, height = table.shape
    out[0] = np.uint16(0)
    across[0], across[height + 1] = EMPTY, EMPTY
    of_empty = np.empty(height, np.uint16)
    for row in range(height):
        of_empty[row] = EMPTY if has_beam[row] else np.uint16(0)
    for column in range(num_columns):
        left = table[column - 1 if column > 0 else num_columns - 1]
        right = table[column + 1 if column + 1 < num_columns else 0]
        here = table[column]
        middle = across[1 : height + 1]
        for row in range(height):
            middle[row] = min(min(left[row], right[row]), here[row])
        below, above, cells = across[:height], across[2 : height + 2], out[1 + column * height : 1 + (column + 1) * height]
        if is_scanned[column]:
            for row in range(height):
                nearest = min(min(below[row], above[row]), middle[row])
                cells[row] = nearest if nearest != EMPTY else of_empty[row]
        else:
            for row in range(height):
                nearest = min(min(below[row], above[row]), middle[row])
                cells[row] = nearest if nearest != EMPTY else np.uint16(0)
