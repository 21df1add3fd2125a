"""How the ego vehicle moves and when its sensors fire.

Times are integer microseconds. A scene begins and ends with a key frame; key frames are every tenth LiDAR sweep
(2 Hz of 20 Hz). Cameras fire shortly before the LiDAR, between key frames at 12 Hz where such images are wanted; each
radar runs on its own clock at 13 Hz. Motion and times are
either made up (`town.motion` and `town.clocks` make up those of a town) or those of a recorded drive (`trajectories`),
which may stand still and drops a sweep now and then.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.sources.synthetic.config import CAMERA_CHANNELS, SyntheticParams
from pipeline.sources.synthetic.rigid import Floats, Ints, Motion, quaternion_from_yaw_pitch_roll
from pipeline.sources.synthetic.town.cars import car_of
from pipeline.sources.synthetic.town.clocks import drawn_camera, drawn_radar, drawn_sweeps
from pipeline.sources.synthetic.town.motion import town_motion
from storage_schemas.catalog import RADAR_CHANNELS
from storage_schemas.errors import SourceError

SWEEP_US = 50_000
KEY_EVERY = 10
RADAR_US = 76_923
CAMERA_US = 83_333
FIRST_US = 1_533_200_000_000_000
SCENE_US = 600_000_000
KNOT_US = 20_000
# time of the exposure before the LiDAR's time stamp, as in nuScenes: the scanner turns past each camera
CAMERA_LEAD_US = {
    "CAM_FRONT": 35_100,
    "CAM_FRONT_RIGHT": 27_200,
    "CAM_BACK_RIGHT": 19_500,
    "CAM_BACK": 9_900,
    "CAM_BACK_LEFT": 200,
    "CAM_FRONT_LEFT": 42_700,
}
# first scan of each radar after the first sweep: the five clocks are not synchronised
RADAR_START_US = {
    "RADAR_FRONT": 11_300,
    "RADAR_FRONT_LEFT": 26_700,
    "RADAR_FRONT_RIGHT": 42_100,
    "RADAR_BACK_LEFT": 57_400,
    "RADAR_BACK_RIGHT": 72_900,
}


@dataclass(frozen=True)
class Drive:
    """True ego motion and the times of all measurements of one scene.

    sweep_us (s,) of the LiDAR with its key frames at `key_sweeps` (k,); camera_us: (k,) for each camera;
    radar_us (r,) with its key frames at `key_radars` (k,) for each radar. lane_m (n, 2): the middle of the planned lane where
    there is a plan, one vertex a metre, from 120 m and more before the start to 280 m and more beyond the end; the vertex
    `lane_start` is beside the first knot of the motion.
    """

    log: str
    world_from_ego: Motion
    sweep_us: Ints
    key_sweeps: Ints
    camera_us: dict[str, Ints]
    radar_us: dict[str, Ints]
    key_radars: dict[str, Ints]
    calibration: dict[str, Any] | None
    lane_m: Floats | None = None
    lane_start: int = 0


def make_drive(params: SyntheticParams, index: int) -> Drive:
    """Return the drive of scene `index`."""
    log = f"simulated-s{params.seed}-{index:04d}"
    if params.trajectories is not None:
        return _recorded_drive(params, index, log)
    start = FIRST_US + index * SCENE_US
    sweep_us, key_sweeps = _sweeps(params, index, start)
    end = int(sweep_us[-1])
    lane: tuple[Floats | None, int] = (None, 0)
    calibration = None
    if params.motion == "town":
        knot_us = _knots(start, end)
        is_graded = params.ground == "graded"
        driven = town_motion(params.seed, index, knot_us, start_us=start, end_us=end, is_graded=is_graded)
        motion, lane = driven.motion, (driven.lane_m, driven.lane_start)
        calibration = car_of(params.seed, index)
    else:
        motion = _made_up_motion(np.random.default_rng((params.seed, index, 0)), start, end)
    cameras = {name: _camera_times(params, index, name, sweep_us[key_sweeps]) for name in params.cameras}
    return _with_radars(params, index, Drive(log, motion, sweep_us, key_sweeps, cameras, {}, {}, calibration, *lane))


def _sweeps(params: SyntheticParams, index: int, start_us: int) -> tuple[Ints, Ints]:
    """Return the times of all sweeps and the places of the key frames among them."""
    num_keys = int(params.seconds * 2)
    if params.clocks == "drawn":
        rng = np.random.default_rng((params.seed, index, 102))
        return drawn_sweeps(num_keys, start_us=start_us, period_us=SWEEP_US, key_every=KEY_EVERY, rng=rng)
    sweep_us = start_us + np.arange((num_keys - 1) * KEY_EVERY + 1, dtype=np.int64) * SWEEP_US
    return sweep_us, np.arange(num_keys, dtype=np.int64) * KEY_EVERY


def _camera_times(params: SyntheticParams, index: int, channel: str, key_us: Ints) -> Ints:
    """Return the times (k,) of a camera's key images."""
    if params.clocks == "even":
        return key_us - CAMERA_LEAD_US[channel]
    rng = np.random.default_rng((params.seed, index, 102, 1, CAMERA_CHANNELS.index(channel)))
    return drawn_camera(key_us, CAMERA_LEAD_US[channel], rng)


