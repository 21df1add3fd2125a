"""Accumulate many LiDAR sweeps around each key frame into its image.

Why    One sweep measures 1 % of the pixels of a 900x1600 image, 160 sweeps measure a third: a dense training target.
Reads  frames (poses, boxes), LiDAR files
Writes depth_accumulated.depth_m (frame, y, x) metres, 0 = no measurement; the nearest return per pixel
Source docs/method/pipeline.md#projection, #sweep-window (as the public SemoDepth accumulation), with moving objects dropped or
       carried on top
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field

from pipeline.capability import LIDAR
from pipeline.stage import StageInput, StageParams, StageResult, StageSpec, depth_result
from pipeline.wanted_files import Wanted
from storage_schemas.catalog import DEPTH_ACCUMULATED, FRAMES
from storage_schemas.errors import SourceError

if TYPE_CHECKING:
    from pipeline.kernels.project_frames import ProjectedFrames
    from pipeline.kernels.scene_points import ScenePoints


class Params(StageParams):
    """How many sweeps, and what becomes of moving objects."""

    num_sweeps: int = Field(default=160, ge=1, description="sweeps in a window: (n-1)//2 before the key sweep, the rest after")
    moving: Literal["keep", "drop", "carry"] = Field(
        default="drop",
        description=(
            "points inside annotated moving boxes: keep them where they were seen, drop them, or carry them along with their box"
        ),
    )
    moving_mps: float = Field(
        default=0.5, ge=0.0, description="m/s: a box moves if its horizontal speed exceeds this or is unknown"
    )
    lidar: str = Field(default="LIDAR_TOP", description="LiDAR channel")
    precision: Literal["float32", "reference"] = Field(
        default="float32",
        description=(
            "float32 in each sensor's own frame (near the exact result, fast), or the public script's rounding bit for bit (slow)"
        ),
    )


def lidar_chain(sweeps: Sequence[dict[str, Any]], *, channel: str, scene: str) -> list[dict[str, Any]]:
    """Return the sweeps of one LiDAR in time order.

    Raises:
        SourceError: the scene has no file of this channel.
    """
    chain = [sweep for sweep in sweeps if sweep["channel"] == channel]
    if not chain:
        channels = sorted({sweep["channel"] for sweep in sweeps})
        raise SourceError(
            f"scene {scene} has no files of LiDAR channel '{channel}'; channels there: {', '.join(channels) or 'none'}. "
            "Set stages.accumulate_lidar.lidar in the recipe"
        )
    return chain


def key_sweep(chain: Sequence[dict[str, Any]], keyframe: dict[str, Any], *, scene: str) -> int:
    """Return the number of a key frame's own sweep within the chain; SourceError if it has none."""
    for number, sweep in enumerate(chain):
        if sweep["is_keyframe"] and sweep["sample_index"] == keyframe["sample_index"]:
            return number
    raise SourceError(
        f"scene {scene}: key frame '{keyframe['sample_token']}' has no key LiDAR sweep in sample_data.json. "
        "Unpack the metadata archive again"
    )


def window_around(chain: Sequence[dict[str, Any]], key: int, num_sweeps: int) -> range:
    """Return the numbers of the sweeps in a window: (n-1)//2 before the key sweep and n//2 after it, cut where the chain ends."""
    first, last = key - (num_sweeps - 1) // 2, key + num_sweeps // 2
    same = [number for number in range(max(0, first), min(len(chain), last + 1)) if chain[number]["chain"] == chain[key]["chain"]]
    return range(same[0], same[-1] + 1)


def scene_points(unit: StageInput, p: Params, chain: Sequence[dict[str, Any]]) -> ScenePoints:
    """Return the scene's points in memory, read once for all cameras of the scene."""
    from pipeline.kernels.boxes import SceneBoxes
    from pipeline.kernels.scene_points import read_scene_points

    def make() -> ScenePoints:
        boxes = SceneBoxes(unit.units["frames"].tables["boxes"], moving_mps=p.moving_mps) if p.moving != "keep" else None
        return read_scene_points(unit.raw, chain, boxes, moving=p.moving)

    points = unit.remember(("scene_points", p.lidar, p.moving, p.moving_mps), make)
    unit.used_files.update(points.files)
    return points


