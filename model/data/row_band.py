"""A fixed band of rows of every frame: what is above and below it is never read into a batch.

Why    ZJU-4DRadarCam frames are measured and trained on in rows 240 to 540 of 720 (docs/method/formats.md#zju-4dradarcam)
Rule   The band is the frame for everything after the reader: row 0 of a batch is row ``first`` of the image, and the camera
       matrix moves with it, as it does with a crop (``augment.view_intrinsics``)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.data.points import FramePoints


@dataclass(frozen=True)
class RowBand:
    """Rows ``first`` to ``stop - 1`` of images that have ``image_height`` rows.

    Attributes:
        first: first row that is read.
        stop: row after the last one.
        image_height: rows of the stored images and depth maps.
    """

    first: int
    stop: int
    image_height: int

    @classmethod
    def whole(cls, image_height: int) -> RowBand:
        """Return the band of all rows."""
        return cls(0, image_height, image_height)

    @property
    def height(self) -> int:
        """Rows that are read."""
        return self.stop - self.first

    @property
    def is_whole(self) -> bool:
        """Say whether all rows are read."""
        return self.height == self.image_height

    @property
    def rows(self) -> slice:
        """The band as an index."""
        return slice(self.first, self.stop)

    def points(self, points: FramePoints) -> FramePoints:
        """Return the points inside the band, on its own rows."""
        if self.is_whole:
            return points
        inside = (points.row >= self.first) & (points.row < self.stop)
        return FramePoints(points.row[inside] - np.int16(self.first), points.column[inside], points.depth[inside])

    def intrinsics(self, intrinsic_px: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the camera matrices (b, 3, 3) of the band, from those of the whole image."""
        of_band = intrinsic_px.copy()
        of_band[:, 1, 2] -= self.first
        return of_band
