"""LiDAR points of a batch as they leave a worker, and the rule by which some are held out of training."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


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
