"""Smooth the recorded trajectory of a drive, within bounds.

Why    A recorded pose can be wrong by a centimetre or two, each by its own. 160 LiDAR poses average out; the one pose of the
       image does not. A car cannot jump, so what the poses around a pose say of it can be better than the pose alone
Rule   Around each pose the motion of the car relative to it is a polynomial of time in the tangent space of rigid motions. Its
       value there corrects the pose. A constant turn and speed is a straight line in that space, so such a drive stays as it is
Source local polynomial regression (Cleveland 1979; Fan and Gijbels 1996) of the logarithm of SE(3); docs/method/pipeline.md#poses
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.geometry import Float64, inverse

_SMALL_RAD = 1e-6
"""Below this angle the series of a rotation's functions is exact in float64."""

SPARE = 2
"""A fit needs so many poses more than it has coefficients; with fewer the pose stays as it is."""


class Smoothed(NamedTuple):
    """Poses after smoothing.

    Attributes:
        world_from_ego: (n, 4, 4) float64.
        moved_m: (n,) float64 by how much each moved, 0 for those that stayed.
        moved_deg: (n,) float64 by how much each turned.
        is_beyond: (n,) bool: the fit wanted to move the pose by more than the bound, so it stayed.
        is_alone: (n,) bool: too few poses around it, so it stayed.
    """

    world_from_ego: Float64
    moved_m: Float64
    moved_deg: Float64
    is_beyond: NDArray[np.bool_]
    is_alone: NDArray[np.bool_]


def smooth(
    time_us: NDArray[np.int64],
    world_from_ego: Float64,
    others_us: NDArray[np.int64],
    world_from_others: Float64,
    *,
    half_window_s: float,
    degree: int,
    max_m: float,
    max_deg: float,
) -> Smoothed:
    """Correct poses by those around them.

    Args:
        time_us: (n,) times of the poses, any order.
        world_from_ego: (n, 4, 4) poses to correct.
        others_us: (m,) ascending times of the poses that they are corrected by; a pose counts itself only if it is among them.
        world_from_others: (m, 4, 4).
        half_window_s: poses up to this far in time before and after take part, all with the same weight.
        degree: of the polynomial.
        max_m: no pose moves farther than this.
        max_deg: no pose turns farther than this.
    """
    half_us = round(1e6 * half_window_s)  # whole numbers, so that a pose on the edge of a window takes part on either side
    first = np.searchsorted(others_us, time_us - half_us, side="left")
    count = np.searchsorted(others_us, time_us + half_us, side="right") - first
    is_alone = count < degree + 1 + SPARE
    beside = np.arange(max(1, int(count.max(initial=0))))
    takes_part = beside < count[:, None]
    at = np.minimum(first[:, None] + beside, max(0, len(others_us) - 1))
    weights = _weights_at_0((others_us[at] - time_us[:, None]) / half_us, takes_part & ~is_alone[:, None], degree)
    relative = logarithm(inverse(world_from_ego)[:, None] @ world_from_others[at])
    correction = exponential((weights[..., None] * relative).sum(axis=1))
    moved_m = np.linalg.norm(correction[:, :3, 3], axis=1)
    moved_deg = np.rad2deg(_angle(correction[:, :3, :3]))
    is_beyond = (moved_m > max_m) | (moved_deg > max_deg)
    stays = is_beyond | is_alone
    smoothed = np.where(stays[:, None, None], world_from_ego, world_from_ego @ correction)
    return Smoothed(smoothed, np.where(stays, 0.0, moved_m), np.where(stays, 0.0, moved_deg), is_beyond, is_alone)


def _weights_at_0(time: Float64, takes_part: NDArray[np.bool_], degree: int) -> Float64:
    """Return the weights (n, k) with which values at times (n, k) make the value at 0 of the polynomial that fits them best.

    Rows in which nothing takes part have weights of 0.
    """
    powers = np.where(takes_part[..., None], time[..., None] ** np.arange(degree + 1), 0.0)
    normal = np.einsum("nki,nkj->nij", powers, powers)
    normal[~takes_part.any(axis=1)] = np.eye(degree + 1)
    wanted = np.zeros((len(time), degree + 1, 1))
    wanted[:, 0] = 1.0
    # poses of one moment alone do not make a polynomial; the least-norm solution then is their mean
    coefficients = np.linalg.pinv(normal, hermitian=True) @ wanted
    return np.asarray((powers @ coefficients)[..., 0])


def logarithm(motion: Float64) -> Float64:
    """Return the twists (..., 6) of rigid motions (..., 4, 4): three of the shift in metres, three of the turn in radians.

    Turns are below half a revolution.
    """
    rotation = motion[..., :3, :3]
    angle = _angle(rotation)
    axis_sine = 0.5 * np.stack(
        [
            rotation[..., 2, 1] - rotation[..., 1, 2],
            rotation[..., 0, 2] - rotation[..., 2, 0],
            rotation[..., 1, 0] - rotation[..., 0, 1],
        ],
        axis=-1,
    )
    safe = np.where(angle < _SMALL_RAD, 1.0, angle)
    turn = axis_sine * np.where(angle < _SMALL_RAD, 1.0, safe / np.sin(safe))[..., None]
    half = 0.5 * safe
    share = np.where(angle < _SMALL_RAD, 1.0 / 12.0, (1.0 - half / np.tan(half)) / safe**2)
    cross = _cross(turn)
    back = np.eye(3) - 0.5 * cross + share[..., None, None] * (cross @ cross)
    return np.concatenate([(back @ motion[..., :3, 3:])[..., 0], turn], axis=-1)


def exponential(twist: Float64) -> Float64:
    """Return the rigid motions (..., 4, 4) of twists (..., 6); the inverse of ``logarithm``."""
    turn = twist[..., 3:]
    angle = np.linalg.norm(turn, axis=-1)
    safe = np.where(angle < _SMALL_RAD, 1.0, angle)
    sine = np.where(angle < _SMALL_RAD, 1.0, np.sin(safe) / safe)[..., None, None]
    versine = np.where(angle < _SMALL_RAD, 0.5, (1.0 - np.cos(safe)) / safe**2)[..., None, None]
    rest = np.where(angle < _SMALL_RAD, 1.0 / 6.0, (safe - np.sin(safe)) / safe**3)[..., None, None]
    cross = _cross(turn)
    square = cross @ cross
    motion = np.zeros((*twist.shape[:-1], 4, 4))
    motion[..., :3, :3] = np.eye(3) + sine * cross + versine * square
    motion[..., :3, 3] = ((np.eye(3) + versine * cross + rest * square) @ twist[..., :3, None])[..., 0]
    motion[..., 3, 3] = 1.0
    return motion


def _angle(rotation: Float64) -> Float64:
    """Return the angles (...) of rotations (..., 3, 3), radians; exact for small ones too."""
    skew = rotation - np.swapaxes(rotation, -1, -2)
    sine = 0.5 * np.sqrt(skew[..., 2, 1] ** 2 + skew[..., 0, 2] ** 2 + skew[..., 1, 0] ** 2)
    return np.asarray(np.arctan2(sine, 0.5 * (np.trace(rotation, axis1=-2, axis2=-1) - 1.0)))


def _cross(vector: Float64) -> Float64:
    """Return the matrices (..., 3, 3) of the cross product with vectors (..., 3)."""
    x, y, z = np.moveaxis(vector, -1, 0)
    zero = np.zeros_like(x)
    rows = [[zero, -z, y], [z, zero, -x], [-y, x, zero]]
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)
