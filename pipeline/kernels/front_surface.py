"""The front surface of every pixel: from all returns of a window to the mean inverse depth of the nearest layer.

Why    The nearest of many returns is a biased estimate: the more returns, the nearer. What lies behind a gap is another surface
How    Returns are packed by the projection (``accumulate.gather_returns``), brought into pixel order by a counting sort, and
       sorted by depth within each pixel. The nearest layer is then a run of neighbours
Source docs/method/pipeline.md#front-surface

A return is a whole number of steps of 1/256 m, truncated. Its depth lies in the middle of its step in the mean, so the mean is
taken of 1 / (step + 1/2), and the result is truncated again: a pixel with one return keeps its bits. Returns are added up in the
order of their depth, so the order of sweeps and points does not matter. The layer's bounds are tested in whole numbers.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from pipeline.kernels.accumulate import EMPTY

GAP_PERCENT = 3
GAP_M = 0.3
"""Two returns that follow each other belong to one surface up to a gap of 3 % + 0.3 m: one row of a coarse image sees the road
that far apart."""

LAYER_TENTHS = 13
"""A layer ends at 1.3 times its nearest depth, so that a chain of returns along a wall does not reach the horizon."""

_GAP_STEPS = int(100 * GAP_M * 256)  # in hundredths of a step, like GAP_PERCENT times a step
_SORTED_ONE_BY_ONE = 48
_HALF = 0.5


@njit(cache=True, error_model="numpy")
def place_returns(slot, key, first, last, ends, placed):  # type: ignore[no-untyped-def]
    """Bring the returns [first, last) into pixel order; ``ends`` holds where each pixel's next return goes."""
    for i in range(first, last):
        at = np.uint64(slot[i])
        to = ends[at]
        placed[np.uint64(to)] = key[i]
        ends[at] = to + np.int32(1)


@njit(cache=True, error_model="numpy")
def count_returns(slot, count, ends):  # type: ignore[no-untyped-def]
    """Write to ``ends`` (num_pixels,) int32, all 0 before, where the returns of each pixel begin in pixel order."""
    for i in range(count):
        ends[np.uint64(slot[i])] += np.int32(1)
    total = np.int32(0)
    for pixel in range(ends.shape[0]):
        here = ends[pixel]
        ends[pixel] = total
        total += here


@njit(cache=True, error_model="numpy")
def sort_values(values):  # type: ignore[no-untyped-def]
    """Sort the few returns of a pixel in place."""
    if len(values) > _SORTED_ONE_BY_ONE:
        values.sort()
        return
    for i in range(1, len(values)):
        value = values[i]
        k = i
        while k > 0 and values[k - 1] > value:
            values[k] = values[k - 1]
            k -= 1
        values[k] = value


@njit(cache=True, error_model="numpy")
def layer_end(steps):  # type: ignore[no-untyped-def]
    """Return how many of some sorted depths, in steps, belong to the nearest layer."""
    before = np.int64(steps[0])
    farthest = LAYER_TENTHS * before
    for i in range(1, len(steps)):
        step = np.int64(steps[i])
        if 100 * (step - before) > GAP_PERCENT * before + _GAP_STEPS or 10 * step > farthest:
            return i
        before = step
    return len(steps)


@njit(cache=True, error_model="numpy")
def form_surface(ends, placed, least_front_share, out):  # type: ignore[no-untyped-def]
    """Write the front surface of every pixel, and set ``ends`` back to 0.

    Args:
        ends: (num_pixels,) int32, where the returns of each pixel end in ``placed``.
        placed: uint16 depths in pixel order, 1/256 m; EMPTY for a return that was taken away.
        least_front_share: a pixel whose front layer holds less than this share of its returns stays empty.
        out: (num_pixels,) uint16, 1/256 m, 0 = no measurement.

    Returns:
        The number of measured pixels.
    """
    measured, begin = 0, 0
    for pixel in range(out.shape[0]):
        end = ends[pixel]
        ends[pixel] = 0
        value = np.uint16(0)
        if end > begin:
            value = placed[begin]
            if end > begin + 1:
                values = placed[begin:end]
                value = surface_of(values, least_front_share)
            elif value == EMPTY:
                value = np.uint16(0)
        begin = end
        out[pixel] = value
        measured += value > 0
    return measured


@njit(cache=True, error_model="numpy")
def surface_of(values, least_front_share):  # type: ignore[no-untyped-def]
    """Return the depth of the nearest layer of two returns or more, 0 for none; sorts them."""
    sort_values(values)
    count = len(values)
    while count > 0 and values[count - 1] == EMPTY:
        count -= 1
    if count == 0:
        return np.uint16(0)
    front = layer_end(values[:count])
    if front < least_front_share * count:
        return np.uint16(0)
    return mean_step(values[:front])


@njit(cache=True, error_model="numpy")
def mean_step(values):  # type: ignore[no-untyped-def]
    """Return the depth, in whole steps, of the mean inverse depth of returns."""
    if len(values) == 1:
        return values[0]
    total = 0.0
    for i in range(len(values)):
        total += 1.0 / (values[i] + _HALF)
    return np.uint16(len(values) / total)
