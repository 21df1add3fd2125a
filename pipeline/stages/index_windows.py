"""Cut one scene into clips: which key frames belong together, and where every camera was when it took its picture.

Why    Learning from video of several cameras needs their frames side by side, each camera at its own time; pixels are not copied
Reads  frames: key frames (calibration, pose at the image's time), sweeps (pose at the sweep's time)
Writes windows: which key frames make a window, the rig at each, every camera in that rig
Source specs/mim4d.md section 1; pitfalls 5 (poses of one time, images of another), 8 (nearest sweep), 24 (key frames 0.5 s apart)

The rig frame of a key frame is the ego frame at the time of its key LiDAR sweep, so that the sweep's returns lie still in it;
where there is no such sweep, the ego frame at the time of the first camera's image. ``cam_from_rig`` holds the ego motion from
that time to the image's own.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipeline.geometry import Float64, inverse, rigid
from pipeline.poses import world_from_cam
from pipeline.stage import StageInput, StageParams, StageResult, StageSpec
from storage_schemas.catalog import FRAMES, WINDOWS
from storage_schemas.errors import SourceError
from storage_schemas.layout import UnitData, columns_from_rows, rows

Row = dict[str, Any]


class Params(StageParams):
    """Which key frames make a window."""

    enabled: bool = Field(default=False, description="false: the recipe wants no clips")
    num_frames: int = Field(default=3, ge=1, description="key frames in a window; 1 = every key frame by itself")
    stride: int = Field(default=1, ge=1, description="key frames from one frame of a window to the next")
    cameras: tuple[str, ...] = Field(
        default=(), description="camera channels that every frame of a window must have, in this order; left out: the recipe's"
    )
    lidar: str = Field(default="LIDAR_TOP", description="LiDAR channel")


def kernel(unit: StageInput, p: Params) -> StageResult:
    """Find the windows of one scene; one that lacks a camera's image is left out and counted.

    Raises:
        SourceError: the source knows no poses, or the scene has no image of a camera.
    """
    of_sample = _images_by_key_frame(unit, p)
    num_keyframes = unit.units["frames"].tables["scene"]["num_keyframes"][0]
    cameras = p.cameras or tuple(dict.fromkeys(camera for images in of_sample.values() for camera in images))
    is_complete = [all(camera in of_sample.get(sample, {}) for camera in cameras) for sample in range(num_keyframes)]
    wanted = [
        [key - step * p.stride for step in range(p.num_frames)] for key in range((p.num_frames - 1) * p.stride, num_keyframes)
    ]
    kept = [samples for samples in wanted if all(is_complete[sample] for sample in samples)]
    windows = [
        {"window": number, "step": step, "sample_index": sample}
        for number, samples in enumerate(kept)
        for step, sample in enumerate(samples)
    ]
    used = sorted({sample for samples in kept for sample in samples})
    rigs, views = _rigs_and_views(unit, p, [(sample, [of_sample[sample][camera] for camera in cameras]) for sample in used])
    tables = {"windows": windows, "rigs": rigs, "views": views}
    counts = {"frames": float(len(used)), "windows": float(len(kept)), "windows_left_out": float(len(wanted) - len(kept))}
    return StageResult(
        UnitData(tables={name: columns_from_rows(WINDOWS.table(name), found) for name, found in tables.items()}),
        counts,
        _message(p, num_windows=len(kept), num_left_out=len(wanted) - len(kept), num_cameras=len(cameras)),
    )


def _images_by_key_frame(unit: StageInput, p: Params) -> dict[int, dict[str, Row]]:
    """Return the rows of ``frames.keyframes`` by key frame and camera, each with its number along the camera's key frames."""
    of_camera: dict[str, list[Row]] = {camera: [] for camera in p.cameras}
    for row in rows(unit.units["frames"].tables["keyframes"]):
        if not p.cameras or row["camera"] in p.cameras:
            of_camera.setdefault(row["camera"], []).append(row)
    found: dict[int, dict[str, Row]] = {}
    for camera, images in of_camera.items():
        if not images:
            there = ", ".join(dict.fromkeys(unit.units["frames"].tables["keyframes"]["camera"])) or "none"
            raise SourceError(
                f"scene {unit.scene} has no image of camera '{camera}', so no window is complete; cameras there: {there}. "
                "Correct stages.index_windows.cameras, or leave it out to take the recipe's"
            )
        for frame, row in enumerate(images):
            found.setdefault(row["sample_index"], {})[camera] = {**row, "frame": frame}
    return found


