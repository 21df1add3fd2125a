"""Drop returns that lie behind the surface around them: seen through its gaps, from where the scanner was at another time.

Why    A surface is measured at points; between them the camera would see it, but a return of the background stands there
How    Grey closing of inverse depth, empty pixels being infinitely far: the nearest depth in each window, then the farthest of
       those around. Both are separable and run over whole rows at once; only rows of the window's height are kept
Source docs/method/pipeline.md#occluded

The window follows the density of returns: a window of k pixels counts only where the closed surface is so near that k pixels
reach no farther than some centimetres. A pixel that is dropped is never the nearest of a window, so dropping it changes no closed
surface, of this window or of a larger one. So windows can be taken one after the other, small ones first, in place.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from storage_schemas.encoding import STEPS_PER_M

SIZES = (3, 5, 9)
"""Windows in pixels. With 0.1 m the largest counts up to 32 m on a 1600x900 image of nuScenes, to 6 m on a 397x120 one."""

_EMPTY = np.uint16(65535)
_NOTHING = np.uint16(0)


def drop_occluded(steps: NDArray[np.uint16], *, focal_px: float, reach_m: float, behind_m: float, behind_share: float) -> int:
    """Set the pixels behind the closed surface to 0, in place; return their number.

    Args:
        steps: (height, width) uint16 depth, 1/256 m, 0 = no measurement.
        focal_px: focal length.
        reach_m: half a window may be this wide on the closed surface.
        behind_m: a pixel is dropped if it lies behind the closed surface by more than this,
        behind_share: and by more than this share of the surface's depth.
    """
    dropped = 0
    for size in SIZES:
        farthest = farthest_steps(size, focal_px=focal_px, reach_m=reach_m)
        if farthest > 0:
            dropped += _drop_behind(
                steps, size, np.float32(farthest), np.float32(behind_m * STEPS_PER_M), np.float32(1 + behind_share)
            )
    return dropped


def farthest_steps(size: int, *, focal_px: float, reach_m: float) -> int:
    """Return the largest depth of a closed surface, in steps, at which a window of ``size`` pixels counts."""
    return int(min(STEPS_PER_M * 2 * reach_m * focal_px / (size - 1), 65534.0))


@njit(cache=True, error_model="numpy")
def _drop_behind(steps, size, farthest, behind, share):  # type: ignore[no-untyped-def]  # numba reads no annotations
    """Drop what lies behind the closed surface of windows of ``size`` pixels, in place; return how many pixels.

    Depths are lowered by one step here, so that 0, no measurement, becomes the largest number.
    """
    height, width = steps.shape
    half = size // 2
    rows, nearest = np.full((size, width), _EMPTY, np.uint16), np.zeros((size, width), np.uint16)
    wide = width + 2 * half
    edge, first, second = np.empty(wide, np.uint16), np.empty(wide, np.uint16), np.empty(wide, np.uint16)
    inner, closed = edge[half : half + width], np.empty(width, np.uint16)
    dropped = 0
    for y in range(height + 2 * half):  # row y comes in, row y - 2 half is done
        if y < height:
            _set_ends(edge, half, _EMPTY)
            _lower_by_one(steps[y], inner)
            _nearest_of_columns(edge, first, second, size, rows[y % size])
        else:
            rows[y % size] = _EMPTY
        if half <= y < height + half:
            _nearest_of_rows(rows, nearest[(y - half) % size])
        elif y >= half:
            nearest[(y - half) % size] = _NOTHING
        if y >= 2 * half:
            _set_ends(edge, half, _NOTHING)
            _farthest_of_rows(nearest, inner)
            _farthest_of_columns(edge, first, second, size, closed)
            dropped += _drop_row(steps[y - 2 * half], closed, farthest, behind, share)
    return dropped


@njit(cache=True, error_model="numpy")
def _set_ends(edge, half, value):  # type: ignore[no-untyped-def]
    for x in range(half):
        edge[x] = edge[len(edge) - 1 - x] = value


@njit(cache=True, error_model="numpy")
def _lower_by_one(row, out):  # type: ignore[no-untyped-def]
    for x in range(len(row)):
        out[x] = np.uint16(row[x] - np.uint16(1))


@njit(cache=True, error_model="numpy")
def _nearest_of_columns(edge, first, second, size, out):  # type: ignore[no-untyped-def]
    """Write the smallest of 3, 5 or 9 neighbours in a row; a larger window is put together from two smaller ones."""
    if size == 3:
        _nearest_of_two(edge[:-1], edge[1:], first[:-1])
        _nearest_of_two(first[:-2], edge[2:], out)
        return
    _nearest_of_two(edge[:-1], edge[1:], first[:-1])
    _nearest_of_two(first[:-3], first[2:-1], second[:-3])
    if size == 5:
        _nearest_of_two(second[:-4], edge[4:], out)
        return
    _nearest_of_two(second[:-7], second[4:-3], first[:-7])
    _nearest_of_two(first[:-8], edge[8:], out)


@njit(cache=True, error_model="numpy")
def _nearest_of_two(first, second, out):  # type: ignore[no-untyped-def]
    for x in range(len(out)):
        out[x] = min(first[x], second[x])


@njit(cache=True, error_model="numpy")
def _farthest_of_columns(edge, first, second, size, out):  # type: ignore[no-untyped-def]
    """Write the largest of 3, 5 or 9 neighbours in a row, in the same way."""
    if size == 3:
        _farthest_of_two(edge[:-1], edge[1:], first[:-1])
        _farthest_of_two(first[:-2], edge[2:], out)
        return
    _farthest_of_two(edge[:-1], edge[1:], first[:-1])
    _farthest_of_two(first[:-3], first[2:-1], second[:-3])
    if size == 5:
        _farthest_of_two(second[:-4], edge[4:], out)
        return
    _farthest_of_two(second[:-7], second[4:-3], first[:-7])
    _farthest_of_two(first[:-8], edge[8:], out)


@njit(cache=True, error_model="numpy")
def _farthest_of_two(first, second, out):  # type: ignore[no-untyped-def]
    for x in range(len(out)):
        out[x] = max(first[x], second[x])


@njit(cache=True, error_model="numpy")
def _nearest_of_rows(rows, out):  # type: ignore[no-untyped-def]
    for x in range(len(out)):
        out[x] = min(rows[0, x], min(rows[1, x], rows[2, x]))
    for k in range(3, len(rows), 2):
        for x in range(len(out)):
            out[x] = min(out[x], min(rows[k, x], rows[k + 1, x]))


@njit(cache=True, error_model="numpy")
def _farthest_of_rows(rows, out):  # type: ignore[no-untyped-def]
    for x in range(len(out)):
        out[x] = max(rows[0, x], max(rows[1, x], rows[2, x]))
    for k in range(3, len(rows), 2):
        for x in range(len(out)):
            out[x] = max(out[x], max(rows[k, x], rows[k + 1, x]))


@njit(cache=True, error_model="numpy")
def _drop_row(row, closed, farthest, behind, share):  # type: ignore[no-untyped-def]
    dropped = 0
    for x in range(len(row)):
        surface, depth = np.float32(closed[x]) + np.float32(1), np.float32(row[x])
        is_behind = (surface <= farthest) & (depth > surface + behind) & (depth > surface * share)
        row[x] = _NOTHING if is_behind else row[x]
        dropped += is_behind
    return dropped


def occluded_twin(
    depth_m: NDArray[np.float64], *, focal_px: float, reach_m: float, behind_m: float, behind_share: float
) -> NDArray[np.bool_]:
    """Readable twin: the pixels that are dropped, as a (height, width) mask; ``depth_m`` is 0 where nothing was measured."""
    dropped = np.zeros(depth_m.shape, bool)
    inverse = np.where(depth_m > 0, 1 / np.maximum(depth_m, 1e-9), 0.0)
    for size in SIZES:
        half = size // 2
        dilated = _in_windows(inverse, half, np.max)
        closed = _in_windows(dilated, half, np.min)
        with np.errstate(divide="ignore"):
            surface_m = 1 / closed
        counts = (size - 1) * surface_m <= 2 * reach_m * focal_px
        dropped |= counts & (depth_m > surface_m + behind_m) & (depth_m > (1 + behind_share) * surface_m)
    return dropped


def _in_windows(values: NDArray[np.float64], half: int, reduce: Callable[[NDArray[np.float64]], Any]) -> NDArray[np.float64]:
    """Return the extreme of the window around each pixel; windows end at the border."""
    height, width = values.shape
    return np.array(
        [
            [reduce(values[max(0, y - half) : y + half + 1, max(0, x - half) : x + half + 1]) for x in range(width)]
            for y in range(height)
        ]
    )
