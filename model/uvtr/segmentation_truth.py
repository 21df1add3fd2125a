"""Which cells of the ground around the rig a vehicle stands on: what the segmentation from above learns and is measured by.

Source docs/method/uvtr.md#segmentation
Rules  A cell is covered if its centre lies in the footprint of a vehicle. Vehicles of which 40 % or less can be seen are left
       out, as in CVT (arXiv 2205.02833); one whose visibility is not said counts
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.uvtr.classes import CLASSES, VEHICLES
from model.uvtr.objects import FrameObjects

_HIDDEN = "v0-40"
_IS_VEHICLE = np.array([name in VEHICLES for name in CLASSES])


class GroundGrid(NamedTuple):
    """Square cells of the ground, in the rig frame.

    Attributes:
        low_m: x and y of the corner that both are least in.
        cell_m: side of a cell.
        num_cells: along y and along x.
    """

    low_m: tuple[float, float]
    cell_m: float
    num_cells: tuple[int, int]

    @property
    def centers_m(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Centres of the cells along x (columns) and along y (rows)."""
        rows, columns = self.num_cells
        return (
            self.low_m[0] + (np.arange(columns) + 0.5) * self.cell_m,
            self.low_m[1] + (np.arange(rows) + 0.5) * self.cell_m,
        )


RELEASED_GRID = GroundGrid((-50.0, -50.0), 0.5, (200, 200))
"""The cells that published figures are of: 100 m x 100 m around the rig."""


def vehicles_on_ground(objects: FrameObjects, grid: GroundGrid) -> NDArray[np.bool_]:
    """Return the cells (rows along y, columns along x) on which a vehicle stands; see the module's rules."""
    x, y = grid.centers_m
    covered = np.zeros(grid.num_cells, bool)
    vehicles = objects.where(_IS_VEHICLE[objects.labels] & (objects.visibility != _HIDDEN))
    for center, size, yaw in zip(vehicles.centers_m, vehicles.sizes_wlh_m, vehicles.yaws_rad, strict=True):
        reach = np.hypot(size[0], size[1]) / 2
        columns, rows = (
            slice(*np.searchsorted(places, (middle - reach, middle + reach)))
            for places, middle in ((x, center[0]), (y, center[1]))
        )
        right, up = x[columns][None, :] - center[0], y[rows][:, None] - center[1]
        along, across = np.cos(yaw) * right + np.sin(yaw) * up, np.cos(yaw) * up - np.sin(yaw) * right
        covered[rows, columns] |= (np.abs(along) <= size[1] / 2) & (np.abs(across) <= size[0] / 2)
    return covered


class CellCounts(NamedTuple):
    """Cells of all key frames.

    Attributes:
        both: covered, and said to be.
        either: covered, or said to be, or both.
        covered: on which a vehicle stands.
        total: of all.
    """

    both: int = 0
    either: int = 0
    covered: int = 0
    total: int = 0

    def with_frame(self, truth: NDArray[np.bool_], said: NDArray[np.bool_]) -> CellCounts:
        """Return the counts with one more key frame."""
        counts = (int((truth & said).sum()), int((truth | said).sum()), int(truth.sum()), truth.size)
        return CellCounts(*(before + now for before, now in zip(self, counts, strict=True)))

    @property
    def iou(self) -> float:
        """Intersection over union, 0 to 1; NaN if no cell is covered or said to be."""
        return self.both / self.either if self.either else float("nan")
