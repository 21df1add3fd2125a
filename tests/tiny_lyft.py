"""A tiny made-up Lyft level 5 set for tests: nuScenes' tables with Lyft's differences; written in milliseconds.

What differs from nuScenes: the tables lie in ``data``; images and LiDAR files in one folder each, named by host and sensor; key frames
at 5 Hz and nothing between them; times with fractions of microseconds; categories without dots; no radar, no splits, no
descriptions; host-a101 and host-a102 have larger images and two front LiDARs, the other cars have neither.
"""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
from PIL import Image

from tests.tiny_nuscenes import token

SCENES = (
    "host-a007-lidar0-1230678335199240106-1230678360099285186",
    "host-a009-lidar0-1236013611198536176-1236013636098010656",
    "host-a011-lidar0-1232745770199275666-1232745795099249736",
    "host-a101-lidar0-1241893239199111666-1241893264098084346",
)
FRONT_LIDARS = ("LIDAR_FRONT_LEFT", "LIDAR_FRONT_RIGHT")
CATEGORIES = ("car", "pedestrian", "animal", "other_vehicle", "bus", "motorcycle", "truck", "emergency_vehicle", "bicycle")
LARGE_HOSTS = ("host-a101", "host-a102")
KEYFRAME_US = 200_000
START_US = 1_557_858_039_302_414.8
SENSOR_NUMBER = {"CAM_FRONT": "cam0", "CAM_BACK": "cam3", "CAM_FRONT_ZOOMED": "cam6", "LIDAR_TOP": "lidar1", "LIDAR_FRONT_LEFT": "lidar2", "LIDAR_FRONT_RIGHT": "lidar0"}  # fmt: skip
CAM_ROTATION = {
    "CAM_FRONT": [0.5, -0.5, 0.5, -0.5],
    "CAM_FRONT_ZOOMED": [0.5, -0.5, 0.5, -0.5],
    "CAM_BACK": [0.5, -0.5, -0.5, 0.5],
}
LIDAR_PLACE = {"LIDAR_TOP": [1.2, 0.0, 1.8], "LIDAR_FRONT_LEFT": [2.5, 0.7, 0.8], "LIDAR_FRONT_RIGHT": [2.5, -0.7, 0.8]}
MOVING_SPEED = 4.0  # m/s, of a car; ego drives at 5 m/s


def image_size(scene: str, camera: str) -> tuple[int, int]:
    """Width and height, the relations of Lyft's 1224x1024 and 1920x1080, and of the zoomed camera's 2048x864."""
    if scene.startswith(LARGE_HOSTS):
        return 64, 36
    return (64, 27) if camera == "CAM_FRONT_ZOOMED" else (48, 40)


def channels_of(scene: str) -> list[str]:
    return ["LIDAR_TOP", *(FRONT_LIDARS if scene.startswith(LARGE_HOSTS) else ()), *CAM_ROTATION]


