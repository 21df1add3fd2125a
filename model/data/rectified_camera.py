"""Points of the camera frame to pixels and back, as the KITTI benchmark does it with its 3x4 matrices.

Rule    u = (P [X, Y, Z, 1])_0 / Z and v = (P [X, Y, Z, 1])_1 / Z: divided by Z, not by the third row, which is Z plus a few
        millimetres. Both directions leave P[2, 3] out and so are exact inverses of each other, and Z is the depth that a
        detector predicts.
Frames  camera: x right, y down, z forward, metres; pixel i covers [i, i + 1)
Source  docs/method/monoddle.md#rectified-camera
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]


def project_points(projection: Float64, points_m: Float64) -> Float64:
    """Return the pixels (..., 2) of points (..., 3) with Z other than 0, through projections (..., 3, 4)."""
    rows = np.einsum("...ij,...j->...i", projection[..., :2, :3], points_m) + projection[..., :2, 3]
    return np.asarray(rows / points_m[..., 2:])


def unproject_pixels(projection: Float64, points_px: Float64, depth_m: Float64) -> Float64:
    """Return the points (..., 3) shown at pixels (..., 2) with depths Z (...); the inverse of ``project_points``."""
    away = depth_m[..., None] * (points_px - projection[..., :2, 2]) - projection[..., :2, 3]
    lateral = np.linalg.solve(np.broadcast_to(projection[..., :2, :2], (*away.shape, 2)), away[..., None])[..., 0]
    return np.concatenate([lateral, depth_m[..., None]], axis=-1)


def bearing_rad(projection: Float64, points_px: Float64) -> NDArray[np.float64]:
    """Return the angles (...) that turn an observation angle at pixels (..., 2) into a rotation: atan2(u - cu, fu)."""
    return np.asarray(np.arctan2(points_px[..., 0] - projection[..., 0, 2], projection[..., 0, 0]))
