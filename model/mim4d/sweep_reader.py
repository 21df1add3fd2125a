"""What a loader worker does for frames between key frames: reads images and LiDAR sweeps where they lie in the source.

Reads  image and LiDAR files below the source's root, as a windows unit names them; each is compared with the unit's digest
Points The nearest sweep's returns, moved to the rig, which is where that sweep was taken: nothing has moved. A return belongs to
       every camera whose image it falls into; whether something stands between is not asked (the published data does not either),
       so that beside an object a few returns of what is behind it, seen from the scanner on the roof, count for its pixels. The
       key frame of such a window is read in the same way, not from its depth map, so that all frames are alike.
Held   By a hash of the sweep's file and the number of the return: one return is held out in every window, frame and camera.
out
Source docs/method/mim4d.md#clips, #rays, #pitfalls (8)
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from model.data.images import decode_image, resized
from model.data.samples import Sample, naming_frame
from model.data.units import OpenedUnits
from model.mim4d.clip_points import ClipPoints, chosen_by_hash, points_at
from model.mim4d.clips import Float64, LidarFile, Moment, SourceFile
from storage_schemas.errors import StoreError
from storage_schemas.store import UnitPath

STAGE = "index_windows"

MIN_RANGE_M = 2.5
"""Returns nearer to the scanner are of the vehicle itself, and dropped, as published (docs/method/mim4d.md#clips)."""


class SweepReader:
    """Reads frames of windows with frames between key frames; keeps memory for whole images.

    Args:
        units: opened units of this process.
        held_out_share: share of the returns that are kept out of training.
    """

    def __init__(self, units: OpenedUnits, *, held_out_share: float) -> None:
        self._units, self._held_out_share = units, held_out_share
        self._whole: dict[tuple[int, int], NDArray[np.uint8]] = {}

    def read(self, moment: Moment, out: NDArray[np.uint8], *, place: tuple[int, int]) -> list[ClipPoints]:
        """Read one frame.

        Args:
            moment: one with ``sweep``.
            out: (m, h, w, 3) uint8, filled with the images.
            place: window within the batch, frame within the window.

        Returns:
            The points of each camera.

        Raises:
            DepthmillError: a file is missing or has changed; names the image.
        """
        sweep = moment.sweep
        assert sweep is not None
        for image, sample, image_out in zip(sweep.images, moment.samples, out, strict=True):
            with naming_frame(sample):
                self._read_image(image, sample, image_out, unit=sweep.unit)
        with naming_frame(moment.samples[0]):
            points, is_held_out = self._read_points(sweep.lidar, unit=sweep.unit)
        of_cameras = []
        for camera, sample in enumerate(moment.samples):
            is_seen = falls_into(points, moment.cam_from_rig[camera], sample)
            of_cameras.append(points_at(points[is_seen].astype(np.float32), is_held_out[is_seen], place=(*place, camera)))
        return of_cameras

    def _read_image(self, image: SourceFile, sample: Sample, out: NDArray[np.uint8], *, unit: UnitPath) -> None:
        content = self._units.source_file(image.file, sha256=image.sha256, what="image", noted_by=unit, stage=STAGE)
        size = (sample.height, sample.width)
        if size not in self._whole:
            self._whole[size] = np.empty((*size, 3), np.uint8)
        decode_image(content, self._whole[size], where=image.file)
        out[...] = resized(self._whole[size], (out.shape[0], out.shape[1]))

    def _read_points(self, lidar: LidarFile | None, *, unit: UnitPath) -> tuple[Float64, NDArray[np.bool_]]:
        """Return the points (n, 3) of a sweep in the rig frame, and which are held out (n)."""
        if lidar is None:
            return np.empty((0, 3)), np.empty(0, np.bool_)
        file, sha256 = lidar.source.file, lidar.source.sha256
        content = self._units.source_file(file, sha256=sha256, what="LiDAR sweep", noted_by=unit, stage=STAGE)
        in_lidar = returns_of(content, num_columns=lidar.num_columns, where=file)
        numbers = np.flatnonzero(is_return(in_lidar))
        points = in_lidar[numbers] @ lidar.rig_from_lidar[:3, :3].T + lidar.rig_from_lidar[:3, 3]
        return points, chosen_by_hash(numbers.astype(np.uint64), file, share=self._held_out_share)


def returns_of(content: bytes, *, num_columns: int, where: str) -> Float64:
    """Return the x, y, z (n, 3) of a file of float32, little-endian, so many a return; metres in the sensor frame.

    Raises:
        StoreError: the file is not a whole number of returns.
    """
    if len(content) % (4 * num_columns):
        raise StoreError(
            f"LiDAR sweep '{where}' has {len(content)} bytes, expected a multiple of {4 * num_columns} ({num_columns} float32 a "
            f"return). Run {STAGE} again"
        )
    return np.frombuffer(content, "<f4").reshape(-1, num_columns)[:, :3].astype(np.float64)


def is_return(in_lidar: Float64) -> NDArray[np.bool_]:
    """Say which points (n, 3) of the sensor frame are finite and no nearer than ``MIN_RANGE_M``."""
    return np.asarray(np.isfinite(in_lidar).all(axis=1) & (np.square(in_lidar).sum(axis=1) >= MIN_RANGE_M**2))


def falls_into(points: Float64, cam_from_rig: Float64, sample: Sample) -> NDArray[np.bool_]:
    """Say which points (n, 3) of the rig frame are in front of a camera and inside its whole image.

    Args:
        points: metres.
        cam_from_rig: (4, 4) rigid.
        sample: size and matrix of the image; the centre of pixel (0, 0) is at (0.5, 0.5).
    """
    in_cam = points @ cam_from_rig[:3, :3].T + cam_from_rig[:3, 3]
    image = in_cam @ np.array(sample.intrinsic_px, np.float64).reshape(3, 3).T
    # the pixel times the depth: nothing is divided by 0; behind a camera, nothing is at least 0 and below a width times the depth
    u, v, z = image[:, 0], image[:, 1], image[:, 2]
    return np.asarray((u >= 0) & (u < sample.width * z) & (v >= 0) & (v < sample.height * z))
