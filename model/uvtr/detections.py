"""What the detector finds at one key frame: boxes in the rig frame with scores, in NumPy."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]


@dataclass(frozen=True)
class Detections:
    """The k detections of one key frame, in the rig frame, the highest score first.

    Attributes:
        centers_m: (k, 3) float64 gravity centres, metres; x forward, y left, z up.
        sizes_wlh_m: (k, 3) width, length, height, metres, above 0.
        yaws_rad: (k,) heading of the length axis from x, counter-clockwise, -pi to pi.
        velocities_mps: (k, 2) over ground; NaN = not predicted.
        labels: (k,) int64 number in ``CLASSES``, also of a network that knows fewer classes.
        scores: (k,) float64, 0 to 1.
    """

    centers_m: Float64
    sizes_wlh_m: Float64
    yaws_rad: Float64
    velocities_mps: Float64
    labels: NDArray[np.int64]
    scores: Float64

    def __len__(self) -> int:
        """Return the number of detections."""
        return len(self.scores)

    def where(self, chosen: NDArray[np.bool_] | NDArray[np.int64]) -> Detections:
        """Return the detections that a mask (k,) or numbers name, in that order."""
        return Detections(**{field.name: getattr(self, field.name)[chosen] for field in fields(self)})

    @classmethod
    def none(cls) -> Detections:
        """Return the detections of a key frame in which nothing is found."""
        return cls(np.empty((0, 3)), np.empty((0, 3)), np.empty(0), np.empty((0, 2)), np.empty(0, np.int64), np.empty(0))
