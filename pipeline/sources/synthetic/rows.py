"""The table rows of one scene, in the nuScenes schema, from what was measured.

Chains (`prev`, `next`) run over each channel of the scene and over each instance's annotations. A measurement
between key frames belongs to the nearest following sample, after the last one to the last.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from pipeline.sources.synthetic.actors import Actor, Surface
from pipeline.sources.synthetic.drive import Drive
from pipeline.sources.synthetic.rig import Sensor
from pipeline.sources.synthetic.rigid import Floats, Ints, Pose
from pipeline.sources.synthetic.town.road_users import RoadUser
from pipeline.sources.synthetic.truth.visibility import visibility_token
from pipeline.sources.synthetic.vocabulary import Row, token_of
from pipeline.sources.synthetic.world import World

SceneTables = dict[str, list[Row]]

EXTENSION = {"lidar": ("pcd.bin", "pcd"), "radar": ("pcd", "pcd"), "camera": ("jpg", "jpg")}


@dataclass(frozen=True)
class BoxCounts:
    """Points inside the box of each actor (actors,) at one key frame, and by their numbers the visible share of some."""

    lidar: Ints
    radar: Ints
    visible: Mapping[int, float] = field(default_factory=dict)


def file_name(log: str, channel: str, modality: str, time_us: int, *, is_key: bool) -> str:
    """Return a measurement's path below the database's root."""
    folder = "samples" if is_key else "sweeps"
    return f"{folder}/{channel}/{log}__{channel}__{time_us}.{EXTENSION[modality][0]}"


def scene_rows(name: str, drive: Drive, world: World, description: str) -> SceneTables:
    """Return the rows of the scene itself, its samples, log and map."""
    key_us = drive.sweep_us[drive.key_sweeps]
    tokens = [token_of(name, "sample", t) for t in key_us]
    scene_token, log_token, map_token = (token_of(name, kind) for kind in ("scene", "log", "map"))
    samples = [
        {"token": token, "timestamp": int(t), "prev": before, "next": after, "scene_token": scene_token}
        for token, t, before, after in zip(tokens, key_us, ["", *tokens[:-1]], [*tokens[1:], ""], strict=True)
    ]
    scene = {
        "token": scene_token,
        "log_token": log_token,
        "nbr_samples": len(samples),
        "first_sample_token": tokens[0],
        "last_sample_token": tokens[-1],
        "name": name,
        "description": description,
    }
    captured = time.strftime("%Y-%m-%d", time.gmtime(int(key_us[0]) // 1_000_000))
    log = {
        "token": log_token,
        "logfile": drive.log,
        "vehicle": "simulated",
        "date_captured": captured,
        "location": "simulated-town",
    }
    mask = {
        "category": "semantic_prior",
        "token": map_token,
        "filename": f"maps/{map_token}.png",
        "log_tokens": [log_token],
    }
    return {"scene": [scene], "sample": samples, "log": [log], "map": [mask]}


def measurement_rows(
    name: str,
    drive: Drive,
    sensor: Sensor,
    recorded: Sequence[Pose],
    *,
    time_us: Ints,
    key_index: Ints,
    image_size: tuple[int, int],
) -> SceneTables:
    """Return calibrated_sensor, ego_pose and sample_data rows of one channel.

    recorded: the ego pose written down for each of the measurements at `time_us` (n,), of which those at
    `key_index` (k,) are the key frames of the k samples.
    """
    sample_us = drive.sweep_us[drive.key_sweeps]
    sample_of = np.minimum(np.searchsorted(sample_us, time_us), len(sample_us) - 1)
    sample_of[key_index] = np.arange(len(key_index))
    is_key = np.isin(np.arange(len(time_us)), key_index)
    calibrated = {
        "token": token_of(name, "calibrated_sensor", sensor.channel),
        "sensor_token": token_of("sensor", sensor.channel),
        "translation": sensor.ego_from_sensor.translation_m.tolist(),
        "rotation": sensor.ego_from_sensor.quaternion.tolist(),
        "camera_intrinsic": [] if sensor.intrinsic is None else sensor.intrinsic.tolist(),
    }
    tokens = [token_of(name, "sample_data", sensor.channel, t) for t in time_us]
    width, height = image_size if sensor.modality == "camera" else (0, 0)
    poses, data = [], []
    for i, (token, t, pose) in enumerate(zip(tokens, time_us.tolist(), recorded, strict=True)):
        poses.append(
            {
                "token": token,
                "timestamp": t,
                "rotation": pose.quaternion.tolist(),
                "translation": pose.translation_m.tolist(),
            }
        )
        data.append(
            {
                "token": token,
                "sample_token": token_of(name, "sample", sample_us[sample_of[i]]),
                "ego_pose_token": token,
                "calibrated_sensor_token": calibrated["token"],
                "timestamp": t,
                "fileformat": EXTENSION[sensor.modality][1],
                "is_key_frame": bool(is_key[i]),
                "height": height,
                "width": width,
                "filename": file_name(drive.log, sensor.channel, sensor.modality, t, is_key=bool(is_key[i])),
                "prev": tokens[i - 1] if i > 0 else "",
                "next": tokens[i + 1] if i + 1 < len(tokens) else "",
            }
        )
    return {"calibrated_sensor": [calibrated], "ego_pose": poses, "sample_data": data}


def annotation_rows(name: str, drive: Drive, world: World, counts: Sequence[BoxCounts]) -> SceneTables:
    """Return instance and sample_annotation rows; counts has one entry for each key frame.

    Every sweep between key frames at which an actor has LiDAR points lies between two of its boxes (`annotated_keys`).
    """
    key_us = drive.sweep_us[drive.key_sweeps]
    instances: list[Row] = []
    annotations: list[Row] = []
    for number, actor in enumerate(world.actors):
        keys = annotated_keys(actor, [int(count.lidar[number]) for count in counts])
        if not keys:
            continue
        instance = token_of(name, "instance", actor.name)
        tokens = [token_of(instance, key_us[k]) for k in keys]
        for i, (k, token) in enumerate(zip(keys, tokens, strict=True)):
            pose = actor.world_from_box(world.route, int(key_us[k]))
            attribute = actor.attribute_at(world.route, int(key_us[k]))
            annotations.append(
                {
                    "token": token,
                    "sample_token": token_of(name, "sample", key_us[k]),
                    "instance_token": instance,
                    "visibility_token": visibility_token(counts[k].visible.get(number, 1.0)),
                    "attribute_tokens": [] if attribute is None else [token_of("attribute", attribute)],
                    "translation": pose.translation_m.tolist(),
                    "size": list(actor.size_wlh_m),
                    "rotation": pose.quaternion.tolist(),
                    "prev": tokens[i - 1] if i > 0 else "",
                    "next": tokens[i + 1] if i + 1 < len(tokens) else "",
                    "num_lidar_pts": int(counts[k].lidar[number]),
                    "num_radar_pts": int(counts[k].radar[number]),
                }
            )
        instances.append(
            {
                "token": instance,
                "category_token": token_of("category", actor.category),
                "nbr_annotations": len(keys),
                "first_annotation_token": tokens[0],
                "last_annotation_token": tokens[-1],
            }
        )
    return {"instance": instances, "sample_annotation": annotations}


def annotated_keys(actor: Actor | RoadUser, num_lidar: Sequence[int]) -> list[int]:
    """Return the key frames at which an actor has a box, from its LiDAR points at each of them; none for who is unannotated.

    An actor of the street has one from a key frame before its first point to one after its last. A road user of a town has one
    where it has points, one before and one after, as annotators follow a thing that is hidden for a moment and no longer.
    """
    seen = [k for k, count in enumerate(num_lidar) if count > 0]
    if not seen or actor.surface == Surface.UNANNOTATED:
        return []
    if isinstance(actor, Actor):
        return list(range(max(seen[0] - 1, 0), min(seen[-1] + 1, len(num_lidar) - 1) + 1))
    return sorted({near for k in seen for near in (k - 1, k, k + 1) if 0 <= near < len(num_lidar)})


def merge_tables(parts: Sequence[Mapping[str, list[Row]]]) -> SceneTables:
    """Return the rows of several tables' parts, one after the other."""
    merged: SceneTables = {}
    for part in parts:
        for table, rows in part.items():
            merged.setdefault(table, []).extend(rows)
    return merged


def count_in_box(points_m: Floats, world_from_box: Pose, size_wlh_m: tuple[float, float, float]) -> int:
    """Return how many world points (n, 3) lie in a box; a z of NaN counts at any height."""
    width, length, height = size_wlh_m
    local = (points_m - world_from_box.translation_m) @ world_from_box.rotation
    is_level = np.isnan(local[:, 2]) | (np.abs(local[:, 2]) <= height / 2)
    return int((is_level & (np.abs(local[:, 0]) <= length / 2) & (np.abs(local[:, 1]) <= width / 2)).sum())
