"""The thirteen JSON tables of a nuScenes release, read once and cut into scenes.

Why not ``NuScenes(...)`` of the devkit: on trainval it takes 67 s and 6 GB, and every worker needs its own copy. We read only
the columns that the stages need and keep them as Parquet, a row group per scene. Tests hold the result against the devkit's
``get_boxes``, ``box_velocity`` and token chains, record by record.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import orjson

from storage_schemas.catalog import FRAMES
from storage_schemas.errors import SourceError
from storage_schemas.layout import Columns, columns_from_rows

TABLE_NAMES = (
    "category",
    "attribute",
    "visibility",
    "instance",
    "sensor",
    "calibrated_sensor",
    "ego_pose",
    "log",
    "scene",
    "sample",
    "sample_data",
    "sample_annotation",
    "map",
)
"""Tables that make a release complete for the devkit."""

MAX_TRACK_GAP_S = 1.5
"""The devkit's ``max_time_diff``: no speed over a longer gap to one neighbour (twice that for central differences)."""

Record = dict[str, Any]


def read_table(folder: Path, name: str) -> list[Record]:
    """Read one JSON table.

    Raises:
        SourceError: the file is missing, is not JSON, or is not a list of records with tokens.
    """
    path = folder / f"{name}.json"
    try:
        records = orjson.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise SourceError(
            f"table '{path}' is missing. A nuScenes release has {len(TABLE_NAMES)} tables in its version folder; "
            "unpack the metadata archive again"
        ) from error
    except orjson.JSONDecodeError as error:
        raise SourceError(
            f"table '{path}' is not valid JSON: {error.msg} at line {error.lineno}, column {error.colno}. "
            "The file is probably cut short; unpack the metadata archive again"
        ) from error
    if not isinstance(records, list) or any(not isinstance(record, dict) or "token" not in record for record in records[:1]):
        raise SourceError(f"table '{path}' is not a list of records with a 'token'; unpack the metadata archive again")
    return records


class _Lookup:
    """Records of one table by token, with an error that says who asked for a token that is not there."""

    def __init__(self, name: str, records: Iterable[Record]) -> None:
        self.name = name
        self.by_token = {record["token"]: record for record in records}

    def get(self, token: str, *, asked_by: str) -> Record:
        try:
            return self.by_token[token]
        except KeyError as error:
            raise SourceError(
                f"{asked_by} refers to {self.name} '{token}', which is not in {self.name}.json. "
                "The tables do not belong together; unpack the metadata archive again"
            ) from error


def scene_tables(folder: Path, splits: Mapping[str, str]) -> dict[str, dict[str, Columns]]:
    """Read a version folder and return the FRAMES tables of every scene.

    Args:
        folder: e.g. ``<root>/v1.0-mini``.
        splits: scene name -> official split.

    Returns:
        Scene name -> table name -> columns, scenes in the order of scene.json.

    Raises:
        SourceError: a table is missing or broken, or a token leads nowhere.
    """
    try:
        return _TableCutter(folder).cut(splits)
    except KeyError as error:
        raise SourceError(
            f"tables in '{folder}': a record lacks the field {error}; expected the nuScenes v1.0 schema. "
            "Unpack the metadata archive again"
        ) from error


