"""A tiny nuScenes database for tests: a car drives along a street of two walls; written in milliseconds.

Two scenes, three key frames each, LiDAR at 5 sweeps a key frame, one moving and one parked box, RADAR_FRONT, two cameras of
different sizes. The simulated world (pipeline/sources/synthetic) is the realistic one; this one is for the machinery.
"""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path

import numpy as np
from PIL import Image

SWEEPS_PER_KEYFRAME = 5
SWEEP_US = 100_000
ORIGIN = np.array([500.0, 300.0, 0.0])  # of the street in the world frame
START_US = 1_600_000_000_000_000
CAMERAS = {"CAM_FRONT": (64, 36), "CAM_BACK": (48, 30)}  # width, height
CAM_ROTATION = {"CAM_FRONT": [0.5, -0.5, 0.5, -0.5], "CAM_BACK": [0.5, -0.5, -0.5, 0.5]}
CATEGORIES = ("vehicle.car", "human.pedestrian.adult", "static_object.bicycle_rack")
EMPTY_TABLES = ("attribute", "visibility")


def token(*parts: object) -> str:
    return hashlib.md5("/".join(map(str, parts)).encode()).hexdigest()


def write_tiny_nuscenes(
    root: Path,
    scenes: tuple[str, ...] = ("scene-0061", "scene-0103"),
    *,
    keyframes: int = 3,
    with_radar: bool = True,
    version: str = "v1.0-mini",
) -> Path:
    """Write the database and return its root."""
    tables: dict[str, list[dict]] = {
        name: []
        for name in (
            "category", "attribute", "visibility", "instance", "sensor", "calibrated_sensor", "ego_pose", "log", "scene",
            "sample", "sample_data", "sample_annotation", "map",
        )
    }  # fmt: skip
    tables["category"] = [{"token": token(name), "name": name, "description": ""} for name in CATEGORIES]
    tables["log"] = [{"token": token("log"), "logfile": "tiny", "vehicle": "t", "date_captured": "2020-01-01", "location": "x"}]
    channels = ["LIDAR_TOP", *CAMERAS, *(["RADAR_FRONT"] if with_radar else [])]
    for channel in channels:
        modality = {"L": "lidar", "C": "camera", "R": "radar"}[channel[0]]
        tables["sensor"].append({"token": token(channel), "channel": channel, "modality": modality})
        width, height = CAMERAS.get(channel, (0, 0))
        focal = 0.8 * width
        tables["calibrated_sensor"].append(
            {
                "token": token("calibration", channel),
                "sensor_token": token(channel),
                "translation": {"L": [0.9, 0.0, 1.8], "C": [1.5, 0.0, 1.5], "R": [3.4, 0.0, 0.5]}[channel[0]],
                "rotation": CAM_ROTATION.get(channel, [1.0, 0.0, 0.0, 0.0]),
                "camera_intrinsic": [[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]] if width else [],
            }
        )
    for number, name in enumerate(scenes):
        _write_scene(root, tables, name, number, keyframes, channels)
    (root / "maps").mkdir(exist_ok=True)
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(root / "maps" / "map.png")
    tables["map"] = [
        {"token": token("map"), "category": "semantic_prior", "filename": "maps/map.png", "log_tokens": [token("log")]}
    ]
    (root / version).mkdir(parents=True, exist_ok=True)
    for name, rows in tables.items():
        (root / version / f"{name}.json").write_text(json.dumps(rows))
    return root


def _write_scene(root: Path, tables: dict[str, list[dict]], name: str, number: int, keyframes: int, channels: list[str]) -> None:
    rng = np.random.default_rng(number)
    samples = [token(name, "sample", k) for k in range(keyframes)]
    for k, sample in enumerate(samples):
        tables["sample"].append(
            {"token": sample, "timestamp": START_US + number * 10**9 + k * SWEEPS_PER_KEYFRAME * SWEEP_US, "scene_token": token(name),
             "prev": samples[k - 1] if k else "", "next": samples[k + 1] if k + 1 < keyframes else ""}
        )  # fmt: skip
    tables["scene"].append(
        {"token": token(name), "name": name, "description": f"Night drive {name}" if number % 2 else "Day", "log_token": token("log"),
         "nbr_samples": keyframes, "first_sample_token": samples[0], "last_sample_token": samples[-1]}
    )  # fmt: skip
    street = np.concatenate(
        [
            np.stack([rng.uniform(-5, 60, 900), rng.choice([-6.0, 6.0], 900), rng.uniform(0, 5, 900)], axis=1),
            np.stack([rng.uniform(-5, 60, 600), rng.uniform(-6, 6, 600), np.zeros(600)], axis=1),
        ]
    )
    for channel in channels:
        _write_channel(root, tables, name, number, samples, channel, street, rng)
    for label, speed, category in (("moving", 4.0, "vehicle.car"), ("parked", 0.0, "vehicle.car")):
        instance = token(name, label)
        annotations = [token(name, label, k) for k in range(keyframes)]
        tables["instance"].append(
            {"token": instance, "category_token": token(category), "nbr_annotations": keyframes,
             "first_annotation_token": annotations[0], "last_annotation_token": annotations[-1]}
        )  # fmt: skip
        for k, annotation in enumerate(annotations):
            tables["sample_annotation"].append(
                {"token": annotation, "sample_token": samples[k], "instance_token": instance, "visibility_token": "4",
                 "attribute_tokens": [], "translation": (np.array(_box_center(label, speed, k * SWEEPS_PER_KEYFRAME * SWEEP_US * 1e-6)) + ORIGIN).tolist(),
                 "size": [2.0, 4.0, 1.6], "rotation": [1.0, 0.0, 0.0, 0.0], "prev": annotations[k - 1] if k else "",
                 "next": annotations[k + 1] if k + 1 < keyframes else "", "num_lidar_pts": 10, "num_radar_pts": 0}
            )  # fmt: skip


