"""Readers of raw files that hold something back: whole sweeps, or returns of the own car.

Why    What a reader does not give, no stage can use. So a held-out sweep stays out of window, votes and everything that will be
       added to the stages, without a line in any of them
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.stage import RawReader, SweepComparer
from storage_schemas.layout import Columns


class PointReader:
    """A reader of LiDAR files, each of which is read once and kept; files that are held out hold no return.

    Args:
        raw: the source's reader.
    """

    def __init__(self, raw: RawReader) -> None:
        self.raw = raw
        self.held: frozenset[str] = frozenset()
        self._kept: dict[str, NDArray[np.float32]] = {}

    def read_points(self, file: str) -> NDArray[np.float32]:
        """Return the points (n, 3 or more) of a file; (0, 5) for one that is held out."""
        if file in self.held:
            return np.zeros((0, 5), np.float32)
        if file not in self._kept:
            self._kept[file] = self.raw.read_points(file)
        return self._kept[file]

    def refuse_cut_sweeps(self, files: Sequence[str]) -> None:
        """Raise SourceError for a file that is cut short, as the source's reader would; what is held out is not looked at."""
        if isinstance(self.raw, SweepComparer):
            self.raw.refuse_cut_sweeps([file for file in files if file not in self.held])

    def read_bytes(self, file: str) -> bytes:
        """Return the content of a file."""
        return self.raw.read_bytes(file)

    def read_radar(self, file: str) -> dict[str, NDArray[Any]]:
        """Return a radar file as named columns."""
        return self.raw.read_radar(file)

    def scene_tables(self, scene: str) -> dict[str, Columns]:
        """Return the tables of a scene."""
        return self.raw.scene_tables(scene)

    def digest_of(self, files: Iterable[str]) -> dict[str, str]:
        """Return nothing: what is made in memory has no lineage."""
        return {}


class WithoutOwnCar(PointReader):
    """A reader that leaves out the returns near the scanner: the roof of the own car, and slots without an echo.

    Args:
        points: reader of the files; what it keeps is shared.
        nearest_m: returns nearer to the scanner than this are left out.
    """

    def __init__(self, points: PointReader, *, nearest_m: float) -> None:
        super().__init__(points)
        self._nearest_m = nearest_m

    def read_points(self, file: str) -> NDArray[np.float32]:
        """Return the points of a file that are not the own car's."""
        points = self.raw.read_points(file)
        is_far = (points[:, :3].astype(np.float64) ** 2).sum(axis=1) >= self._nearest_m**2
        return np.ascontiguousarray(points[is_far])
