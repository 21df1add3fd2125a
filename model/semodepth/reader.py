"""Frames from the store into memory that the caller gives.

Reads  images, depth and radar units through storage_schemas
Writes images and dense maps into a slot; returns points
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.data.frame_files import FrameBytes, FrameFiles
from model.data.points import FramePoints, PointArrays, joined, measured_pixels
from model.data.row_band import RowBand
from model.data.samples import Sample, naming_frame
from model.data.slot_layout import SlotLayout
from model.data.units import OpenedUnits


@dataclass(frozen=True)
class Wanted:
    """Which stores are read; None and False = not asked for, absent from the batch.

    Attributes:
        target: store of the dense target.
        mono: read depth_mono as a dense map.
        sparse: read depth_single as points.
        radar: read radar returns.
        band: rows that are read.
        confidence: read the confidence of depth_accumulated as a dense map.
    """

    target: str | None
    mono: bool
    sparse: bool
    radar: bool
    band: RowBand
    confidence: bool = False

    @property
    def others(self) -> dict[str, tuple[str, str]]:
        """Store and array of each further map that is decoded."""
        return {"confidence": ("depth_accumulated", "confidence")} if self.confidence else {}

    @property
    def maps(self) -> dict[str, str]:
        """Store of each depth map that is decoded."""
        named = {
            "target": self.target,
            "mono": "depth_mono" if self.mono else None,
            "sparse": "depth_single" if self.sparse else None,
        }
        return {name: layout for name, layout in named.items() if layout is not None}


@dataclass(frozen=True)
class FrameReading:
    """What is read.

    Attributes:
        samples: the frames, by number.
        layout: what a slot holds.
        wanted: which stores.
    """

    samples: tuple[Sample, ...]
    layout: SlotLayout
    wanted: Wanted

    def open(self, units: OpenedUnits) -> FrameReader:
        """Return a reader of this process."""
        return FrameReader(units, self)


class FrameReader:
    """Reads frames; keeps what it has opened.

    Args:
        units: opened units of this process.
        reading: what is read.
    """

    def __init__(self, units: OpenedUnits, reading: FrameReading) -> None:
        self._units, self._reading, self._layout, self._wanted = units, reading, reading.layout, reading.wanted
        self._files = FrameFiles(units, reading.wanted.maps, reading.wanted.others)
        # a whole map, of which only points or a band of rows go on
        self._map = np.empty((reading.wanted.band.image_height, reading.layout.width), np.uint16)
        self._byte_map = np.empty(self._map.shape, np.uint8)

    def read(
        self, rows: Sequence[int], memory: NDArray[np.uint8], *, epoch: int = 0
    ) -> tuple[PointArrays | None, PointArrays | None]:
        """Read frames in the order given.

        Args:
            rows: numbers of the frames, at most as many as the layout has room for.
            memory: (layout.num_bytes,) uint8, filled.
            epoch: changes nothing here.

        Returns:
            Radar returns and single-sweep points, each None if not asked for.

        Raises:
            DepthmillError: a unit or file is missing, damaged or of the wrong size; names the frame.
        """
        samples = [self._reading.samples[row] for row in rows]
        arrays = self._layout.arrays(memory, len(samples))
        sparse: list[FramePoints] = []
        for number, frame in enumerate(self._files.read(samples)):
            sparse += self._decode(frame, {name: array[number] for name, array in arrays.items()})
        radar = joined([self._radar_of(sample) for sample in samples]) if self._wanted.radar else None
        return radar, (joined(sparse) if self._wanted.sparse else None)

    def _decode(self, frame: FrameBytes, arrays: dict[str, NDArray[Any]]) -> list[FramePoints]:
        band, sparse = self._wanted.band, list[FramePoints]()
        with naming_frame(frame.sample):
            frame.decode_image(arrays["image"], band=band)
            for name in self._wanted.maps:
                is_direct = band.is_whole and name != "sparse"
                frame.decode_map(name, arrays[name] if is_direct else self._map)
                if name == "sparse":
                    sparse.append(measured_pixels(self._map[band.rows]))
                elif not is_direct:
                    arrays[name][...] = self._map[band.rows]
            for name in self._wanted.others:
                frame.decode_map(name, arrays[name] if band.is_whole else self._byte_map)
                if not band.is_whole:
                    arrays[name][...] = self._byte_map[band.rows]
        return sparse

    def _radar_of(self, sample: Sample) -> FramePoints:
        with naming_frame(sample):
            unit = self._units.radar(sample)
        of_frame = slice(int(unit.first[sample.frame]), int(unit.first[sample.frame + 1]))
        return self._wanted.band.points(FramePoints(unit.row[of_frame], unit.column[of_frame], unit.depth_m[of_frame]))
