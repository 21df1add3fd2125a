"""From tens of thousands of steps to what a chart 400 units wide can show."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Curve = tuple[NDArray[np.float64], NDArray[np.float64]]
"""x and y, each (n,)."""

BUCKETS = 240
"""Parts of the horizontal axis; a picture of 340 units has no room for more."""

FEW_POINTS = 40
"""Up to so many, single points are drawn as a line; their median says nothing more."""

LONGEST_HALF_WINDOW = 250
"""Steps on either side that a moving median takes in at most."""


def finite(x: NDArray[np.float64], y: NDArray[np.float64]) -> Curve:
    """Return the points whose y is a number; a step without any target has none."""
    keep = np.isfinite(y)
    return x[keep], y[keep]


def thinned(x: NDArray[np.float64], y: NDArray[np.float64]) -> Curve:
    """Keep four points of every bucket of consecutive points: two more than the lowest and highest, so no spike is lost."""
    if len(x) <= 4 * BUCKETS:
        return x, y
    kept: set[int] = set()
    for first, stop in pairwise(np.linspace(0, len(x), BUCKETS + 1).astype(int).tolist()):
        bucket = y[first:stop]
        kept |= {first, (first + stop) // 2, first + int(np.argmin(bucket)), first + int(np.argmax(bucket))}
    places = np.array(sorted(kept))
    return x[places], y[places]


def moving_median(x: NDArray[np.float64], y: NDArray[np.float64]) -> Curve:
    """Return the median of the points around each of at most ``BUCKETS`` evenly spaced points.

    The window is a thirtieth of the curve; at the ends it is cut, not moved, so that the beginning is not flattened.
    """
    half = min(LONGEST_HALF_WINDOW, max(1, len(x) // 60))
    places = np.unique(np.linspace(0, len(x) - 1, min(len(x), BUCKETS)).astype(int))
    reach = np.minimum(half, np.minimum(places, len(x) - 1 - places))
    medians = [float(np.median(y[at - half : at + half + 1])) for at, half in zip(places, reach, strict=True)]
    return x[places], np.array(medians)


def smoothed(x: NDArray[np.float64], y: NDArray[np.float64]) -> Curve:
    """Return the moving median, or the points themselves where they are few."""
    return moving_median(x, y) if len(x) > FEW_POINTS else (x, y)
