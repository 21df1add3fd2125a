"""Rigid transforms, pinhole projection and box interpolation in plain float64 NumPy.

A transform named ``a_from_b`` is a 4x4 matrix that takes homogeneous column vectors in frame b to frame a, so that
``world_from_cam = world_from_ego @ ego_from_cam`` reads from left to right. Quaternions are (w, x, y, z), unit length.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Float64 = NDArray[np.float64]


def rotation_matrix(wxyz: ArrayLike) -> Float64:
    """Return the rotations (..., 3, 3) of quaternions (..., 4) in the order w, x, y, z; they are normalised first."""
    q = np.asarray(wxyz, dtype=np.float64)
    w, x, y, z = np.moveaxis(q / np.linalg.norm(q, axis=-1, keepdims=True), -1, 0)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)


def quaternion_wxyz(rotation: ArrayLike) -> Float64:
    """Return the unit quaternions (..., 4), w not negative, of rotations (..., 3, 3); the inverse of ``rotation_matrix``."""
    r = np.asarray(rotation, dtype=np.float64)
    trace, xx, yy, zz = np.trace(r, axis1=-2, axis2=-1), r[..., 0, 0], r[..., 1, 1], r[..., 2, 2]
    wx, wy, wz = r[..., 2, 1] - r[..., 1, 2], r[..., 0, 2] - r[..., 2, 0], r[..., 1, 0] - r[..., 0, 1]
    xy, xz, yz = r[..., 0, 1] + r[..., 1, 0], r[..., 0, 2] + r[..., 2, 0], r[..., 1, 2] + r[..., 2, 1]
    # each row is four times the quaternion times one of its parts; that with the largest part loses no digits
    rows = np.stack(
        [
            np.stack([1 + trace, wx, wy, wz], axis=-1),
            np.stack([wx, 1 + 2 * xx - trace, xy, xz], axis=-1),
            np.stack([wy, xy, 1 + 2 * yy - trace, yz], axis=-1),
            np.stack([wz, xz, yz, 1 + 2 * zz - trace], axis=-1),
        ],
        axis=-2,
    )
    largest = np.diagonal(rows, axis1=-2, axis2=-1).argmax(axis=-1)
    chosen = _unit(np.take_along_axis(rows, largest[..., None, None], axis=-2)[..., 0, :])
    return np.where(chosen[..., :1] < 0, -chosen, chosen)


def rigid(translation_m: ArrayLike, wxyz: ArrayLike) -> Float64:
    """Return transforms ``parent_from_child`` (..., 4, 4) of children at translations (..., 3) with rotations (..., 4)."""
    rotation = rotation_matrix(wxyz)
    matrix = np.zeros((*rotation.shape[:-2], 4, 4))
    matrix[..., :3, :3] = rotation
    matrix[..., :3, 3] = translation_m
    matrix[..., 3, 3] = 1.0
    return matrix


def inverse(a_from_b: Float64) -> Float64:
    """Return ``b_from_a`` of a rigid transform (..., 4, 4), by transposing the rotation."""
    rotation_t = np.swapaxes(a_from_b[..., :3, :3], -1, -2)
    b_from_a = np.zeros_like(a_from_b)
    b_from_a[..., :3, :3] = rotation_t
    b_from_a[..., :3, 3] = -(rotation_t @ a_from_b[..., :3, 3:])[..., 0]
    b_from_a[..., 3, 3] = 1.0
    return b_from_a


def transform_points(a_from_b: Float64, points_b: Float64) -> Float64:
    """Move points (n, 3) from frame b to frame a."""
    return np.asarray(points_b @ a_from_b[:3, :3].T + a_from_b[:3, 3])


def project(points_cam: Float64, intrinsic_px: Float64) -> tuple[Float64, Float64, Float64]:
    """Project points through a pinhole.

    Args:
        points_cam: (n, 3) metres, camera frame: x right, y down, z forward.
        intrinsic_px: (3, 3) camera matrix.

    Returns:
        Column u and row v in pixels and depth along z in metres, each (n,). Where z is 0, u and v are not finite.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        image = points_cam @ intrinsic_px.T
        return image[:, 0] / image[:, 2], image[:, 1] / image[:, 2], points_cam[:, 2]


def unproject(u_px: Float64, v_px: Float64, depth_m: Float64, intrinsic_px: Float64) -> Float64:
    """Return the (n, 3) camera-frame points of pixels with depth along z; the inverse of ``project``."""
    rays = np.stack([u_px, v_px, np.ones_like(u_px)], axis=-1) @ np.linalg.inv(intrinsic_px).T
    return np.asarray(rays * depth_m[:, None])


def slerp(start_wxyz: ArrayLike, end_wxyz: ArrayLike, amount: ArrayLike) -> Float64:
    """Interpolate between unit quaternions (..., 4) along the shorter arc; amount (...) 0 gives the start, 1 the end."""
    start, end = _unit(np.asarray(start_wxyz, np.float64)), _unit(np.asarray(end_wxyz, np.float64))
    share = np.asarray(amount, np.float64)[..., None]
    cosine = (start * end).sum(axis=-1, keepdims=True)
    end, cosine = np.where(cosine < 0.0, -end, end), np.abs(cosine)
    straight = _unit(start + share * (end - start))
    angle = np.arccos(np.minimum(cosine, 1.0))
    with np.errstate(divide="ignore", invalid="ignore"):
        arc = (np.sin((1 - share) * angle) * start + np.sin(share * angle) * end) / np.sin(angle)
    return np.where(cosine > 0.9995, straight, arc)  # nearly parallel: the sine would lose all its digits


def _unit(vectors: Float64) -> Float64:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True))
