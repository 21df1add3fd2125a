"""The LiDAR points of single frames, where a manifest has them: what is seen from above beside found objects.

Reads  depth_single units through storage_schemas
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from model.data.points import measured_pixels
from model.data.rectified_camera import unproject_pixels
from storage_schemas.encoding import STEPS_PER_M
from storage_schemas.manifest import Manifest
from storage_schemas.store import StoredUnit, UnitPath

LAYOUT = "depth_single"


class LidarPoints:
    """Reads the key sweep of frames; opens a unit when its first frame is asked for.

    Args:
        manifest: the pinned data.
    """

    def __init__(self, manifest: Manifest) -> None:
        self._manifest = manifest
        self._frames: dict[str, tuple[UnitPath | None, int]] | None = None
        self._opened: dict[UnitPath, StoredUnit] = {}

    def of(self, frame_key: str, projection: NDArray[np.float64]) -> NDArray[np.float32]:
        """Return the points of a frame that lie in its image.

        Args:
            frame_key: ``<scene>/<camera>/<timestamp_us>`` of the manifest.
            projection: (3, 4) of the whole image.

        Returns:
            (n, 3) metres in the camera's frame, x right, y down, z forward; none where the frame has no sweep, or where its unit
            is not in the store any more.

        Raises:
            StoreError: the unit is damaged.
        """
        if self._frames is None:
            rows = self._manifest.rows()
            self._frames = {row["frame_key"]: (self._manifest.unit_of(row, LAYOUT), row["frame"]) for row in rows}
        path, frame = self._frames[frame_key]
        if path is None:
            return np.zeros((0, 3), np.float32)
        if path not in self._opened:
            if not self._manifest.store.has(path):
                return np.zeros((0, 3), np.float32)
            self._opened[path] = self._manifest.store.open_unit(path)
        pixels = measured_pixels(self._opened[path].array("depth_m", frame))
        centres_px = np.stack([pixels.column, pixels.row], axis=1) + 0.5
        return unproject_pixels(projection, centres_px, pixels.depth / float(STEPS_PER_M)).astype(np.float32)
