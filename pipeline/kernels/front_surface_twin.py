"""Readable twins, in float64, of the front surface and of the mask behind moving boxes, for one pixel or one ray at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.geometry import inverse, project, transform_points
from pipeline.kernels.accumulate import FAR_M, NEAR_M
from pipeline.kernels.boxes import PlacedBox
from pipeline.poses import intrinsic_of, world_from_cam, world_from_sensor


def front_layer(depths_m: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the depths of the front layer, sorted: gaps up to 3 % + 0.3 m, at most 30 % in all."""
    ordered = np.sort(depths_m)
    gaps, allowed = np.diff(ordered), 0.03 * ordered[:-1] + 0.3
    is_beyond = (gaps > allowed) | (ordered[1:] > 1.3 * ordered[0])
    return ordered[: 1 + int(np.argmax(is_beyond))] if is_beyond.any() else ordered


def front_depth(depths_m: NDArray[np.float64], *, least_front_share: float = 0.0) -> float:
    """Return the depth of the front layer's mean inverse depth, metres; 0 where there is none, or it is too small a share."""
    if len(depths_m) == 0:
        return 0.0
    layer = front_layer(depths_m)
    return 0.0 if len(layer) < least_front_share * len(depths_m) else float(len(layer) / np.sum(1.0 / layer))


def entry_depth(box: PlacedBox, keyframe: dict[str, Any], *, row: int, column: int) -> float:
    """Return the depth at which the ray through the middle of a pixel enters a box, 5 % larger, without its lowest 15 cm.

    Infinite where it does not, or where the camera is inside.
    """
    ray = np.linalg.inv(intrinsic_of(keyframe)) @ [column + 0.5, row + 0.5, 1.0]
    box_from_cam = inverse(box.world_from_box) @ world_from_cam(keyframe)
    origin, direction = box_from_cam[:3, 3], box_from_cam[:3, :3] @ ray
    upper = 1.05 * box.half_size_m
    lower = np.array([-upper[0], -upper[1], min(0.15 - box.half_size_m[2], upper[2])])
    with np.errstate(divide="ignore", invalid="ignore"):
        ends = np.stack([(lower - origin) / direction, (upper - origin) / direction])
    enters, leaves = ends.min(axis=0).max(), ends.max(axis=0).min()
    return float(enters) if enters <= leaves and NEAR_M < enters < FAR_M else np.inf


def returns_of_pixels(
    sweeps: Sequence[tuple[dict[str, Any], NDArray[np.float32]]], keyframe: dict[str, Any]
) -> Mapping[int, NDArray[np.float64]]:
    """Return the depths of all returns in each pixel, metres, by pixel number.

    Args:
        sweeps: pairs of a row of ``frames.sweeps`` and its points (n, 3+) float32 in the sensor frame.
        keyframe: a row of ``frames.keyframes``.
    """
    height, width = keyframe["height"], keyframe["width"]
    found: dict[int, list[float]] = {}
    for sweep, points in sweeps:
        cam_from_sensor = inverse(world_from_cam(keyframe)) @ world_from_sensor(sweep)
        u, v, depth = project(transform_points(cam_from_sensor, points[:, :3].astype(np.float64)), intrinsic_of(keyframe))
        with np.errstate(invalid="ignore"):
            inside = (depth > NEAR_M) & (depth < FAR_M) & (u >= 0) & (u < width) & (v >= 0) & (v < height)
        pixels = np.floor(v[inside]).astype(np.int64) * width + np.floor(u[inside]).astype(np.int64)
        for pixel, value in zip(pixels.tolist(), depth[inside].tolist(), strict=True):
            found.setdefault(pixel, []).append(value)
    return {pixel: np.array(values) for pixel, values in found.items()}