class _TableCutter:
    """The tables of one release while they are being cut; lives only during ``scene_tables``."""

    def __init__(self, folder: Path) -> None:
        self.scenes = read_table(folder, "scene")
        self.samples = _Lookup("sample", read_table(folder, "sample"))
        self.sensors = _Lookup("sensor", read_table(folder, "sensor"))
        self.calibrations = _Lookup("calibrated_sensor", read_table(folder, "calibrated_sensor"))
        self.poses = _Lookup("ego_pose", read_table(folder, "ego_pose"))
        self.annotations = _Lookup("sample_annotation", read_table(folder, "sample_annotation"))
        self.instances = _Lookup("instance", read_table(folder, "instance"))
        self.categories = _Lookup("category", read_table(folder, "category"))
        self.sample_data = read_table(folder, "sample_data")

    def cut(self, splits: Mapping[str, str]) -> dict[str, dict[str, Columns]]:
        samples: dict[str, list[Record]] = {scene["token"]: [] for scene in self.scenes}
        for sample in self.samples.by_token.values():
            if sample["scene_token"] not in samples:
                raise SourceError(
                    f"sample '{sample['token']}' refers to scene '{sample['scene_token']}', which is not in scene.json. "
                    "The tables do not belong together; unpack the metadata archive again"
                )
            samples[sample["scene_token"]].append(sample)
        data: dict[str, list[Record]] = {scene["token"]: [] for scene in self.scenes}
        for record in self.sample_data:
            sample = self.samples.get(record["sample_token"], asked_by=f"sample_data '{record['token']}'")
            data[sample["scene_token"]].append(record)
        boxes: dict[str, list[Record]] = {scene["token"]: [] for scene in self.scenes}
        for record in self.annotations.by_token.values():
            sample = self.samples.get(record["sample_token"], asked_by=f"sample_annotation '{record['token']}'")
            boxes[sample["scene_token"]].append(record)
        return {
            scene["name"]: self._cut_scene(
                scene, samples[scene["token"]], data[scene["token"]], boxes[scene["token"]], split=splits.get(scene["name"], "")
            )
            for scene in self.scenes
        }

    def _cut_scene(
        self, scene: Record, samples: list[Record], data: list[Record], boxes: list[Record], *, split: str
    ) -> dict[str, Columns]:
        samples.sort(key=lambda sample: int(sample["timestamp"]))
        index_of = {sample["token"]: index for index, sample in enumerate(samples)}
        summary = {
            "scene": scene["name"],
            "split": split,
            "description": scene["description"],
            "is_night": "night" in scene["description"].lower(),
            "num_keyframes": len(samples),
        }
        keyframes, sweeps = self._files(data, index_of)
        found = {"keyframes": keyframes, "sweeps": sweeps, "boxes": self._boxes(boxes, index_of, samples), "scene": [summary]}
        return {spec.name: columns_from_rows(spec, found[spec.name]) for spec in FRAMES.tables}

    def _files(self, data: list[Record], index_of: Mapping[str, int]) -> tuple[list[Record], list[Record]]:
        by_channel: dict[str, list[Record]] = {}
        for record in data:
            asked_by = f"sample_data '{record['token']}'"
            calibration = self.calibrations.get(record["calibrated_sensor_token"], asked_by=asked_by)
            sensor = self.sensors.get(calibration["sensor_token"], asked_by=f"calibrated_sensor '{calibration['token']}'")
            if sensor["modality"] == "camera" and not record["is_key_frame"]:
                continue
            pose = self.poses.get(record["ego_pose_token"], asked_by=asked_by)
            by_channel.setdefault(sensor["channel"], []).append(
                {
                    "channel": sensor["channel"],
                    "modality": sensor["modality"],
                    "record": record,
                    "sample_index": index_of[record["sample_token"]],
                    "timestamp_us": record["timestamp"],
                    "file": record["filename"],
                    "translation": calibration["translation"],
                    "rotation": calibration["rotation"],
                    "intrinsic": calibration["camera_intrinsic"],
                    "world_from_ego_translation_m": pose["translation"],
                    "world_from_ego_rotation_wxyz": pose["rotation"],
                }
            )
        keyframes: list[Record] = []
        sweeps: list[Record] = []
        for channel in sorted(by_channel):
            rows = sorted(by_channel[channel], key=lambda row: int(row["timestamp_us"]))
            if rows[0]["modality"] == "camera":
                keyframes.extend(_keyframe_row(row) for row in rows)
            else:
                sweeps.extend(_sweep_rows(rows))
        return keyframes, sweeps

    def _boxes(self, boxes: list[Record], index_of: Mapping[str, int], samples: list[Record]) -> list[Record]:
        found = []
        for record in boxes:
            asked_by = f"sample_annotation '{record['token']}'"
            instance = self.instances.get(record["instance_token"], asked_by=asked_by)
            category = self.categories.get(instance["category_token"], asked_by=f"instance '{instance['token']}'")
            index = index_of[record["sample_token"]]
            found.append(
                {
                    "annotation_token": record["token"],
                    "instance_token": record["instance_token"],
                    "sample_index": index,
                    "sample_timestamp_us": samples[index]["timestamp"],
                    "category": category["name"],
                    "center_m": record["translation"],
                    "size_wlh_m": record["size"],
                    "world_from_box_wxyz": record["rotation"],
                    "speed_mps": self._speed(record, asked_by),
                }
            )
        found.sort(key=lambda row: (row["sample_index"], row["annotation_token"]))
        return found

    def _speed(self, record: Record, asked_by: str) -> float | None:
        """Horizontal speed in m/s between the neighbouring annotations, None if there is none near enough in time."""
        first = self.annotations.get(record["prev"], asked_by=asked_by) if record["prev"] else record
        last = self.annotations.get(record["next"], asked_by=asked_by) if record["next"] else record
        if first is last:
            return None
        seconds = 1e-6 * (self._time(last) - self._time(first))
        is_central = bool(record["prev"] and record["next"])
        if seconds > MAX_TRACK_GAP_S * (2 if is_central else 1) or seconds <= 0:
            return None
        dx, dy = (last["translation"][axis] - first["translation"][axis] for axis in (0, 1))
        return float((dx * dx + dy * dy) ** 0.5 / seconds)

    def _time(self, annotation: Record) -> int:
        return int(
            self.samples.get(annotation["sample_token"], asked_by=f"sample_annotation '{annotation['token']}'")["timestamp"]
        )


def _keyframe_row(row: Record) -> Record:
    record = row["record"]
    return {
        **row,
        "camera": row["channel"],
        "sample_token": record["sample_token"],
        "sample_data_token": record["token"],
        "height": record["height"],
        "width": record["width"],
        "intrinsic_px": [float(value) for line in row["intrinsic"] for value in line],
        "ego_from_cam_translation_m": row["translation"],
        "ego_from_cam_rotation_wxyz": row["rotation"],
    }


def _sweep_rows(rows: list[Record]) -> list[Record]:
    found = []
    chain, previous = -1, None
    for row in rows:
        record = row["record"]
        if previous is None or record["prev"] != previous:
            chain += 1
        previous = record["token"]
        found.append(
            {
                **row,
                "is_keyframe": record["is_key_frame"],
                "chain": chain,
                "ego_from_sensor_translation_m": row["translation"],
                "ego_from_sensor_rotation_wxyz": row["rotation"],
            }
        )
    return found
