"""One window of a run in memory: which images belong together, where each camera was, and where the files lie."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.data.samples import Sample
from storage_schemas.store import UnitPath

Float64 = NDArray[np.float64]


@dataclass(frozen=True)
class SourceFile:
    """A file of the source, by its path below the source's root, and the digest that the window's unit noted of it."""

    file: str
    sha256: str


@dataclass(frozen=True)
class LidarFile:
    """A LiDAR sweep's file.

    Attributes:
        source: where it lies.
        num_columns: float32 numbers a return, little-endian; x, y, z first, metres in the sensor frame.
        rig_from_lidar: (4, 4) sensor to rig, metres; the rig is where the sweep was taken.
    """

    source: SourceFile
    num_columns: int
    rig_from_lidar: Float64


@dataclass(frozen=True)
class SweepFiles:
    """What a frame of a window with frames between key frames is read from.

    Attributes:
        unit: of the window.
        images: m files, one a camera.
        lidar: the sweep; None if the scene has none.
    """

    unit: UnitPath
    images: tuple[SourceFile, ...]
    lidar: LidarFile | None


@dataclass(frozen=True)
class Moment:
    """One frame of the m cameras.

    Attributes:
        time_us: of the rig.
        world_from_rig: (4, 4) pose of the rig at that time, metres.
        cam_from_rig: (m, 4, 4) rig at its time to each camera at its image's own time, metres.
        samples: m images, one a camera: frames of the manifest; between key frames only like them, ``frame`` is -1 there and
            ``units`` has nothing but the window's.
        sweep: where it is read from, if older frames of the window lie between key frames; None: from the samples' units.
    """

    time_us: int
    world_from_rig: Float64
    cam_from_rig: Float64
    samples: tuple[Sample, ...]
    sweep: SweepFiles | None = None


@dataclass(frozen=True)
class Clip:
    """One window.

    Attributes:
        key: ``<scene>/<time of the rig at the newest frame, us>``.
        moments: its frames, the newest first.
    """

    key: str
    moments: tuple[Moment, ...]
