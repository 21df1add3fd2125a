"""Where the sensors sit on the ego vehicle, and how the cameras project.

Ego frame x forward, y left, z up, origin on the road below the rear axle. LiDAR x right, y forward, z up; camera
x right, y down, z forward; radar x forward, y left, z up. Rotations are sensor to ego, w x y z. The numbers are
those of a nuScenes vehicle, rounded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.sources.synthetic.rigid import Floats, Pose

LIDAR = "LIDAR_TOP"
REFERENCE_SIZE_PX = (1600, 900)
REFERENCE_WIDTH_PX = REFERENCE_SIZE_PX[0]

# channel: (translation m, rotation w x y z, focal px, principal point px at 1600 x 900)
_CAMERAS: dict[str, tuple[tuple[float, ...], tuple[float, ...], float, tuple[float, float]]] = {
    "CAM_FRONT": ((1.70, 0.016, 1.511), (0.4998, -0.5030, 0.4998, -0.4974), 1266.4, (816.3, 468.0)),
    "CAM_FRONT_RIGHT": ((1.55, -0.493, 1.496), (0.2060, -0.2027, 0.6825, -0.6714), 1260.8, (808.0, 470.0)),
    "CAM_FRONT_LEFT": ((1.52, 0.495, 1.509), (0.6757, -0.6736, 0.2121, -0.2112), 1272.6, (826.6, 468.0)),
    "CAM_BACK": ((0.03, 0.003, 1.579), (0.5038, -0.4974, -0.4942, 0.5045), 809.2, (829.2, 468.0)),
    "CAM_BACK_LEFT": ((1.04, 0.485, 1.591), (0.6924, -0.7032, -0.1165, 0.1120), 1257.0, (792.1, 470.0)),
    "CAM_BACK_RIGHT": ((1.01, -0.481, 1.562), (0.1228, -0.1324, -0.7004, 0.6905), 1259.5, (807.3, 470.0)),
}
_LIDAR = ((0.943713, 0.0, 1.84023), (0.7077955, -0.0064922, 0.0106462, -0.7063073))
# channel: (translation m, rotation w x y z); the front ones look ahead and to the sides, the back ones behind
_RADARS = {
    "RADAR_FRONT": ((3.412, 0.0, 0.5), (0.9999985, 0.0, 0.0, 0.0017453)),
    "RADAR_FRONT_LEFT": ((2.422, 0.8, 0.78), (0.7029, 0.0, 0.0, 0.7113)),
    "RADAR_FRONT_RIGHT": ((2.422, -0.8, 0.77), (0.7087, 0.0, 0.0, -0.7055)),
    "RADAR_BACK_LEFT": ((-0.562, 0.628, 0.53), (0.0459, 0.0, 0.0, 0.9989)),
    "RADAR_BACK_RIGHT": ((-0.562, -0.618, 0.53), (0.0436, 0.0, 0.0, -0.999)),
}


@dataclass(frozen=True)
class Sensor:
    """One sensor: its pose in the ego frame and, for a camera, the intrinsic matrix (3, 3) in pixels."""

    channel: str
    modality: str
    ego_from_sensor: Pose
    intrinsic: Floats | None


def build_rig(
    cameras: tuple[str, ...], *, radars: tuple[str, ...], image_size: tuple[int, int], calibration: Mapping[str, Any] | None
) -> dict[str, Sensor]:
    """Return the sensors by channel: LiDAR, radars, then the cameras.

    `calibration` is that of a recorded drive (sensor to ego, cameras with an intrinsic at 1600 x 900) and replaces
    the built-in numbers where it has them. Focal length and principal point column follow the image width, the
    principal point row follows the image height.
    """
    recorded = calibration or {}
    rig = {
        LIDAR: Sensor(LIDAR, "lidar", _pose(*_LIDAR, recorded.get(LIDAR)), None),
        **{name: Sensor(name, "radar", _pose(*_RADARS[name], recorded.get(name)), None) for name in radars},
    }
    for channel in cameras:
        translation, rotation, focal_px, centre_px = _CAMERAS[channel]
        entry = recorded.get(channel)
        if entry is not None:
            focal_px = float(entry["intrinsic"][0][0])
            centre_px = (float(entry["intrinsic"][0][2]), float(entry["intrinsic"][1][2]))
        scale = image_size[0] / REFERENCE_WIDTH_PX
        intrinsic = np.array(
            [
                [focal_px * scale, 0.0, centre_px[0] * scale],
                [0.0, focal_px * scale, centre_px[1] / 900.0 * image_size[1]],
                [0.0, 0.0, 1.0],
            ]
        )
        rig[channel] = Sensor(channel, "camera", _pose(translation, rotation, entry), intrinsic)
    return rig


def _pose(translation: tuple[float, ...], rotation: tuple[float, ...], entry: Mapping[str, Any] | None) -> Pose:
    """Return the pose written in a calibration entry, or the built-in one."""
    quaternion = np.asarray(entry["rotation"] if entry else rotation, dtype=np.float64)
    moved = np.asarray(entry["translation"] if entry else translation, dtype=np.float64)
    return Pose(quaternion / np.linalg.norm(quaternion), moved)
