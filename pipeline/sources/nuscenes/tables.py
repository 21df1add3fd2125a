"""The tables of a nuScenes release, read once and cut into scenes.

Why not ``NuScenes(...)`` of the devkit: on trainval it takes a minute and 6 GB in every process that needs a record. We keep only
the fields that the stages need, in compact form, and hand them out scene by scene; a cache keeps them as Parquet. Tests hold the
result against the devkit's ``get_boxes``, ``box_velocity`` and token chains, record by record.
"""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from operator import attrgetter
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.finding import Finding
from pipeline.sources.nuscenes.chains import chains_of, note_chains
from pipeline.sources.nuscenes.checks import (
    SceneFindings,
    calibration_findings,
    check_boxes,
    check_channel,
    check_heading,
    check_image_size,
    check_keyframes,
    check_poses,
    wrong_poses,
)
from pipeline.sources.nuscenes.json_tables import Lookup, Record, each_once, iterate_table, missing_token
from pipeline.sources.nuscenes.motion import Ways, check_tracks
from pipeline.sources.nuscenes.names import FileNames, refuse_channel_name, refuse_two_modalities, scene_names
from pipeline.sources.nuscenes.object_facts import OBJECT_FACTS, ObjectFacts, facts_of
from pipeline.sources.nuscenes.odd_calibrations import odd_calibrations
from pipeline.sources.nuscenes.poses import Poses
from pipeline.sources.nuscenes.schema import fault_in_tables, microseconds
from pipeline.sources.nuscenes.splits import splits_of_release
from pipeline.sources.nuscenes.tracks import Box, track_speeds
from storage_schemas.catalog import CAMERA_SWEEPS, FRAMES
from storage_schemas.errors import DepthmillError, LayoutError, SourceError
from storage_schemas.layout import Columns, columns_from_rows
from storage_schemas.remote_path import DataPath

MODALITIES = ("camera", "lidar", "radar")
"""Kinds of sensors that are read; files of others are counted and left alone."""

Times = NDArray[np.int64]


class _File(NamedTuple):
    """Fields kept of a sample_data record; camera images between key frames are kept only if they are asked for."""

    token: str
    sample: Record
    pose_token: str
    calibration: Record
    sensor: Record
    is_keyframe: bool
    timestamp_us: int
    file: str
    height: int
    width: int
    previous: str

    @property
    def channel(self) -> str:
        """Return the sensor channel."""
        channel: str = self.sensor["channel"]
        return channel


class IndexedScene(NamedTuple):
    """One scene of a release.

    Attributes:
        name: its name in the store.
        tables: the FRAMES tables, OBJECT_FACTS, and CAMERA_SWEEPS if it was asked for.
        findings: what is missing in the tables or cannot be right.
        modalities: channel -> camera, lidar or radar, of the channels that have files.
        has_boxes: the release has annotation tables.
    """

    name: str
    tables: dict[str, Columns]
    findings: tuple[Finding, ...]
    modalities: dict[str, str]
    has_boxes: bool


