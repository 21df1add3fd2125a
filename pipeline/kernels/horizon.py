"""The hot loop of horizon cleaning, in whole steps of 1/256 m so that it is exact, and its readable twin.

Twice a median and four times a median absolute deviation of whole numbers are whole numbers, so no comparison is ever rounded.
The largest depth in the window decides most candidates: a median beyond ``d + floor`` needs a neighbour beyond it. Vector code
finds this maximum for a whole row at once. Few of the others are sorted: a count shows whether half of the neighbours lie beyond.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from storage_schemas.encoding import STEPS_PER_M, decode_depth


@njit(cache=True, error_model="numpy")
def drop_hanging(steps, mono_m, out, num_rows, near, mono_disagree_m, near_mono_m, half, min_neighbors, mad_factor, floor):  # type: ignore[no-untyped-def]
    """Copy a depth map without the returns that hang over the horizon.

    Args:
        steps: (height, width) uint16 depth, 1/256 m, 0 = no measurement.
        mono_m: (height, width) float32 aligned monocular depth in metres, 0 = absent; or (0, 0).
        out: (height, width) uint16 output.
        num_rows: rows 0 .. num_rows - 1 hold candidates.
        near: candidates are nearer than this many steps (float).
        mono_disagree_m: pass B: monocular depth is farther by more than this, metres.
        near_mono_m: pass B: and the return nearer than this, metres.
        half: pass C looks at a window of 2 * half + 1 pixels.
        min_neighbors: pass C needs this many valid depths in the window, the pixel itself included.
        mad_factor: pass C: median - d exceeds this many median absolute deviations.
        floor: pass C: and this many steps (float).

    Returns:
        Pixels that pass A; A and B; A and C; and those dropped.
    """
    height, width = steps.shape
    scratch = np.empty((2 * half + 1) * (2 * half + 1), np.int64)
    highest, column_of = np.empty(width, np.uint16), np.empty(width, np.int64)
    is_a, is_b = np.empty(width, np.bool_), np.zeros(width, np.bool_)
    edge = np.zeros(width + 2 * half, np.uint16)
    near_steps, floor_steps = np.int32(np.ceil(min(near, 65536.0))), np.int32(np.floor(min(floor, 65536.0)))  # of whole numbers
    num_a = num_b = num_c = num_dropped = 0
    for y in range(height):  # numba needs 3 s to compile `out[:] = steps`, for the text of an error
        for x in range(width):
            out[y, x] = steps[y, x]
    for y in range(num_rows):
        _highest_in_windows(steps, y, half, edge, highest)
        row = steps[y]
        for x in range(width):  # without branches the compiler makes vector code of this loop
            is_a[x] = (row[x] > 0) & (row[x] < near_steps)
        if mono_m.size > 0:
            for x in range(width):
                d_m = np.float32(row[x]) / np.float32(256)
                mono = mono_m[y, x]
                is_b[x] = is_a[x] & (mono > 0) & (mono - d_m > np.float32(mono_disagree_m)) & (d_m < near_mono_m)
        count = 0
        for x in range(width):  # a pixel that neither pass can drop is not appended: the end stays where it is
            column_of[count] = x
            count += is_a[x] & (is_b[x] | (np.int32(highest[x]) > np.int32(row[x]) + floor_steps))
            num_a += is_a[x]
        for n in range(count):
            x = column_of[n]
            by_window = _is_far_behind(steps, y, x, half, min_neighbors, mad_factor, floor, scratch)
            num_b += is_b[x]
            num_c += by_window
            if is_b[x] or by_window:
                num_dropped += 1
                out[y, x] = 0
    return num_a, num_b, num_c, num_dropped


@njit(cache=True, error_model="numpy")
def _highest_in_windows(steps, y, half, edge, highest):  # type: ignore[no-untyped-def]
    """Write the largest depth in the window around each pixel of a row to ``highest``; ``edge`` (width + 2 half) is 0 outside."""
    height, width = steps.shape
    inner = edge[half : half + width]
    inner[:] = 0
    for row in range(max(0, y - half), min(height, y + half + 1)):
        values = steps[row]
        for x in range(width):
            inner[x] = max(inner[x], values[x])
    highest[:] = 0
    for shift in range(2 * half + 1):
        shifted = edge[shift : shift + width]
        for x in range(width):
            highest[x] = max(highest[x], shifted[x])


@njit(cache=True, error_model="numpy")
def _is_far_behind(steps, y, x, half, min_neighbors, mad_factor, floor, scratch):  # type: ignore[no-untyped-def]
    """Pass C: the window's median lies behind the pixel by more than mad_factor MADs and more than ``floor`` steps."""
    height, width = steps.shape
    d = np.int64(steps[y, x])
    far = d + floor
    count = num_far = 0
    for row in range(max(0, y - half), min(height, y + half + 1)):
        for column in range(max(0, x - half), min(width, x + half + 1)):
            value = np.int64(steps[row, column])
            scratch[count] = value
            count += 1 if value > 0 else 0
            num_far += 1 if value > far else 0
    if count < min_neighbors or 2 * num_far < count:
        return False
    two_medians = _middle_pair(scratch, count)
    if not two_medians - 2 * d > 2 * floor:
        return False
    for i in range(count):
        scratch[i] = abs(2 * scratch[i] - two_medians)
    four_mads = _middle_pair(scratch, count)
    return 2 * (two_medians - 2 * d) > mad_factor * four_mads


@njit(cache=True, error_model="numpy")
def _middle_pair(values, count):  # type: ignore[no-untyped-def]
    """Sort the first ``count`` values in place and return twice their median."""
    for i in range(1, count):
        value = values[i]
        k = i
        while k > 0 and values[k - 1] > value:
            values[k] = values[k - 1]
            k -= 1
        values[k] = value
    return values[(count - 1) // 2] + values[count // 2]


def passes_twin(
    steps: NDArray[np.uint16],
    mono_m: NDArray[np.float32] | None,
    *,
    upper_fraction: float,
    near_m: float,
    mono_disagree_m: float,
    near_mono_m: float,
    window_px: int,
    min_neighbors: int,
    mad_factor: float,
    floor_m: float,
) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
    """Readable twin: passes A, A and B, A and C as (height, width) masks (docs/method/pipeline.md#horizon-cleaning)."""
    depth = decode_depth(steps)
    height = depth.shape[0]
    rows = np.arange(height)[:, None]
    a = (depth > 0) & (depth < near_m) & (rows < upper_fraction * height)
    b = np.zeros_like(a)
    if mono_m is not None:
        b = a & (mono_m > 0) & (mono_m - depth > np.float32(mono_disagree_m)) & (depth < near_mono_m)
    c = np.zeros_like(a)
    half = window_px // 2
    for y, x in np.argwhere(a).tolist():
        window = depth[max(0, y - half) : y + half + 1, max(0, x - half) : x + half + 1]
        valid = window[window > 0].astype(np.float64)
        if len(valid) >= min_neighbors:
            median = np.median(valid)
            mad = np.median(np.abs(valid - median))
            c[y, x] = median - depth[y, x] > mad_factor * mad and median - depth[y, x] > floor_m
    return a, b, c


def steps_of(metres: float) -> float:
    """Return metres in steps of 1/256 m, not rounded."""
    return metres * STEPS_PER_M
