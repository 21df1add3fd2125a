"""Take one LiDAR sweep into memory: planar, without the points in moving boxes, in blocks with bounding boxes.

Everything is done for a block of 512 points while it is in the first-level cache: copy, bounds, and, only where a moving box is
near, the exact test. A block from which points were taken keeps its bounds, which then are wider than need be: culling
stays right. What comes out is the same on every machine: no fastmath, every operation IEEE-rounded in a fixed order.
"""

from __future__ import annotations

import numpy as np
from numba import njit

BLOCK = 512
"""Points per culling block: 16 firings of 32 lasers; measured best of 128 to 2048."""

BOX_BLOCK = 128
"""Points that share one look-up of the moving boxes near them."""

GAP_BUFFER = 1024
"""Values that are moved at once: a small part of the first-level cache."""

_ORDER_MASK = np.int32(0x7FFFFFFF)
_SIGN_SHIFT = np.int32(31)
_KEY_OF_INFINITY = np.int32(0x7F800000)
_KEY_OF_MINUS_INFINITY = np.int32(-0x7F800001)


@njit(cache=True, error_model="numpy")
def take_sweep(raw, boxes_from_sensor, half_sizes, xyz, start, inside, block_start, block_bounds):  # type: ignore[no-untyped-def]  # numba reads no annotations
    """Copy the points of a sweep that lie in no box to ``xyz[:, start:]``; note which box the others lie in.

    Args:
        raw: (n, 3+) float32 points in the sensor frame.
        boxes_from_sensor: (k, 3, 4) float64 transforms into the boxes' own frames.
        half_sizes: (k, 3) float64 half extents.
        xyz: (3, capacity) float32 planar output.
        start: first free column of ``xyz``.
        inside: (n,) int32 output: number of the first box that holds the point, -1 for none; may be empty without boxes.
        block_start: (ceil(n / BLOCK),) int64 output: first column of each block.
        block_bounds: (ceil(n / BLOCK), 6) float32 output: min x, y, z, max x, y, z; a NaN coordinate widens nothing.

    Returns:
        One past the last column written.
    """
    stop, num_points, num_boxes = start, raw.shape[0], len(half_sizes)
    near = np.empty(num_boxes, np.int64)
    part = np.empty(6, np.float32)
    for block in range(len(block_start)):
        first = block * BLOCK
        last = min(first + BLOCK, num_points)
        block_start[block] = stop
        for i in range(last - first):
            xyz[0, stop + i] = raw[first + i, 0]
            xyz[1, stop + i] = raw[first + i, 1]
            xyz[2, stop + i] = raw[first + i, 2]
        if num_boxes == 0:
            bounds_of(xyz, stop, stop + last - first, block_bounds[block])
            stop += last - first
            continue
        block_bounds[block, :3], block_bounds[block, 3:] = np.inf, -np.inf
        end = stop
        for at in range(first, last, BOX_BLOCK):
            until = min(at + BOX_BLOCK, last)
            here = stop + at - first
            bounds_of(xyz, here, here + until - at, part)
            for axis in range(3):
                block_bounds[block, axis] = min(block_bounds[block, axis], part[axis])
                block_bounds[block, axis + 3] = max(block_bounds[block, axis + 3], part[axis + 3])
            num_near = _boxes_near(part, boxes_from_sensor, half_sizes, near)
            inside[at:until] = -1
            if num_near == 0 and end == here:
                end += until - at
                continue
            for i in range(at, until):
                if num_near:
                    inside[i] = _box_of(raw[i, 0], raw[i, 1], raw[i, 2], boxes_from_sensor, half_sizes, near[:num_near])
                column = stop + i - first
                xyz[0, end], xyz[1, end], xyz[2, end] = xyz[0, column], xyz[1, column], xyz[2, column]
                end += inside[i] < 0
        stop = end
    return stop


@njit(cache=True, error_model="numpy")
def bounds_of(xyz, start, stop, bounds):  # type: ignore[no-untyped-def]
    """Write min x, y, z, max x, y, z of the columns [start, stop) of a planar float32 array; NaN widens nothing.

    The bits of a float, with all but the sign flipped in negative ones, sort as integers; integers have no NaN and no signed
    zero, so the compiler makes vector code of the loop.
    """
    for axis in range(3):
        values = xyz[axis, start:stop]
        bits = values.view(np.int32)
        low, high = _KEY_OF_INFINITY, _KEY_OF_MINUS_INFINITY
        for i in range(len(bits)):
            key = bits[i] ^ ((bits[i] >> _SIGN_SHIFT) & _ORDER_MASK)
            low, high = min(low, key), max(high, key)
        if low < _KEY_OF_MINUS_INFINITY or high > _KEY_OF_INFINITY:
            bounds[axis], bounds[axis + 3] = _bounds_without_nan(values)
        else:
            bounds[axis], bounds[axis + 3] = _float_of(low), _float_of(high)


