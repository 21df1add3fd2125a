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

ASIDE = 2
"""Columns beside a cell in which a hit counts, and columns of the border."""

CHUNK = 1024
"""Returns that are worked on at once, in the first-level cache."""

COUNTERS = 4
"""Returns of one beam follow each other, and counting up one number waits for the last count: so several are counted in turn."""

TABLES_AT_ONCE = 24
"""Tables whose memory is asked for at once: 9 MB."""

LEAST_IN_ROW = 8
"""Rows at the ends of the table hold at least so many returns, so that a stray return makes no high table."""

LEAST_SHARE_OF_COLUMNS = 0.01
LEAST_SHARE_FOLLOWED = 0.8
FOLLOWED_WITHIN = 2
"""A row has a beam if 1 % of its cells hold a return, and 80 % of these have another one within the next two cells. An empty cell
means something only where the beam is fired so often that it hits every cell; a sweep that was thinned out is empty anyway."""

LEVEL = ROWS // 2
"""Rows from here on look upward. A beam that looks down always meets something. Where nothing came back of it, dark or wet
ground, paint or glass threw the light elsewhere, and that says nothing of what lies before it."""

SCANNED_WITHIN = 8
"""An azimuth is scanned if any beam returned within so many cells (2 degrees); a scanner that does not turn sees a sector."""

COLUMNS_PER_RAD = np.float32(COLUMNS / (2 * np.pi))
ROWS_PER_RAD = np.float32(ROWS / np.pi)
HALF_ROWS = np.float32(ROWS / 2)
PI = np.float32(np.pi)

_HALF_PI = np.float32(np.pi / 2)
_A0, _A1, _A2, _A3, _A4, _A5 = (
    np.float32(c) for c in (0.999977218, -0.332622797, 0.193540193, -0.116426046, 0.0526469009, -0.011718967)
)
"""atan(t) = t (A0 + A1 t^2 + ...) for 0 <= t <= 1: our own fit of least maximum error, 1.7e-6."""


class RangeTable(NamedTuple):
    """Ranges of one sweep.

    Attributes:
        first_row: row of the sphere (0 = straight down) that is row 0 of the table.
        steps: (COLUMNS + 4, rows + 2) uint16 nearest range in each cell, 1/256 m, EMPTY without a return. Its border holds what
            lies beside: two columns of the other side, and EMPTY below and above. Cell (c, r) is ``steps[c + 2, r + 1]``.
        is_told: (rows,) bool: three empty rows around this one mean that nothing came back, because a beam was fired there.
        is_scanned: (COLUMNS,) bool: the sensor looked in this direction.
    """

    first_row: int
    steps: NDArray[np.uint16]
    is_told: NDArray[np.bool_]
    is_scanned: NDArray[np.bool_]

    @property
    def rows(self) -> int:
        """Return the number of rows without the border."""
        return self.steps.shape[1] - 2


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
    angle = PI - turned if x < zero else turned
    return -angle if y < zero else angle


