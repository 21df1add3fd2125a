"""Project a scene's LiDAR points into every key frame of one camera: the loop that both LiDAR depth stages share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.kernels.accumulate import frustum_planes
from pipeline.kernels.engine import projecting
from pipeline.kernels.scene_points import BOX_TIME_TOLERANCE_US, ScenePoints
from pipeline.poses import image_from_world

Window = Sequence[range]
"""Sweeps of one key frame: a range of them for each scanner."""


@dataclass(frozen=True)
class ProjectedFrames:
    """Depth of a camera's key frames in stored form.

    Attributes:
        steps: (num_frames, height, width) uint16, 1/256 m, 0 = no measurement.
        num_measured: (num_frames,) int32 pixels with a measurement.
        num_points: (num_frames,) int64 LiDAR points in each window.
        of_pixels: further arrays of the store, by name: what is known of the returns of each pixel.
    """

    steps: NDArray[np.uint16]
    num_measured: NDArray[np.int32]
    num_points: NDArray[np.int64]
    of_pixels: Mapping[str, NDArray[Any]] = field(default_factory=dict)


def project_frames(
    points: ScenePoints,
    keyframes: Sequence[dict[str, Any]],
    windows: Sequence[Window],
    *,
    height: int,
    width: int,
    engine: str | None = None,
) -> ProjectedFrames:
    """Project each key frame's window of sweeps into its image; the nearest return wins.

    Args:
        points: the scene's points.
        keyframes: rows of ``frames.keyframes`` of one camera.
        windows: per key frame the sweeps to use, as numbers within ``points``; a range for each scanner.
        height: image rows.
        width: image columns.
        engine: ``numba`` or ``cuda`` to force one; without it ``pipeline.kernels.engine`` chooses. The result is the same.

    Raises:
        AccumulateEngineError: the forced engine cannot be used here, or the GPU failed.
    """
    steps = np.empty((len(keyframes), height, width), np.uint16)
    num_measured = np.zeros(len(keyframes), np.int32)
    num_points = np.zeros(len(keyframes), np.int64)
    groups = points.groups
    with projecting(groups, height=height, width=width, engine=engine) as project:
        for frame, (keyframe, window) in enumerate(zip(keyframes, windows, strict=True)):
            chosen, matrices = chosen_groups(points, keyframe, window)
            planes = frustum_planes(matrices, height=height, width=width)
            num_measured[frame] = project(chosen, matrices.astype(np.float32), planes, steps[frame].reshape(-1))
            num_points[frame] = groups.num_points_of(chosen)
    return ProjectedFrames(steps, num_measured, num_points)


def chosen_groups(points: ScenePoints, keyframe: dict[str, Any], window: Window) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the groups of a window, static first, and for each the (3, 4) float64 matrix from its own frame to the image."""
    groups = points.groups
    image_from_scene = image_from_world(keyframe)
    in_window = np.zeros(len(groups.sweep), bool)
    for part in window:
        in_window |= (groups.sweep >= part.start) & (groups.sweep < part.stop)
    static = np.flatnonzero(in_window & (groups.instance < 0))
    static_matrices = image_from_scene @ points.world_from_sensor[groups.sweep[static]]
    carried = np.flatnonzero(in_window & (groups.instance >= 0))
    if len(carried) == 0 or points.boxes is None:
        return static, static_matrices
    numbers, of_group = np.unique(groups.instance[carried], return_inverse=True)
    names = [points.instances[number] for number in numbers]
    placed = points.boxes.at_time(names, keyframe["timestamp_us"], tolerance_us=BOX_TIME_TOLERANCE_US)
    place_of = {name: place for place, name in enumerate(placed.instances)}
    place = np.array([place_of.get(name, -1) for name in names])[of_group]
    is_placed = place >= 0
    carried_matrices = (image_from_scene @ placed.world_from_box)[place[is_placed]]
    return np.concatenate([static, carried[is_placed]]), np.concatenate([static_matrices, carried_matrices])
