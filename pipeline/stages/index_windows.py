"""Cut one scene into clips: which frames belong together, and where every camera was when it took its picture.

Why    Learning from video of several cameras needs their frames side by side, each camera at its own time; pixels are not copied
Reads  frames: key frames (calibration, pose at the image's time), sweeps (pose at the sweep's time); where older frames lie
       between key frames camera_sweeps, and the files of these images and LiDAR sweeps, for their digests
Writes windows: which frames make a window, the rig at each, every camera in that rig, and the files of those between key frames
Source docs/method/pipeline.md#clips; docs/method/mim4d.md#pitfalls: 5 (poses of one time, images of another), 8 (nearest sweep),
       24 (key frames 0.5 s apart)

Of a key frame the rig is at the key LiDAR sweep, of a frame between two at the sweep nearest to the middle of its images' times.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from pipeline.clip_rigs import Row, cam_from_rig, nearest, world_from_rig_at
from pipeline.clip_sweeps import CameraSweeps
from pipeline.geometry import rigid
from pipeline.lidar_choice import LidarChoice, lidar_channels
from pipeline.lidar_windows import lidars_of, no_lidar
from pipeline.stage import StageInput, StageParams, StageResult, StageSpec
from pipeline.stages.pack_images import check_image
from pipeline.wanted_files import Wanted
from storage_schemas.catalog import CAMERA_SWEEPS, FRAMES, WINDOWS
from storage_schemas.errors import SourceError
from storage_schemas.layout import UnitData, columns_from_rows, rows


class Params(StageParams):
    """Which frames make a window."""

    added_later: ClassVar[Mapping[str, Any]] = MappingProxyType({"frames": "key"})

    enabled: bool = Field(default=False, description="false: the recipe wants no clips")
    frames: Literal["key", "sweep"] = Field(
        default="key",
        description="what a window's older frames are. key: key frames (2 Hz). sweep: images of any time (12 Hz, as published), "
        "read with their LiDAR sweep from the source, which must stay where it is",
    )
    num_frames: int = Field(default=3, ge=1, le=10_000, description="frames in a window; 1 = every key frame by itself")
    stride: int = Field(default=1, ge=1, description="key frames, or images of a camera, from one frame of a window to the next")
    cameras: tuple[str, ...] = Field(
        default=(), description="camera channels that every frame of a window must have, in this order; left out: the recipe's"
    )
    lidar: LidarChoice = Field(
        default="LIDAR_TOP", description="LiDAR channel, or a list by preference: each scene takes the first that it has"
    )


def kernel(unit: StageInput, p: Params) -> StageResult:
    """Find the windows of one scene; a window without the image of some camera is left out and counted.

    Raises:
        SourceError: the source knows no poses, the scene has no image of a camera, or a file between key frames is missing or
            broken.
    """
    of_sample = _images_by_key_frame(unit, p)
    num_keyframes = unit.units["frames"].tables["scene"]["num_keyframes"][0]
    cameras = p.cameras or tuple(dict.fromkeys(camera for images in of_sample.values() for camera in images))
    if p.frames == "sweep":
        kept, tables, num_left_out = _windows_of_sweeps(unit, p, cameras, num_keyframes)
    else:
        kept, tables, num_left_out = _windows_of_key_frames(p, cameras, of_sample, num_keyframes)
    windows = [
        {"window": number, "step": step, "sample_index": sample}
        for number, samples in enumerate(kept)
        for step, sample in enumerate(samples)
    ]
    used = sorted({sample for samples in kept for sample in samples})
    rigs, views = _rigs_and_views(unit, p, [(sample, [of_sample[sample][camera] for camera in cameras]) for sample in used])
    tables = {"windows": windows, **tables, "rigs": rigs, "views": views}
    counts = {"frames": float(len(used)), "windows": float(len(kept)), "windows_left_out": float(num_left_out)}
    return StageResult(
        UnitData(tables={name: columns_from_rows(WINDOWS.table(name), table_rows) for name, table_rows in tables.items()}),
        counts,
        _message(p, tables, num_windows=len(kept), num_left_out=num_left_out, num_cameras=len(cameras)),
    )


def _windows_of_key_frames(
    p: Params, cameras: Sequence[str], of_sample: Mapping[int, dict[str, Row]], num_keyframes: int
) -> tuple[list[list[int]], dict[str, list[Row]], int]:
    """Return the key frames of each window, the newest first, an empty dict of tables, and the number of windows left out."""
    is_complete = [all(camera in of_sample.get(sample, {}) for camera in cameras) for sample in range(num_keyframes)]
    wanted = [
        [key - step * p.stride for step in range(p.num_frames)] for key in range((p.num_frames - 1) * p.stride, num_keyframes)
    ]
    kept = [samples for samples in wanted if all(is_complete[sample] for sample in samples)]
    return kept, {}, len(wanted) - len(kept)


def _windows_of_sweeps(
    unit: StageInput, p: Params, cameras: Sequence[str], num_keyframes: int
) -> tuple[list[list[int]], dict[str, list[Row]], int]:
    """Return the key frame of each window, the tables of all its frames, and the number of windows left out."""
    sweeps = CameraSweeps(rows(unit.units[CAMERA_SWEEPS.name].tables["camera_sweeps"]))
    past = (p.num_frames - 1) * p.stride
    wanted = [sample for sample in range(num_keyframes) if sweeps.has_past(cameras[0], sample, num_images=past)]
    windows = [(sample, sweeps.window(sample, cameras, num_frames=p.num_frames, stride=p.stride)) for sample in wanted]
    kept = [(sample, frames) for sample, frames in windows if frames is not None]
    lidar = _Lidar(unit, p.lidar)
    digests: dict[str, str] = {}
    tables: dict[str, list[Row]] = {"sweep_rigs": [], "sweep_views": []}
    for window, (sample, frames) in enumerate(kept):
        for step, images in enumerate(frames):
            number = lidar.of_key_frame.get(sample) if step == 0 else None
            rig, views = _sweep_rows(unit, images, lidar, number, digests)
            tables["sweep_rigs"].append({"window": window, "step": step, **rig})
            tables["sweep_views"] += [{"window": window, "step": step, **view} for view in views]
    return [[sample] for sample, _ in kept], tables, len(wanted) - len(kept)


class _Lidar:
    """The sweeps of one LiDAR of a scene, by their numbers in ``frames.sweeps``; SourceError if the scene has others only."""

    def __init__(self, unit: StageInput, choice: str | tuple[str, ...]) -> None:
        there = {sweep["channel"] for sweep in unit.sweeps}
        channel = next((name for name in lidar_channels(choice) if name in there), None)
        if channel is None and lidars_of(there):
            raise no_lidar(unit.sweeps, choice, scene=unit.scene, stage="index_windows")
        numbered = [(number, sweep) for number, sweep in enumerate(unit.sweeps) if sweep["channel"] == channel]
        self.of_key_frame = {sweep["sample_index"]: number for number, sweep in numbered if sweep["is_keyframe"]}
        self.times_us = np.array([sweep["timestamp_us"] for _, sweep in numbered], np.int64)
        self._numbers = [number for number, _ in numbered]

    def nearest(self, time_us: int) -> int | None:
        """Return the number of the sweep nearest in time, None without sweeps."""
        place = nearest(self.times_us, time_us)
        return None if place is None else self._numbers[place]


def _sweep_rows(
    unit: StageInput, images: Sequence[Row], lidar: _Lidar, key_sweep: int | None, digests: dict[str, str]
) -> tuple[Row, list[Row]]:
    """Return the row of ``sweep_rigs`` and those of ``sweep_views`` of one frame, without window and step."""
    times_us = [image["timestamp_us"] for image in images]
    number = lidar.nearest((min(times_us) + max(times_us)) // 2) if key_sweep is None else key_sweep
    at = images[0] if number is None else unit.sweeps[number]
    world_from_rig = world_from_rig_at(at)
    rig: Row = {
        "timestamp_us": at["timestamp_us"],
        "world_from_rig": world_from_rig.reshape(-1).tolist(),
        "lidar_sweep": number,
    }
    if number is not None:
        rig_from_lidar = rigid(at["ego_from_sensor_translation_m"], at["ego_from_sensor_rotation_wxyz"])
        rig |= {
            "lidar_file": at["file"],
            "lidar_sha256": _digest(unit, at, digests),
            "lidar_columns": _num_columns(unit, at["file"]),
            "rig_from_lidar": rig_from_lidar.reshape(-1).tolist(),
        }
    views = [
        {
            **image,
            "sha256": _digest(unit, image, digests),
            "cam_from_rig": cam_from_rig(image, world_from_rig, scene=unit.scene).reshape(-1).tolist(),
        }
        for image in images
    ]
    return rig, views


def _num_columns(unit: StageInput, file: str) -> int:
    """Return how many float32 a LiDAR file has a return; a training reads the file itself, so it must hold nothing else.

    Raises:
        SourceError: the file has a header, or other types.
    """
    points, content = unit.raw.read_points(file), unit.raw.read_bytes(file)
    if points.nbytes != len(content):
        raise SourceError(
            f"LiDAR file '{file}' of scene {unit.scene} is not plain float32 (it is a .pcd), which stages.index_windows.frames: "
            "sweep needs. Set frames: key in the recipe, or convert the LiDAR files to .bin"
        )
    return int(points.shape[1])


def _digest(unit: StageInput, row: Row, digests: dict[str, str]) -> str:
    """Return the digest of an image's or sweep's file, read once; an image must be whole and of the size the table says."""
    file = row["file"]
    if file not in digests:
        content = unit.raw.read_bytes(file)
        if "height" in row:
            check_image(content, height=row["height"], width=row["width"], where=file)
        unit.used_files.add(file)
        digests[file] = hashlib.sha256(content).hexdigest()
    return digests[file]


def _images_by_key_frame(unit: StageInput, p: Params) -> dict[int, dict[str, Row]]:
    """Return the rows of ``frames.keyframes`` by key frame and camera, each with its number along the camera's key frames."""
    of_camera: dict[str, list[Row]] = {camera: [] for camera in p.cameras}
    for row in rows(unit.units["frames"].tables["keyframes"]):
        if not p.cameras or row["camera"] in p.cameras:
            of_camera.setdefault(row["camera"], []).append(row)
    of_sample: dict[int, dict[str, Row]] = {}
    for camera, images in of_camera.items():
        if not images:
            cameras = ", ".join(dict.fromkeys(unit.units["frames"].tables["keyframes"]["camera"])) or "none"
            raise SourceError(
                f"scene {unit.scene} has no image of camera '{camera}', so no window is complete; cameras there: {cameras}. "
                "Correct stages.index_windows.cameras, or leave it out to take the recipe's"
            )
        for frame, row in enumerate(images):
            of_sample.setdefault(row["sample_index"], {})[camera] = {**row, "frame": frame}
    return of_sample


