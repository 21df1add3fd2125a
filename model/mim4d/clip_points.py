"""LiDAR points of a batch as they leave a worker: where they come from, and the rule by which some are held out of training.

LiDAR  No store holds returns as points. ``depth_single`` of a camera holds the key sweep on its pixels; unprojected with the
       matrices by which it was projected, a pixel becomes the return again, up to half a pixel across and 1/256 m along. What no
       camera sees is missing, and could be no ray. At the edge of two images a return comes from both.
Held   A share of the points is kept out of training. Which ones is decided by a hash of frame and pixel, so that it is the same
out    in every run, in every window that holds the frame, and for any size of the images. A return that two cameras see is held
       out in both or in none: one camera would train on what the other is measured with.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

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


class SeenPoints(NamedTuple):
    """The points that one camera sees at one moment, and what they come from.

    Attributes:
        pixels: row, column, and depth quanta.
        points: (n, 3) float32 the same as points, metres in the rig frame.
        is_held_out: (n) by the hash of this camera's pixels.
        intrinsic_px: (3, 3) camera matrix.
        cam_from_rig: (4, 4) rigid.
    """

    pixels: FramePoints
    points: NDArray[np.float32]
    is_held_out: NDArray[np.bool_]
    intrinsic_px: Float64
    cam_from_rig: Float64


def held_out_by_return(cameras: Sequence[SeenPoints]) -> list[NDArray[np.bool_]]:
    """Say which points of each camera are held out, one return alike in all cameras of a moment: as in the first that sees it.

    Stored depth does not tell which return a pixel was. Two pixels are taken for one return if they may be one by what rounding
    to pixels and depth quanta leaves open; neighbouring returns are much further apart.
    """
    first = np.cumsum([0, *(len(camera.points) for camera in cameras)])
    pairs = [np.zeros((2, 0), np.int64)]
    for here, camera in enumerate(cameras):
        tree = cKDTree(camera.points) if len(camera.points) else None
        for there, other in enumerate(cameras[here + 1 :], here + 1):
            if tree is None:
                continue
            near = np.flatnonzero(_is_near_image(camera, other.points.astype(np.float64)))
            points = other.points[near].astype(np.float64)
            apart_m = _rounding_m(other.intrinsic_px, other.pixels.depth[near] / float(STEPS_PER_M)) + _reach_m(camera, points)
            same = tree.query_ball_point(points, apart_m)
            others = np.repeat(near, [len(found) for found in same])
            pairs.append(np.stack([first[here] + np.fromiter(chain.from_iterable(same), np.int64), first[there] + others]))
    one, two = np.concatenate(pairs, axis=1)
    matched = coo_array((np.ones(len(one), np.int8), (one, two)), shape=(first[-1], first[-1]))
    _, return_of = connected_components(matched, directed=False)
    _, first_pixel = np.unique(return_of, return_index=True)
    is_held_out = np.concatenate([camera.is_held_out for camera in cameras])[first_pixel[return_of]]
    return np.split(is_held_out, first[1:-1])


def _is_near_image(camera: SeenPoints, points: Float64) -> NDArray[np.bool_]:
    """Say which points (n, 3) of the rig frame may be among a camera's, to a tenth of the part of the image that has points."""
    in_cam = points @ camera.cam_from_rig[:3, :3].T + camera.cam_from_rig[:3, 3]
    image = in_cam @ camera.intrinsic_px.T
    is_near = in_cam[:, 2] > 0
    for axis, pixels in ((0, camera.pixels.column), (1, camera.pixels.row)):
        low, high = float(pixels.min()), float(pixels.max()) + 1
        margin = 0.1 * (high - low) + 2
        is_near &= (image[:, axis] > (low - margin) * in_cam[:, 2]) & (image[:, axis] < (high + margin) * in_cam[:, 2])
    return np.asarray(is_near)


def _reach_m(camera: SeenPoints, points: Float64) -> Float64:
    """Return how far from points (n, 3) of the rig frame a camera's own pixels of the same returns may lie."""
    depth_m = points @ camera.cam_from_rig[2, :3] + camera.cam_from_rig[2, 3]
    return _rounding_m(camera.intrinsic_px, depth_m)


def _rounding_m(intrinsic_px: Float64, depth_m: Float64) -> Float64:
    """Return how far points at depths (n) may lie from their returns, metres: half a pixel each way and half a depth quantum.

    A tenth is added for depths that are rounded themselves. A ray at an edge of the image counts as twice as long as its depth.
    """
    half_px = 0.5 * np.linalg.norm(np.linalg.inv(intrinsic_px)[:2, :2], ord="fro")
    return np.asarray(1.1 * half_px * depth_m + 2 * 0.5 / STEPS_PER_M)