@njit(cache=True, error_model="numpy")
def _float_of(key):  # type: ignore[no-untyped-def]
    bits = np.empty(1, np.int32)
    bits[0] = key ^ ((key >> _SIGN_SHIFT) & _ORDER_MASK)
    return bits.view(np.float32)[0]


@njit(cache=True, error_model="numpy")
def _bounds_without_nan(values):  # type: ignore[no-untyped-def]
    low, high = np.float32(np.inf), np.float32(-np.inf)
    for value in values:
        low = value if value < low else low
        high = value if value > high else high
    return low, high


@njit(cache=True, error_model="numpy")
def _boxes_near(bounds, boxes_from_sensor, half_sizes, near):  # type: ignore[no-untyped-def]
    """Note the boxes whose bounding sphere touches a bounding box (6,); return how many."""
    count = 0
    for k in range(len(half_sizes)):
        box, half = boxes_from_sensor[k], half_sizes[k]
        gap = 0.0
        for axis in range(3):  # the box's centre in the sensor frame is -R^T t
            center = -(box[0, axis] * box[0, 3] + box[1, axis] * box[1, 3] + box[2, axis] * box[2, 3])
            beyond = max(bounds[axis] - center, center - bounds[axis + 3], 0.0)
            gap += beyond * beyond
        if gap <= 1.001 * (half[0] * half[0] + half[1] * half[1] + half[2] * half[2]):
            near[count] = k
            count += 1
    return count


@njit(cache=True, error_model="numpy")
def _box_of(x, y, z, boxes_from_sensor, half_sizes, near):  # type: ignore[no-untyped-def]
    """Return the number of the first near box that holds a point, -1 for none."""
    for k in near:
        box = boxes_from_sensor[k]
        if abs(box[0, 0] * x + box[0, 1] * y + box[0, 2] * z + box[0, 3]) > half_sizes[k, 0]:
            continue
        if abs(box[1, 0] * x + box[1, 1] * y + box[1, 2] * z + box[1, 3]) > half_sizes[k, 1]:
            continue
        if abs(box[2, 0] * x + box[2, 1] * y + box[2, 2] * z + box[2, 3]) <= half_sizes[k, 2]:
            return k
    return -1


@njit(cache=True, error_model="numpy")
def pack_beyond(raw, least_m, out):  # type: ignore[no-untyped-def]
    """Copy x, y, z of the points that are at least so far from the sensor; return how many.

    Args:
        raw: (n, 3+) float32 points in the sensor frame.
        least_m: float32 metres.
        out: (n, 3) float32 output; a point with a NaN is kept, as without this filter.
    """
    end, least_squared = 0, least_m * least_m
    for i in range(len(raw)):
        x, y, z = raw[i, 0], raw[i, 1], raw[i, 2]
        out[end, 0], out[end, 1], out[end, 2] = x, y, z
        end += not x * x + y * y + z * z < least_squared
    return end


@njit(cache=True, error_model="numpy")
def close_gaps(values, dropped):  # type: ignore[no-untyped-def]
    """Move values (n,) forward over the dropped ones, in place; the last ``len(dropped)`` values then mean nothing.

    Args:
        values: (n,) of any type.
        dropped: (k,) int64 numbers of values, ascending.

    They go through a buffer: the compiler then sees that source and target are apart, and makes vector code of both copies.
    """
    buffer = np.empty(GAP_BUFFER, values.dtype)
    end = dropped[0] if len(dropped) else len(values)
    for k in range(len(dropped)):
        start = dropped[k] + 1
        stop = dropped[k + 1] if k + 1 < len(dropped) else len(values)
        for at in range(start, stop, GAP_BUFFER):
            count = min(GAP_BUFFER, stop - at)
            source, target = values[at : at + count], values[end : end + count]
            for i in range(count):
                buffer[i] = source[i]
            for i in range(count):
                target[i] = buffer[i]
            end += count