def write_tiny_lyft(root: Path, scenes: tuple[str, ...] = SCENES, *, keyframes: int = 5, version: str = "data") -> Path:
    """Write the set and return its root."""
    names = "category attribute visibility instance sensor calibrated_sensor ego_pose log scene sample sample_data sample_annotation map"
    tables: dict[str, list[dict]] = {name: [] for name in names.split()}
    tables["category"] = [{"token": token(name), "name": name, "description": ""} for name in CATEGORIES]
    tables["visibility"] = [{"token": "", "level": "", "description": ""}]
    tables["sensor"] = [
        {"token": token(channel), "channel": channel, "modality": "camera" if channel.startswith("CAM") else "lidar"}
        for channel in SENSOR_NUMBER
    ]
    for folder in ("images", "lidar", "maps"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for number, scene in enumerate(scenes):
        _write_scene(root, tables, scene, number, keyframes)
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(root / "maps" / "map_raster_palo_alto.png")
    logs = [log["token"] for log in tables["log"]]
    tables["map"] = [
        {"token": token("map"), "category": "semantic_prior", "filename": "maps/map_raster_palo_alto.png", "log_tokens": logs}
    ]
    (root / version).mkdir(exist_ok=True)
    for name, rows in tables.items():
        (root / version / f"{name}.json").write_text(json.dumps(rows))
    return root


def _write_scene(root: Path, tables: dict[str, list[dict]], scene: str, number: int, keyframes: int) -> None:
    rng = np.random.default_rng(number)
    start_us = START_US + number * 10.0**9
    samples = [token(scene, "sample", k) for k in range(keyframes)]
    tables["log"].append({"token": token(scene), "logfile": "", "vehicle": scene[5:9], "date_captured": "2019-05-14", "location": "Palo Alto", "map_token": ""})  # fmt: skip
    tables["scene"].append(
        {"token": token(scene), "log_token": token(scene), "name": scene, "description": "", "nbr_samples": keyframes,
         "first_sample_token": samples[0], "last_sample_token": samples[-1]}
    )  # fmt: skip
    tables["sample"] += [
        {"token": sample, "timestamp": start_us + k * KEYFRAME_US, "scene_token": token(scene), **_neighbours(samples, k)}
        for k, sample in enumerate(samples)
    ]
    street = np.concatenate(
        [
            np.stack([rng.uniform(-15, 60, 1500), rng.choice([-6.0, 6.0], 1500), rng.uniform(0, 5, 1500)], axis=1),
            np.stack([rng.uniform(-15, 60, 900), rng.uniform(-6, 6, 900), np.zeros(900)], axis=1),
        ]
    )
    for channel in channels_of(scene):
        _write_channel(root, tables, scene, channel, start_us, samples, street, rng)
    for category, place in (("car", [15.0, 0.0, 0.8]), ("pedestrian", [12.0, 4.0, 0.9])):
        instance, annotations = token(scene, category), [token(scene, category, k) for k in range(keyframes)]
        tables["instance"].append(
            {"token": instance, "category_token": token(category), "nbr_annotations": keyframes,
             "first_annotation_token": annotations[0], "last_annotation_token": annotations[-1]}
        )  # fmt: skip
        for k, annotation in enumerate(annotations):
            ahead = MOVING_SPEED * k * KEYFRAME_US * 1e-6 if category == "car" else 0.0
            tables["sample_annotation"].append(
                {"token": annotation, "sample_token": samples[k], "instance_token": instance, "visibility_token": "", "attribute_tokens": [],
                 "translation": [place[0] + ahead, place[1], place[2]], "size": [2.0, 4.0, 1.6] if category == "car" else [0.7, 0.7, 1.8],
                 "rotation": [1.0, 0.0, 0.0, 0.0], "num_lidar_pts": -1, "num_radar_pts": 0, **_neighbours(annotations, k)}
            )  # fmt: skip


def _neighbours(tokens: list[str], k: int) -> dict[str, str]:
    return {"prev": tokens[k - 1] if k else "", "next": tokens[k + 1] if k + 1 < len(tokens) else ""}


def _write_channel(root, tables, scene, channel, start_us, samples, street, rng) -> None:
    is_camera = channel.startswith("CAM")
    width, height = image_size(scene, channel) if is_camera else (None, None)
    calibration = token(scene, "calibration", channel)  # each car has its own
    tables["calibrated_sensor"].append(
        {"token": calibration, "sensor_token": token(channel), "translation": [1.5, 0.0, 1.5] if is_camera else LIDAR_PLACE[channel],
         "rotation": CAM_ROTATION.get(channel, [1.0, 0.0, 0.0, 0.0]),
         "camera_intrinsic": [[0.8 * width, 0, width / 2], [0, 0.8 * width, height / 2], [0, 0, 1]] if is_camera else []}
    )  # fmt: skip
    tokens = [token(scene, channel, k) for k in range(len(samples))]
    for k, one in enumerate(tokens):
        time_us = start_us + k * KEYFRAME_US - (50_151.6 if is_camera else 0.0)
        seconds = 1e-6 * (time_us - start_us)
        folder, ending = ("images", "jpeg") if is_camera else ("lidar", "bin")
        file = f"{folder}/{scene[:9]}_{SENSOR_NUMBER[channel]}_{int(time_us * 1000)}.{ending}"
        tables["ego_pose"].append({"token": one, "timestamp": time_us, "translation": [5.0 * seconds, 0.0, 0.0], "rotation": [1.0, 0.0, 0.0, 0.0]})  # fmt: skip
        tables["sample_data"].append(
            {"token": one, "sample_token": samples[k], "ego_pose_token": one, "calibrated_sensor_token": calibration, "timestamp": time_us,
             "fileformat": ending, "is_key_frame": True, "height": height, "width": width, "filename": file, "channel": channel,
             "sensor_modality": "camera" if is_camera else "lidar", **_neighbours(tokens, k)}
        )  # fmt: skip
        if is_camera:
            stream = io.BytesIO()
            Image.fromarray(rng.integers(0, 255, (height, width, 3), dtype=np.uint8)).save(stream, "JPEG")
            (root / file).write_bytes(stream.getvalue())
        else:
            (root / file).write_bytes(_points(channel, street, seconds, rng))


def _points(channel: str, street: np.ndarray, seconds: float, rng: np.random.Generator) -> bytes:
    """Return x, y, z, intensity, ring; a front LiDAR sees ahead only, and as a real one it says 100 for every intensity."""
    car = np.array([15.0 + MOVING_SPEED * seconds, 0.0, 0.8]) + rng.uniform(-1, 1, (80, 3)) * [1.9, 0.9, 0.7]
    points = np.concatenate([street, car]) - [5.0 * seconds, 0.0, 0.0] - LIDAR_PLACE[channel]
    if channel in FRONT_LIDARS:
        points = points[points[:, 0] > 0][::3]
    columns = [points, np.full((len(points), 1), 100.0), rng.integers(0, 40, (len(points), 1))]
    return np.concatenate(columns, axis=1).astype("<f4").tobytes()
