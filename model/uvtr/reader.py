"""What a loader worker does for the detector: reads the images of key frames and brings them to the network's size.

Reads  images units, and depth_single where depth is learned, through storage_schemas
Writes images into a slot, and how near each of their cells is
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.data.frame_files import FrameBytes, FrameFiles
from model.data.images import resized
from model.data.points import measured_pixels
from model.data.samples import naming_frame
from model.data.slot_layout import SlotArray, SlotLayout
from model.data.units import OpenedUnits
from model.mim4d.clips import Clip
from model.mim4d.reader import clip_slots
from model.uvtr.depth_truth import nearest_in_cells
from model.uvtr.key_frames import DEPTH

NEAREST = "nearest_m"


@dataclass(frozen=True)
class KeyFrameReading:
    """What is read.

    Attributes:
        clips: the key frames with those before them, by number.
        layout: what a slot holds; see ``key_frame_slots``.
        stride: pixels that a cell of the finest level is wide.
    """

    clips: tuple[Clip, ...]
    layout: SlotLayout
    stride: int

    def open(self, units: OpenedUnits) -> KeyFrameReader:
        """Return a reader of this process."""
        return KeyFrameReader(units, self)


def key_frame_slots(num: int, *, num_frames: int, num_cameras: int, image_px: tuple[int, int], cell_px: int | None) -> SlotLayout:
    """Return room for key frames.

    Args:
        num: most key frames.
        num_frames: of each, with those before it.
        num_cameras: of each frame.
        image_px: height and width of its images, (h, w, 3) uint8.
        cell_px: pixels that a cell is wide whose nearest depth (y, x) float32 is wanted; None = of none.
    """
    layout = clip_slots(num, num_frames=num_frames, num_cameras=num_cameras, image_px=image_px)
    if cell_px is None:
        return layout
    cells = tuple(-(-side // cell_px) for side in image_px)
    return SlotLayout(num, (*layout.fields, SlotArray(NEAREST, "float32", (num_cameras, *cells))))


class KeyFrameReader:
    """Reads key frames; keeps what it has opened.

    Args:
        units: opened units of this process.
        reading: what is read.
    """

    def __init__(self, units: OpenedUnits, reading: KeyFrameReading) -> None:
        self._reading = reading
        self._files = FrameFiles(units, {})
        self._measured = FrameFiles(units, {"depth": DEPTH})
        self._whole: dict[tuple[int, int], tuple[NDArray[np.uint8], NDArray[np.uint16]]] = {}

    def read(self, rows: Sequence[int], memory: NDArray[np.uint8], *, epoch: int) -> None:
        """Read key frames in the order given.

        Args:
            rows: their numbers, at most as many as the layout has room for.
            memory: (layout.num_bytes,) uint8, filled.
            epoch: changes nothing here: what is drawn moves no pixel.

        Raises:
            DepthmillError: a unit or file is missing, damaged or of the wrong size; names the frame.
        """
        arrays = self._reading.layout.arrays(memory, len(rows))
        images, nearest_m = arrays["image"], arrays.get(NEAREST)
        views = {
            (number, frame, camera): sample
            for number, row in enumerate(rows)
            for frame, moment in enumerate(self._reading.clips[row].moments)
            for camera, sample in enumerate(moment.samples)
        }
        together = images.shape[1] * images.shape[2]
        newest = [] if nearest_m is None else [place for place in views if place[1] == 0]
        others = [place for place in views if nearest_m is None or place[1] > 0]
        for files, places in ((self._files, others), (self._measured, newest)):
            for file, place in zip(files.read([views[place] for place in places], together=together), places, strict=True):
                number, frame, camera = place
                cells = nearest_m[number, camera] if nearest_m is not None and frame == 0 else None
                self._decode(file, images[place], cells)

    def _decode(self, file: FrameBytes, image: NDArray[np.uint8], nearest_m: NDArray[np.float32] | None) -> None:
        """Fill an image of the network, and the cells of its finest level if they are wanted."""
        size = (file.sample.height, file.sample.width)
        if size not in self._whole:
            self._whole[size] = (np.empty((*size, 3), np.uint8), np.empty(size, np.uint16))
        whole, steps = self._whole[size]
        network_px = (image.shape[0], image.shape[1])
        with naming_frame(file.sample):
            file.decode_image(whole)
            image[...] = resized(whole, network_px)
            if nearest_m is not None:
                file.decode_map("depth", steps)
                points = measured_pixels(steps)
                nearest_m[...] = nearest_in_cells(points, image_px=size, network_px=network_px, stride=self._reading.stride)
