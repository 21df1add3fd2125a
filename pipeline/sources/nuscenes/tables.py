"""The tables of a nuScenes release, read once and cut into scenes.

Why not ``NuScenes(...)`` of the devkit: on trainval it takes a minute and 6 GB in every process that needs a record. We keep only
the fields that the stages need, in compact form, and hand them out scene by scene; a cache keeps them as Parquet. Tests hold the
result against the devkit's ``get_boxes``, ``box_velocity`` and token chains, record by record.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pipeline.sources.nuscenes.json_tables import Lookup, Record, iterate_table, missing_token, read_table
from pipeline.sources.nuscenes.splits import splits_of_release
from storage_schemas.catalog import CAMERA_SWEEPS, FRAMES
from storage_schemas.errors import DepthmillError, SourceError
from storage_schemas.layout import Columns, columns_from_rows

MAX_TRACK_GAP_S = 1.5
"""The devkit's ``max_time_diff``: no speed over a longer gap to one neighbour (twice that for central differences)."""


class _File(NamedTuple):
    """Fields kept of a sample_data record; camera images between key frames are kept only if they are asked for."""

    token: str
    sample: Record
    pose_token: str
    calibration: Record
    channel: str
    is_camera: bool
    is_keyframe: bool
    timestamp_us: int
    file: str
    height: int
    width: int
    previous: str


class _Box(NamedTuple):
    """Fields kept of a sample_annotation record."""

    token: str
    sample: Record
    instance_token: str
    translation: list[float]
    size: list[float]
    rotation: list[float]
    previous: str
    next: str


def scenes_of_release(folder: Path, *, camera_sweeps: bool = False) -> Iterator[tuple[str, dict[str, Columns]]]:
    """Read a version folder and yield name and FRAMES tables of every scene, in the order of scene.json.

    Args:
        folder: e.g. ``<root>/v1.0-mini``.
        camera_sweeps: yield the CAMERA_SWEEPS table besides; on trainval a million images more are held in memory.

    Raises:
        SourceError: a table or the file of splits is missing or broken, or no record has a token.
    """
    try:
        with _without_garbage_collection():
            cutter = _TableCutter(folder, camera_sweeps=camera_sweeps)
            splits = splits_of_release(folder, [scene["name"] for scene in cutter.scenes])
            for scene in cutter.scenes:
                yield scene["name"], cutter.cut(scene, split=splits.get(scene["name"], ""))
    except KeyError as error:
        raise SourceError(
            f"tables in '{folder}': a record lacks the field {error}; expected the nuScenes v1.0 schema. "
            "Unpack the metadata archive again"
        ) from error
    except (TypeError, ValueError, AttributeError, IndexError, OverflowError) as error:
        if isinstance(error, DepthmillError):
            raise
        raise SourceError(
            f"tables in '{folder}': a value is not of the kind that the nuScenes v1.0 schema has "
            f"({type(error).__name__}: {error}). Unpack the metadata archive again"
        ) from error


@contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """Stop the cycle collector: it would walk millions of long-lived records again and again, and they have no cycles."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


class _TableCutter:
    """The tables of one release while they are being cut; lives only during ``scenes_of_release``."""

    def __init__(self, folder: Path, *, camera_sweeps: bool) -> None:
        self._camera_sweeps = camera_sweeps
        self.scenes = read_table(folder, "scene")
        self._samples = Lookup(folder, "sample")
        self._instances = Lookup(folder, "instance")
        self._categories = Lookup(folder, "category")
        self._samples_of = self._samples_by_scene()
        self._files = self._files_by_scene(folder)
        self._pose_number, self._poses = _read_poses(
            folder, {file.pose_token for files in self._files.values() for file in files}
        )
        self._boxes = self._boxes_by_scene(folder)

    def cut(self, scene: Record, *, split: str) -> dict[str, Columns]:
        """Return the FRAMES tables of one scene, and the CAMERA_SWEEPS table if it is wanted, and forget its records."""
        samples = sorted(self._samples_of.pop(scene["token"]), key=lambda sample: int(sample["timestamp"]))
        index_of = {sample["token"]: index for index, sample in enumerate(samples)}
        summary = {
            "scene": scene["name"],
            "split": split,
            "description": scene["description"],
            "is_night": "night" in scene["description"].lower(),
            "num_keyframes": len(samples),
        }
        images, sweeps = self._file_rows(self._files.pop(scene["token"]), index_of)
        boxes = self._box_rows(self._boxes.pop(scene["token"]), index_of)
        keyframes = [row for row in images if row["is_keyframe"]]
        rows_of_table = {"keyframes": keyframes, "sweeps": sweeps, "boxes": boxes, "scene": [summary], "camera_sweeps": images}
        tables = (*FRAMES.tables, *CAMERA_SWEEPS.tables) if self._camera_sweeps else FRAMES.tables
        return {spec.name: columns_from_rows(spec, rows_of_table[spec.name]) for spec in tables}

    def _samples_by_scene(self) -> dict[str, list[Record]]:
        samples_of: dict[str, list[Record]] = {scene["token"]: [] for scene in self.scenes}
        for sample in self._samples.by_token.values():
            if sample["scene_token"] not in samples_of:
                raise missing_token("scene", sample["scene_token"], asked_by=f"sample '{sample['token']}'")
            samples_of[sample["scene_token"]].append(sample)
        return samples_of

    def _files_by_scene(self, folder: Path) -> dict[str, list[_File]]:
        calibrations, sensors = Lookup(folder, "calibrated_sensor"), Lookup(folder, "sensor")
        files_of: dict[str, list[_File]] = {scene["token"]: [] for scene in self.scenes}
        for record in iterate_table(folder, "sample_data"):
            asked_by = f"sample_data '{record['token']}'"
            calibration = calibrations.get(record["calibrated_sensor_token"], asked_by=asked_by)
            sensor = sensors.get(calibration["sensor_token"], asked_by=f"calibrated_sensor '{calibration['token']}'")
            is_camera = sensor["modality"] == "camera"
            sample = self._samples.get(record["sample_token"], asked_by=asked_by)
            if is_camera and not record["is_key_frame"] and not self._camera_sweeps:
                continue
            files_of[sample["scene_token"]].append(
                _File(
                    record["token"],
                    sample,
                    record["ego_pose_token"],
                    calibration,
                    sensor["channel"],
                    is_camera,
                    record["is_key_frame"],
                    record["timestamp"],
                    record["filename"],
                    record["height"],
                    record["width"],
                    record["prev"],
                )
            )
        return files_of

    def _boxes_by_scene(self, folder: Path) -> dict[str, list[_Box]]:
        boxes_of: dict[str, list[_Box]] = {scene["token"]: [] for scene in self.scenes}
        for record in iterate_table(folder, "sample_annotation"):
            sample = self._samples.get(record["sample_token"], asked_by=f"sample_annotation '{record['token']}'")
            pose = (record["translation"], record["size"], record["rotation"])
            boxes_of[sample["scene_token"]].append(
                _Box(record["token"], sample, record["instance_token"], *pose, record["prev"], record["next"])
            )
        return boxes_of

    def _file_rows(self, files: list[_File], index_of: Mapping[str, int]) -> tuple[list[Record], list[Record]]:
        by_channel: dict[str, list[_File]] = {}
        for file in files:
            by_channel.setdefault(file.channel, []).append(file)
        images: list[Record] = []
        sweeps: list[Record] = []
        for channel in sorted(by_channel):
            chain, last_token = -1, None
            for file in sorted(by_channel[channel], key=lambda file: file.timestamp_us):
                chain += file.previous != last_token or last_token is None
                last_token = file.token
                (images if file.is_camera else sweeps).append({**self._file_row(file, index_of), "chain": chain})
        return images, sweeps

    def _file_row(self, file: _File, index_of: Mapping[str, int]) -> Record:
        number = self._pose_number.get(file.pose_token)
        if number is None:
            raise missing_token("ego_pose", file.pose_token, asked_by=f"sample_data '{file.token}'")
        pose = self._poses[number].tolist()
        translation, rotation = file.calibration["translation"], file.calibration["rotation"]
        row = {
            "sample_index": index_of[file.sample["token"]],
            "timestamp_us": file.timestamp_us,
            "is_keyframe": file.is_keyframe,
            "file": file.file,
            "world_from_ego_translation_m": pose[:3],
            "world_from_ego_rotation_wxyz": pose[3:],
        }
        if not file.is_camera:
            calibration = {"ego_from_sensor_translation_m": translation, "ego_from_sensor_rotation_wxyz": rotation}
            return {**row, **calibration, "channel": file.channel}
        return {
            **row,
            "camera": file.channel,
            "sample_token": file.sample["token"],
            "sample_data_token": file.token,
            "height": file.height,
            "width": file.width,
            "intrinsic_px": [float(value) for line in file.calibration["camera_intrinsic"] for value in line],
            "ego_from_cam_translation_m": translation,
            "ego_from_cam_rotation_wxyz": rotation,
        }

    def _box_rows(self, boxes: list[_Box], index_of: Mapping[str, int]) -> list[Record]:
        by_token = {box.token: box for box in boxes}
        rows = []
        for box in boxes:
            instance = self._instances.get(box.instance_token, asked_by=f"sample_annotation '{box.token}'")
            category = self._categories.get(instance["category_token"], asked_by=f"instance '{instance['token']}'")
            rows.append(
                {
                    "annotation_token": box.token,
                    "instance_token": box.instance_token,
                    "sample_index": index_of[box.sample["token"]],
                    "sample_timestamp_us": box.sample["timestamp"],
                    "category": category["name"],
                    "center_m": box.translation,
                    "size_wlh_m": box.size,
                    "world_from_box_wxyz": box.rotation,
                    "speed_mps": _speed(box, by_token),
                }
            )
        rows.sort(key=lambda row: (row["sample_index"], row["annotation_token"]))
        return rows


def _read_poses(folder: Path, wanted: set[str]) -> tuple[dict[str, int], np.ndarray[tuple[int, int], np.dtype[np.float64]]]:
    """Return pose token -> row, and rows of translation (m) and rotation (wxyz), of the wanted poses only."""
    numbers: dict[str, int] = {}
    poses = np.empty((len(wanted), 7))
    for record in iterate_table(folder, "ego_pose"):
        if record["token"] in wanted:
            number = numbers.setdefault(record["token"], len(numbers))
            poses[number, :3], poses[number, 3:] = record["translation"], record["rotation"]
    return numbers, poses


def _speed(box: _Box, by_token: Mapping[str, _Box]) -> float | None:
    """Horizontal speed in m/s between the neighbouring annotations, None if no neighbour is near enough in time."""
    for token in (box.previous, box.next):
        if token and token not in by_token:
            raise missing_token("sample_annotation", token, asked_by=f"sample_annotation '{box.token}'")
    first = by_token[box.previous] if box.previous else box
    last = by_token[box.next] if box.next else box
    if first is last:
        return None
    seconds = 1e-6 * (int(last.sample["timestamp"]) - int(first.sample["timestamp"]))
    is_central = bool(box.previous and box.next)
    if seconds > MAX_TRACK_GAP_S * (2 if is_central else 1) or seconds <= 0:
        return None
    dx, dy = (last.translation[axis] - first.translation[axis] for axis in (0, 1))
    return float((dx * dx + dy * dy) ** 0.5 / seconds)