class TableMaker:
    """Makes range tables; holds the memory that it works in, so that it is not asked for again with every sweep."""

    def __init__(self) -> None:
        self._planar = np.empty((3, CHUNK), np.float32)
        self._slab = np.empty(0, np.uint16)
        self._make_room(0)

    def _make_room(self, count: int) -> None:
        self._column, self._row, self._step = np.empty(count, np.int32), np.empty(count, np.int32), np.empty(count, np.uint16)

    def _new_table(self, columns: int, rows: int) -> NDArray[np.uint16]:
        """Return memory for a table, cut from a piece for many: large pieces come in large pages, which cost less to get."""
        if columns * rows > len(self._slab):
            self._slab = np.empty(TABLES_AT_ONCE * columns * rows, np.uint16)
        table, self._slab = self._slab[: columns * rows], self._slab[columns * rows :]
        return table.reshape(columns, rows)

    def table_of(self, points: NDArray[np.float32]) -> RangeTable:
        """Return the table of one sweep.

        Args:
            points: (n, 3+) float32 in the sensor frame, all returns; one with a NaN or without a direction counts for nothing.
        """
        count = len(points)
        if count > len(self._row):
            self._make_room(count + count // 20)
        column, row, step = self._column[:count], self._row[:count], self._step[:count]
        in_row = np.zeros((COUNTERS, ROWS + 1), np.int32)
        _cells_of(points, self._planar, column, row, step, in_row)
        full = np.flatnonzero(in_row[:, 1:].sum(axis=0) >= LEAST_IN_ROW)
        first, stop = (int(full[0]), int(full[-1]) + 1) if len(full) else (0, 1)
        steps = self._new_table(COLUMNS + 2 * ASIDE, stop - first + 2)
        is_told, is_scanned = np.zeros(stop - first, np.bool_), np.zeros(COLUMNS, np.bool_)
        _fill(column, row, step, first, steps, is_scanned)
        _judge(steps, first, is_told, is_scanned)
        return RangeTable(first, steps, is_told, is_scanned)


@njit(cache=True, error_model="numpy")
def _cells_of(raw, planar, column, row, step, in_row):  # type: ignore[no-untyped-def]
    """Write column, row of the sphere and range in steps of points (n, 3+); count the points of each row.

    Without a direction the row is -1: the first one of the counters (COUNTERS, ROWS + 1). ``planar`` is working memory, since
    vector code wants x, y and z apart.
    """
    for start in range(0, len(raw), CHUNK):
        stop = min(start + CHUNK, len(raw))
        count = stop - start
        for i in range(count):
            planar[0, i], planar[1, i], planar[2, i] = raw[start + i, 0], raw[start + i, 1], raw[start + i, 2]
        rows = row[start:stop]
        _cells_of_planar(planar[0, :count], planar[1, :count], planar[2, :count], column[start:stop], rows, step[start:stop])
        for i in range(count):
            in_row[np.uint64(i % COUNTERS), np.uint64(rows[i] + 1)] += 1  # unsigned: see `_fill`


@njit(cache=True, error_model="numpy")
def _cells_of_planar(xs, ys, zs, column, row, step):  # type: ignore[no-untyped-def]
    zero, one = np.float32(0), np.float32(1)
    last_step, per_m = np.float32(LAST_STEP), np.float32(STEPS_PER_M)
    last_column, last_row, none = np.int32(COLUMNS - 1), np.int32(ROWS - 1), np.int32(-1)
    for i in range(len(xs)):  # branch-free, so that the compiler makes vector code of it
        x, y, z = xs[i], ys[i], zs[i]
        flat = x * x + y * y
        away = np.sqrt(flat + z * z) * per_m
        at_column = (angle_of(y, x) + PI) * COLUMNS_PER_RAD
        at_row = angle_of(z, np.sqrt(flat)) * ROWS_PER_RAD + HALF_ROWS
        is_there = (at_column >= zero) & (at_row >= zero)
        away = away if away < last_step else last_step
        column[i] = min(np.int32(at_column if is_there else zero), last_column)
        row[i] = min(np.int32(at_row if is_there else zero), last_row) if is_there else none
        step[i] = np.uint16(np.int32(away if is_there else one))


@njit(cache=True, error_model="numpy")
def _fill(column, row, step, first_row, steps, is_hit):  # type: ignore[no-untyped-def]
    """Write the nearest step of each cell, and the border; note the columns with a return."""
    height = steps.shape[1]
    flat = steps.reshape(-1)
    flat[:] = EMPTY
    for i in range(len(row)):
        inner = row[i] - first_row + 1
        if 1 <= inner < height - 1:
            at = np.uint64((column[i] + ASIDE) * height + inner)  # unsigned: numba tests a signed index for a negative value
            flat[at] = min(flat[at], step[i])
            is_hit[np.uint64(column[i])] = True
    for k in range(ASIDE):
        for row in range(height):  # numba needs 2 s to compile `steps[k] = ...`, for the text of an error
            steps[k, row] = steps[COLUMNS + k, row]
            steps[COLUMNS + ASIDE + k, row] = steps[ASIDE + k, row]


@njit(cache=True, error_model="numpy")
def _judge(steps, first_row, is_told, is_scanned):  # type: ignore[no-untyped-def]
    """Say which rows that look up have a beam in them or beside them, and widen the columns with a return to what was scanned."""
    height = len(is_told)
    lowest = min(max(LEVEL - 1 - first_row, 0), height)  # the row below the first that looks up may hold the beam beside it
    count = height - lowest
    in_row, followed = np.zeros(count, np.int32), np.zeros(count, np.int32)
    for column in range(COLUMNS):
        here, next1 = steps[column + ASIDE, lowest + 1 : -1], steps[column + ASIDE + 1, lowest + 1 : -1]
        next2 = steps[column + ASIDE + FOLLOWED_WITHIN, lowest + 1 : -1]
        for row in range(count):
            is_full = np.int32(here[row] != EMPTY)
            in_row[row] += is_full
            followed[row] += is_full & (np.int32(next1[row] != EMPTY) | np.int32(next2[row] != EMPTY))
    for k in range(count):
        if in_row[k] >= LEAST_SHARE_OF_COLUMNS * COLUMNS and followed[k] >= LEAST_SHARE_FOLLOWED * in_row[k]:
            is_told[max(lowest + k - 1, LEVEL - first_row, 0) : lowest + k + 2] = True
    is_hit = is_scanned.copy()
    for column in range(COLUMNS):
        if not is_hit[column]:
            for beside in range(column - SCANNED_WITHIN, column + SCANNED_WITHIN + 1):
                is_scanned[column] |= is_hit[(beside + COLUMNS) % COLUMNS]


@njit(cache=True, error_model="numpy")
def nearest_of_nine(steps, is_told, is_scanned, out):  # type: ignore[no-untyped-def]
    """Write for each cell the nearest range in the 3x3 cells around it; 0 where empty cells say nothing.

    Args:
        steps: (COLUMNS + 4, rows + 2) uint16 of a ``RangeTable``.
        is_told: (rows,) bool.
        is_scanned: (COLUMNS,) bool.
        out: (COLUMNS + 4, rows + 2) uint16 output; its border is not written, and its entry [0, 0] is set to 0.
    """
    height = len(is_told)
    out[0, 0] = np.uint16(0)
    across, of_empty, silent = np.empty(height + 2, np.uint16), np.empty(height, np.uint16), np.zeros(height, np.uint16)
    for row in range(height):
        of_empty[row] = EMPTY if is_told[row] else np.uint16(0)
    below, middle, above = across[:height], across[1 : height + 1], across[2:]
    for column in range(COLUMNS):
        left, here, right = steps[column + ASIDE - 1], steps[column + ASIDE], steps[column + ASIDE + 1]
        for row in range(height + 2):
            across[row] = min(min(left[row], right[row]), here[row])
        cells = out[column + ASIDE, 1 : height + 1]
        instead = of_empty if is_scanned[column] else silent
        for row in range(height):
            nearest = min(min(below[row], above[row]), middle[row])
            cells[row] = nearest if nearest != EMPTY else instead[row]
