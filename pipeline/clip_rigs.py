"""Poses of a clip's frames that ``index_windows`` writes: of the rig in the world, and of each camera in the rig.

The rig frame is the ego frame at the time of a LiDAR sweep, so that the returns need no motion correction.
Without a sweep it is the ego frame at the time of the first camera's image. A camera's pose in the rig includes the ego motion
from that time to the time of the camera's own image.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.geometry import Float64, inverse, rigid
from pipeline.poses import world_from_cam
from storage_schemas.errors import SourceError

Row = dict[str, Any]


def world_from_rig_at(row: Row) -> Float64:
    """Return the ego pose (4, 4) of a row of an index: of an image or of a sweep, at its time."""
    return rigid(row["world_from_ego_translation_m"], row["world_from_ego_rotation_wxyz"])


def cam_from_rig(image: Row, world_from_rig: Float64, *, scene: str) -> Float64:
    """Return the transform (4, 4) from a rig to a camera, each at its own time.

    Raises:
        SourceError: a pose is not known.
    """
    matrix = np.asarray(inverse(world_from_cam(image)) @ world_from_rig)
    if not np.isfinite(matrix).all():
        raise SourceError(
            f"scene {scene}, camera {image['camera']}: the source knows no poses, so its images have no place in a common "
            "frame. Set stages.index_windows.enabled to false, or take a source with poses"
        )
    return matrix


def nearest(times_us: NDArray[np.int64], time_us: int) -> int | None:
    """Return the index of the nearest of ascending times, the earlier of two equally near; None without times."""
    if not len(times_us):
        return None
    after = int(np.searchsorted(times_us, time_us))
    around = [number for number in (after - 1, after) if 0 <= number < len(times_us)]
    return min(around, key=lambda number: abs(int(times_us[number]) - time_us))
