"""What is annotated: how many boxes, of which classes and sizes, where, how they move, and how one hides another.

The same functions measure real key frames (two drives of nuScenes mini-val) and simulated ones.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.sources.synthetic import simulate
from pipeline.sources.synthetic.config import SyntheticParams
from pipeline.sources.synthetic.drive import make_drive
from pipeline.sources.synthetic.ground import on_ground
from pipeline.sources.synthetic.rig import LIDAR, build_rig
from pipeline.sources.synthetic.rigid import Pose
from pipeline.sources.synthetic.rows import annotated_keys
from pipeline.sources.synthetic.world import make_world

Array = NDArray[np.float64]
DETECTION_CLASS = {
    "vehicle.car": "car",
    "vehicle.truck": "truck",
    "vehicle.bus.rigid": "bus",
    "vehicle.trailer": "trailer",
    "vehicle.construction": "construction_vehicle",
    "vehicle.motorcycle": "motorcycle",
    "vehicle.bicycle": "bicycle",
    "human.pedestrian.adult": "pedestrian",
    "human.pedestrian.child": "pedestrian",
    "human.pedestrian.construction_worker": "pedestrian",
    "movable_object.barrier": "barrier",
    "movable_object.trafficcone": "traffic_cone",
}
MOVING_MPS = 0.5
IMAGE_PX = (1600, 900)


@dataclass(frozen=True)
class Boxes:
    """The boxes of one key frame.

    names (n,), centre_m (n, 3) in the ego frame, size_wlh_m (n, 3), yaw (n,) in the ego frame, speed_mps (n,) NaN where
    unknown, num_lidar (n,); ego_from_camera and intrinsic of CAM_FRONT at 1600 x 900.
    """

    names: NDArray[np.str_]
    centre_m: Array
    size_wlh_m: Array
    yaw: Array
    speed_mps: Array
    num_lidar: NDArray[np.int64]
    ego_from_camera: Pose
    intrinsic: Array

    @property
    def range_m(self) -> Array:
        """Horizontal distance (n,) from the LiDAR."""
        distance: Array = np.hypot(self.centre_m[:, 0] - 0.94, self.centre_m[:, 1])
        return distance


def real_frames(shared: Path) -> list[list[Boxes]]:
    """Return the key frames of two drives of nuScenes mini-val, a list for each drive."""
    drives = json.loads((shared / "data" / "nuscenes-trajectories" / "mini_val_scenes.json").read_text())
    scenes = []
    for drive in drives:
        poses = {name: _pose(entry) for name, entry in drive["calibration"].items() if name in (LIDAR, "CAM_FRONT")}
        intrinsic = np.array(drive["calibration"]["CAM_FRONT"]["intrinsic"])
        lidar = poses[LIDAR]
        frames = []
        for frame in drive["keyframes"]:
            numbers = np.array([box["center_size_yaw_lidar"] for box in frame["boxes"]])
            heading = -numbers[:, 6] - np.pi / 2
            ahead = np.stack([np.cos(heading), np.sin(heading), 0 * heading], axis=1) @ lidar.rotation.T
            frames.append(
                Boxes(
                    np.array([box["name"] for box in frame["boxes"]]),
                    lidar.apply(numbers[:, :3]),
                    numbers[:, 3:6],
                    np.arctan2(ahead[:, 1], ahead[:, 0]),
                    np.array([np.hypot(*box["velocity_xy"]) for box in frame["boxes"]], dtype=np.float64),
                    np.array([box["num_lidar_pts"] for box in frame["boxes"]]),
                    poses["CAM_FRONT"],
                    intrinsic,
                )
            )
        scenes.append(frames)
    return scenes


def simulated_frames(params: SyntheticParams, scenes: Sequence[int], *, every: int = 4) -> list[list[Boxes]]:
    """Return every so-many-th key frame of simulated scenes, annotated by their own LiDAR sweeps."""
    return [_frames_of(params, index, every) for index in scenes]


def _frames_of(params: SyntheticParams, index: int, every: int) -> list[Boxes]:
    """Return key frames of one scene; the neighbours of a chosen one decide what is annotated in it, too."""
    drive = make_drive(params, index)
    world = make_world(params, drive, index)
    drive = on_ground(drive, world)
    rig = build_rig(("CAM_FRONT",), radars=(), image_size=IMAGE_PX, calibration=None)
    camera = rig["CAM_FRONT"]
    assert camera.intrinsic is not None
    key_us = drive.sweep_us[drive.key_sweeps]
    frames = []
    for k in range(1, len(key_us) - 1, every):
        counts = []
        for sweep in drive.key_sweeps[k - 1 : k + 2].tolist():
            rows = simulate._turn(params, drive, world, rig[LIDAR], index, sweep)[:, :3].astype(np.float64)
            pose = drive.world_from_ego.at(int(drive.sweep_us[sweep])) @ rig[LIDAR].ego_from_sensor
            points = pose.apply(rows[np.linalg.norm(rows, axis=1) > 2.5])
            counts.append(simulate._count_points(world, int(drive.sweep_us[sweep]), points, np.empty((0, 3))))
        time_us = int(key_us[k])
        numbers = [n for n, actor in enumerate(world.actors) if 1 in annotated_keys(actor, [c.lidar[n] for c in counts])]
        users = [world.actors[n] for n in numbers]
        ego = drive.world_from_ego.at(time_us)
        boxes = [user.world_from_box(world.route, time_us) for user in users]
        centre = (np.array([box.translation_m for box in boxes]).reshape(-1, 3) - ego.translation_m) @ ego.rotation
        ahead = np.array([box.rotation[:, 0] for box in boxes]).reshape(-1, 3) @ ego.rotation
        frames.append(
            Boxes(
                np.array([DETECTION_CLASS[user.category] for user in users]),
                centre,
                np.array([user.size_wlh_m for user in users]).reshape(-1, 3),
                np.arctan2(ahead[:, 1], ahead[:, 0]),
                np.array([np.hypot(*user.velocity(world.route, time_us)[:2]) for user in users]),
                np.array([counts[1].lidar[n] for n in numbers]),
                camera.ego_from_sensor,
                camera.intrinsic,
            )
        )
    return frames


def _pose(entry: dict) -> Pose:
    quaternion = np.array(entry["rotation"], dtype=np.float64)
    return Pose(quaternion / np.linalg.norm(quaternion), np.array(entry["translation"], dtype=np.float64))


def image_rectangles(boxes: Boxes) -> tuple[Array, Array]:
    """Return rectangles (n, 4) in CAM_FRONT, u v low then high, not cut by the image, and depths (n,); NaN behind the camera."""
    corner = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]) / 2
    half = corner[None] * boxes.size_wlh_m[:, None, [1, 0, 2]]
    cosine, sine = np.cos(boxes.yaw)[:, None], np.sin(boxes.yaw)[:, None]
    turned = np.stack(
        [cosine * half[..., 0] - sine * half[..., 1], sine * half[..., 0] + cosine * half[..., 1], half[..., 2]], axis=2
    )
    points = (turned + boxes.centre_m[:, None] - boxes.ego_from_camera.translation_m) @ boxes.ego_from_camera.rotation
    image = points @ boxes.intrinsic.T
    uv = image[..., :2] / np.maximum(image[..., 2:], 1e-6)
    rectangles = np.concatenate([uv.min(axis=1), uv.max(axis=1)], axis=1)
    depth = ((boxes.centre_m - boxes.ego_from_camera.translation_m) @ boxes.ego_from_camera.rotation)[:, 2]
    rectangles[(points[..., 2] < 0.5).any(axis=1)] = np.nan
    return rectangles, depth


def hidden_and_cut(boxes: Boxes) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
    """Return for the boxes of one frame: in CAM_FRONT, more than half behind nearer boxes, cut by the edge of the image.

    In the image: all corners ahead of the camera and the rectangle touches the image. Hidden is the share of a grid of 12 x 12
    points over the rectangle in the image that lies in rectangles of nearer boxes.
    """
    rectangles, depth = image_rectangles(boxes)
    size = np.array([*IMAGE_PX, *IMAGE_PX], dtype=np.float64)
    known = np.nan_to_num(rectangles, nan=-1.0)
    is_seen = (
        np.isfinite(rectangles[:, 0]) & (known[:, 2] > 0) & (known[:, 3] > 0) & (known[:, 0] < size[0]) & (known[:, 1] < size[1])
    )
    clipped = np.clip(np.nan_to_num(rectangles), 0.0, size)
    is_cut = is_seen & (np.abs(np.nan_to_num(rectangles) - clipped) > 0.5).any(axis=1)
    is_hidden = np.zeros(len(depth), dtype=bool)
    share = (np.arange(12) + 0.5) / 12
    for i in np.flatnonzero(is_seen):
        u = clipped[i, 0] + share * (clipped[i, 2] - clipped[i, 0])
        v = clipped[i, 1] + share * (clipped[i, 3] - clipped[i, 1])
        nearer = clipped[np.isfinite(rectangles[:, 0]) & (depth > 0) & (depth < depth[i])]
        in_u = (u >= nearer[:, :1]) & (u <= nearer[:, 2:3])
        in_v = (v >= nearer[:, 1:2]) & (v <= nearer[:, 3:4])
        is_hidden[i] = (in_u[:, :, None] & in_v[:, None, :]).any(axis=0).mean() > 0.5
    return is_seen, is_hidden, is_cut


def summary(scenes: Sequence[Sequence[Boxes]]) -> dict[str, float]:
    """Return the figures of many key frames, boxes within 80 m."""
    frames = [frame for scene in scenes for frame in scene]
    names = np.concatenate([frame.names for frame in frames])
    sizes = np.concatenate([frame.size_wlh_m for frame in frames])
    speed = np.concatenate([frame.speed_mps for frame in frames])
    range_m = np.concatenate([frame.range_m for frame in frames])
    lidar = np.concatenate([frame.num_lidar for frame in frames])
    seen, hidden, cut = (np.concatenate(parts) for parts in zip(*(hidden_and_cut(frame) for frame in frames), strict=True))
    near = range_m < 80.0
    per_frame = [int((frame.range_m < 80.0).sum()) for frame in frames]
    figures = {
        "boxes a frame": float(np.mean(per_frame)),
        "boxes a frame, tenth": float(np.quantile(per_frame, 0.1)),
        "boxes a frame, nine tenths": float(np.quantile(per_frame, 0.9)),
        "in CAM_FRONT": float((seen & near).sum() / len(frames)),
        "hidden": float(hidden[seen & near].mean()),
        "cut": float(cut[seen & near].mean()),
        "without LiDAR": float((lidar[near] == 0).mean()),
        "classes": float(len(np.unique(names))),
    }
    for name in np.unique(names):
        figures[f"share of {name}"] = float((names[near] == name).mean())
    for name in ("car", "pedestrian"):
        known = (names == name) & near & np.isfinite(speed)
        figures[f"moving {name}"] = float((speed[known] > MOVING_MPS).mean())
    for limit in (15, 30, 50):
        figures[f"within {limit} m"] = float((range_m[near] < limit).mean())
    is_car = names == "car"
    for k, axis in enumerate(("width", "length", "height")):
        figures[f"sd of car {axis}"] = float(sizes[is_car, k].std())
    for low, high in ((0, 15), (15, 30), (30, 50)):
        ring = is_car & (range_m >= low) & (range_m < high)
        figures[f"points on a car {low} to {high} m"] = float(np.median(lidar[ring]))
        figures[f"cars without points {low} to {high} m"] = float((lidar[ring] == 0).mean())
    return figures
