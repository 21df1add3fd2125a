"""LiDAR points of a batch as they leave a worker: where they come from, and the rule by which some are held out of training.

LiDAR  No store holds returns as points. ``depth_single`` of a camera holds the key sweep on its pixels; unprojected with the
       matrices by which it was projected, a pixel becomes the return again, up to half a pixel across and 1/256 m along. What no
       camera sees is missing, and could be no ray. At the edge of two images a return comes from both.
Held   A share of the points is kept out of training. Which ones is decided by a hash of frame and pixel, so that it is the same
out    in every run, in every window that holds the frame, and for any size of the images.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.data.points import FramePoints
from model.mim4d.clips import Float64
from storage_schemas.encoding import STEPS_PER_M


class ClipPoints(NamedTuple):
    """LiDAR points of a batch; see ``ClipBatch``."""

    points: NDArray[np.float32]
    window: NDArray[np.int64]
    frame: NDArray[np.int64]
    camera: NDArray[np.int64]
    is_held_out: NDArray[np.bool_]


def points_at(points: NDArray[np.float32], is_held_out: NDArray[np.bool_], *, place: tuple[int, int, int]) -> ClipPoints:
    """Return points (n, 3) of one image, which is at (window, frame, camera) of the batch."""
    window, frame, camera = (np.full(len(points), number, np.int64) for number in place)
    return ClipPoints(points, window, frame, camera, is_held_out)


def chosen_by_hash(numbers: NDArray[np.uint64], key: str, *, share: float) -> NDArray[np.bool_]:
    """Say which of some numbered things (n) are in a share of them, by a hash of a key and the number (splitmix64)."""
    start = int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "little")
    mixed = (numbers + np.uint64(start)) * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed ^= mixed >> np.uint64(31)
    return np.asarray((mixed >> np.uint64(11)) < np.uint64(round(share * 2**53)))


def rig_points(pixels: FramePoints, intrinsic_px: Sequence[float], cam_from_rig: Float64) -> NDArray[np.float32]:
    """Return measured pixels of a camera as points (n, 3) in metres in the rig frame.

    Args:
        pixels: row, column, and depth quanta of 1/256 m along the optical axis; the centre of pixel (0, 0) is at (0.5, 0.5).
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
