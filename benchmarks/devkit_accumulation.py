"""The straightforward accumulation: every key frame reads, filters and moves its 160 sweeps with the devkit's own functions.

This is the way of the public script (docs/method/pipeline.md#projection, #sweep-window), written anew, with nothing tuned and
nothing slowed.
"""

from __future__ import annotations

import io
import sys
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image
from pyquaternion import Quaternion

try:
    from nuscenes.nuscenes import NuScenes
    from nuscenes.utils.data_classes import LidarPointCloud
    from nuscenes.utils.geometry_utils import points_in_box, view_points
except ModuleNotFoundError:
    sys.exit(
        "error: nuscenes-devkit is not installed, which is measured here. On Python 3.11 or 3.12: pip install -e '.[devkit]'"
    )

MOVABLE = ("vehicle.", "human.", "animal")
MOVING_MPS = 0.5
NEAR_M, FAR_M = 1.0, 255.996


class DevkitAccumulation:
    """A NuScenes database and the key frames of its first scene."""

    def __init__(self, root: Path, version: str) -> None:
        self.nusc = NuScenes(version=version, dataroot=str(root), verbose=False)
        self.root = root
        self.samples = []
        token = self.nusc.scene[0]["first_sample_token"]
        while token:
            self.samples.append(self.nusc.get("sample", token))
            token = self.samples[-1]["next"]
        self.speed_mps = cache(self._speed_mps)

    def keyframe_png(self, number: int, *, num_sweeps: int, drop_moving: bool) -> tuple[np.ndarray, bytes]:
        """Return the depth map (height, width) uint16 in 1/256 m and its PNG file."""
        sample = self.samples[number]
        camera = self.nusc.get("sample_data", sample["data"]["CAM_FRONT"])
        depth_m = np.full((camera["height"], camera["width"]), np.inf, np.float32)
        for sweep in self._window(sample["data"]["LIDAR_TOP"], num_sweeps):
            u, v, z = self._project(sweep, camera, drop_moving=drop_moving)
            np.minimum.at(depth_m, (v, u), z)
        depth_m[np.isinf(depth_m)] = 0.0
        steps = (depth_m * 256).astype(np.uint16)
        stream = io.BytesIO()
        Image.fromarray(steps).save(stream, format="PNG")
        return steps, stream.getvalue()

    def _window(self, key_token: str, num_sweeps: int) -> list[dict]:
        key = self.nusc.get("sample_data", key_token)
        window = [key]
        for direction, count in (("prev", (num_sweeps - 1) // 2), ("next", num_sweeps // 2)):
            record = key
            for _ in range(count):
                if not record[direction]:
                    break
                record = self.nusc.get("sample_data", record[direction])
                window.append(record)
        return window

    def _project(self, sweep: dict, camera: dict, *, drop_moving: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        lidar, ego = self._poses(sweep)
        cloud = LidarPointCloud.from_file(str(self.root / sweep["filename"]))
        if drop_moving:
            self._drop_moving(cloud, sweep, lidar, ego)
        for pose in (lidar, ego):
            cloud.rotate(Quaternion(pose["rotation"]).rotation_matrix)
            cloud.translate(np.array(pose["translation"]))
        cam, ego_of_image = self._poses(camera)
        for pose in (ego_of_image, cam):
            cloud.translate(-np.array(pose["translation"]))
            cloud.rotate(Quaternion(pose["rotation"]).rotation_matrix.T)
        z = cloud.points[2].astype(np.float32)
        in_front = (z > NEAR_M) & (z < FAR_M)
        z = z[in_front]
        u, v, _ = view_points(cloud.points[:3, in_front], np.array(cam["camera_intrinsic"]), normalize=True)
        inside = (u >= 0) & (u < camera["width"]) & (v >= 0) & (v < camera["height"])
        return u[inside].astype(np.int32), v[inside].astype(np.int32), z[inside]

    def _poses(self, record: dict) -> tuple[dict, dict]:
        calibration = self.nusc.get("calibrated_sensor", record["calibrated_sensor_token"])
        return calibration, self.nusc.get("ego_pose", record["ego_pose_token"])

    def _drop_moving(self, cloud: LidarPointCloud, sweep: dict, lidar: dict, ego: dict) -> None:
        keep = np.ones(cloud.points.shape[1], bool)
        for box in self.nusc.get_boxes(sweep["token"]):
            if not box.name.startswith(MOVABLE) or self.speed_mps(box.token) <= MOVING_MPS:
                continue
            for pose in (ego, lidar):
                box.translate(-np.array(pose["translation"]))
                box.rotate(Quaternion(pose["rotation"]).inverse)
            keep &= ~points_in_box(box, cloud.points[:3])
        cloud.points = cloud.points[:, keep]

    def _speed_mps(self, annotation_token: str) -> float:
        speed = float(np.linalg.norm(self.nusc.box_velocity(annotation_token)[:2]))
        return speed if np.isfinite(speed) else np.inf
