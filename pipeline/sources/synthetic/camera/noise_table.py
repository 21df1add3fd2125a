"""Random numbers on a grid, made once, which kernels blend to value noise (`surface_patterns`)."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

TABLE_SIZE = 256


@cache
def noise_table() -> NDArray[np.float32]:
    """Return the grid's values (256, 256), 0..1; the same in every world."""
    return np.random.default_rng(107).random((TABLE_SIZE, TABLE_SIZE), dtype=np.float32)