def _box_center(label: str, speed: float, seconds: float) -> list[float]:
    return [18.0 + speed * seconds, 0.0 if label == "moving" else 4.0, 0.8]


def _write_channel(root, tables, name, number, samples, channel, street, rng) -> None:
    is_lidar = channel == "LIDAR_TOP"
    count = (len(samples) - 1) * SWEEPS_PER_KEYFRAME + 1 if is_lidar else len(samples)
    tokens = [token(name, channel, k) for k in range(count)]
    for k, one in enumerate(tokens):
        step = 1 if is_lidar else SWEEPS_PER_KEYFRAME
        offset = 0 if is_lidar else -20_000
        time_us = START_US + number * 10**9 + k * step * SWEEP_US + offset
        is_key = not is_lidar or k % SWEEPS_PER_KEYFRAME == 0
        seconds = (k * step * SWEEP_US + offset) * 1e-6
        extension = {"L": "pcd.bin", "C": "jpg", "R": "pcd"}[channel[0]]
        file = f"{'samples' if is_key else 'sweeps'}/{channel}/tiny-{name}__{channel}__{time_us}.{extension}"
        width, height = CAMERAS.get(channel, (0, 0))
        tables["ego_pose"].append(
            {
                "token": one,
                "timestamp": time_us,
                "translation": [500.0 + 5.0 * seconds, 300.0, 0.0],
                "rotation": [1.0, 0.0, 0.0, 0.0],
            }
        )
        tables["sample_data"].append(
            {"token": one, "sample_token": samples[-(-k // SWEEPS_PER_KEYFRAME) if is_lidar else k], "ego_pose_token": one,
             "calibrated_sensor_token": token("calibration", channel), "timestamp": time_us, "fileformat": extension.split(".")[0],
             "is_key_frame": is_key, "height": height, "width": width, "filename": file, "prev": tokens[k - 1] if k else "",
             "next": tokens[k + 1] if k + 1 < count else ""}
        )  # fmt: skip
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_bytes(_content(channel, street, seconds, rng))


def _content(channel: str, street: np.ndarray, seconds: float, rng: np.random.Generator) -> bytes:
    if channel.startswith("CAM"):
        width, height = CAMERAS[channel]
        stream = io.BytesIO()
        Image.fromarray(rng.integers(0, 255, (height, width, 3), dtype=np.uint8)).save(stream, "JPEG")
        return stream.getvalue()
    cars = [np.array(_box_center(label, speed, seconds)) + rng.uniform(-1, 1, (80, 3)) * [1.9, 0.9, 0.7]
            for label, speed in (("moving", 4.0), ("parked", 0.0))]  # fmt: skip
    world = np.concatenate([street, *cars]) + ORIGIN
    in_ego = world - ORIGIN - [5.0 * seconds, 0.0, 0.0]
    if channel == "LIDAR_TOP":
        points = np.concatenate([in_ego - [0.9, 0.0, 1.8], rng.uniform(0, 30, (len(in_ego), 2))], axis=1)
        return points.astype("<f4").tobytes()
    return radar_pcd((in_ego - [3.4, 0.0, 0.5])[::40], rng)


def radar_pcd(xyz: np.ndarray, rng: np.random.Generator) -> bytes:
    """Return a nuScenes radar file; every fifth return is one that the devkit's default filter drops."""
    names = (
        "x y z dyn_prop id rcs vx vy vx_comp vy_comp is_quality_valid ambig_state x_rms y_rms invalid_state pdh0 vx_rms vy_rms"
    )
    kinds = ["<f4"] * 3 + ["i1", "<i2"] + ["<f4"] * 5 + ["i1"] * 8
    points = np.zeros(len(xyz), dtype=list(zip(names.split(), kinds, strict=True)))
    points["x"], points["y"], points["z"] = xyz.T
    points["rcs"] = rng.uniform(-5, 30, len(xyz))
    points["vx_comp"] = 1.5
    points["ambig_state"] = 3
    points["invalid_state"][::5] = 1
    header = (
        f"# .PCD v0.7 - Point Cloud Data file format\nVERSION 0.7\nFIELDS {names}\nSIZE 4 4 4 1 2 4 4 4 4 4 1 1 1 1 1 1 1 1\n"
        "TYPE F F F I I F F F F F I I I I I I I I\nCOUNT 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1\n"
        f"WIDTH {len(xyz)}\nHEIGHT 1\nVIEWPOINT 0 0 0 1 0 0 0\nPOINTS {len(xyz)}\nDATA binary\n"
    )
    return header.encode() + points.tobytes() + b"\n"