def _knots(start_us: int, end_us: int) -> Ints:
    """Return the times of a motion's knots, from before the first measurement to after the last."""
    return np.arange(start_us - 200_000, end_us + 400_000, KNOT_US, dtype=np.int64)


def load_trajectories(path: str) -> list[dict[str, Any]]:
    """Return the drives of a trajectories file; raises SourceError with the path where it cannot be used."""
    remedy = "Give the path of a mini_val_scenes.json, or leave the key out for a synthetic route"
    try:
        drives = json.loads(Path(path).read_text())
    except OSError as error:
        raise SourceError(f"source.trajectories '{path}' cannot be read: {error.strerror}. {remedy}") from error
    except ValueError as error:
        raise SourceError(f"source.trajectories '{path}' is not JSON: {error}. {remedy}") from error
    is_usable = isinstance(drives, list) and len(drives) > 0 and all(isinstance(d, dict) and "lidar_poses" in d for d in drives)
    if not is_usable:
        raise SourceError(f"source.trajectories '{path}' holds no drives: expected a list of drives with lidar_poses. {remedy}")
    usable: list[dict[str, Any]] = drives
    return usable


def _made_up_motion(rng: np.random.Generator, start_us: int, end_us: int) -> Motion:
    """Return motion along an S-curved street at 8 to 12 m/s, with the small nods of a sprung car."""
    time_us = _knots(start_us, end_us)
    t = (time_us - start_us) * 1e-6
    speed = rng.uniform(8.3, 8.8) + rng.uniform(0.1, 0.3) * np.sin(2 * np.pi * t / 9.0 + rng.uniform(0, 6.28))
    s = np.cumsum(speed) * KNOT_US * 1e-6
    bend = rng.choice([-1.0, 1.0]) / rng.uniform(350.0, 450.0)
    yaw = rng.uniform(0, 2 * np.pi) + bend * 60.0 * np.sin(s / 60.0 + rng.uniform(0, 6.28))
    step = speed * KNOT_US * 1e-6
    x = rng.uniform(400.0, 1200.0) + np.cumsum(step * np.cos(yaw))
    y = rng.uniform(400.0, 1200.0) + np.cumsum(step * np.sin(yaw))
    pitch = np.deg2rad(0.4) * np.sin(2 * np.pi * t / 1.3) + np.deg2rad(0.2) * np.sin(2 * np.pi * t / 3.1)
    roll = np.deg2rad(0.3) * np.sin(2 * np.pi * t / 1.7 + 1.0)
    return Motion(time_us, quaternion_from_yaw_pitch_roll(yaw, pitch, roll), np.stack([x, y, 0 * x], axis=1))


