"""The hot loop of accumulation: project many LiDAR sweeps, held in memory, into one image.

Cost model (benchmarks/accumulate.py measures it). A window of 160 sweeps holds 5.5 million points. Read once they are 12 bytes
each; that is the floor. So points are stored planar (x, y, z) in float32 in the frame of the sensor that saw them, where
numbers are small; one 3x4 matrix per sweep, made in float64, takes them straight to pixels. Blocks of 512 points in file
order (a thin wedge of the scan) carry a bounding box, and a block outside the view frustum is skipped unread.
The z-buffer is uint16 at 1/256 m: truncation is monotone, so the minimum of truncated depths is the truncated minimum.
Returns inside the image are packed into a buffer and scattered many at once: the points that stream past would otherwise
push the z-buffer out of the near caches again and again.

No fastmath: every operation is IEEE-rounded in a fixed order, so the result is the same on every machine.
``pipeline.kernels.accumulate_twin`` is the readable float64 version that tests compare with.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from pipeline.kernels.left_pack import LANES, pack_inside
from pipeline.kernels.take_in import BLOCK, take_sweep

PACKED = 1 << 18
"""Returns inside the image that are gathered before they are scattered: 1.5 MB; fewer and more measured slower."""

EMPTY = np.uint16(65535)
"""Marks a pixel without a return inside the z-buffer; depths are below 65535 by the far bound."""

NEAR_M = 1.0
FAR_M = 255.996
"""Returns are kept for 1 m < z < 255.996 m (docs/method/pipeline.md#projection)."""

_OUTSIDE = np.int32(-1)
"""Pixel of a return that is not in the image."""


@dataclass
class PointGroups:
    """LiDAR points of a scene in groups that move rigidly: a sweep's static points, or one moving object in one sweep.

    Attributes:
        xyz_m: (3, capacity) float32; points [0, num_points) are in use.
        num_points: points in use.
        first_block: per group the number of its first block; one more entry at the end.
        block_start: per group and block the index of its first point.
        block_bounds_m: per group (num_blocks, 6) float32: min x, y, z, max x, y, z of its blocks.
        sweep: per group the number of its sweep.
        instance: per group the number of the carried object, -1 for static points.
    """

    xyz_m: NDArray[np.float32]
    num_points: int = 0
    first_block: list[int] = field(default_factory=lambda: [0])
    block_start: list[NDArray[np.int64]] = field(default_factory=list)
    block_bounds_m: list[NDArray[np.float32]] = field(default_factory=list)
    sweep: list[int] = field(default_factory=list)
    instance: list[int] = field(default_factory=list)

    def add_sweep(
        self,
        points: NDArray[np.float32],
        boxes_from_sensor: NDArray[np.float64],
        half_sizes_m: NDArray[np.float64],
        *,
        sweep: int,
        instance: int = -1,
    ) -> NDArray[np.int32]:
        """Make a group of the points (n, 3+) that lie in none of the boxes; there must be room for all.

        Returns:
            (n,) the number of the box that holds each point, -1 for none; empty if there are no boxes.
        """
        num_blocks = -(-len(points) // BLOCK)
        starts, bounds = np.empty(num_blocks, np.int64), np.empty((num_blocks, 6), np.float32)
        inside = np.empty(len(points) if len(half_sizes_m) else 0, np.int32)
        stop = take_sweep(points, boxes_from_sensor, half_sizes_m, self.xyz_m, self.num_points, inside, starts, bounds)
        self.block_bounds_m.append(bounds)
        self.block_start.append(starts)
        self.first_block.append(self.first_block[-1] + num_blocks)
        self.sweep.append(sweep)
        self.instance.append(instance)
        self.num_points = stop
        return inside


@dataclass(frozen=True)
class FrozenGroups:
    """``PointGroups`` as plain arrays, ready for the projection loop; ``block_start`` ends with the number of points.

    ``free_votes`` (num_points,) uint8 says how many other sweeps see through each point, in the order of ``xyz_m``; None where
    no sweep voted (``pipeline.kernels.free_space``).
    """

    xyz_m: NDArray[np.float32]
    first_block: NDArray[np.int64]
    block_start: NDArray[np.int64]
    block_bounds_m: NDArray[np.float32]
    sweep: NDArray[np.int64]
    instance: NDArray[np.int64]
    free_votes: NDArray[np.uint8] | None = None

    def num_points_of(self, groups: NDArray[np.int64]) -> int:
        """Return the number of points in some groups."""
        return int((self.block_start[self.first_block[groups + 1]] - self.block_start[self.first_block[groups]]).sum())


def freeze(groups: PointGroups) -> FrozenGroups:
    """Turn the growing lists into arrays."""
    bounds = np.concatenate(groups.block_bounds_m) if groups.block_bounds_m else np.zeros((0, 6), np.float32)
    return FrozenGroups(
        groups.xyz_m,
        np.array(groups.first_block),
        np.concatenate([*groups.block_start, [groups.num_points]], dtype=np.int64),
        bounds,
        np.array(groups.sweep, dtype=np.int64),
        np.array(groups.instance, dtype=np.int64),
    )


def frustum_planes(image_from_group: NDArray[np.float64], *, height: int, width: int) -> NDArray[np.float32]:
    """Return six planes (..., 6, 4) whose value a*x + b*y + c*z + d is not negative inside the view frustum.

    Args:
        image_from_group: (..., 3, 4): rows give u*z, v*z and z of a point.
        height: image rows.
        width: image columns.
    """
    column, row, depth = image_from_group[..., 0, :], image_from_group[..., 1, :], image_from_group[..., 2, :]
    offset = np.array([0.0, 0.0, 0.0, 1.0])
    planes = np.stack(
        [depth - NEAR_M * offset, FAR_M * offset - depth, column, width * depth - column, row, height * depth - row], axis=-2
    )
    slack = 1e-4 * np.abs(planes).max(axis=-1, initial=1.0)  # float32 rounding must never cull a visible point
    planes[..., 3] += slack
    return np.asarray(planes, dtype=np.float32)


class Scratch(NamedTuple):
    """Memory of ``project_nearest`` that is used again for every frame.

    Attributes:
        slot: (BLOCK,) int32 pixel of each point of a block.
        step: (BLOCK,) uint16 depth of each point of a block, 1/256 m.
        packed_slot: int32 pixels of returns inside the image that wait to be scattered.
        packed_step: uint16 their depths.
        vote: (BLOCK,) uint16 how many other sweeps see through each point of a block; or (0,).
        packed_vote: the same of the packed returns.
    """

    slot: NDArray[np.int32]
    step: NDArray[np.uint16]
    packed_slot: NDArray[np.int32]
    packed_step: NDArray[np.uint16]
    vote: NDArray[np.uint16]
    packed_vote: NDArray[np.uint16]


def new_scratch(num_packed: int = PACKED, *, has_votes: bool = False) -> Scratch:
    """Return memory for ``project_nearest``, or for ``gather_returns`` of as many points, with votes if wanted."""
    room = num_packed + BLOCK + LANES
    in_block = np.empty(BLOCK, np.int32), np.empty(BLOCK, np.uint16)
    votes = np.empty(BLOCK if has_votes else 0, np.uint16), np.empty(room if has_votes else 0, np.uint16)
    return Scratch(*in_block, np.empty(room, np.int32), np.empty(room, np.uint16), *votes)


@njit(cache=True, error_model="numpy")
def project_nearest(xyz, first_block, block_start, block_bounds, chosen, matrices, planes, height, width, zbuffer, scratch):  # type: ignore[no-untyped-def]
    """Project groups of points and keep the smallest depth per pixel.

    Args:
        xyz: (3, n) float32 points, each group in its own frame.
        first_block: per group its first block; one more entry at the end.
        block_start: per block its first point; one more entry at the end.
        block_bounds: (num_blocks, 6) float32.
        chosen: (k,) int64 groups to project.
        matrices: (k, 3, 4) float32: rows give u*z, v*z and z.
        planes: (k, 6, 4) float32 from ``frustum_planes``.
        height: image rows.
        width: image columns.
        zbuffer: (height * width,) uint16, EMPTY where nothing was seen.
        scratch: from ``new_scratch``.
    """
    slot, step = scratch.slot, scratch.step
    packed = 0
    for k in range(len(chosen)):
        group = chosen[k]
        for block in range(first_block[group], first_block[group + 1]):
            if not _is_seen(planes[k], block_bounds[block]):
                continue
            start, stop = block_start[block], block_start[block + 1]
            _project_block(xyz[0, start:stop], xyz[1, start:stop], xyz[2, start:stop], matrices[k], height, width, slot, step)
            packed = pack_inside(slot, step, stop - start, scratch.packed_slot, scratch.packed_step, packed, _OUTSIDE)
            if packed > PACKED:
                _scatter_nearest(scratch.packed_slot, scratch.packed_step, packed, zbuffer)
                packed = 0
    _scatter_nearest(scratch.packed_slot, scratch.packed_step, packed, zbuffer)


@njit(cache=True, error_model="numpy")
def gather_returns(  # type: ignore[no-untyped-def]
    xyz, first_block, block_start, block_bounds, free_votes, chosen, matrices, planes, height, width, scratch, packed
):
    """Project groups of points as ``project_nearest`` does, and keep every return inside the image.

    Args:
        xyz: (3, n) float32 points, each group in its own frame.
        first_block: per group its first block; one more entry at the end.
        block_start: per block its first point; one more entry at the end.
        block_bounds: (num_blocks, 6) float32.
        free_votes: (n,) uint8 how many other sweeps see through each point; or (0,).
        chosen: (k,) int64 groups to project.
        matrices: (k, 3, 4) float32: rows give u*z, v*z and z.
        planes: (k, 6, 4) float32 from ``frustum_planes``.
        height: image rows.
        width: image columns.
        scratch: from ``new_scratch``, with room for all points, and for votes if there are any.
        packed: returns that ``scratch`` holds from before.

    Returns:
        The number of returns that ``scratch.packed_slot``, ``packed_step`` and ``packed_vote`` hold now.
    """
    slot, step = scratch.slot, scratch.step
    for k in range(len(chosen)):
        group = chosen[k]
        for block in range(first_block[group], first_block[group + 1]):
            if not _is_seen(planes[k], block_bounds[block]):
                continue
            start, stop = block_start[block], block_start[block + 1]
            _project_block(xyz[0, start:stop], xyz[1, start:stop], xyz[2, start:stop], matrices[k], height, width, slot, step)
            if free_votes.size > 0:  # packed before the depths, to the same places
                for i in range(stop - start):
                    scratch.vote[i] = free_votes[start + i]
                pack_inside(slot, scratch.vote, stop - start, scratch.packed_slot, scratch.packed_vote, packed, _OUTSIDE)
            packed = pack_inside(slot, step, stop - start, scratch.packed_slot, scratch.packed_step, packed, _OUTSIDE)
    return packed


@njit(cache=True, error_model="numpy")
def _project_block(xs, ys, zs, m, height, width, slot, step):  # type: ignore[no-untyped-def]
    """Write pixel and depth of the points of a block to ``slot`` and ``step``; pixel _OUTSIDE for one not in the image."""
    near, far = np.float32(NEAR_M), np.float32(FAR_M)
    zero, one, steps = np.float32(0), np.float32(1), np.float32(256)
    wide, high, columns = np.float32(width), np.float32(height), np.int32(width)
    a0, a1, a2, a3 = m[0, 0], m[0, 1], m[0, 2], m[0, 3]
    b0, b1, b2, b3 = m[1, 0], m[1, 1], m[1, 2], m[1, 3]
    c0, c1, c2, c3 = m[2, 0], m[2, 1], m[2, 2], m[2, 3]
    for i in range(len(xs)):  # branch-free, so that the compiler makes vector code of it
        x, y, z = xs[i], ys[i], zs[i]
        depth = c0 * x + c1 * y + c2 * z + c3
        scale = one / depth
        u = (a0 * x + a1 * y + a2 * z + a3) * scale
        v = (b0 * x + b1 * y + b2 * z + b3) * scale
        is_inside = (depth > near) & (depth < far) & (u >= zero) & (u < wide) & (v >= zero) & (v < high)
        column = np.int32(u if is_inside else zero)
        row = np.int32(v if is_inside else zero)
        slot[i] = row * columns + column if is_inside else _OUTSIDE
        step[i] = np.uint16(np.int32(depth * steps if is_inside else zero))


@njit(cache=True, error_model="numpy")
def _is_seen(planes, box):  # type: ignore[no-untyped-def]
    """Say whether a bounding box (6,) reaches the inner side of every plane (6, 4)."""
    for j in range(6):
        p = planes[j]
        largest = max(p[0] * box[0], p[0] * box[3]) + max(p[1] * box[1], p[1] * box[4]) + max(p[2] * box[2], p[2] * box[5]) + p[3]
        if not largest >= np.float32(0):
            return False
    return True


@njit(cache=True, error_model="numpy")
def _scatter_nearest(slot, step, count, zbuffer):  # type: ignore[no-untyped-def]
    """Lower the z-buffer to the depths of returns, without a branch: the processor could not predict it."""
    for i in range(count):
        at = np.uint64(slot[i])  # unsigned: numba tests a signed index for a negative value, which would count from the end
        zbuffer[at] = min(zbuffer[at], step[i])


@njit(cache=True, error_model="numpy")
def finish_frame(zbuffer, out):  # type: ignore[no-untyped-def]
    """Copy a z-buffer to ``out`` (height * width, uint16, 0 = no measurement), reset it, and count the measured pixels."""
    measured = 0
    for i in range(out.shape[0]):
        value = zbuffer[i]
        is_measured = value != EMPTY
        out[i] = value if is_measured else np.uint16(0)
        measured += is_measured
        zbuffer[i] = EMPTY
    return measured