def _rigs_and_views(unit: StageInput, p: Params, used: list[tuple[int, list[Row]]]) -> tuple[list[Row], list[Row]]:
    """Return the rows of ``rigs`` and of ``views`` for key frames with their images, camera after camera."""
    lidar = _Lidar(unit, p.lidar)
    rigs: list[Row] = []
    views: list[Row] = []
    for sample, images in used:
        key_sweep = lidar.of_key_frame.get(sample)
        at = images[0] if key_sweep is None else unit.sweeps[key_sweep]
        world_from_rig = world_from_rig_at(at)
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
            number = lidar.nearest(image["timestamp_us"])
            views.append(
                {
                    "sample_index": sample,
                    "camera": image["camera"],
                    "frame": image["frame"],
                    "timestamp_us": image["timestamp_us"],
                    "cam_from_rig": cam_from_rig(image, world_from_rig, scene=unit.scene).reshape(-1).tolist(),
                    "lidar_sweep": number,
                    "lidar_lag_us": None if number is None else unit.sweeps[number]["timestamp_us"] - image["timestamp_us"],
                }
            )
    return rigs, views


def _message(p: Params, tables: Mapping[str, list[Row]], *, num_windows: int, num_left_out: int, num_cameras: int) -> str:
    def plural(number: int, what: str) -> str:
        return f"{number} {what}{'' if number == 1 else 's'}"

    frame = "key frame" if p.frames == "key" else "camera frame"
    message = f"{plural(num_windows, 'window')} of {plural(p.num_frames, frame)}"
    if p.frames == "sweep" and num_windows and p.num_frames > 1:
        of_first = [row["timestamp_us"] for row in tables["sweep_views"][::num_cameras]]  # newest first, window after window
        spacing_us = np.array(of_first).reshape(num_windows, p.num_frames)[:, [0, -1]] @ [1, -1] / (p.num_frames - 1)
        message += (
            f" {np.median(spacing_us) / 1000:.0f} ms apart"  # a wide spacing shows that images between key frames are missing
        )
    message += f", {plural(num_cameras, 'camera')}"
    return message + (f"; {num_left_out} left out that lack an image" if num_left_out else "")


def _files_of(p: Params, cameras: Sequence[str]) -> dict[str, Wanted]:
    return dict.fromkeys((*(p.cameras or cameras), *lidar_channels(p.lidar)), "all") if p.frames == "sweep" else {}


STAGE = StageSpec(
    "index_windows",
    version=1,
    reads=(FRAMES, CAMERA_SWEEPS),
    optional=(CAMERA_SWEEPS,),
    writes=WINDOWS,
    params=Params,
    kernel=kernel,
    is_wanted=lambda p: p.enabled,
    files_of=_files_of,
    never_zero=(("windows", "no window of images is complete"),),
    reads_of=lambda p: (FRAMES, CAMERA_SWEEPS) if p.frames == "sweep" else (FRAMES,),
)
