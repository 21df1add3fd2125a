"""What a loader worker does for MIM4D: reads all images of a window, brings them to the network's size, and unprojects LiDAR.

Reads  images and depth_single units through storage_schemas
Writes images into a slot; returns points

Sweeps Windows with frames between key frames are read from the source's files: ``sweep_reader``.
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
from model.mim4d.clip_points import ClipPoints, SeenPoints, held_out, held_out_by_return, points_at, rig_points
from model.mim4d.clips import Clip, Float64
from model.mim4d.sweep_reader import SweepReader


@dataclass(frozen=True)
class ClipReading:
    """What is read.

    Attributes:
        clips: the windows, by number.
        layout: what a slot holds; see ``clip_slots``.
        held_out_share: share of the points that are kept out of training.
    """

    clips: tuple[Clip, ...]
    layout: SlotLayout
    held_out_share: float

    def open(self, units: OpenedUnits) -> ClipReader:
        """Return a reader of this process."""
        return ClipReader(units, self)


def clip_slots(num_windows: int, *, num_frames: int, num_cameras: int, image_px: tuple[int, int]) -> SlotLayout:
    """Return room for images (windows, frames, cameras, h, w, 3) uint8."""
    return SlotLayout(num_windows, (SlotArray("image", "uint8", (num_frames, num_cameras, *image_px, 3)),))


class ClipReader:
    """Reads windows; keeps what it has opened.

    Args:
        units: opened units of this process.
        reading: what is read.
    """

    def __init__(self, units: OpenedUnits, reading: ClipReading) -> None:
        self._units, self._reading = units, reading
        self._files = FrameFiles(units, {"depth": "depth_single"})
        self._sweeps = SweepReader(units, held_out_share=reading.held_out_share)
        self._whole: dict[tuple[int, int], tuple[NDArray[np.uint8], NDArray[np.uint16]]] = {}

    def read(self, rows: Sequence[int], memory: NDArray[np.uint8], *, epoch: int) -> ClipPoints:
        """Read windows in the order given.

        Args:
            rows: numbers of the windows, at most as many as the layout has room for.
            memory: (layout.num_bytes,) uint8, filled.
            epoch: changes nothing here.

        Raises:
            DepthmillError: a unit or file is missing, damaged or of the wrong size; names the frame.
        """
        images = self._reading.layout.arrays(memory, len(rows))["image"]
        moments = [
            ((number, frame), moment)
            for number, row in enumerate(rows)
            for frame, moment in enumerate(self._reading.clips[row].moments)
        ]
        views = [
            ((*place, camera), sample, moment.cam_from_rig[camera])
            for place, moment in moments
            if moment.sweep is None
            for camera, sample in enumerate(moment.samples)
        ]
        files = self._files.read([sample for _, sample, _ in views], together=images.shape[1] * images.shape[2])  # a window
        points, seen = list[ClipPoints](), list[SeenPoints]()
        for frame, (place, _, cam_from_rig) in zip(files, views, strict=True):
            seen.append(self._decode(frame, images[place], cam_from_rig))
            if len(seen) == images.shape[2]:  # all cameras of a moment
                held = held_out_by_return(seen)
                points += [
                    points_at(of_camera.points, is_held_out, place=(*place[:2], camera))
                    for camera, (of_camera, is_held_out) in enumerate(zip(seen, held, strict=True))
                ]
                seen = []
        for at, moment in moments:  # all or none: the windows of a manifest are of one kind
            if moment.sweep is not None:
                points += self._sweeps.read(moment, images[at], place=at)
        return ClipPoints(*(np.concatenate(columns) for columns in zip(*points, strict=True)))

    def _decode(self, frame: FrameBytes, out: NDArray[np.uint8], cam_from_rig: Float64) -> SeenPoints:
        sample = frame.sample
        size = (sample.height, sample.width)
        if size not in self._whole:
            self._whole[size] = (np.empty((*size, 3), np.uint8), np.empty(size, np.uint16))
        image_u8, depth_steps = self._whole[size]
        with naming_frame(sample):
            frame.decode_image(image_u8)
            out[...] = resized(image_u8, (out.shape[0], out.shape[1]))
            frame.decode_map("depth", depth_steps)
        pixels = measured_pixels(depth_steps)
        return SeenPoints(
            pixels,
            rig_points(pixels, sample.intrinsic_px, cam_from_rig),
            held_out(pixels, sample.frame_key, self._reading.held_out_share),
            np.array(sample.intrinsic_px, np.float64).reshape(3, 3),
            cam_from_rig,
        )
