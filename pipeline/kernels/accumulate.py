"""The hot loops of accumulation: take LiDAR sweeps in once per scene, then project many of them into one image.

Cost model (benchmarks/accumulate.py measures it). A window of 160 sweeps holds 5.5 million points. Read once they are 12 bytes
each; that is the floor. So points are stored planar (x, y, z) in float32 in the frame of the sensor that saw them, where
numbers are small; one 3x4 matrix per sweep, made in float64, takes them straight to pixels. Blocks of 512 points in file
order (a thin wedge of the scan) carry a bounding box, and a block outside the view frustum is skipped unread.
The z-buffer is uint16 at 1/256 m: truncation is monotone, so the minimum of truncated depths is the truncated minimum.

No fastmath: every operation is IEEE-rounded in a fixed order, so the result is the same on every machine.
``pipeline.kernels.accumulate_twin`` is the readable float64 version that tests compare with.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numba import njit
from numpy.typing import NDArray

BLOCK = 512
"""Points per culling block: 16 firings of 32 lasers; measured best of 128 to 2048."""

BOX_BLOCK = 128
"""Points that share one look-up of the moving boxes near them."""

EMPTY = np.uint16(65535)
"""Marks a pixel without a return inside the z-buffer; depths are below 65535 by the far bound."""

NEAR_M = 1.0
FAR_M = 255.996
"""Returns are kept for 1 m < z < 255.996 m (specs/pipeline.md section 1)."""


@dataclass
class PointGroups:
    """LiDAR points of a scene in groups that move rigidly: a sweep's static points, or one moving object in one sweep.

    Attributes:
        xyz_m: (3, capacity) float32; points [0, num_points) are in use.
        num_points: points in use.
        first_block: per group the number of its first block; one more entry at the end.
        block_start: per block the index of its first point; one more entry at the end.
        block_bounds_m: (num_blocks, 6) float32: min x, y, z, max x, y, z of a block.
        sweep: per group the number of its sweep.
        instance: per group the number of the carried object, -1 for static points.
    """

    xyz_m: NDArray[np.float32]
    num_points: int = 0
    first_block: list[int] = field(default_factory=lambda: [0])
    block_start: list[int] = field(default_factory=lambda: [0])
    block_bounds_m: list[NDArray[np.float32]] = field(default_factory=list)
    sweep: list[int] = field(default_factory=list)
    instance: list[int] = field(default_factory=list)

    def close_group(self, stop: int, *, sweep: int, instance: int = -1) -> None:
        """Make a group of the points written since the last one, up to ``stop``."""
        start = self.num_points
        starts = np.arange(start, stop, BLOCK)
        self.block_bounds_m.append(_block_bounds(self.xyz_m, start, stop))
        self.block_start[-1:] = [*starts.tolist(), stop]
        self.first_block.append(self.first_block[-1] + len(starts))
        self.sweep.append(sweep)
        self.instance.append(instance)
        self.num_points = stop


@dataclass(frozen=True)
class FrozenGroups:
    """``PointGroups`` as plain arrays, ready for the projection loop."""

    xyz_m: NDArray[np.float32]
    first_block: NDArray[np.int64]
    block_start: NDArray[np.int64]
    block_bounds_m: NDArray[np.float32]
    sweep: NDArray[np.int64]
    instance: NDArray[np.int64]

    def num_points_of(self, groups: NDArray[np.int64]) -> int:
        """Return the number of points in some groups."""
        return int((self.block_start[self.first_block[groups + 1]] - self.block_start[self.first_block[groups]]).sum())


def freeze(groups: PointGroups) -> FrozenGroups:
    """Turn the growing lists into arrays."""
    bounds = np.concatenate(groups.block_bounds_m) if groups.block_bounds_m else np.zeros((0, 6), np.float32)
    return FrozenGroups(
        groups.xyz_m,
        np.array(groups.first_block),
        np.array(groups.block_start),
        bounds,
        np.array(groups.sweep, dtype=np.int64),
        np.array(groups.instance, dtype=np.int64),
    )


@njit(cache=True, error_model="numpy")
def take_static(raw, boxes_from_sensor, half_sizes, xyz, start, inside):  # type: ignore[no-untyped-def]
    """Copy the points of a sweep that lie in no box to ``xyz[:, start:]``; note which box the others lie in.

    Args:
        raw: (n, 3+) float32 points in the sensor frame.
        boxes_from_sensor: (k, 3, 4) float64 transforms into the boxes' own frames.
        half_sizes: (k, 3) float64 half extents.
        xyz: (3, capacity) float32 planar output.
        start: first free column of ``xyz``.
        inside: (n,) int32 output: number of the first box that holds the point, -1 for none.

    Returns:
        One past the last column written.
    """
    stop = start
    num_points, num_boxes = raw.shape[0], len(half_sizes)
    near = np.empty(num_boxes, np.int64)  # boxes whose bounding sphere reaches the current block
    for first in range(0, num_points, BOX_BLOCK):
        last = min(first + BOX_BLOCK, num_points)
        num_near = _boxes_near(raw, first, last, boxes_from_sensor, half_sizes, near) if num_boxes else 0
        for i in range(first, last):
            x, y, z = raw[i, 0], raw[i, 1], raw[i, 2]
            found = -1
            for n in range(num_near):
                k = near[n]
                box = boxes_from_sensor[k]
                a = box[0, 0] * x + box[0, 1] * y + box[0, 2] * z + box[0, 3]
                if abs(a) > half_sizes[k, 0]:
                    continue
                b = box[1, 0] * x + box[1, 1] * y + box[1, 2] * z + box[1, 3]
                if abs(b) > half_sizes[k, 1]:
                    continue
                c = box[2, 0] * x + box[2, 1] * y + box[2, 2] * z + box[2, 3]
                if abs(c) <= half_sizes[k, 2]:
                    found = k
                    break
            inside[i] = found
            if found < 0:
                xyz[0, stop], xyz[1, stop], xyz[2, stop] = x, y, z
                stop += 1
    return stop


@njit(cache=True, error_model="numpy")
def _boxes_near(raw, first, last, boxes_from_sensor, half_sizes, near):  # type: ignore[no-untyped-def]
    """Note the boxes whose bounding sphere touches the bounding box of points [first, last); return how many."""
    low, high = np.full(3, np.inf), np.full(3, -np.inf)
    for i in range(first, last):
        for axis in range(3):
            value = raw[i, axis]
            low[axis] = value if value < low[axis] else low[axis]
            high[axis] = value if value > high[axis] else high[axis]
    count = 0
    for k in range(len(half_sizes)):
        box, half = boxes_from_sensor[k], half_sizes[k]
        gap = 0.0
        for axis in range(3):  # the box's centre in the sensor frame is -R^T t
            center = -(box[0, axis] * box[0, 3] + box[1, axis] * box[1, 3] + box[2, axis] * box[2, 3])
            beyond = max(low[axis] - center, center - high[axis], 0.0)
            gap += beyond * beyond
        if gap <= 1.001 * (half[0] * half[0] + half[1] * half[1] + half[2] * half[2]):
            near[count] = k
            count += 1
    return count


@njit(cache=True, error_model="numpy")
def _block_bounds(xyz, start, stop):  # type: ignore[no-untyped-def]
    """Return (num_blocks, 6) float32 bounds of consecutive blocks; a NaN coordinate widens nothing."""
    num_blocks = (stop - start + BLOCK - 1) // BLOCK
    bounds = np.empty((num_blocks, 6), np.float32)
    for b in range(num_blocks):
        first = start + b * BLOCK
        last = min(first + BLOCK, stop)
        for axis in range(3):
            low, high = np.float32(np.inf), np.float32(-np.inf)
            for i in range(first, last):
                value = xyz[axis, i]
                low = value if value < low else low
                high = value if value > high else high
            bounds[b, axis], bounds[b, axis + 3] = low, high
    return bounds


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


@njit(cache=True, error_model="numpy")
def project_nearest(xyz, first_block, block_start, block_bounds, chosen, matrices, planes, height, width, zbuffer, slot, step):  # type: ignore[no-untyped-def]
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
        zbuffer: (height * width + 1,) uint16, EMPTY where nothing was seen; the last slot takes what falls outside.
        slot: (BLOCK,) int32 scratch.
        step: (BLOCK,) uint16 scratch.
    """
    near, far = np.float32(NEAR_M), np.float32(FAR_M)
    zero, one, steps = np.float32(0), np.float32(1), np.float32(256)
    wide, high = np.float32(width), np.float32(height)
    outside = np.int32(height * width)
    columns = np.int32(width)
    for k in range(len(chosen)):
        group = chosen[k]
        m, p = matrices[k], planes[k]
        a0, a1, a2, a3 = m[0, 0], m[0, 1], m[0, 2], m[0, 3]
        b0, b1, b2, b3 = m[1, 0], m[1, 1], m[1, 2], m[1, 3]
        c0, c1, c2, c3 = m[2, 0], m[2, 1], m[2, 2], m[2, 3]
        for block in range(first_block[group], first_block[group + 1]):
            box = block_bounds[block]
            is_seen = True
            for j in range(6):
                largest = (
                    max(p[j, 0] * box[0], p[j, 0] * box[3])
                    + max(p[j, 1] * box[1], p[j, 1] * box[4])
                    + max(p[j, 2] * box[2], p[j, 2] * box[5])
                    + p[j, 3]
                )
                if not largest >= zero:
                    is_seen = False
                    break
            if not is_seen:
                continue
            start = block_start[block]
            count = block_start[block + 1] - start
            xs, ys, zs = xyz[0, start : start + count], xyz[1, start : start + count], xyz[2, start : start + count]
            for i in range(count):  # branch-free, so that the compiler makes vector code of it
                x, y, z = xs[i], ys[i], zs[i]
                depth = c0 * x + c1 * y + c2 * z + c3
                scale = one / depth
                u = (a0 * x + a1 * y + a2 * z + a3) * scale
                v = (b0 * x + b1 * y + b2 * z + b3) * scale
                is_inside = (depth > near) & (depth < far) & (u >= zero) & (u < wide) & (v >= zero) & (v < high)
                column = np.int32(u if is_inside else zero)
                row = np.int32(v if is_inside else zero)
                slot[i] = row * columns + column if is_inside else outside
                step[i] = np.uint16(np.int32(depth * steps if is_inside else zero))
            for i in range(count):
                at = slot[i]
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
    zbuffer[out.shape[0]] = EMPTY
    return measured
