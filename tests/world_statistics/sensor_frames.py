"""Key frames with radar, LiDAR and boxes, of real databases and of simulated worlds, in one form."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.geometry import rotation_matrix
from pipeline.sources.synthetic import SyntheticParams, simulate
from pipeline.sources.synthetic.drive import make_drive
from pipeline.sources.synthetic.ground import on_ground
from pipeline.sources.synthetic.radar.plain import POINT
from pipeline.sources.synthetic.rig import build_rig
from pipeline.sources.synthetic.world import make_world


@dataclass(frozen=True)
class Box:
    """One annotated box: category, pose in the world (4, 4), size width length height, LiDAR points in it."""

    category: str
    world_from_box: np.ndarray
    size_wlh: np.ndarray
    num_lidar_pts: int


@dataclass(frozen=True)
class SensorFrame:
    """One key frame: radar returns (n,) of `POINT`, rows of the LiDAR file (m, 5) or none, camera, boxes.

    Poses are world from sensor (4, 4).
    """

    scene: str
    radar: np.ndarray
    world_from_radar: np.ndarray
    world_from_camera: np.ndarray
    intrinsic: np.ndarray
    image_size: tuple[int, int]
    rows: np.ndarray | None
    world_from_lidar: np.ndarray | None
    boxes: tuple[Box, ...]

    def in_camera(self, points: np.ndarray, world_from_sensor: np.ndarray) -> np.ndarray:
        """Return points (n, 3) of a sensor in the camera's frame."""
        return moved(points, np.linalg.inv(self.world_from_camera) @ world_from_sensor)


def moved(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Return points (n, 3) after a rigid motion (4, 4)."""
    return points.astype(np.float64) @ matrix[:3, :3].T + matrix[:3, 3]


def matrix_of(row: dict[str, Any]) -> np.ndarray:
    """Return the transform (4, 4) of a table row with translation and rotation."""
    out = np.eye(4)
    out[:3, :3] = rotation_matrix(np.array(row["rotation"], dtype=np.float64))
    out[:3, 3] = row["translation"]
    return out


def read_radar(path: Path) -> np.ndarray:
    """Return the returns of a radar file."""
    content = path.read_bytes()
    start = content.index(b"DATA binary\n") + len(b"DATA binary\n")
    count = int(content[:start].split(b"WIDTH ")[1].split()[0])
    return np.frombuffer(content[start : start + count * POINT.itemsize], POINT)


def read_rows(path: Path) -> np.ndarray:
    """Return the rows (n, 5) of a LiDAR file."""
    return np.fromfile(path, np.float32).reshape(-1, 5)


def real_frames(root: Path) -> list[SensorFrame]:
    """Return the key frames of a nuScenes database with RADAR_FRONT and CAM_FRONT, in order of time."""
    tables = {
        name: {row["token"]: row for row in json.loads((root / "v1.0-mini" / f"{name}.json").read_text())}
        for name in ("sample", "sample_data", "ego_pose", "calibrated_sensor", "sensor", "sample_annotation", "instance", "category")
    }  # fmt: skip
    measured: dict[str, dict[str, dict[str, Any]]] = defaultdict(dict)
    for row in tables["sample_data"].values():
        if row["is_key_frame"]:
            channel = tables["sensor"][tables["calibrated_sensor"][row["calibrated_sensor_token"]]["sensor_token"]]["channel"]
            measured[row["sample_token"]][channel] = row
    boxes: dict[str, list[Box]] = defaultdict(list)
    for row in tables["sample_annotation"].values():
        category = tables["category"][tables["instance"][row["instance_token"]]["category_token"]]["name"]
        box = Box(category, matrix_of(row), np.array(row["size"]), int(row["num_lidar_pts"]))
        boxes[row["sample_token"]].append(box)

    def pose(row: dict[str, Any]) -> np.ndarray:
        sensor = tables["calibrated_sensor"][row["calibrated_sensor_token"]]
        return matrix_of(tables["ego_pose"][row["ego_pose_token"]]) @ matrix_of(sensor)

    frames = []
    for sample in sorted(tables["sample"].values(), key=lambda row: row["timestamp"]):
        of = measured[sample["token"]]
        camera = of["CAM_FRONT"]
        lidar = of.get("LIDAR_TOP")
        frames.append(
            SensorFrame(
                sample["scene_token"],
                read_radar(root / of["RADAR_FRONT"]["filename"]),
                pose(of["RADAR_FRONT"]),
                pose(camera),
                np.array(tables["calibrated_sensor"][camera["calibrated_sensor_token"]]["camera_intrinsic"]),
                (1600, 900),
                None if lidar is None else read_rows(root / lidar["filename"]),
                None if lidar is None else pose(lidar),
                tuple(boxes[sample["token"]]),
            )
        )
    return frames


def real_radar_frames(shared: Path) -> list[SensorFrame]:
    """Return every real key frame with a radar file: two drives of 81 frames and five single frames."""
    return [*real_frames(shared / "data/nuscenes-radar-scenes"), *real_frames(shared / "data/nuscenes-five-frames")]


def simulated_frames(params: SyntheticParams, index: int, every: int = 1) -> Iterator[SensorFrame]:
    """Yield every n-th key frame of a simulated scene, as its files would hold it, without writing or drawing anything."""
    plan = make_drive(params, index)
    world = make_world(params, plan, index)
    drive = on_ground(plan, world)
    rig = build_rig(params.cameras, radars=params.radars, image_size=params.image_size, calibration=drive.calibration)

    def pose(channel: str, time_us: int) -> np.ndarray:
        out = np.eye(4)
        placed = drive.world_from_ego.at(time_us) @ rig[channel].ego_from_sensor
        out[:3, :3], out[:3, 3] = placed.rotation, placed.translation_m
        return out

    for key in range(0, len(drive.key_sweeps), every):
        sweep, scan = int(drive.key_sweeps[key]), int(drive.key_radars["RADAR_FRONT"][key])
        sweep_us, scan_us = int(drive.sweep_us[sweep]), int(drive.radar_us["RADAR_FRONT"][scan])
        rows = simulate._turn(params, drive, world, rig["LIDAR_TOP"], index, sweep)
        world_from_lidar = pose("LIDAR_TOP", sweep_us)
        cloud = moved(rows[np.linalg.norm(rows[:, :3], axis=1) > 1.0, :3], world_from_lidar)
        boxes = []
        for actor in world.actors:
            placed = actor.world_from_box(world.route, sweep_us)
            matrix = np.eye(4)
            matrix[:3, :3], matrix[:3, 3] = placed.rotation, placed.translation_m
            size = np.array(actor.size_wlh_m)
            boxes.append(Box(actor.category, matrix, size, int(inside(cloud, matrix, size).sum())))
        yield SensorFrame(
            f"{index}",
            simulate._radar_scan(params, drive, world, rig["RADAR_FRONT"], index, scan),
            pose("RADAR_FRONT", scan_us),
            pose("CAM_FRONT", int(drive.camera_us["CAM_FRONT"][key])),
            np.asarray(rig["CAM_FRONT"].intrinsic),
            params.image_size,
            rows,
            world_from_lidar,
            tuple(boxes),
        )


def inside(points: np.ndarray, world_from_box: np.ndarray, size_wlh: np.ndarray, *, any_height: bool = False) -> np.ndarray:
    """Say which world points (n, 3) lie in a box."""
    local = moved(points, np.linalg.inv(world_from_box))
    half = np.array([size_wlh[1], size_wlh[0], np.inf if any_height else size_wlh[2]]) / 2
    return (np.abs(local) <= half).all(axis=1)
