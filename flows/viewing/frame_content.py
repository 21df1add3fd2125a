"""What there is to see of one camera's key frame, and of what all cameras share at that time.

Frames ``scene`` is the data set's world frame, moved so that its origin is where the first shown camera begins: coordinates of a
       city have so many digits that float32, in which viewers compute, would lose centimetres
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]


@dataclass(frozen=True)
class RadarReturns:
    """Radar returns inside one image.

    Attributes:
        u_px: (n,) column in the image.
        v_px: (n,) row in the image.
        depth_m: (n,) along the optical axis.
        points_m: (n, 3) in the scene.
        velocity_mps: (n, 3) in the scene, ego motion removed; NaN = unknown. A radar measures only the part along its ray.
        rcs_dbsm: (n,) radar cross-section; NaN = unknown.
    """

    u_px: Float64
    v_px: Float64
    depth_m: Float64
    points_m: Float64
    velocity_mps: Float64
    rcs_dbsm: NDArray[np.float32]


@dataclass(frozen=True)
class Boxes:
    """Boxes in space.

    Attributes:
        center_m: (n, 3) in the scene.
        half_size_m: (n, 3) half extents along the box's own axes.
        scene_from_box_wxyz: (n, 4) orientation.
        labels: category of each, with speed or score where that is known.
        is_moving: (n,) bool.
    """

    center_m: Float64
    half_size_m: Float64
    scene_from_box_wxyz: Float64
    labels: tuple[str, ...]
    is_moving: NDArray[np.bool_]

    def __len__(self) -> int:
        """Return the number of boxes."""
        return len(self.labels)


@dataclass(frozen=True)
class CameraFrame:
    """One camera's key frame.

    Attributes:
        key: ``<scene>/<camera>/<timestamp_us>``.
        camera: channel.
        row: its row of the manifest.
        timestamp_us: time of the image.
        intrinsic_px: (3, 3) camera matrix; NaN = not known.
        scene_from_cam: (4, 4) pose at the image's time, metres; the identity where it is not known.
        size: (height, width) of the image, pixels.
        image: the image file's bytes; None = not at hand.
        maps: layout -> (y, x) uint16 depth quanta of 1/256 m, 0 = no measurement.
        radar: None = the recipe projects none.
        objects: boxes that only this camera's unit knows; None = boxes are those of the scene.
    """

    key: str
    camera: str
    row: dict[str, Any]
    timestamp_us: int
    intrinsic_px: Float64
    scene_from_cam: Float64
    size: tuple[int, int]
    image: bytes | None
    maps: dict[str, NDArray[np.uint16]]
    radar: RadarReturns | None
    objects: Boxes | None


@dataclass(frozen=True)
class Sweep:
    """One LiDAR file in the scene.

    Attributes:
        channel: sensor channel.
        timestamp_us: time of the file.
        points_m: (n, 3) in the scene.
        range_m: (n,) distance from the sensor.
    """

    channel: str
    timestamp_us: int
    points_m: Float64
    range_m: Float64


@dataclass(frozen=True)
class KeyFrame:
    """One key frame of a scene: its cameras, and what does not belong to one of them.

    Attributes:
        number: within the scene, from 0.
        timestamp_us: time of its first camera's image.
        scene_from_ego: (4, 4) pose of the ego frame at that time; None = the store has no index of the scene.
        cameras: its images.
        sweeps: its own LiDAR sweeps; empty where the source is not at hand.
        boxes: annotated boxes; None = the index has none of this scene.
    """

    number: int
    timestamp_us: int
    scene_from_ego: Float64 | None
    cameras: tuple[CameraFrame, ...]
    sweeps: tuple[Sweep, ...]
    boxes: Boxes | None
