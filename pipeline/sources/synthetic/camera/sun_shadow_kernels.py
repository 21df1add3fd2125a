"""Which surfaces the sun reaches: shadow rays, all parallel, against primitives sorted into strips along the sun's azimuth.

Seen from above, a shadow ray stays in one strip. Strips are made once a picture; a ray looks only at the primitives of its
strip that begin before it has climbed above them. Leaves let some light through.
"""

# numba's decorator has no types
# mypy: disable-error-code="untyped-decorator"

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from pipeline.sources.synthetic.camera.surface_patterns import value_noise
from pipeline.sources.synthetic.rigid import Floats, Hits, Ints

STRIP_M = 0.5
RANGE_M = 260.0
START_OFF_M = 0.03
CROWN = 3


@njit(cache=True)
def _extents(boxes: Floats, cylinders: Floats, ellipsoids: Floats, ax: float, ay: float) -> Floats:
    """Return (n, 5): first and last u (across the sun's azimuth), first and last w (along it), top z of each primitive."""
    num_boxes, num_cylinders = len(boxes), len(cylinders)
    out = np.empty((num_boxes + num_cylinders + len(ellipsoids), 5))
    for i in range(len(out)):
        if i < num_boxes:
            b = boxes[i]
            x, y, top = b[0], b[1], b[2] + b[5]
            along, across = b[6] * ax + b[7] * ay, b[6] * ay - b[7] * ax
            half_w = abs(along) * b[3] + abs(across) * b[4]
            half_u = abs(across) * b[3] + abs(along) * b[4]
        elif i < num_boxes + num_cylinders:
            c = cylinders[i - num_boxes]
            x, y, top = c[0], c[1], c[4]
            half_u = half_w = c[2]
        else:
            e = ellipsoids[i - num_boxes - num_cylinders]
            x, y, top = e[0], e[1], e[2] + e[4]
            half_u = half_w = e[3]
        u, w = ax * y - ay * x, ax * x + ay * y
        out[i, 0], out[i, 1], out[i, 2], out[i, 3], out[i, 4] = u - half_u, u + half_u, w - half_w, w + half_w, top
    return out


@njit(cache=True)
def _strips(extents: Floats, first_u: float, count: int) -> tuple[Ints, Ints]:
    """Return (starts (count + 1,), items): the primitives that reach into each strip, those that end nearest the sun first."""
    order = np.argsort(-extents[:, 3])
    starts = np.zeros(count + 1, np.int64)
    filled = np.zeros(count, np.int64)
    items = np.zeros(0, np.int64)
    for fill in range(2):
        for i in order:
            low = max(int(math.floor((extents[i, 0] - first_u) / STRIP_M)), 0)
            high = min(int(math.floor((extents[i, 1] - first_u) / STRIP_M)), count - 1)
            for k in range(low, high + 1):
                if fill:
                    items[starts[k] + filled[k]] = i
                filled[k] += 1
        if not fill:
            for k in range(count):
                starts[k + 1] = starts[k] + filled[k]
            items = np.empty(starts[count], np.int64)
            filled[:] = 0
    return starts, items


@njit(cache=True, inline="always")
def _is_box_hit(b: Floats, x: float, y: float, z: float, sx: float, sy: float, sz: float) -> bool:
    px, py, pz = x - b[0], y - b[1], z - b[2]
    qx, qy = b[6] * px + b[7] * py, b[6] * py - b[7] * px
    dx, dy = b[6] * sx + b[7] * sy, b[6] * sy - b[7] * sx
    dx = 1e-9 if abs(dx) < 1e-9 else dx
    dy = 1e-9 if abs(dy) < 1e-9 else dy
    first, second = (-b[3] - qx) / dx, (b[3] - qx) / dx
    enter, leave = min(first, second), max(first, second)
    first, second = (-b[4] - qy) / dy, (b[4] - qy) / dy
    enter, leave = max(enter, min(first, second)), min(leave, max(first, second))
    enter, leave = max(enter, (-b[5] - pz) / sz), min(leave, (b[5] - pz) / sz)
    return bool(enter <= leave and enter > 0.0)


@njit(cache=True, inline="always")
def _is_cylinder_hit(c: Floats, x: float, y: float, z: float, sx: float, sy: float, sz: float) -> bool:
    px, py = x - c[0], y - c[1]
    a, b = sx * sx + sy * sy, sx * px + sy * py
    root = b * b - a * (px * px + py * py - c[2] * c[2])
    if root <= 0.0:
        return False
    distance = (-b - math.sqrt(root)) / a
    return bool(distance > 0.0 and c[3] <= z + distance * sz <= c[4])


