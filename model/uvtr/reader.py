"""What a loader worker does for the detector: reads the images of key frames and brings them to the network's size.

Reads  images units through storage_schemas
Writes images into a slot
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.data.frame_files import FrameFiles
from model.data.images import resized
from model.data.samples import naming_frame
from model.data.slot_layout import SlotLayout
from model.data.units import OpenedUnits
from model.mim4d.clips import Clip


@dataclass(frozen=True)
class KeyFrameReading:
    """What is read.

    Attributes:
        clips: the key frames with those before them, by number.
        layout: what a slot holds; see ``clip_slots``.
    """

    clips: tuple[Clip, ...]
    layout: SlotLayout

    def open(self, units: OpenedUnits) -> KeyFrameReader:
        """Return a reader of this process."""
        return KeyFrameReader(units, self)


class KeyFrameReader:
    """Reads key frames; keeps what it has opened.

    Args:
        units: opened units of this process.
        reading: what is read.
    """

    def __init__(self, units: OpenedUnits, reading: KeyFrameReading) -> None:
        self._reading = reading
        self._files = FrameFiles(units, {})
        self._whole: dict[tuple[int, int], NDArray[np.uint8]] = {}

    def read(self, rows: Sequence[int], memory: NDArray[np.uint8], *, epoch: int) -> None:
        """Read key frames in the order given.

        Args:
            rows: their numbers, at most as many as the layout has room for.
            memory: (layout.num_bytes,) uint8, filled.
            epoch: changes nothing here: what is drawn moves no pixel.

        Raises:
            DepthmillError: a unit or file is missing, damaged or of the wrong size; names the frame.
        """
        images = self._reading.layout.arrays(memory, len(rows))["image"]
        views = [
            ((number, frame, camera), sample)
            for number, row in enumerate(rows)
            for frame, moment in enumerate(self._reading.clips[row].moments)
            for camera, sample in enumerate(moment.samples)
        ]
        files = self._files.read([sample for _, sample in views], together=images.shape[1] * images.shape[2])
        for file, (place, sample) in zip(files, views, strict=True):
            size = (sample.height, sample.width)
            whole = self._whole.setdefault(size, np.empty((*size, 3), np.uint8))
            with naming_frame(sample):
                file.decode_image(whole)
                images[place] = resized(whole, (images.shape[3], images.shape[4]))
