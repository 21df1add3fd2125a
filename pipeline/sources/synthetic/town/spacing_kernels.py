"""Whether rectangles on the ground overlap, pair by pair; the plain twin is `spacing.overlaps`."""

# numba's decorator has no types
# mypy: disable-error-code="untyped-decorator"

from __future__ import annotations

import math

from numba import njit

from pipeline.sources.synthetic.rigid import Floats


@njit(cache=True)
def _are_apart(first: Floats, second: Floats) -> bool:
    """Return whether two rectangles, centre x y, half sizes along and across, yaw, do not overlap."""
    dx, dy = second[0] - first[0], second[1] - first[1]
    reach = first[2] + first[3] + second[2] + second[3]
    if dx * dx + dy * dy >= reach * reach:
        return True
    turn = second[4] - first[4]
    cosine, sine = abs(math.cos(turn)), abs(math.sin(turn))
    for k in range(2):
        own, other = (first, second) if k == 0 else (second, first)
        c, s = math.cos(own[4]), math.sin(own[4])
        if abs(dx * c + dy * s) >= own[2] + other[2] * cosine + other[3] * sine:
            return True
        if abs(dy * c - dx * s) >= own[3] + other[2] * sine + other[3] * cosine:
            return True
    return False


@njit(cache=True)
def meets_any(wanted: Floats, taken: Floats) -> bool:
    """Return whether any of the rectangles (t, 5) overlaps any of (n, 5)."""
    for i in range(len(wanted)):
        for j in range(len(taken)):
            if not _are_apart(wanted[i], taken[j]):
                return True
    return False


@njit(cache=True)
def meets_in_time(wanted: Floats, moving: Floats) -> bool:
    """Return whether rectangles (t, 5), or one that stands (1, 5), overlap any of (m, t, 5) at the same time."""
    for j in range(len(moving)):
        for i in range(moving.shape[1]):
            if not _are_apart(wanted[i if len(wanted) > 1 else 0], moving[j, i]):
                return True
    return False
