"""15 cells looked at at once, beside the same question asked of an array."""

from __future__ import annotations

import numpy as np
import pytest
from numba import njit

from pipeline.kernels.cells_around import is_any_between

TALL, WIDE = 6, 7


@njit
def looked_up(steps, place, height, low, limit):
    return is_any_between(steps, place, height, np.uint16(low), np.uint16(limit))


@pytest.mark.parametrize("column", range(2, WIDE - 2))
@pytest.mark.parametrize("row", range(1, TALL - 1))
def test_one_cell_counts_where_it_is_one_of_the_15(column, row):
    for at in np.ndindex(WIDE, TALL):
        table = np.full((WIDE, TALL), 65535, np.uint16)
        table[at] = 500
        is_around = abs(at[0] - column) <= 2 and abs(at[1] - row) <= 1
        assert looked_up(table.reshape(-1), column * TALL + row, TALL, 500, 500) == is_around
        assert not looked_up(table.reshape(-1), column * TALL + row, TALL, 501, 65534)
        assert not looked_up(table.reshape(-1), column * TALL + row, TALL, 0, 499)


def test_any_steps_and_limits_when_looked_up_then_as_an_array_says():
    rng = np.random.default_rng(0)
    for _ in range(500):
        table = rng.integers(0, 65536, (WIDE, TALL)).astype(np.uint16)
        column, row = rng.integers(2, WIDE - 2), rng.integers(1, TALL - 1)
        low, limit = sorted(rng.choice([0, 65535, *rng.integers(0, 65536, 4)], 2))
        cells = table[column - 2 : column + 3, row - 1 : row + 2]
        expected = ((cells >= low) & (cells <= limit)).any()
        assert looked_up(table.reshape(-1), column * TALL + row, TALL, low, limit) == expected
