"""A tiny made-up data set in the layout of man-truckscenes, for tests; no file of the real set was at hand.

Made from the tiny nuScenes database, by what the schema of truckscenes-devkit 1.2.0 says: no tables map and log, tables of the
motion of cabin and chassis, world in UTM metres, cameras CAMERA_*, several LIDAR_* and RADAR_*, point files .pcd. The radar's
velocities are relative and along the line of sight; everything it sees stands still.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from tests.tiny_nuscenes import token, write_tiny_nuscenes
from tests.tiny_pcd import encode_pcd

VERSION = "v1.2-mini"
SCENES = ("scene-a1b2-1", "scene-a1b2-2")
UTM_M = np.array([692_000.0, 5_336_000.0, 0.0])
CHANNELS = {
    "CAM_FRONT": "CAMERA_LEFT_FRONT",
    "CAM_BACK": "CAMERA_RIGHT_BACK",
    "LIDAR_TOP": "LIDAR_LEFT",
    "RADAR_FRONT": "RADAR_LEFT_FRONT",
}
COPIES = {"LIDAR_LEFT": "LIDAR_RIGHT", "RADAR_LEFT_FRONT": "RADAR_RIGHT_FRONT"}
ASIDE_M = np.array([0.0, -2.5, 0.0])  # of the sensor on the right from that on the left
OWN_MPS = np.array([5.0, 0.0, 0.0])  # of the car of the tiny database
DESCRIPTION = "weather.clear;area.highway;daytime.{};season.summer;lighting.illuminated;structure.regular;construction.unchanged"


def write_tiny_truckscenes(root: Path, *, scenes: tuple[str, ...] = SCENES, keyframes: int = 3) -> Path:
    """Write the data set and return its root."""
    write_tiny_nuscenes(root, scenes, keyframes=keyframes, version=VERSION)
    folder = root / VERSION
    tables = {path.stem: json.loads(path.read_text()) for path in folder.glob("*.json")}
    for name in ("map", "log"):
        del tables[name]
        (folder / f"{name}.json").unlink()
    (root / "maps" / "map.png").unlink()
    (root / "maps").rmdir()
    channel_of = {token("calibration", old): new for old, new in CHANNELS.items()}
    for sensor in tables["sensor"]:
        sensor["channel"] = CHANNELS[sensor["channel"]]
    _add_sensors_on_the_right(tables, channel_of)
    for row in tables["sample_data"]:
        _move_file(root, row, channel_of[row["calibrated_sensor_token"]])
    for old in CHANNELS:
        for emptied in (root / "samples" / old, root / "sweeps" / old):
            if emptied.is_dir():
                emptied.rmdir()
    for row in (*tables["ego_pose"], *tables["sample_annotation"]):
        row["translation"] = (np.array(row["translation"]) + UTM_M).tolist()
    for number, scene in enumerate(tables["scene"]):
        scene["log_token"] = ""
        scene["description"] = DESCRIPTION.format("night" if number % 2 else "noon")
    motion = dict.fromkeys(("ay", "az", "ax", "vy", "vz", "yaw", "pitch", "roll", "yaw_rate", "pitch_rate", "roll_rate"), 0.0)
    times = sorted({row["timestamp"] for row in tables["ego_pose"]})
    for part in ("cabin", "chassis"):
        tables[f"ego_motion_{part}"] = [
            {"token": token(part, time_us), "timestamp": time_us, "vx": float(OWN_MPS[0]), **motion} for time_us in times
        ]
    for name, rows in tables.items():
        (folder / f"{name}.json").write_text(json.dumps(rows))
    return root


def _add_sensors_on_the_right(tables: dict[str, list[dict]], channel_of: dict[str, str]) -> None:
    """Give LiDAR and radar a second sensor beside them, with files of its own at the same times."""
    for left, right in COPIES.items():
        calibration_of_left = next(key for key, channel in channel_of.items() if channel == left)
        calibration = next(row for row in tables["calibrated_sensor"] if row["token"] == calibration_of_left)
        copy = {**calibration, "token": token("calibration", right), "sensor_token": token(right)}
        copy["translation"] = (np.array(calibration["translation"]) + ASIDE_M).tolist()
        tables["sensor"].append({"token": token(right), "channel": right, "modality": left.split("_")[0].lower()})
        tables["calibrated_sensor"].append(copy)
        channel_of[copy["token"]] = right
        tables["sample_data"] += [
            {**row, "calibrated_sensor_token": copy["token"], **_linked(row, right)}
            for row in tables["sample_data"]
            if row["calibrated_sensor_token"] == calibration_of_left
        ]


def _linked(row: dict, right: str) -> dict[str, str]:
    return {key: row[key] and token(right, row[key]) for key in ("token", "prev", "next")}


def _move_file(root: Path, row: dict, channel: str) -> None:
    """Write the file of a sample_data record under its new name and in its new format."""
    old = root / row["filename"]
    is_key, time_us = row["is_key_frame"], row["timestamp"]
    extension = "jpg" if channel.startswith("CAMERA") else "pcd"
    row["filename"] = f"{'samples' if is_key else 'sweeps'}/{channel}/{row['token'][:4]}_{channel}_{time_us}.{extension}"
    row["fileformat"] = extension
    new = root / row["filename"]
    new.parent.mkdir(parents=True, exist_ok=True)
    content = old.read_bytes()
    if extension == "pcd":
        is_right = channel in COPIES.values()
        content = _lidar(content, time_us, is_right) if channel.startswith("LIDAR") else _radar(content, is_right)
    new.write_bytes(content)
    if channel not in COPIES:  # of the sensor on the left, the one on the right is made later, of the same file
        old.unlink()


def _lidar(content: bytes, time_us: int, is_right: bool) -> bytes:
    """Return every second point of a sweep as binary_compressed, the others for the sensor on the right."""
    sweep = np.frombuffer(content, "<f4").reshape(-1, 5)[int(is_right) :: 2]
    points = np.zeros(len(sweep), [("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("intensity", "<f4"), ("timestamp", "<u8")])
    for number, axis in enumerate("xyz"):
        points[axis] = sweep[:, number] - is_right * ASIDE_M[number]
    points["intensity"], points["timestamp"] = sweep[:, 3], time_us
    return encode_pcd(points, kind="binary_compressed")


def _radar(content: bytes, is_right: bool) -> bytes:
    """Return the returns of a nuScenes radar file with velocities relative to the radar, along the line of sight."""
    from pipeline.sources.pcd import read_pcd

    nuscenes = read_pcd(content, where="tiny")
    xyz = np.stack([nuscenes[axis] for axis in "xyz"], axis=-1)[int(is_right) :: 2] - is_right * ASIDE_M
    sight = xyz / np.linalg.norm(xyz, axis=1, keepdims=True)
    relative = -(sight @ OWN_MPS)[:, None] * sight
    names = ("x", "y", "z", "vrel_x", "vrel_y", "vrel_z", "rcs")
    points = np.zeros(len(xyz), [(name, "<f4") for name in names])
    for name, column in zip(names[:6], np.concatenate([xyz, relative], axis=1).T, strict=True):
        points[name] = column
    points["rcs"] = nuscenes["rcs"][int(is_right) :: 2]
    return encode_pcd(points)
