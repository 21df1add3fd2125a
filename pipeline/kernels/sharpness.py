"""How sharp the map of a scene is that its sweeps make on given poses: the mean thickness of what is flat.

Why    Wrong poses make a wall thick. That needs no truth, so on any drive a user sees whether other poses are better
Rule   Returns of a sample of sweeps fall into cubes of 1 m by the poses as given. A cube counts if it is flat: its returns, of
       several sweeps, spread least along one axis and at least four times as far along the next. Its thickness is the standard
       deviation along the first. Both sets of poses are judged on the same returns of the same cubes, chosen by the mean of both
       spreads, so that neither has an advantage
Source planes in cubes, as in mean plane variance (Razlaw et al. 2015); docs/method/pipeline.md#poses
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.geometry import Float64, transform_points

CUBE_M = 1.0
NUM_SWEEPS = 40
EVERY = 7
"""Every so many returns of a sweep are looked at; 32 lasers take turns in a file, and 7 meets all of them."""

RANGE_M = 40.0
"""Farther returns are too few to fill a cube."""

LEAST_RETURNS = 15
LEAST_SWEEPS = 3
FLATNESS = 4.0
THICKEST_M = 0.2
LEAST_CUBES = 50
"""With fewer flat cubes nothing is said."""

_PAIRS = ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))


class Thickness(NamedTuple):
    """Mean thickness of the flat cubes.

    Attributes:
        given_m: on the poses as given; NaN with too few cubes.
        other_m: on the other poses; NaN likewise.
        num_cubes: flat cubes.
    """

    given_m: float
    other_m: float
    num_cubes: int


def sampled_sweeps(num_sweeps: int) -> NDArray[np.int64]:
    """Return the numbers of at most ``NUM_SWEEPS`` sweeps, evenly among so many."""
    return np.unique(np.linspace(0, max(0, num_sweeps - 1), min(num_sweeps, NUM_SWEEPS)).round().astype(np.int64))


def thickness(points: Sequence[NDArray[np.float32]], given: Float64, other: Float64) -> Thickness:
    """Compare the map on two sets of poses.

    Args:
        points: per sweep returns (n, 3 or more) in the sensor's frame, metres.
        given: (num_sweeps, 4, 4) world from sensor.
        other: (num_sweeps, 4, 4) the same by other poses, near them.
    """
    near = [sweep[::EVERY, :3].astype(np.float64) for sweep in points]
    near = [sweep[(sweep**2).sum(axis=1) < RANGE_M**2] for sweep in near]
    number = np.repeat(np.arange(len(near)), [len(sweep) for sweep in near])
    if not len(number):
        return Thickness(np.nan, np.nan, 0)
    first_m, second_m = (
        np.concatenate([transform_points(pose, sweep) for pose, sweep in zip(poses, near, strict=True)])
        for poses in (given, other)
    )
    order, starts = _by_cube(first_m)
    count = np.diff(starts, append=len(order))
    is_new = np.diff(number[order], prepend=-1) != 0  # sweeps ascend within a cube, so another number is a further sweep
    is_new[starts] = True
    chosen = (count >= LEAST_RETURNS) & (np.add.reduceat(is_new, starts) >= LEAST_SWEEPS)
    if not chosen.any():
        return Thickness(np.nan, np.nan, 0)
    order, count = order[np.repeat(chosen, count)], count[chosen]
    spreads = [_covariances(where[order], count) for where in (first_m, second_m)]
    variance = np.linalg.eigvalsh(0.5 * (spreads[0] + spreads[1]))
    flat = (variance[:, 1] > FLATNESS**2 * variance[:, 0]) & (variance[:, 0] < THICKEST_M**2)
    if np.count_nonzero(flat) < LEAST_CUBES:
        return Thickness(np.nan, np.nan, int(np.count_nonzero(flat)))
    means = [float(np.sqrt(np.maximum(np.linalg.eigvalsh(spread[flat])[:, 0], 0.0)).mean()) for spread in spreads]
    return Thickness(means[0], means[1], int(np.count_nonzero(flat)))


def _by_cube(points_m: Float64) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return an order (n,) in which points (n, 3) lie cube after cube, otherwise as before, and where each cube begins."""
    cube = np.floor(points_m / CUBE_M).astype(np.int64)
    cube -= cube.min(axis=0)
    sizes = cube.max(axis=0) + 1
    key = (cube[:, 0] * sizes[1] + cube[:, 1]) * sizes[2] + cube[:, 2]
    order = np.argsort(key, kind="stable")
    return order, np.flatnonzero(np.diff(key[order], prepend=-1))


def _covariances(points_m: Float64, count: NDArray[np.int64]) -> Float64:
    """Return the covariances (num_cubes, 3, 3) of points (n, 3) that lie cube after cube, ``count`` in each."""
    starts = np.cumsum(count) - count
    centred = points_m - np.repeat(np.add.reduceat(points_m, starts, axis=0) / count[:, None], count, axis=0)
    covariances = np.empty((len(count), 3, 3))
    for i, j in _PAIRS:
        covariances[:, i, j] = covariances[:, j, i] = np.add.reduceat(centred[:, i] * centred[:, j], starts) / count
    return covariances
