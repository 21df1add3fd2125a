"""How a car drives and when its sensors fire: speed, turning, pitch and roll, intervals, offsets between sensors.

The same functions measure two real drives of nuScenes mini-val and simulated ones.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.sources.synthetic.config import SyntheticParams
from pipeline.sources.synthetic.drive import make_drive
from pipeline.sources.synthetic.ground import on_ground
from pipeline.sources.synthetic.world import make_world

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Course:
    """One drive: times of all sweeps (s,) s, ego positions x y (s, 2) m, quaternions (s, 4), and times of the key frames (k,) s.

    radar_s: times (k,) of the key scans of RADAR_FRONT, camera_s those of the images of CAM_FRONT.
    """

    time_s: Array
    xy_m: Array
    quaternions: Array
    key_s: Array
    radar_s: Array
    camera_s: Array

    @property
    def speed_mps(self) -> Array:
        """Speed (s - 1,) between sweeps."""
        speed: Array = np.hypot(*np.diff(self.xy_m, axis=0).T) / np.diff(self.time_s)
        return speed

    @property
    def angles_deg(self) -> tuple[Array, Array, Array]:
        """Yaw, unwrapped, pitch and roll (s,) in degrees."""
        w, x, y, z = self.quaternions.T
        yaw = np.unwrap(np.arctan2(2 * (x * y + w * z), 1 - 2 * (y * y + z * z)))
        pitch, roll = -np.arcsin(2 * (x * z - w * y)), np.arctan2(2 * (y * z + w * x), 1 - 2 * (x * x + y * y))
        return np.rad2deg(yaw), np.rad2deg(pitch), np.rad2deg(roll)


def real_courses(shared: Path) -> list[Course]:
    """Return the two drives, with the times of their radar from the database that holds it."""
    drives = json.loads((shared / "data" / "nuscenes-trajectories" / "mini_val_scenes.json").read_text())
    tables = shared / "data" / "nuscenes-radar-scenes" / "v1.0-mini"
    files = json.loads((tables / "sample_data.json").read_text())
    radar = np.sort([row["timestamp"] for row in files if "RADAR_FRONT/" in row["filename"] and row["is_key_frame"]])
    courses = []
    for drive in drives:
        poses = drive["lidar_poses"]
        key_us = np.array([frame["lidar_timestamp_us"] for frame in drive["keyframes"]])
        camera_us = np.array([frame["cameras"]["CAM_FRONT"]["timestamp_us"] for frame in drive["keyframes"]])
        nearest = radar[np.abs(radar[None] - key_us[:, None]).argmin(axis=1)]
        courses.append(
            Course(
                np.array([pose["timestamp_us"] for pose in poses]) * 1e-6,
                np.array([pose["ego2global_translation"][:2] for pose in poses]),
                np.array([pose["ego2global_rotation"] for pose in poses]),
                key_us * 1e-6,
                nearest * 1e-6,
                camera_us * 1e-6,
            )
        )
    return courses


def simulated_courses(params: SyntheticParams, scenes: Sequence[int]) -> list[Course]:
    """Return the true drives of simulated scenes, on the slopes of their ground, if it has any."""
    courses = []
    for index in scenes:
        drive = make_drive(params, index)
        if params.ground != "flat":  # the ground is the same whoever is on it
            drive = on_ground(drive, make_world(params.model_copy(update={"traffic": "street"}), drive, index))
        poses = [drive.world_from_ego.at(int(time_us)) for time_us in drive.sweep_us]
        courses.append(
            Course(
                drive.sweep_us * 1e-6,
                np.array([pose.translation_m[:2] for pose in poses]),
                np.array([pose.quaternion for pose in poses]),
                drive.sweep_us[drive.key_sweeps] * 1e-6,
                drive.radar_us["RADAR_FRONT"][drive.key_radars["RADAR_FRONT"]] * 1e-6,
                drive.camera_us["CAM_FRONT"] * 1e-6,
            )
        )
    return courses


def summary(courses: Sequence[Course]) -> dict[str, float]:
    """Return the figures of many drives; pitch and roll are those of the drives that move."""
    speed = np.concatenate([course.speed_mps for course in courses])
    turned = np.array([np.ptp(course.angles_deg[0]) for course in courses])
    figures = {f"speed q{q}": float(np.percentile(speed, q)) for q in (5, 25, 50, 75, 95)}
    figures["standing"] = float((speed < 0.3).mean())
    figures["mostly standing drives"] = float(np.mean([np.median(course.speed_mps) < 0.3 for course in courses]))
    figures["drives that turn"] = float((turned > 60.0).mean())
    moving = [course for course in courses if np.median(course.speed_mps) > 2.0]
    rates = [np.abs(np.diff(course.angles_deg[0])) / np.diff(course.time_s) for course in moving]
    straight = [rate for rate, course in zip(rates, moving, strict=True) if np.ptp(course.angles_deg[0]) < 60.0]
    figures["yaw rate q90, no turn"] = float(np.mean([np.percentile(rate, 90) for rate in straight]))
    turning = [rate for rate, course in zip(rates, moving, strict=True) if np.ptp(course.angles_deg[0]) >= 60.0]
    figures["yaw rate q99, turn"] = float(np.mean([np.percentile(rate, 99) for rate in turning])) if turning else 0.0
    for k, name in ((1, "pitch"), (2, "roll")):
        angles = [course.angles_deg[k] for course in moving]
        figures[f"{name} sd"] = float(np.mean([angle.std() for angle in angles]))
        figures[f"{name} sd above 0.5 Hz"] = float(np.mean([_fast_part(angle).std() for angle in angles]))
    interval = np.concatenate([np.diff(course.key_s) for course in courses])
    figures["key interval low"], figures["key interval high"] = float(interval.min()), float(interval.max())
    figures["uneven key intervals"] = float((np.abs(interval - 0.5) > 0.02).mean())
    sweep = np.concatenate([np.diff(course.time_s) for course in courses])
    figures["sweep interval q1"], figures["sweep interval q99"] = (float(np.percentile(sweep, q)) for q in (1, 99))
    figures["lost sweeps a drive"] = float((sweep > 0.08).sum() / len(courses))
    offset = np.concatenate([course.radar_s - course.key_s for course in courses])
    figures["radar minus LiDAR low"], figures["radar minus LiDAR high"] = float(offset.min()), float(offset.max())
    figures["radar minus LiDAR sd"] = float(offset.std())
    lead = np.concatenate([course.key_s - course.camera_s for course in courses])
    figures["LiDAR minus camera"], figures["LiDAR minus camera sd"] = float(lead.mean()), float(lead.std())
    return figures


def _fast_part(angle_deg: Array) -> Array:
    """Return what is left of an angle (n,) at 20 Hz without its mean over two seconds, the ends cut off."""
    slow = np.convolve(angle_deg, np.ones(41) / 41, mode="same")
    fast: Array = (angle_deg - slow)[25:-25]
    return fast
