"""Rotations and rigid motion as plain arrays.

Quaternions are (..., 4) in the order w x y z, as in the nuScenes tables; rotation matrices (..., 3, 3) turn
column vectors. A transform is named `a_from_b`: it maps coordinates in frame b to coordinates in frame a.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline.geometry import rotation_matrix

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Hits = NDArray[np.int32]


def quaternion_product(first: ArrayLike, second: ArrayLike) -> Floats:
    """Return the Hamilton product of quaternions (..., 4): `second` is applied before `first`."""
    w1, x1, y1, z1 = np.moveaxis(np.asarray(first, dtype=np.float64), -1, 0)
    w2, x2, y2, z2 = np.moveaxis(np.asarray(second, dtype=np.float64), -1, 0)
    parts = (
        w1 * w2 - x1 * x2 - y1 * y2 - z1 * z2,
        w1 * x2 + x1 * w2 + y1 * z2 - z1 * y2,
        w1 * y2 - x1 * z2 + y1 * w2 + z1 * x2,
        w1 * z2 + x1 * y2 - y1 * x2 + z1 * w2,
    )
    return np.stack(np.broadcast_arrays(*parts), axis=-1)


def quaternion_from_yaw_pitch_roll(yaw: ArrayLike, pitch: ArrayLike, roll: ArrayLike) -> Floats:
    """Return quaternions (..., 4) of Rz(yaw) Ry(pitch) Rx(roll), angles in radians."""

    def about(axis: int, angle: ArrayLike) -> Floats:
        half = np.asarray(angle, dtype=np.float64) / 2
        out = np.zeros((*half.shape, 4))
        out[..., 0], out[..., axis] = np.cos(half), np.sin(half)
        return out

    return quaternion_product(quaternion_product(about(3, yaw), about(2, pitch)), about(1, roll))


@dataclass(frozen=True)
class Pose:
    """One rigid transform: rotation as a quaternion (4,) w x y z, translation (3,) metres."""

    quaternion: Floats
    translation_m: Floats

    @property
    def rotation(self) -> Floats:
        """The rotation matrix (3, 3)."""
        return rotation_matrix(self.quaternion)

    def apply(self, points_m: Floats) -> Floats:
        """Return points (n, 3) moved from the inner to the outer frame."""
        return points_m @ self.rotation.T + self.translation_m

    def inverse(self) -> Pose:
        """Return the transform that leads back."""
        back = self.quaternion * np.array([1.0, -1.0, -1.0, -1.0])
        return Pose(back, -(rotation_matrix(back) @ self.translation_m))

    def __matmul__(self, inner: Pose) -> Pose:
        """Return the transform that applies `inner` first."""
        return Pose(
            quaternion_product(self.quaternion, inner.quaternion),
            self.rotation @ inner.translation_m + self.translation_m,
        )


@dataclass(frozen=True)
class Motion:
    """A rigid body's pose over time as knots: times (n,) microseconds, quaternions (n, 4), translations (n, 3) m."""

    knot_us: Ints
    quaternions: Floats
    translations_m: Floats

    def at(self, time_us: int) -> Pose:
        """Return the pose at a time, linear between knots, carried on linearly before the first and after the last."""
        i = int(np.clip(np.searchsorted(self.knot_us, time_us) - 1, 0, len(self.knot_us) - 2))
        span = float(self.knot_us[i + 1] - self.knot_us[i])
        share = float(time_us - self.knot_us[i]) / span
        first, second = self.quaternions[i], self.quaternions[i + 1]
        if float(first @ second) < 0:
            second = -second
        blend = (1 - share) * first + share * second
        start, end = self.translations_m[i], self.translations_m[i + 1]
        return Pose(blend / np.linalg.norm(blend), start + share * (end - start))
