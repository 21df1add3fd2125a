"""What a loader worker does for MIM4D: reads all images of a window, brings them to the network's size, and unprojects LiDAR.

Reads  images and depth_single units through storage_schemas
Writes images into a slot; returns points

LiDAR  No store holds returns as points. ``depth_single`` of a camera holds the key sweep on its pixels; unprojected with the
       matrices by which it was projected, a pixel becomes the return again, up to half a pixel across and 1/256 m along. What no
       camera sees is missing, and could be no ray. At the edge of two images a return comes from both.
Held   A share of the points is kept out of training. Which ones is decided by a hash of frame and pixel, so that it is the same
out    in every run, in every window that holds the frame, and for any size of the images.
Sweeps Windows with frames between key frames are read from the source's files: ``sweep_reader``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.data.images import decode_image
from model.data.points import FramePoints, measured_pixels
from model.data.samples import Sample, naming_frame
from model.data.slot_layout import SlotArray, SlotLayout
from model.data.units import ImagesUnit, OpenedUnits
from model.mim4d.clip_images import resized
from model.mim4d.clip_points import ClipPoints, chosen_by_hash, points_at
from model.mim4d.clips import Clip, Float64
from model.mim4d.sweep_reader import SweepReader
from storage_schemas.byte_ranges import ByteRange, RangeReader
from storage_schemas.encoding import STEPS_PER_M
from storage_schemas.frame_chunks import FrameChunks


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


class _Located(NamedTuple):
    """One image and its sweep, found but not read."""

    sample: Sample
    cam_from_rig: Float64
    place: tuple[int, int, int]  # window within the batch, frame, camera
    images: ImagesUnit
    depth: FrameChunks
    image_range: ByteRange | None
    depth_range: ByteRange | None


class ClipReader:
    """Reads windows; keeps what it has opened.

    Args:
        units: opened units of this process.
        reading: what is read.
    """

    def __init__(self, units: OpenedUnits, reading: ClipReading) -> None:
        self._units, self._reading = units, reading
        self._files = RangeReader(units.store.files)
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
        # from a local disk window by window, from an object store everything at once, as in ``frame_reader``
        together = 1 if self._units.store.files.is_local else len(rows)
        found: list[ClipPoints] = []
        for first in range(0, len(rows), together):
            moments = [
                (number, frame, moment)
                for number, row in enumerate(rows[first : first + together], start=first)
                for frame, moment in enumerate(self._reading.clips[row].moments)
            ]
            located = [
                self._locate(sample, moment.cam_from_rig[camera], (number, frame, camera))
                for number, frame, moment in moments
                if moment.sweep is None
                for camera, sample in enumerate(moment.samples)
            ]
            wanted = [one for view in located for one in (view.image_range, view.depth_range) if one is not None]
            contents = dict(zip(wanted, self._files.read(wanted), strict=True))
            found += [self._decode(view, contents, images[view.place]) for view in located]
            for number, frame, moment in moments:  # all or none: the windows of a manifest are of one kind
                if moment.sweep is not None:
                    found += self._sweeps.read(moment, images[number, frame], place=(number, frame))
        return ClipPoints(*(np.concatenate(columns) for columns in zip(*found, strict=True)))

    def _locate(self, sample: Sample, cam_from_rig: Float64, place: tuple[int, int, int]) -> _Located:
        with naming_frame(sample):
            images, depth = self._units.images(sample), self._units.depth(sample, "depth_single")
            chunks, frame = images.chunks, sample.frame
            image_range = None if chunks is None else chunks.byte_range(frame, images.num_bytes[frame])
            return _Located(sample, cam_from_rig, place, images, depth, image_range, depth.byte_range(frame))

    def _decode(self, view: _Located, contents: dict[ByteRange, memoryview], out: NDArray[np.uint8]) -> ClipPoints:
        sample = view.sample
        with naming_frame(sample):
            if view.image_range is None:
                content = memoryview(self._units.referenced_image(sample, view.images))
            else:
                content = contents[view.image_range]
            size = (sample.height, sample.width)
            if size not in self._whole:
                self._whole[size] = (np.empty((*size, 3), np.uint8), np.empty(size, np.uint16))
            image_u8, depth_steps = self._whole[size]
            decode_image(content, image_u8, where=view.images.file[sample.frame])
            out[...] = resized(image_u8, (out.shape[0], out.shape[1]))
            view.depth.decode(None if view.depth_range is None else contents[view.depth_range], depth_steps)
        pixels = measured_pixels(depth_steps)
        return points_at(
            rig_points(pixels, sample.intrinsic_px, view.cam_from_rig),
            held_out(pixels, sample.frame_key, self._reading.held_out_share),
            place=view.place,
        )


def rig_points(pixels: FramePoints, intrinsic_px: Sequence[float], cam_from_rig: Float64) -> NDArray[np.float32]:
    """Return measured pixels of a camera as points (n, 3) in metres in the rig frame.

    Args:
        pixels: row, column, and steps of 1/256 m along the optical axis; the centre of pixel (0, 0) is at (0.5, 0.5).
        intrinsic_px: 3x3 camera matrix of that image, row-major.
        cam_from_rig: (4, 4) rigid.
    """
    homogeneous = np.stack([pixels.column + 0.5, pixels.row + 0.5, np.ones(len(pixels.row))], axis=1)
    rays = homogeneous @ np.linalg.inv(np.array(intrinsic_px, np.float64).reshape(3, 3)).T
    in_cam_m = rays * (pixels.depth / float(STEPS_PER_M))[:, None]
    return np.asarray((in_cam_m - cam_from_rig[:3, 3]) @ cam_from_rig[:3, :3], np.float32)


def held_out(pixels: FramePoints, frame_key: str, share: float) -> NDArray[np.bool_]:
    """Say which pixels (n) of a frame are kept out of training: a share of them, by a hash of frame and pixel."""
    numbers = (pixels.row.astype(np.uint64) << np.uint64(16)) | pixels.column.astype(np.uint64)
    return chosen_by_hash(numbers, frame_key, share=share)