def _rigs_and_views(unit: StageInput, p: Params, used: list[tuple[int, list[Row]]]) -> tuple[list[Row], list[Row]]:
    """Return the rows of ``rigs`` and of ``views`` for key frames with their images, camera after camera."""
    lidar = [(number, sweep) for number, sweep in enumerate(unit.sweeps) if sweep["channel"] == p.lidar]
    key_sweeps = {sweep["sample_index"]: number for number, sweep in lidar if sweep["is_keyframe"]}
    numbers = [number for number, _ in lidar]
    times_us = np.array([sweep["timestamp_us"] for _, sweep in lidar], np.int64)
    rigs: list[Row] = []
    views: list[Row] = []
    for sample, images in used:
        key_sweep = key_sweeps.get(sample)
        at = images[0] if key_sweep is None else unit.sweeps[key_sweep]
        world_from_rig = rigid(at["world_from_ego_translation_m"], at["world_from_ego_rotation_wxyz"])
        rigs.append(
            {
                "sample_index": sample,
                "sample_token": images[0]["sample_token"],
                "timestamp_us": at["timestamp_us"],
                "world_from_rig": world_from_rig.reshape(-1).tolist(),
                "lidar_sweep": key_sweep,
            }
        )
        for image in images:
            nearest = _nearest(times_us, image["timestamp_us"])
            views.append(
                {
                    "sample_index": sample,
                    "camera": image["camera"],
                    "frame": image["frame"],
                    "timestamp_us": image["timestamp_us"],
                    "cam_from_rig": _cam_from_rig(unit, image, world_from_rig).reshape(-1).tolist(),
                    "lidar_sweep": None if nearest is None else numbers[nearest],
                    "lidar_lag_us": None if nearest is None else int(times_us[nearest]) - image["timestamp_us"],
                }
            )
    return rigs, views


def _cam_from_rig(unit: StageInput, image: Row, world_from_rig: Float64) -> Float64:
    """Return the transform (4, 4) from a rig to a camera, each at its own time."""
    cam_from_rig = np.asarray(inverse(world_from_cam(image)) @ world_from_rig)
    if not np.isfinite(cam_from_rig).all():
        raise SourceError(
            f"scene {unit.scene}, camera {image['camera']}: the source knows no poses, so its images have no place in a common "
            "frame. Set stages.index_windows.enabled to false, or take a source with poses"
        )
    return cam_from_rig


def _nearest(times_us: NDArray[np.int64], time_us: int) -> int | None:
    """Return the number of the time nearest to another one, the earlier of two; None if there is none. Times are ascending."""
    if not len(times_us):
        return None
    after = int(np.searchsorted(times_us, time_us))
    around = [number for number in (after - 1, after) if 0 <= number < len(times_us)]
    return min(around, key=lambda number: abs(int(times_us[number]) - time_us))


def _message(p: Params, *, num_windows: int, num_left_out: int, num_cameras: int) -> str:
    def plural(number: int, what: str) -> str:
        return f"{number} {what}{'' if number == 1 else 's'}"

    message = f"{plural(num_windows, 'window')} of {plural(p.num_frames, 'key frame')}, {plural(num_cameras, 'camera')}"
    return message + (f"; {num_left_out} left out that lack an image" if num_left_out else "")


STAGE = StageSpec(
    "index_windows",
    version=1,
    reads=(FRAMES,),
    writes=WINDOWS,
    params=Params,
    kernel=kernel,
    per="scene",
    is_wanted=lambda p: p.enabled,
)