def accumulate(unit: StageInput, p: Params) -> tuple[ProjectedFrames, list[range]]:
    """Project every key frame's window; return the maps and the windows."""
    from pipeline.kernels.project_frames import project_frames

    chain = lidar_chain(unit.sweeps, channel=p.lidar, scene=unit.scene)
    windows = [window_around(chain, key_sweep(chain, keyframe, scene=unit.scene), p.num_sweeps) for keyframe in unit.keyframes]
    if p.precision == "reference":
        return _accumulate_like_public_script(unit, p, chain, windows), windows
    height, width = unit.image_size()
    return project_frames(scene_points(unit, p, chain), unit.keyframes, windows, height=height, width=width), windows


def _accumulate_like_public_script(
    unit: StageInput, p: Params, chain: list[dict[str, Any]], windows: list[range]
) -> ProjectedFrames:
    from pipeline.kernels.accumulate_twin import depth_of_sweeps
    from pipeline.kernels.project_frames import ProjectedFrames

    if p.moving == "carry":
        raise SourceError(
            "stages.accumulate_lidar: precision 'reference' repeats the public script, which cannot carry moving objects. "
            "Use moving: keep or drop, or precision: float32"
        )
    points = [_static_points(unit, p, sweep) for sweep in chain]
    unit.used_files.update(sweep["file"] for sweep in chain)
    maps = [
        depth_of_sweeps([(chain[k], points[k]) for k in window], keyframe, precision="reference")
        for keyframe, window in zip(unit.keyframes, windows, strict=True)
    ]
    return ProjectedFrames(
        np.stack(maps),
        np.array([np.count_nonzero(m) for m in maps], np.int32),
        np.array([sum(len(points[k]) for k in window) for window in windows], np.int64),
    )


def _static_points(unit: StageInput, p: Params, sweep: dict[str, Any]) -> Any:
    from pipeline.geometry import inverse, transform_points
    from pipeline.kernels.boxes import SceneBoxes
    from pipeline.poses import world_from_sensor

    points = unit.raw.read_points(sweep["file"])
    if p.moving == "keep":
        return points
    boxes = unit.remember(
        ("boxes", p.moving_mps), lambda: SceneBoxes(unit.units["frames"].tables["boxes"], moving_mps=p.moving_mps)
    )
    is_static = np.ones(len(points), bool)
    for box in boxes.moving_at_sweep(sweep):
        local = transform_points(inverse(box.world_from_box) @ world_from_sensor(sweep), points[:, :3].astype(np.float64))
        is_static &= (np.abs(local) > box.half_size_m).any(axis=1)
    return points[is_static]


def kernel(unit: StageInput, p: Params) -> StageResult:
    """Accumulate all key frames of one scene and camera."""
    projected, windows = accumulate(unit, p)
    num_sweeps = np.array([len(window) for window in windows], np.int32)
    return depth_result(
        projected.steps,
        projected.num_measured,
        unit.timestamps_us(),
        arrays={"num_sweeps": num_sweeps, "num_points": projected.num_points},
        counts={"points_per_frame": float(projected.num_points.mean())},
    )


def _files_of(p: Params, _: Sequence[str]) -> dict[str, Wanted]:
    return {p.lidar: "all" if p.num_sweeps > 1 else "keyframes"}


STAGE = StageSpec(
    "accumulate_lidar",
    version=1,
    reads=(FRAMES,),
    writes=DEPTH_ACCUMULATED,
    params=Params,
    kernel=kernel,
    needs=LIDAR,
    files_of=_files_of,
    never_zero=(("share_measured", "no pixel is measured"),),
)
