"""Who takes up which part of the ground, so that no two boxes overlap and nobody gets driven over.

Everything is a rectangle on the ground, at one place or at places over the times of one grid.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.sources.synthetic.rigid import Floats


def overlaps(first: Floats, second: Floats) -> NDArray[np.bool_]:
    """Return whether rectangles (..., 5) overlap: centre x y, half sizes along and across, yaw. Touching is no overlap.

    Plain twin of `spacing_kernels`.
    """
    dx, dy = second[..., 0] - first[..., 0], second[..., 1] - first[..., 1]
    turn = second[..., 4] - first[..., 4]
    cosine, sine = np.abs(np.cos(turn)), np.abs(np.sin(turn))
    apart = np.zeros(np.broadcast_shapes(first.shape[:-1], second.shape[:-1]), dtype=bool)
    for own, other in ((first, second), (second, first)):
        along = np.abs(dx * np.cos(own[..., 4]) + dy * np.sin(own[..., 4]))
        across = np.abs(dy * np.cos(own[..., 4]) - dx * np.sin(own[..., 4]))
        apart |= along >= own[..., 2] + other[..., 2] * cosine + other[..., 3] * sine
        apart |= across >= own[..., 3] + other[..., 2] * sine + other[..., 3] * cosine
    return ~apart


def rectangles(places: Floats, width_m: float, length_m: float) -> Floats:
    """Return rectangles (t, 5) around places (t, 4) x y z yaw."""
    half = np.broadcast_to([length_m / 2, width_m / 2], (len(places), 2))
    return np.concatenate([places[:, :2], half, places[:, 3:4]], axis=1)


class Occupied:
    """Rectangles that are taken: standing ones, and moving ones at the times (t,) of a grid."""

    def __init__(self, num_times: int, standing: Floats) -> None:
        self._standing = standing.reshape(-1, 5)
        self._moving = np.empty((0, num_times, 5))

    def is_free(self, wanted: Floats, *, margin_m: float) -> bool:
        """Return whether a rectangle (1, 5), or one at each time (t, 5), keeps a margin to all that is taken."""
        from pipeline.sources.synthetic.town.spacing_kernels import meets_any, meets_in_time

        grown = wanted + np.array([0.0, 0.0, margin_m, margin_m, 0.0])
        middle = wanted[:, :2].mean(axis=0)
        reach = np.hypot(*(wanted[:, :2] - middle).T).max() + grown[0, 2] + grown[0, 3]
        distance = np.hypot(*(self._standing[:, :2] - middle).T)
        near = self._standing[distance < reach + self._standing[:, 2] + self._standing[:, 3]]
        return not (meets_any(grown, near) or meets_in_time(grown, self._moving))

    def take(self, wanted: Floats) -> None:
        """Mark a rectangle (1, 5), or one at each time (t, 5), as taken."""
        if len(wanted) == 1:
            self._standing = np.concatenate([self._standing, wanted])
        else:
            self._moving = np.concatenate([self._moving, wanted[None]])


def footprints(boxes: Sequence[tuple[float, ...]], cylinders: Sequence[tuple[float, ...]], *, below_m: float) -> Floats:
    """Return the rectangles (n, 5) of what stands below a height: numbers of boxes and of cylinders as in `Primitives`."""
    rows = [(x, y, hx, hy, np.arctan2(sine, cosine)) for x, y, z, hx, hy, hz, cosine, sine in boxes if z - hz < below_m]
    rows += [(x, y, radius, radius, 0.0) for x, y, radius, low, _ in cylinders if low < below_m]
    return np.array(rows, dtype=np.float64).reshape(-1, 5)
