"""The fast ray caster: primitives are sorted into bins of compass direction, nearest first.

Twin: `raycast.cast_rays_plain`. A bin is a slice of directions around the origin seen from above. A ray walks the
list of its bin and stops at the first primitive that begins beyond the hit it already has.
"""

# numba's decorator has no types
# mypy: disable-error-code="untyped-decorator"

from __future__ import annotations

import math

import numpy as np
from numba import njit

from pipeline.sources.synthetic.rigid import Floats, Hits, Ints

NUM_BINS = 1024


@njit(cache=True, inline="always")
def _compass(dx: float, dy: float) -> float:
    """Return a number in 0..4 that grows with the angle of (dx, dy), without trigonometry."""
    size = abs(dx) + abs(dy)
    if size == 0.0:
        return 0.0
    if dy >= 0.0:
        return 1.0 - dx / size
    return 3.0 + dx / size


@njit(cache=True, inline="always")
def _box_entry(box: Floats, ox: float, oy: float, oz: float, dx: float, dy: float, dz: float) -> float:
    """Return the distance to one box, inf for a miss."""
    cosine, sine = box[6], box[7]
    px, py, pz = ox - box[0], oy - box[1], oz - box[2]
    qx, qy = cosine * px + sine * py, cosine * py - sine * px
    sx, sy, sz = cosine * dx + sine * dy, cosine * dy - sine * dx, dz
    sx = 1e-12 if abs(sx) < 1e-12 else sx
    sy = 1e-12 if abs(sy) < 1e-12 else sy
    sz = 1e-12 if abs(sz) < 1e-12 else sz
    a, b = (-box[3] - qx) / sx, (box[3] - qx) / sx
    enter, leave = min(a, b), max(a, b)
    a, b = (-box[4] - qy) / sy, (box[4] - qy) / sy
    enter, leave = max(enter, min(a, b)), min(leave, max(a, b))
    a, b = (-box[5] - pz) / sz, (box[5] - pz) / sz
    enter, leave = max(enter, min(a, b)), min(leave, max(a, b))
    return enter if enter <= leave and enter > 0.0 else math.inf


@njit(cache=True, inline="always")
def _cylinder_entry(c: Floats, ox: float, oy: float, oz: float, dx: float, dy: float, dz: float) -> float:
    """Return the distance to the wall of one cylinder, inf for a miss."""
    px, py = ox - c[0], oy - c[1]
    a = dx * dx + dy * dy
    b = dx * px + dy * py
    root = b * b - a * (px * px + py * py - c[2] * c[2])
    if root <= 0.0 or a == 0.0:
        return math.inf
    distance = (-b - math.sqrt(root)) / a
    height = oz + distance * dz
    return distance if distance > 0.0 and c[3] <= height <= c[4] else math.inf


@njit(cache=True, inline="always")
def _ellipsoid_entry(e: Floats, ox: float, oy: float, oz: float, dx: float, dy: float, dz: float) -> float:
    """Return the distance to one ellipsoid, inf for a miss."""
    px, py, pz = (ox - e[0]) / e[3], (oy - e[1]) / e[3], (oz - e[2]) / e[4]
    sx, sy, sz = dx / e[3], dy / e[3], dz / e[4]
    a = sx * sx + sy * sy + sz * sz
    b = sx * px + sy * py + sz * pz
    root = b * b - a * (px * px + py * py + pz * pz - 1.0)
    if root <= 0.0:
        return math.inf
    distance = (-b - math.sqrt(root)) / a
    return distance if distance > 0.0 else math.inf


@njit(cache=True, inline="always")
def _slab_entry(s: Floats, ox: float, oy: float, oz: float, dx: float, dy: float, dz: float) -> float:
    """Return the distance to one sloping slab, inf for a miss: height is measured from its sloping middle plane."""
    cosine, sine = s[6], s[7]
    px, py, pz = ox - s[0], oy - s[1], oz - s[2]
    qx, qy = cosine * px + sine * py, cosine * py - sine * px
    sx, sy = cosine * dx + sine * dy, cosine * dy - sine * dx
    pz = pz - s[8] * qx - s[9] * qy
    sz = dz - s[8] * sx - s[9] * sy
    sx = 1e-12 if abs(sx) < 1e-12 else sx
    sy = 1e-12 if abs(sy) < 1e-12 else sy
    sz = 1e-12 if abs(sz) < 1e-12 else sz
    a, b = (-s[5] - pz) / sz, (s[5] - pz) / sz
    enter, leave = min(a, b), max(a, b)
    a, b = (-s[3] - qx) / sx, (s[3] - qx) / sx
    enter, leave = max(enter, min(a, b)), min(leave, max(a, b))
    a, b = (-s[4] - qy) / sy, (s[4] - qy) / sy
    enter, leave = max(enter, min(a, b)), min(leave, max(a, b))
    return enter if enter <= leave and enter > 0.0 else math.inf


