"""Bring a data set's own sparse LiDAR depth into the store, integer for integer.

Why    Where a set gives depth maps, or single sweeps without drives, they are what a key sweep is elsewhere: anchor and truth
       (D_gt)
Reads  frames (file names), the map of each image that the source provides (ZJU-4DRadarCam: gt/<name>.png); or, where the index
       has sweeps (KITTI object), the points of each frame's own sweep
Writes depth_single.depth_m (frame, y, x) metres, 0 = no measurement; a frame without a sweep is 0 everywhere
Source docs/method/formats.md#zju-4dradarcam
"""

from __future__ import annotations

from typing import Any

from pipeline.capability import provided
from pipeline.provided_maps import pack_maps
from pipeline.stage import NoParams, StageInput, StageResult, StageSpec, depth_result
from storage_schemas.catalog import DEPTH_SINGLE, FRAMES


class Params(NoParams):
    """Nothing to choose: the maps are taken as they are."""


def kernel(unit: StageInput, p: Params) -> StageResult:
    """Pack the sparse depth of all key frames of one scene and camera."""
    return _project_own_sweeps(unit) if unit.sweeps else pack_maps(unit, DEPTH_SINGLE)


def _project_own_sweeps(unit: StageInput) -> StageResult:
    """Project the sweep of each frame, which was taken with its image: no pose is needed, ego stands in for the world."""
    from pipeline.kernels.project_frames import project_frames
    from pipeline.kernels.scene_points import read_scene_points

    sweeps = [_at_ego(sweep) for sweep in unit.sweeps]
    points = read_scene_points(unit.raw, sweeps, None, moving="keep")
    unit.used_files.update(points.files)
    number_of = {sweep["sample_index"]: number for number, sweep in enumerate(sweeps)}
    sweep_numbers = [number_of.get(keyframe["sample_index"]) for keyframe in unit.keyframes]
    windows = [[] if number is None else [range(number, number + 1)] for number in sweep_numbers]
    height, width = unit.image_size()
    projected = project_frames(points, [_at_ego(keyframe) for keyframe in unit.keyframes], windows, height=height, width=width)
    num_without = sweep_numbers.count(None)
    pixels_are = f"measured, {num_without} without a sweep" if num_without else "measured"
    measured = zip(sweep_numbers, projected.num_measured, strict=True)
    num_empty = sum(number is not None and not num_measured for number, num_measured in measured)
    counts = {"maps_empty": float(num_empty)} if num_empty and projected.num_measured.any() else {}
    return depth_result(projected.steps, projected.num_measured, unit.timestamps_us(), counts=counts, pixels_are=pixels_are)


def _at_ego(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "world_from_ego_translation_m": [0.0, 0.0, 0.0], "world_from_ego_rotation_wxyz": [1.0, 0.0, 0.0, 0.0]}


STAGE = StageSpec(
    "pack_depth",
    version=1,
    reads=(FRAMES,),
    writes=DEPTH_SINGLE,
    params=Params,
    kernel=kernel,
    needs=provided(DEPTH_SINGLE),
    never_zero=(("share_measured", "no pixel is measured"),),
)