def scenes_of_release(folder: DataPath, *, camera_sweeps: bool = False) -> Iterator[IndexedScene]:
    """Read a version folder and yield every scene, in the order of scene.json.

    Args:
        folder: e.g. ``<root>/v1.0-mini``.
        camera_sweeps: yield the CAMERA_SWEEPS table besides; on trainval a million images more are held in memory.

    Raises:
        SourceError: a table or the file of splits is missing or broken, or a record has no value that can be used; it is named.
    """
    try:
        with _without_garbage_collection():
            cutter = _TableCutter(folder, camera_sweeps=camera_sweeps)
            splits = splits_of_release(folder, [scene["name"] for scene in cutter.scenes])
            for scene in cutter.scenes:
                yield cutter.cut(scene, split=splits.get(scene["name"], ""))
    except DepthmillError as error:
        if isinstance(error, LayoutError):
            raise fault_in_tables(folder) or error from error
        raise
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError) as error:
        raise fault_in_tables(folder) or SourceError(
            f"tables in '{folder}' cannot be read ({type(error).__name__}: {error}); expected the nuScenes v1.0 schema. "
            "Unpack the metadata archive again"
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

    def __init__(self, folder: DataPath, *, camera_sweeps: bool) -> None:
        self._folder, self._camera_sweeps = folder, camera_sweeps
        self._file_names = FileNames(folder.parent)
        self._has_boxes = (folder / "sample_annotation.json").is_file()
        self.scenes = [*Lookup(folder, "scene").by_token.values()]
        self._names = scene_names([scene["name"] for scene in self.scenes])
        self._object_facts = ObjectFacts(folder)
        self._samples = Lookup(folder, "sample")
        self._instances = Lookup(folder, "instance") if self._has_boxes else None
        self._categories = Lookup(folder, "category") if self._has_boxes else None
        self._samples_of = self._samples_by_scene()
        self._num_ignored: Counter[tuple[str, str, str]] = Counter()  # (scene token, channel, unknown modality) -> files
        self._files = self._files_by_scene()
        self._poses = Poses(folder, {file.pose_token for files in self._files.values() for file in files})
        self._boxes = self._boxes_by_scene()
        self._of_calibration: dict[str, list[tuple[str, str, bool]]] = {}

    def cut(self, scene: Record, *, split: str) -> IndexedScene:
        """Return one scene, and forget its records."""
        found = SceneFindings(self._names[scene["name"]])
        if found.scene != scene["name"]:
            found.note(f"called {scene['name']!r} in scene.json; a slash cannot be in the name of a folder")
        samples = sorted(self._samples_of.pop(scene["token"]), key=lambda sample: microseconds(sample["timestamp"]))
        index_of = {sample["token"]: index for index, sample in enumerate(samples)}
        times_us = np.array([microseconds(sample["timestamp"]) for sample in samples], np.int64)
        check_keyframes(found, times_us)
        for (token, channel, modality), count in self._num_ignored.items():
            if token == scene["token"]:
                what = f"files of {channel} are not read: it is no camera, LiDAR or radar"
                found.missing(what, count, advice=f"Its modality in sensor.json is {modality!r}")
        summary = {
            "scene": found.scene,
            "split": split,
            "description": scene["description"],
            "is_night": "night" in scene["description"].lower(),
            "num_keyframes": len(samples),
        }
        images, sweeps, modalities = self._file_rows(self._files.pop(scene["token"]), index_of, times_us, found)
        keyframes = [row for row in images if row["is_keyframe"]]
        ego = np.full((len(samples), 7), np.nan)
        for row in (*sweeps, *keyframes):
            if row["is_keyframe"]:
                ego[row["sample_index"]] = (*row["world_from_ego_translation_m"], *row["world_from_ego_rotation_wxyz"])
        is_wrong = wrong_poses(ego)
        check_heading(found, ego[~is_wrong])
        ego[is_wrong] = np.nan
        annotated = self._boxes.pop(scene["token"])
        boxes = self._box_rows(annotated, index_of, ego[:, :3], found)
        facts = {box.token: box.facts for box in annotated}
        rows_of_table = {
            "keyframes": keyframes,
            "sweeps": sweeps,
            "boxes": boxes,
            "scene": [summary],
            "camera_sweeps": images,
            OBJECT_FACTS.name: self._object_facts.rows(
                (row["annotation_token"], facts[row["annotation_token"]]) for row in boxes
            ),
        }
        tables = (*FRAMES.tables, OBJECT_FACTS, *(CAMERA_SWEEPS.tables if self._camera_sweeps else ()))
        return IndexedScene(
            found.scene,
            {spec.name: columns_from_rows(spec, rows_of_table[spec.name]) for spec in tables},
            tuple(found.findings),
            modalities,
            self._has_boxes,
        )

    def _samples_by_scene(self) -> dict[str, list[Record]]:
        samples_of: dict[str, list[Record]] = {scene["token"]: [] for scene in self.scenes}
        for sample in self._samples.by_token.values():
            if sample["scene_token"] not in samples_of:
                raise missing_token("scene", sample["scene_token"], asked_by=f"sample '{sample['token']}'")
            samples_of[sample["scene_token"]].append(sample)
        return samples_of

    def _files_by_scene(self) -> dict[str, list[_File]]:
        calibrations, sensors = Lookup(self._folder, "calibrated_sensor"), Lookup(self._folder, "sensor")
        channels = {token: sensor["channel"] for token, sensor in sensors.by_token.items()}
        refuse_two_modalities(sensors.by_token.values())
        self._odd_calibrations = odd_calibrations(calibrations.by_token.values(), channels)
        files_of: dict[str, list[_File]] = {scene["token"]: [] for scene in self.scenes}
        for record in iterate_table(self._folder, "sample_data"):
            calibration = calibrations.get(record["calibrated_sensor_token"], "sample_data", record["token"])
            sensor = sensors.get(calibration["sensor_token"], "calibrated_sensor", calibration["token"])
            is_camera = sensor["modality"] == "camera"
            sample = self._samples.get(record["sample_token"], "sample_data", record["token"])
            if is_camera and not record["is_key_frame"] and not self._camera_sweeps:
                continue
            if sensor["modality"] not in MODALITIES:
                if not isinstance(sensor["modality"], str):
                    raise TypeError(f"modality {sensor['modality']!r}")
                self._num_ignored[sample["scene_token"], sensor["channel"], sensor["modality"]] += 1
                continue
            files_of[sample["scene_token"]].append(
                _File(
                    record["token"],
                    sample,
                    record["ego_pose_token"],
                    calibration,
                    sensor,
                    record["is_key_frame"],
                    record["timestamp"],
                    record["filename"],
                    record["height"] if is_camera else 0,
                    record["width"] if is_camera else 0,
                    record.get("prev") or "",
                )
            )
        return files_of

    def _boxes_by_scene(self) -> dict[str, list[Box]]:
        boxes_of: dict[str, list[Box]] = {scene["token"]: [] for scene in self.scenes}
        for record in iterate_table(self._folder, "sample_annotation") if self._has_boxes else ():
            sample = self._samples.get(record["sample_token"], "sample_annotation", record["token"])
            pose = (record["translation"], record["size"], record["rotation"])
            links = (record.get("prev") or "", record.get("next") or "")
            box = Box(record["token"], sample, record["instance_token"], *pose, *links, facts_of(record))
            boxes_of[sample["scene_token"]].append(box)
        return boxes_of

    def _file_rows(
        self, files: list[_File], index_of: Mapping[str, int], sample_times_us: Times, found: SceneFindings
    ) -> tuple[list[Record], list[Record], dict[str, str]]:
        by_channel: dict[str, list[_File]] = {}
        for file in files:
            by_channel.setdefault(file.sensor["channel"], []).append(file)
        images: list[Record] = []
        sweeps: list[Record] = []
        ways = Ways(found)
        modalities = {channel: of_channel[0].sensor["modality"] for channel, of_channel in sorted(by_channel.items())}
        for channel, modality in modalities.items():
            refuse_channel_name(channel)
            in_order = self._in_time_order(by_channel[channel], channel, found)
            numbers = self._poses.numbers(in_order)
            times_us = np.array([file.timestamp_us for file in in_order], np.int64)
            of_sample = np.array([index_of[file.sample["token"]] for file in in_order], np.int64)
            is_keyframe = np.array([file.is_keyframe for file in in_order], bool)
            names = [file.file for file in in_order]
            check_channel(found, channel, names, times_us, of_sample, is_keyframe, sample_times_us)
            pose_tokens = [file.pose_token for file in in_order]
            poses = self._poses.rows[numbers]
            if check_poses(found, channel, pose_tokens, times_us, poses, self._poses.times_us[numbers]):
                ways.add(channel, pose_tokens, times_us, poses)
            self._check_calibrations(found, channel, modality, in_order)
            if modality != "camera" or self._camera_sweeps:  # a key image's link leads to an image that is not indexed
                chains = chains_of([file.token for file in in_order], [file.previous for file in in_order], times_us)
                note_chains(found, channel, chains)
                chain_numbers = chains.number.tolist()
            else:
                chain_numbers = [0] * len(in_order)
            lacking = len(sample_times_us) - len(set(of_sample[is_keyframe].tolist()))
            found.missing(f"key frames have no {channel} file in sample_data.json", lacking, channel=channel)
            channel_rows = [
                {**self._file_row(file, pose), "sample_index": sample, "chain": chain}
                for file, pose, sample, chain in zip(in_order, poses.tolist(), of_sample.tolist(), chain_numbers, strict=True)
            ]
            (images if modality == "camera" else sweeps).extend(channel_rows)
        ways.compare()
        return images, sweeps, modalities

    def _in_time_order(self, files: list[_File], channel: str, found: SceneFindings) -> list[_File]:
        """Return the files of a channel in time order, each once, their names as paths below the root."""
        if set(map(type, [file.timestamp_us for file in files])) != {int}:
            files = [file._replace(timestamp_us=microseconds(file.timestamp_us)) for file in files]
        different = each_once(files, "sample_data")
        found.missing(f"{channel} files are named twice by the same record", len(files) - len(different), channel=channel)
        in_order = sorted(different, key=attrgetter("timestamp_us"))
        num_shared = len(in_order) - len({file.file for file in in_order})
        found.missing(f"{channel} files are named by two records", num_shared, channel=channel)
        foreign = [number for number, file in enumerate(in_order) if FileNames.is_foreign(file.file)]
        for number in foreign:
            in_order[number] = in_order[number]._replace(file=self._file_names.below_root(in_order[number].file))
        found.missing(
            f"{channel} files are named with backslashes or from the root of the disk",
            len(foreign),
            channel=channel,
            advice="They are looked for below the data root all the same",
        )
        return in_order

    def _check_calibrations(self, found: SceneFindings, channel: str, modality: str, files: list[_File]) -> None:
        sizes: dict[tuple[str, int, int], _File] = {}
        for file in reversed(files):
            sizes[file.calibration["token"], file.width, file.height] = file
        is_sound = True
        for file in {token: file for (token, _, _), file in sizes.items()}.values():
            token = file.calibration["token"]
            if token not in self._of_calibration:
                self._of_calibration[token] = calibration_findings(file.calibration, channel, modality)
            if token in self._odd_calibrations:
                what = f"{channel} is mounted otherwise than in nearly all other scenes"
                advice = f"calibrated_sensor '{token}': {self._odd_calibrations[token]}. Check calibrated_sensor.json"
                found.missing(what, 1, channel=channel, advice=advice)
            for what, advice, is_error in self._of_calibration[token]:
                is_sound = is_sound and not is_error
                if is_error:
                    found.wrong(what, channel=channel, advice=advice)
                else:
                    found.missing(what, 1, channel=channel, advice=advice)
        if modality == "camera" and is_sound:
            for (_, width, height), file in sizes.items():
                check_image_size(found, channel, file.file, (width, height), file.calibration["camera_intrinsic"])

    def _file_row(self, file: _File, pose: list[float]) -> Record:
        translation, rotation = file.calibration["translation"], file.calibration["rotation"]
        row = {
            "timestamp_us": file.timestamp_us,
            "is_keyframe": file.is_keyframe,
            "file": file.file,
            "world_from_ego_translation_m": pose[:3],
            "world_from_ego_rotation_wxyz": pose[3:],
        }
        if file.sensor["modality"] != "camera":
            calibration = {"ego_from_sensor_translation_m": translation, "ego_from_sensor_rotation_wxyz": rotation}
            return {**row, **calibration, "channel": file.channel}
        return {
            **row,
            "camera": file.channel,
            "sample_token": file.sample["token"],
            "sample_data_token": file.token,
            "height": file.height,
            "width": file.width,
            "intrinsic_px": _flat(file.calibration.get("camera_intrinsic")),
            "ego_from_cam_translation_m": translation,
            "ego_from_cam_rotation_wxyz": rotation,
        }

    def _box_rows(
        self, boxes: list[Box], index_of: Mapping[str, int], ego_m: NDArray[np.float64], found: SceneFindings
    ) -> list[Record]:
        if self._instances is None or self._categories is None:
            found.note("no sample_annotation.json, so no moving object is dropped or carried")
            return []
        if not boxes:
            found.note("no annotated box, so no moving object is dropped or carried")
            return []
        different = each_once(boxes, "sample_annotation")
        found.missing("boxes are in sample_annotation.json twice", len(boxes) - len(different))
        boxes = different
        speeds = track_speeds(boxes, found)
        rows = []
        for box, speed in zip(boxes, speeds, strict=True):
            instance = self._instances.get(box.instance_token, "sample_annotation", box.token)
            category = self._categories.get(instance["category_token"], "instance", instance["token"])
            rows.append(
                {
                    "annotation_token": box.token,
                    "instance_token": box.instance_token,
                    "sample_index": index_of[box.sample["token"]],
                    "sample_timestamp_us": microseconds(box.sample["timestamp"]),
                    "category": category["name"],
                    "center_m": box.translation,
                    "size_wlh_m": box.size,
                    "world_from_box_wxyz": box.rotation,
                    "speed_mps": speed,
                }
            )
        rows.sort(key=lambda row: (row["sample_index"], row["annotation_token"]))
        placed = check_boxes(found, rows, ego_m)
        if placed is not None:
            check_tracks(found, rows, *placed)
        return rows


def _flat(intrinsic: object) -> list[float]:
    """Return a camera matrix row by row; empty for one that is none, which the check has found wrong."""
    try:
        return [float(value) for line in intrinsic for value in line] if isinstance(intrinsic, list) else []
    except (TypeError, ValueError):
        return []