@njit(cache=True)
def _extent(boxes: Floats, round_ones: Floats, slabs: Floats, ox: float, oy: float) -> Floats:
    """Return (n, 3): nearest horizontal distance, and the first and last compass number seen from the origin.

    The last may exceed 4 where the extent wraps around; (0, 4) means every direction. Order: boxes, round ones, slabs.
    """
    num_boxes, num_round = len(boxes), len(round_ones)
    out = np.empty((num_boxes + num_round + len(slabs), 3))
    for n in range(num_boxes + len(slabs)):
        i = n if n < num_boxes else n + num_round
        box = boxes[n] if n < num_boxes else slabs[n - num_boxes]
        px, py = ox - box[0], oy - box[1]
        qx, qy = box[6] * px + box[7] * py, box[6] * py - box[7] * px
        gap_x, gap_y = max(abs(qx) - box[3], 0.0), max(abs(qy) - box[4], 0.0)
        out[i, 0] = math.sqrt(gap_x * gap_x + gap_y * gap_y)
        if out[i, 0] < 1e-6:
            out[i, 1], out[i, 2] = 0.0, 4.0
            continue
        middle = _compass(-px, -py)
        low, high = 0.0, 0.0
        for k in range(4):
            hx, hy = box[3] * (1 - 2 * (k % 2)), box[4] * (1 - 2 * (k // 2))
            turn = _compass(box[6] * hx - box[7] * hy - px, box[7] * hx + box[6] * hy - py) - middle
            if turn > 2.0:
                turn -= 4.0
            if turn < -2.0:
                turn += 4.0
            low, high = min(low, turn), max(high, turn)
        out[i, 1], out[i, 2] = middle + low, middle + high
    for j in range(num_round):
        i = num_boxes + j
        dx, dy, radius = round_ones[j, 0] - ox, round_ones[j, 1] - oy, round_ones[j, 2]
        distance = math.sqrt(dx * dx + dy * dy)
        out[i, 0] = max(distance - radius, 0.0)
        if distance <= radius * 1.0001:
            out[i, 1], out[i, 2] = 0.0, 4.0
            continue
        half, angle = math.asin(radius / distance), math.atan2(dy, dx)
        first = _compass(math.cos(angle - half), math.sin(angle - half))
        last = _compass(math.cos(angle + half), math.sin(angle + half))
        out[i, 1], out[i, 2] = first, last if last >= first else last + 4.0
    return out


@njit(cache=True)
def _bin_candidates(extent: Floats, limit_m: float) -> tuple[Ints, Ints]:
    """Return (starts (bins + 1,), items): the primitives in each bin, nearest first."""
    order = np.argsort(extent[:, 0])
    scale = NUM_BINS / 4.0
    counts = np.zeros(NUM_BINS + 1, np.int64)
    starts = np.zeros(NUM_BINS + 1, np.int64)
    items = np.zeros(0, np.int64)
    for fill in range(2):
        for i in order:
            if extent[i, 0] > limit_m:
                break
            first = int(math.floor(extent[i, 1] * scale - 1e-6))
            last = int(math.floor(extent[i, 2] * scale + 1e-6))
            last = min(last, first + NUM_BINS - 1)
            for b in range(first, last + 1):
                k = b % NUM_BINS
                if fill:
                    items[starts[k] + counts[k]] = i
                counts[k] += 1
        if not fill:
            for k in range(NUM_BINS):
                starts[k + 1] = starts[k] + counts[k]
            items = np.empty(starts[NUM_BINS], np.int64)
            counts[:] = 0
    return starts, items


@njit(cache=True)
def _bounds(
    nearest: Floats,
    boxes: Floats,
    cylinders: Floats,
    ellipsoids: Floats,
    slabs: Floats,
    moves_m: Floats,
    reach_m: float,
) -> Floats:
    """Return (n, 4): horizontal distance of the near and the far side, lowest and highest z, of primitives in hit order.

    nearest (n,) is the distance of the near side, moves_m (n,) how far a primitive may be from its place, and reach_m how far
    a ray's origin. A ray that stays above or below between the two distances misses, which takes a few additions to see.
    """
    num_boxes, num_cylinders, num_ellipsoids = len(boxes), len(cylinders), len(ellipsoids)
    out = np.empty((len(nearest), 4))
    for i in range(len(nearest)):
        j = i - num_boxes
        if i < num_boxes:
            size = 2.0 * math.sqrt(boxes[i, 3] ** 2 + boxes[i, 4] ** 2)
            low, high = boxes[i, 2] - boxes[i, 5], boxes[i, 2] + boxes[i, 5]
        elif j < num_cylinders:
            size = 2.0 * cylinders[j, 2]
            low, high = cylinders[j, 3], cylinders[j, 4]
        elif j < num_cylinders + num_ellipsoids:
            e = ellipsoids[j - num_cylinders]
            size = 2.0 * e[3]
            low, high = e[2] - e[4], e[2] + e[4]
        else:
            s = slabs[j - num_cylinders - num_ellipsoids]
            size = 2.0 * math.sqrt(s[3] ** 2 + s[4] ** 2)
            half = s[5] + abs(s[8]) * s[3] + abs(s[9]) * s[4]
            low, high = s[2] - half, s[2] + half
        out[i, 0], out[i, 1] = nearest[i], nearest[i] + size + 2.0 * (moves_m[i] + reach_m) + 1e-6
        out[i, 2], out[i, 3] = low - moves_m[i] - 1e-6, high + moves_m[i] + 1e-6
    return out


@njit(cache=True, inline="always")
def _passes(bounds: Floats, oz: float, rise: float) -> bool:
    """Say whether a ray from height oz that rises by `rise` a horizontal metre stays above or below a primitive."""
    first, second = oz + rise * bounds[0], oz + rise * bounds[1]
    return bool(min(first, second) > bounds[3] or max(first, second) < bounds[2])


@njit(cache=True)
def first_hits(
    boxes: Floats,
    cylinders: Floats,
    ellipsoids: Floats,
    slabs: Floats,
    ground_m: float,
    origin: Floats,
    directions: Floats,
    limit: float,
) -> tuple[Floats, Hits]:
    """Return distance (n,) and hit (n,) of rays; see `raycast.cast_rays`."""
    ox, oy, oz = origin[0], origin[1], origin[2]
    num_boxes, num_cylinders = len(boxes), len(cylinders)
    first_slab = num_boxes + num_cylinders + len(ellipsoids)
    round_ones = np.empty((num_cylinders + len(ellipsoids), 3))
    for i in range(num_cylinders):
        round_ones[i, 0], round_ones[i, 1], round_ones[i, 2] = cylinders[i, 0], cylinders[i, 1], cylinders[i, 2]
    for i in range(len(ellipsoids)):
        j = num_cylinders + i
        round_ones[j, 0], round_ones[j, 1], round_ones[j, 2] = ellipsoids[i, 0], ellipsoids[i, 1], ellipsoids[i, 3]
    longest = 0.0
    for r in range(len(directions)):
        longest = max(longest, directions[r, 0] ** 2 + directions[r, 1] ** 2)
    extent = _extent(boxes, round_ones, slabs, ox, oy)
    starts, items = _bin_candidates(extent, limit * math.sqrt(longest))
    bounds = _bounds(extent[:, 0], boxes, cylinders, ellipsoids, slabs, np.zeros(len(extent)), 0.0)
    distance = np.empty(len(directions))
    hit = np.empty(len(directions), np.int32)
    for r in range(len(directions)):
        dx, dy, dz = directions[r, 0], directions[r, 1], directions[r, 2]
        best, what = limit, -1
        if dz < 0.0 and (ground_m - oz) / dz < best:
            best, what = (ground_m - oz) / dz, 0
        level = math.sqrt(dx * dx + dy * dy)
        rise = dz / level if level > 0.0 else math.inf
        k = min(int(_compass(dx, dy) * (NUM_BINS / 4.0)), NUM_BINS - 1)
        for at in range(starts[k], starts[k + 1]):
            i = items[at]
            if bounds[i, 0] > best * level:
                break
            if _passes(bounds[i], oz, rise):
                continue
            if i < num_boxes:
                t = _box_entry(boxes[i], ox, oy, oz, dx, dy, dz)
            elif i < num_boxes + num_cylinders:
                t = _cylinder_entry(cylinders[i - num_boxes], ox, oy, oz, dx, dy, dz)
            elif i >= first_slab:
                t = _slab_entry(slabs[i - first_slab], ox, oy, oz, dx, dy, dz)
            else:
                t = _ellipsoid_entry(ellipsoids[i - num_boxes - num_cylinders], ox, oy, oz, dx, dy, dz)
            if t < best:
                best, what = t, i + 1
        distance[r] = best if what >= 0 else math.inf
        hit[r] = what
    return distance, hit
