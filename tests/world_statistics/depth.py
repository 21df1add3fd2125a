"""How much depth the place in the image tells, how far LiDAR returns lie, and how plane the road is.

The table of rows and columns is that of a network that sees neither image nor radar: the median depth of the LiDAR returns
of other scenes, in 60 x 24 cells, where few returns are drawn towards the median of their row.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.geometry import rotation_matrix
from pipeline.sources.synthetic.config import SyntheticParams
from pipeline.sources.synthetic.drive import make_drive
from pipeline.sources.synthetic.ground import on_ground
from pipeline.sources.synthetic.rig import LIDAR, build_rig
from pipeline.sources.synthetic.simulate import _turn
from pipeline.sources.synthetic.world import make_world

Floats = NDArray[np.float64]

NUM_ROWS, NUM_COLUMNS = 60, 24
FARTHEST_M = 80.0
PRIOR_RETURNS = 3.0
BELOW_ROW = 0.52
OWN_CAR_M = 2.5
# LiDAR in the frame of CAM_FRONT turned upright (x forward, y left, z up), of nuScenes' first car
SCANNER_FROM_CAMERA_M = np.array([-0.757, -0.016, 0.33])


@dataclass(frozen=True)
class Frame:
    """One sweep: row and column (n,) 0..1 and depth (n,) metres of what lies in CAM_FRONT; cloud_m (m, 3) around the scanner."""

    row: Floats
    column: Floats
    depth_m: Floats
    cloud_m: Floats


@dataclass(frozen=True)
class Score:
    """What a table explains of depth and of its logarithm, and its mean absolute error in metres."""

    r2: float
    r2_log: float
    mae_m: float


Scene = Sequence[Frame]


def real_scenes(root: Path) -> list[list[Frame]]:
    """Return the five real frames of shared/data/nuscenes-five-frames, each a scene of its own."""
    tables: dict[str, list[dict[str, Any]]] = {
        name: json.loads((root / "v1.0-mini" / f"{name}.json").read_text()) for name in ("calibrated_sensor", "sample_data")
    }
    sensor_of = {row["token"]: row for row in tables["calibrated_sensor"]}
    files = {(row["sample_token"], row["filename"].split("/")[1]): row for row in tables["sample_data"]}
    scenes = []
    for (sample, channel), row in files.items():
        if channel != "CAM_FRONT":
            continue
        camera = sensor_of[row["calibrated_sensor_token"]]
        cloud = np.fromfile(root / files[sample, "LIDAR_TOP"]["filename"], dtype=np.float32).reshape(-1, 5)[:, :3]
        upright = cloud.astype(np.float64)  # the file holds the points in the frame of the camera turned upright
        in_camera = upright @ rotation_matrix(np.array(camera["rotation"], dtype=np.float64))
        scenes.append([_frame(in_camera, upright - SCANNER_FROM_CAMERA_M, np.array(camera["camera_intrinsic"]), (1600, 900))])
    return scenes


def simulated_scenes(params: SyntheticParams, *, num_scenes: int, shares: Sequence[float] = (0.25, 0.8)) -> list[list[Frame]]:
    """Return the sweeps at key frames at shares 0..1 of each simulated scene, as its file would hold them; none is written."""
    scenes = []
    for index in range(num_scenes):
        drive = make_drive(params, index)
        world = make_world(params, drive, index)
        drive = on_ground(drive, world)
        rig = build_rig(("CAM_FRONT",), radars=(), image_size=params.image_size, calibration=drive.calibration)
        camera, lidar = rig["CAM_FRONT"], rig[LIDAR]
        assert camera.intrinsic is not None
        frames = []
        for key in (round(share * (len(drive.key_sweeps) - 1)) for share in shares):
            sweep = int(drive.key_sweeps[key])
            cloud = _turn(params, drive, world, lidar, index, sweep)[:, :3].astype(np.float64)
            world_from_ego = drive.world_from_ego.at(int(drive.sweep_us[sweep]))
            points = (world_from_ego @ lidar.ego_from_sensor).apply(cloud[np.linalg.norm(cloud, axis=1) > OWN_CAR_M])
            world_from_camera = drive.world_from_ego.at(int(drive.camera_us["CAM_FRONT"][key])) @ camera.ego_from_sensor
            in_camera = (points - world_from_camera.translation_m) @ world_from_camera.rotation
            around = cloud @ lidar.ego_from_sensor.rotation.T
            frames.append(_frame(in_camera, around, camera.intrinsic, params.image_size))
        scenes.append(frames)
    return scenes


def as_few_as_real(scenes: Sequence[Scene]) -> list[list[list[Frame]]]:
    """Return groups of five scenes of one frame each: what a table learns depends on how many frames it is learnt from."""
    num_frames = min(len(scene) for scene in scenes)
    blocks = [scenes[first : first + 5] for first in range(0, len(scenes) - 4, 5)]
    return [[[scene[number]] for scene in block] for block in blocks for number in range(num_frames)]


def _frame(in_camera_m: Floats, cloud_m: Floats, intrinsic: Floats, image_size: tuple[int, int]) -> Frame:
    """Return the points that lie in the image and are not the own car, and the whole cloud."""
    ahead = in_camera_m[in_camera_m[:, 2] > 1.0]
    pixels = ahead @ intrinsic.T
    column, row = pixels[:, 0] / pixels[:, 2] / image_size[0], pixels[:, 1] / pixels[:, 2] / image_size[1]
    inside = (row >= 0) & (row < 1) & (column >= 0) & (column < 1) & (ahead[:, 2] < FARTHEST_M)
    return Frame(row[inside], column[inside], ahead[inside, 2], cloud_m)


def _cells(frames: Scene) -> tuple[NDArray[np.int64], NDArray[np.int64], Floats]:
    """Return row and column (n,) of the table and depth (n,) of the returns of frames."""
    row = np.concatenate([frame.row for frame in frames])
    column = np.concatenate([frame.column for frame in frames])
    return (
        (row * NUM_ROWS).astype(np.int64),
        (column * NUM_COLUMNS).astype(np.int64),
        np.concatenate([frame.depth_m for frame in frames]),
    )


def _medians(group: NDArray[np.int64], value: Floats, count: int) -> tuple[Floats, Floats]:
    """Return the median (count,) of values (n,) by their group (n,), NaN where there is none, and how many each has."""
    order = np.lexsort((value, group))
    number = np.bincount(group, minlength=count)
    first = np.concatenate([[0], np.cumsum(number)[:-1]])
    ordered = np.append(value[order], np.nan)
    low, high = first + np.maximum(number - 1, 0) // 2, first + number // 2
    middle = (ordered[np.minimum(low, len(value))] + ordered[np.minimum(high, len(value))]) / 2
    return np.where(number > 0, middle, np.nan), number.astype(np.float64)


def _table(frames: Scene, *, with_columns: bool) -> Floats:
    """Return the table (rows, columns) of median depths; a cell of n returns counts n, the median of its row counts 3."""
    row, column, depth = _cells(frames)
    of_row, _ = _medians(row, depth, NUM_ROWS)
    of_row = np.where(np.isnan(of_row), np.median(depth), of_row)
    table = np.repeat(of_row, NUM_COLUMNS)
    if with_columns:
        cell, number = _medians(row * NUM_COLUMNS + column, depth, NUM_ROWS * NUM_COLUMNS)
        weighted = number * np.nan_to_num(cell) + PRIOR_RETURNS * table
        table = weighted / (number + PRIOR_RETURNS)
    return table.reshape(NUM_ROWS, NUM_COLUMNS)


def _predictions(scenes: Sequence[Scene], *, with_columns: bool) -> tuple[Floats, Floats, Floats]:
    """Return, over all scenes, the depth that other scenes foretell, the true one, and the row 0..1 of each return."""
    told, true, rows = [], [], []
    for number, scene in enumerate(scenes):
        others = [frame for k, other in enumerate(scenes) if k != number for frame in other]
        row, column, depth = _cells(scene)
        told.append(_table(others, with_columns=with_columns)[row, column])
        true.append(depth)
        rows.append(np.concatenate([frame.row for frame in scene]))
    return np.concatenate(told), np.concatenate(true), np.concatenate(rows)


def table_score(scenes: Sequence[Scene], *, with_columns: bool = True) -> Score:
    """Return how well a table of the other scenes tells the depth of each scene."""
    told, true, _ = _predictions(scenes, with_columns=with_columns)
    r2 = 1.0 - ((told - true) ** 2).mean() / true.var()
    r2_log = 1.0 - (np.log(told / true) ** 2).mean() / np.log(true).var()
    return Score(float(r2), float(r2_log), float(np.abs(told - true).mean()))


def error_by_range(scenes: Sequence[Scene], edges_m: Sequence[float]) -> list[float]:
    """Return the mean absolute error in metres of the table between each two neighbouring true depths."""
    told, true, _ = _predictions(scenes, with_columns=True)
    return [float(np.abs(told - true)[(true >= low) & (true < high)].mean()) for low, high in pairwise(edges_m)]


def row_error_below_horizon(scenes: Sequence[Scene]) -> float:
    """Return the mean relative error of the rows alone below row 0.52 H."""
    told, true, row = _predictions(scenes, with_columns=False)
    below = row > BELOW_ROW
    return float((np.abs(told - true) / true)[below].mean())


def spread_between_scenes(scenes: Sequence[Scene]) -> tuple[float, float]:
    """Return the median standard deviation between scenes of a cell's log depth: above the horizon, and below it."""
    logs = np.full((len(scenes), NUM_ROWS * NUM_COLUMNS), np.nan)
    for number, scene in enumerate(scenes):
        row, column, depth = _cells(scene)
        logs[number] = _medians(row * NUM_COLUMNS + column, np.log(depth), NUM_ROWS * NUM_COLUMNS)[0]
    enough = (~np.isnan(logs)).sum(axis=0) >= 3
    spread = np.nanstd(logs[:, enough], axis=0, ddof=1)
    row = (np.flatnonzero(enough) // NUM_COLUMNS + 0.5) / NUM_ROWS
    return float(np.median(spread[row < 0.5])), float(np.median(spread[row >= BELOW_ROW]))


def column_effect(scenes: Sequence[Scene]) -> tuple[float, float]:
    """Return how much nearer (negative) or farther the left and right sixth are than the middle third, in log depth."""
    row, column, depth = _cells([frame for scene in scenes for frame in scene])
    of_row, _ = _medians(row, np.log(depth), NUM_ROWS)
    beside = np.log(depth) - of_row[row]
    sixth = NUM_COLUMNS // 6
    middle = np.median(beside[(column >= 2 * sixth) & (column < NUM_COLUMNS - 2 * sixth)])
    left, right = beside[column < sixth], beside[column >= NUM_COLUMNS - sixth]
    return float(np.median(left) - middle), float(np.median(right) - middle)


def depth_by_row(scenes: Sequence[Scene], rows: tuple[float, float]) -> Floats:
    """Return the 10, 50 and 90 % quantiles of depth between two rows 0..1."""
    depth = [frame.depth_m[(frame.row >= rows[0]) & (frame.row < rows[1])] for scene in scenes for frame in scene]
    quantiles: Floats = np.quantile(np.concatenate(depth), (0.1, 0.5, 0.9))
    return quantiles


def ranges(scenes: Sequence[Scene]) -> Floats:
    """Return the range (n,) of all returns farther from the scanner than the own car."""
    every = np.concatenate([np.linalg.norm(frame.cloud_m, axis=1) for scene in scenes for frame in scene])
    beyond: Floats = every[every > OWN_CAR_M]
    return beyond


def road_planes(scenes: Sequence[Scene]) -> Floats:
    """Return (n, 2) of planes through the road 4 to 14 m away, by sectors of 15 degrees: residual in metres, slope in degrees.

    What lies more than 0.25 m off the plane is left out, five times over.
    """
    planes = []
    for frame in (frame for scene in scenes for frame in scene):
        cloud = frame.cloud_m
        away = np.hypot(cloud[:, 0], cloud[:, 1])
        low = cloud[(away > 4.0) & (away < 14.0) & (cloud[:, 2] < -1.2)]
        sector = ((np.rad2deg(np.arctan2(low[:, 1], low[:, 0])) + 180.0) // 15.0).astype(int)
        for k in range(24):
            points = low[sector == k]
            if len(points) < 50:
                continue
            basis = np.c_[points[:, :2], np.ones(len(points))]
            kept = np.abs(points[:, 2] - np.quantile(points[:, 2], 0.3)) < 0.4
            for _ in range(5):
                if kept.sum() < 30:
                    break
                plane = np.linalg.lstsq(basis[kept], points[kept, 2], rcond=None)[0]
                off = points[:, 2] - basis @ plane
                kept = np.abs(off) < 0.25
            if kept.sum() >= 30:
                planes.append((off[kept].std(), np.rad2deg(np.arctan(np.hypot(plane[0], plane[1])))))
    return np.array(planes)