@njit(cache=True, inline="always")
def _ellipsoid_chord(e: Floats, x: float, y: float, z: float, sx: float, sy: float, sz: float) -> float:
    """Return half the length of the way through the ellipsoid, as a share of its size; 0 for a miss or a start inside."""
    px, py, pz = (x - e[0]) / e[3], (y - e[1]) / e[3], (z - e[2]) / e[4]
    dx, dy, dz = sx / e[3], sy / e[3], sz / e[4]
    a, b = dx * dx + dy * dy + dz * dz, dx * px + dy * py + dz * pz
    root = b * b - a * (px * px + py * py + pz * pz - 1.0)
    if root <= 0.0 or -b - math.sqrt(root) <= 0.0:
        return 0.0
    return float(math.sqrt(root) / (a * e[3]))


@njit(cache=True)
def shadow_strips(
    boxes: Floats, cylinders: Floats, ellipsoids: Floats, sun: Floats, origin: Floats
) -> tuple[Ints, Ints, Floats, float]:
    """Return (starts, items, packed (items, 3), first u): what reaches into each strip, with its first and last w and its top."""
    level = math.hypot(sun[0], sun[1])
    ax, ay = sun[0] / level, sun[1] / level
    extents = _extents(boxes, cylinders, ellipsoids, ax, ay)
    first_u = ax * origin[1] - ay * origin[0] - RANGE_M
    starts, items = _strips(extents, first_u, int(2 * RANGE_M / STRIP_M))
    packed = np.empty((len(items), 3))
    for at in range(len(items)):
        packed[at, 0], packed[at, 1], packed[at, 2] = extents[items[at], 2], extents[items[at], 3], extents[items[at], 4]
    return starts, items, packed, first_u


@njit(cache=True)
def sun_light(
    starts: Ints,
    items: Ints,
    packed: Floats,
    first_u: float,
    boxes: Floats,
    cylinders: Floats,
    ellipsoids: Floats,
    materials: Ints,
    sun: Floats,
    table: NDArray[np.float32],
    origin: Floats,
    directions: Floats,
    depth: Floats,
    hit: Hits,
    surface: NDArray[np.float32],
) -> NDArray[np.float32]:
    """Return the share (n,) of sunlight, times the cosine of its angle, that reaches what each ray hit.

    The first four come from `shadow_strips`; sun (3,) is the unit direction to the sun; surface (n, 8) holds the normal in
    columns 3 to 5.
    """
    level = math.hypot(sun[0], sun[1])
    ax, ay, climb = sun[0] / level, sun[1] / level, sun[2] / level
    sx, sy, sz = sun[0], sun[1], sun[2]
    num_boxes, num_cylinders = len(boxes), len(cylinders)
    count = len(starts) - 1
    total = len(depth)
    out = np.zeros(total, np.float32)
    for turn in range(2):  # every other pixel first; between two that agree and show the same piece there is no edge
        for p in range(turn, total, 2):
            if hit[p] < 0:
                continue
            cosine = surface[p, 3] * sx + surface[p, 4] * sy + surface[p, 5] * sz
            if cosine <= 0.0:
                continue
            if turn and p + 1 < total and hit[p - 1] == hit[p] == hit[p + 1] and out[p - 1] == out[p + 1]:
                out[p] = out[p - 1]
                continue
            x = origin[0] + depth[p] * directions[p, 0] + START_OFF_M * surface[p, 3]
            y = origin[1] + depth[p] * directions[p, 1] + START_OFF_M * surface[p, 4]
            z = origin[2] + depth[p] * directions[p, 2] + START_OFF_M * surface[p, 5]
            u, w = ax * y - ay * x, ax * x + ay * y
            k = int((u - first_u) / STRIP_M)
            if k < 0 or k >= count:
                out[p] = 1.0
                continue
            light = 1.0
            for at in range(starts[k], starts[k + 1]):
                if packed[at, 1] <= w:
                    break
                if z + max(packed[at, 0] - w, 0.0) * climb >= packed[at, 2]:
                    continue
                i = items[at]
                if i < num_boxes:
                    if _is_box_hit(boxes[i], x, y, z, sx, sy, sz):
                        light = 0.0
                elif i < num_boxes + num_cylinders:
                    if _is_cylinder_hit(cylinders[i - num_boxes], x, y, z, sx, sy, sz):
                        light = 0.0
                else:
                    chord = _ellipsoid_chord(ellipsoids[i - num_boxes - num_cylinders], x, y, z, sx, sy, sz)
                    if chord > 0.0:
                        if materials[i + 1] == CROWN:
                            gap = value_noise(table, 3.0 * u + 11.0 * i, 3.0 * (z - w * climb))
                            light *= 1.0 - min(2.2 * chord, 0.95) * min(max(1.9 - 2.0 * gap, 0.3), 1.0)
                        else:
                            light = 0.0
                if light < 0.03:
                    light = 0.0
                    break
            out[p] = light
    for p in range(total):
        if out[p] > 0.0:
            out[p] *= surface[p, 3] * sx + surface[p, 4] * sy + surface[p, 5] * sz
    return out
