"""Poses of the rows of the index: where a sensor or a camera was, from calibration and ego pose."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pipeline.geometry import Float64, inverse, rigid


def world_from_sensor(sweep: dict[str, Any]) -> Float64:
    """Return the (4, 4) pose of the LiDAR or radar at a row of ``frames.sweeps``."""
    world_from_ego = rigid(sweep["world_from_ego_translation_m"], sweep["world_from_ego_rotation_wxyz"])
    return np.asarray(world_from_ego @ rigid(sweep["ego_from_sensor_translation_m"], sweep["ego_from_sensor_rotation_wxyz"]))


def world_from_sensors(sweeps: Sequence[dict[str, Any]]) -> Float64:
    """Return the (n, 4, 4) poses of the LiDAR or radar at rows of ``frames.sweeps``, all in one computation."""
    translation, rotation = "world_from_ego_translation_m", "world_from_ego_rotation_wxyz"
    world_from_ego = rigid([sweep[translation] for sweep in sweeps], [sweep[rotation] for sweep in sweeps])
    translation, rotation = "ego_from_sensor_translation_m", "ego_from_sensor_rotation_wxyz"
    return np.asarray(world_from_ego @ rigid([sweep[translation] for sweep in sweeps], [sweep[rotation] for sweep in sweeps]))


def world_from_cam(keyframe: dict[str, Any]) -> Float64:
    """Return the (4, 4) pose of the camera at a row of ``frames.keyframes``, at the image's own time."""
    world_from_ego = rigid(keyframe["world_from_ego_translation_m"], keyframe["world_from_ego_rotation_wxyz"])
    return np.asarray(world_from_ego @ rigid(keyframe["ego_from_cam_translation_m"], keyframe["ego_from_cam_rotation_wxyz"]))


def intrinsic_of(keyframe: dict[str, Any]) -> Float64:
    """Return the (3, 3) camera matrix in pixels."""
    return np.array(keyframe["intrinsic_px"], dtype=np.float64).reshape(3, 3)


def image_from_world(keyframe: dict[str, Any]) -> Float64:
    """Return the (3, 4) matrix whose rows give u*z, v*z and z of a world point."""
    return np.asarray(intrinsic_of(keyframe) @ inverse(world_from_cam(keyframe))[:3])
