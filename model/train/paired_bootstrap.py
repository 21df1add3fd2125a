"""The interval of a mean difference between two runs that were measured on the same frames or clips.

Source percentile bootstrap of the mean (Efron 1979)
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from storage_schemas.errors import DepthmillError

INTERVAL = 0.95
"""Share of the resampled means inside an interval."""


_DRAWS_AT_ONCE = 2_000_000  # 16 MB of indices; all 2,000 resamples of 5,869 frames at once would be 94 MB twice


class ComparisonError(DepthmillError):
    """Two evaluations that cannot be compared as asked."""


def bootstrap_interval(
    values: NDArray[np.float64], *, num_resamples: int = 2000, seed: int | tuple[int, ...] = 0
) -> tuple[float, float]:
    """Return the percentile interval of the mean of values (n,), drawing n of them with replacement num_resamples times."""
    generator, size = np.random.default_rng(seed), len(values)
    block = max(1, _DRAWS_AT_ONCE // size)
    means = np.concatenate(
        [
            values[generator.integers(0, size, (min(block, num_resamples - start), size))].mean(axis=1)
            for start in range(0, num_resamples, block)
        ]
    )
    low, high = np.quantile(means, ((1.0 - INTERVAL) / 2, (1.0 + INTERVAL) / 2))
    return float(low), float(high)
