"""Project the key LiDAR sweep alone into its image.

Why    The single sweep is the sparse anchor of the loss and the target of every evaluation (D_gt).
Reads  frames (poses), key-frame LiDAR files
Writes depth_single.depth_m (frame, y, x) metres, 0 = no measurement
Source docs/method/pipeline.md#sweep-window: the accumulation with num_sweeps = 1, nothing filtered
"""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from pipeline.capability import LIDAR
from pipeline.stage import StageInput, StageParams, StageResult, StageSpec, depth_result
from pipeline.stages.accumulate_lidar import key_sweep, lidar_chain
from pipeline.wanted_files import Wanted
from storage_schemas.catalog import DEPTH_SINGLE, FRAMES


class Params(StageParams):
    """Which LiDAR."""

    lidar: str = Field(default="LIDAR_TOP", description="LiDAR channel")


def kernel(unit: StageInput, p: Params) -> StageResult:
    """Project the key sweep of all key frames of one scene and camera."""
    from pipeline.kernels.project_frames import project_frames
    from pipeline.kernels.scene_points import read_scene_points

    chain = lidar_chain(unit.sweeps, channel=p.lidar, scene=unit.scene)
    keys = sorted({key_sweep(chain, keyframe, scene=unit.scene) for keyframe in unit.keyframes})
    key_chain = [chain[key] for key in keys]
    points = unit.remember(("key_points", p.lidar), lambda: read_scene_points(unit.raw, key_chain, None, moving="keep"))
    unit.used_files.update(points.files)
    sweep_numbers = [key_sweep(key_chain, keyframe, scene=unit.scene) for keyframe in unit.keyframes]
    height, width = unit.image_size()
    projected = project_frames(points, unit.keyframes, [range(key, key + 1) for key in sweep_numbers], height=height, width=width)
    return depth_result(projected.steps, projected.num_measured, unit.timestamps_us())


def _files_of(p: Params, _: Sequence[str]) -> dict[str, Wanted]:
    return {p.lidar: "keyframes"}


STAGE = StageSpec(
    "project_lidar",
    version=1,
    reads=(FRAMES,),
    writes=DEPTH_SINGLE,
    params=Params,
    kernel=kernel,
    needs=LIDAR,
    files_of=_files_of,
    never_zero=(("share_measured", "no pixel is measured"),),
)
