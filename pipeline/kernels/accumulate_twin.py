"""Readable twins of the accumulation kernel: one in float64, and one that repeats the public script's rounding bit for bit.

``precision="float64"`` is what the fast kernel is measured against. ``precision="reference"`` repeats the public accumulation
script: points stay float32 in global coordinates and are rounded after each of eight steps (rotate and translate, four times),
which moves 0.15 % of the pixels on real data. It exists so that golden digests of that script can be reproduced.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.geometry import inverse, project, rigid, rotation_matrix, transform_points
from pipeline.kernels.accumulate import FAR_M, NEAR_M
from pipeline.poses import intrinsic_of, world_from_cam, world_from_sensor
from storage_schemas.encoding import STEPS_PER_M


def depth_of_sweeps(
    sweeps: Sequence[tuple[dict[str, Any], NDArray[np.float32]]],
    keyframe: dict[str, Any],
    *,
    precision: Literal["float64", "reference"],
) -> NDArray[np.uint16]:
    """Project sweeps into one image, the nearest return per pixel.

    Args:
        sweeps: pairs of a row of ``frames.sweeps`` and its points (n, 3+) float32 in the sensor frame.
        keyframe: a row of ``frames.keyframes``.
        precision: how the points are moved to the camera.

    Returns:
        (height, width) uint16, 1/256 m, 0 = no measurement.
    """
    height, width = keyframe["height"], keyframe["width"]
    intrinsic = intrinsic_of(keyframe)
    nearest = np.full(height * width, np.inf)
    for sweep, points in sweeps:
        if precision == "float64":
            cam_from_sensor = inverse(world_from_cam(keyframe)) @ world_from_sensor(sweep)
            in_cam = transform_points(cam_from_sensor, points[:, :3].astype(np.float64))
        else:
            in_cam = _to_cam_like_public_script(points, sweep, keyframe).astype(np.float64)
        u, v, depth = project(in_cam, intrinsic)
        with np.errstate(invalid="ignore"):
            is_inside = (depth > NEAR_M) & (depth < FAR_M) & (u >= 0) & (u < width) & (v >= 0) & (v < height)
        pixel = np.floor(v[is_inside]).astype(np.int64) * width + np.floor(u[is_inside]).astype(np.int64)
        np.minimum.at(nearest, pixel, depth[is_inside])
    nearest[np.isinf(nearest)] = 0.0
    return (nearest * STEPS_PER_M).astype(np.uint16).reshape(height, width)


def _to_cam_like_public_script(
    points: NDArray[np.float32], sweep: dict[str, Any], keyframe: dict[str, Any]
) -> NDArray[np.float32]:
    """Move points (n, 3+) to the camera in eight float32-rounded steps, as the devkit's LidarPointCloud does under NumPy 1."""
    xyz = np.ascontiguousarray(points[:, :3].T)
    for translation, wxyz in (
        (sweep["ego_from_sensor_translation_m"], sweep["ego_from_sensor_rotation_wxyz"]),
        (sweep["world_from_ego_translation_m"], sweep["world_from_ego_rotation_wxyz"]),
    ):
        xyz = np.dot(rotation_matrix(wxyz), xyz).astype(np.float32)
        xyz = xyz + np.asarray(translation, dtype=np.float32)[:, None]
    for translation, wxyz in (
        (keyframe["world_from_ego_translation_m"], keyframe["world_from_ego_rotation_wxyz"]),
        (keyframe["ego_from_cam_translation_m"], keyframe["ego_from_cam_rotation_wxyz"]),
    ):
        xyz = xyz - np.asarray(translation, dtype=np.float32)[:, None]
        xyz = np.dot(rigid((0, 0, 0), wxyz)[:3, :3].T, xyz).astype(np.float32)
    return xyz.T
