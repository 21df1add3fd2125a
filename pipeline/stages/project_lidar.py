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
from pipeline.lidar_choice import LidarChoice, lidar_channels
from pipeline.lidar_windows import chosen_sweeps
from pipeline.stage import StageInput, StageParams, StageResult, StageSpec, depth_result
from pipeline.wanted_files import Wanted
from storage_schemas.catalog import DEPTH_SINGLE, FRAMES


class Params(StageParams):
    """Which LiDAR."""

    lidar: LidarChoice = Field(default="LIDAR_TOP", description="LiDAR channel, or a list of several whose key sweeps are one")


def kernel(unit: StageInput, p: Params) -> StageResult:
    """Project the key sweep of all key frames of one scene and camera."""
    from pipeline.kernels.project_frames import project_frames
    from pipeline.kernels.scene_points import read_scene_points

    samples = frozenset(keyframe["sample_index"] for keyframe in unit.keyframes)
    of_images = [sweep for sweep in unit.sweeps if sweep["sample_index"] in samples]  # no other file is read
    lidars = chosen_sweeps(of_images, p.lidar, scene=unit.scene, stage="project_lidar", only_keyframes=True)
    windows = lidars.windows(unit.keyframes, 1, scene=unit.scene)
    points = unit.remember(
        ("key_points", p.lidar, samples), lambda: read_scene_points(unit.raw, lidars.sweeps, None, moving="keep")
    )
    unit.used_files.update(points.files)
    height, width = unit.image_size()
    projected = project_frames(points, unit.keyframes, windows, height=height, width=width)
    missing, remark = lidars.remarks(windows)
    return depth_result(
        projected.steps, projected.num_measured, unit.timestamps_us(), counts=missing, pixels_are=f"measured{remark}"
    )


def _files_of(p: Params, _: Sequence[str]) -> dict[str, Wanted]:
    return dict.fromkeys(lidar_channels(p.lidar), "keyframes")


STAGE = StageSpec(
    "project_lidar",
    version=1,
    reads=(FRAMES,),
    writes=DEPTH_SINGLE,
    params=Params,
    kernel=kernel,
    needs=LIDAR,
    channels_of=lambda p: lidar_channels(p.lidar),
    files_of=_files_of,
    never_zero=(("share_measured", "no pixel is measured"),),
)
