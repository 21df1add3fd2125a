"""All stages in the order they run."""

from __future__ import annotations

from typing import Any

from pipeline.stage import StageSpec
from pipeline.stages import (
    accumulate_lidar,
    align_mono_depth,
    build_manifest,
    clean_horizon,
    index_camera_sweeps,
    index_frames,
    index_windows,
    interpolate_depth,
    pack_boxes,
    pack_depth,
    pack_images,
    pack_interpolated,
    pack_radar,
    pack_truth,
    predict_mono_depth,
    project_boxes,
    project_lidar,
    project_radar,
)

STAGES: tuple[StageSpec[Any], ...] = (
    index_frames.STAGE,
    index_camera_sweeps.STAGE,
    index_windows.STAGE,
    pack_images.STAGE,
    project_radar.STAGE,
    project_lidar.STAGE,
    pack_radar.STAGE,
    pack_depth.STAGE,
    pack_interpolated.STAGE,
    pack_boxes.STAGE,
    predict_mono_depth.STAGE,
    align_mono_depth.STAGE,
    project_boxes.STAGE,  # after the teachers, who take boxes of drives from the index itself
    accumulate_lidar.STAGE,
    clean_horizon.STAGE,
    interpolate_depth.STAGE,
    pack_truth.STAGE,
    build_manifest.STAGE,
)
"""Every stage; a stage reads only what stages before it write."""


def stage_named(name: str) -> StageSpec[Any]:
    """Return a stage by name; KeyError for an unknown one."""
    return {stage.name: stage for stage in STAGES}[name]
