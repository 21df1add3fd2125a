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

PIECE = 128
"""Pixels of a row that are looked at together for something to drop."""

_MOST = np.uint16(65535)
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

    Depths are lowered by one step here, so that 0, no measurement, becomes the largest number. Turned over, the farthest is the
    smallest: so both halves of the closing look for the smallest, and what lies outside the image is the largest number in both.
    """
    height, width = steps.shape
    half = size // 2
    rows, nearest = np.full((size, width), _MOST, np.uint16), np.full((size, width), _MOST, np.uint16)
    edge, closed = np.full(width + 2 * half, _MOST, np.uint16), np.empty(width, np.uint16)
    inner = edge[half : half + width]
    dropped = 0
    for y in range(height + 2 * half):  # row y comes in, row y - 2 half is done
        if y < height:
            _lower_by_one(steps[y], inner)
            _least_of_columns(edge, size, rows[y % size])
        else:
            rows[y % size] = _MOST
        if half <= y < height + half:
            _least_of_rows(rows, _MOST, nearest[(y - half) % size])
        elif y >= half:
            nearest[(y - half) % size] = _MOST
        if y >= 2 * half:
            _least_of_rows(nearest, _NOTHING, inner)
            _least_of_columns(edge, size, closed)
            dropped += _drop_row(steps[y - 2 * half], closed, farthest, behind, share)
    return dropped


@njit(cache=True, error_model="numpy")
def _lower_by_one(row, out):  # type: ignore[no-untyped-def]
    for x in range(len(row)):
        out[x] = np.uint16(row[x] - np.uint16(1))


@njit(cache=True, error_model="numpy")
def _least_of_columns(edge, size, out):  # type: ignore[no-untyped-def]
    """Write the smallest of 3, 5 or 9 neighbours in a row. One pass reads all: each further pass would read and write again."""
    a, b, c = edge[0:], edge[1:], edge[2:]
    if size == 3:
        for x in range(len(out)):
            out[x] = min(min(a[x], b[x]), c[x])
        return
    d, e = edge[3:], edge[4:]
    if size == 5:
        for x in range(len(out)):
            out[x] = min(min(min(a[x], b[x]), min(c[x], d[x])), e[x])
        return
    f, g, h, i = edge[5:], edge[6:], edge[7:], edge[8:]
    for x in range(len(out)):
        of_eight = min(min(min(a[x], b[x]), min(c[x], d[x])), min(min(e[x], f[x]), min(g[x], h[x])))
        out[x] = min(of_eight, i[x])


@njit(cache=True, error_model="numpy")
def _least_of_rows(rows, flip, out):  # type: ignore[no-untyped-def]
    """Write the smallest of 3, 5 or 9 rows, with the bits of ``flip`` turned over."""
    a, b, c = rows[0], rows[1], rows[2]
    if len(rows) == 3:
        for x in range(len(out)):
            out[x] = min(min(a[x], b[x]), c[x]) ^ flip
        return
    d, e = rows[3], rows[4]
    if len(rows) == 5:
        for x in range(len(out)):
            out[x] = min(min(min(a[x], b[x]), min(c[x], d[x])), e[x]) ^ flip
        return
    f, g, h, i = rows[5], rows[6], rows[7], rows[8]
    for x in range(len(out)):
        of_eight = min(min(min(a[x], b[x]), min(c[x], d[x])), min(min(e[x], f[x]), min(g[x], h[x])))
        out[x] = min(of_eight, i[x]) ^ flip


@njit(cache=True, error_model="numpy")
def _drop_row(row, closed, farthest, behind, share):  # type: ignore[no-untyped-def]
    """Set what lies behind the surface to 0, in pieces: most hold nothing that lies far enough behind, as whole numbers tell."""
    dropped = 0
    least = np.uint16(min(behind, np.float32(65535)))  # a surface is one step farther than the number that stands for it
    for start in range(0, len(row), PIECE):
        here, surfaces = row[start : start + PIECE], closed[start : start + PIECE]
        is_any = False
        for x in range(len(here)):
            surface = surfaces[x] ^ _MOST
            is_any |= (here[x] > surface) & (np.uint16(here[x] - surface) > least)
        if is_any:
            dropped += _drop_piece(here, surfaces, farthest, behind, share)
    return dropped


@njit(cache=True, error_model="numpy")
def _drop_piece(row, closed, farthest, behind, share):  # type: ignore[no-untyped-def]
    dropped = 0
    for x in range(len(row)):
        surface, depth = np.float32(closed[x] ^ _MOST) + np.float32(1), np.float32(row[x])
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