def _recorded_drive(params: SyntheticParams, index: int, log: str) -> Drive:
    """Return a recorded drive, cut to `seconds` and to its last key frame."""
    assert params.trajectories is not None
    drives = load_trajectories(params.trajectories)
    record = drives[index % len(drives)]
    sweep_us = np.array([int(pose["timestamp_us"]) for pose in record["lidar_poses"]], dtype=np.int64)
    frames = [frame for frame in record["keyframes"] if int(frame["lidar_timestamp_us"]) - sweep_us[0] < params.seconds * 1e6]
    frames = frames if len(frames) >= 2 else record["keyframes"][:2]
    key_us = np.array([int(frame["lidar_timestamp_us"]) for frame in frames], dtype=np.int64)
    key_sweeps = np.searchsorted(sweep_us, key_us).astype(np.int64)
    poses = record["lidar_poses"] + [view for frame in record["keyframes"] for view in frame["cameras"].values()]
    knots = {int(pose["timestamp_us"]): pose for pose in poses}
    knot_us = np.array(sorted(knots), dtype=np.int64)
    # two stamps may lie microseconds apart with positions rounded to 0.1 um: too short a base for a speed
    knot_us = knot_us[np.concatenate([[True], np.diff(knot_us) > 2_000])]
    quaternions = np.array([knots[int(t)]["ego2global_rotation"] for t in knot_us], dtype=np.float64)
    translations = np.array([knots[int(t)]["ego2global_translation"] for t in knot_us], dtype=np.float64)
    translations[:, 2] = 0.0
    cameras = {
        name: np.array([int(frame["cameras"][name]["timestamp_us"]) for frame in frames], dtype=np.int64)
        for name in params.cameras
    }
    motion = Motion(knot_us, quaternions / np.linalg.norm(quaternions, axis=1, keepdims=True), translations)
    sweep_us = sweep_us[: int(key_sweeps[-1]) + 1]
    return _with_radars(params, index, Drive(log, motion, sweep_us, key_sweeps, cameras, {}, {}, record["calibration"]))


def _with_radars(params: SyntheticParams, index: int, drive: Drive) -> Drive:
    """Return the drive with radar times added; of each radar the scan nearest to a key sweep is its key frame."""
    first_us, end_us = int(drive.sweep_us[0]), int(drive.sweep_us[-1]) + RADAR_US // 2
    radar_us = {}
    for name in params.radars:
        if params.clocks == "drawn":
            rng = np.random.default_rng((params.seed, index, 102, 2, RADAR_CHANNELS.index(name)))
            radar_us[name] = drawn_radar(first_us, end_us, RADAR_US, rng)
        else:
            radar_us[name] = np.arange(first_us + RADAR_START_US[name], end_us, RADAR_US, dtype=np.int64)
    key_us = drive.sweep_us[drive.key_sweeps][:, None]
    key_radars = {name: np.abs(times[None, :] - key_us).argmin(axis=1).astype(np.int64) for name, times in radar_us.items()}
    return replace(drive, radar_us=radar_us, key_radars=key_radars)


def times_between(key_us: Ints) -> Ints:
    """Return the times (n,) of a camera's images between its key frames at (k,): evenly spread, as near to 12 Hz as possible."""
    counts = np.maximum(np.rint(np.diff(key_us) / CAMERA_US).astype(np.int64), 1)
    parts = [
        key + np.arange(1, count) * gap // count
        for key, gap, count in zip(key_us[:-1].tolist(), np.diff(key_us).tolist(), counts.tolist(), strict=True)
    ]
    return np.concatenate([np.empty(0, np.int64), *parts])


def positions_along(drive: Drive) -> tuple[Ints, Floats, Floats]:
    """Return times (n,), ego positions x y (n, 2) and the distance driven (n,) since the first knot."""
    xy = drive.world_from_ego.translations_m[:, :2]
    travelled = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(xy, axis=0), axis=1))])
    return drive.world_from_ego.knot_us, xy, travelled
