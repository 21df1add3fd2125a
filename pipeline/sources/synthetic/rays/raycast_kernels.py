"""The fast ray caster: primitives are sorted into bins of direction, nearest first.

Twin: `raycast.cast_rays_plain`. A bin holds the directions of a slice of the compass, seen from above, that rise or fall
about as much. A ray walks the list of its bin and stops at the first primitive that begins beyond the hit it already has.
Bins are filled only where there are rays, with primitives that lie within their reach and towards them.
"""

# numba's decorator has no types
# mypy: disable-error-code="untyped-decorator"

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from pipeline.sources.synthetic.rigid import Floats, Hits, Ints

NUM_SLICES = 1024
NUM_SLICES_OF_FEW = 512
FEW_RAYS = 100_000
# bins of rise per level metre: evenly from -1 to 1, the first and last one hold all that is steeper
NUM_RISES = 128


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
    if pz > s[5] and sz < 0.0:  # most rays meet the top from above: one division instead of six
        t = (s[5] - pz) / sz
        if abs(qx + t * sx) <= s[3] and abs(qy + t * sy) <= s[4]:
            return float(t)
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
def footprints_of(boxes: Floats, cylinders: Floats, ellipsoids: Floats, slabs: Floats) -> Floats:
    """Return (n, 5) in hit order: centre x y and radius of a circle around each primitive, its lowest and highest z."""
    first_round, first_slab = len(boxes), len(boxes) + len(cylinders) + len(ellipsoids)
    out = np.empty((first_slab + len(slabs), 5))
    for i in range(len(out)):
        if i < first_round:
            b = boxes[i]
            radius, low, high = math.sqrt(b[3] * b[3] + b[4] * b[4]), b[2] - b[5], b[2] + b[5]
        elif i < first_round + len(cylinders):
            b = cylinders[i - first_round]
            radius, low, high = b[2], b[3], b[4]
        elif i < first_slab:
            b = ellipsoids[i - first_round - len(cylinders)]
            radius, low, high = b[3], b[2] - b[4], b[2] + b[4]
        else:
            b = slabs[i - first_slab]
            half = b[5] + abs(b[8]) * b[3] + abs(b[9]) * b[4]
            radius, low, high = math.sqrt(b[3] * b[3] + b[4] * b[4]), b[2] - half, b[2] + half
        out[i, 0], out[i, 1], out[i, 2], out[i, 3], out[i, 4] = b[0], b[1], radius, low, high
    return out


@njit(cache=True)
def _box_extent(box: Floats, ox: float, oy: float) -> tuple[float, float, float]:
    """Return the nearest horizontal distance of a box or slab, and its first and last compass number seen from the origin.

    The last may exceed 4 where the extent wraps around, the first may be negative; (0, 4) means every direction.
    """
    px, py = ox - box[0], oy - box[1]
    qx, qy = box[6] * px + box[7] * py, box[6] * py - box[7] * px
    gap_x, gap_y = max(abs(qx) - box[3], 0.0), max(abs(qy) - box[4], 0.0)
    near = math.sqrt(gap_x * gap_x + gap_y * gap_y)
    if near < 1e-6:
        return near, 0.0, 4.0
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
    return near, middle + low, middle + high


@njit(cache=True)
def _round_extent(dx: float, dy: float, radius: float) -> tuple[float, float, float]:
    """Return the same of a cylinder or an ellipsoid whose axis lies at (dx, dy) from the origin."""
    distance = math.sqrt(dx * dx + dy * dy)
    near = max(distance - radius, 0.0)
    if distance <= radius * 1.0001:
        return near, 0.0, 4.0
    sine = radius / distance
    cosine = math.sqrt(1.0 - sine * sine)
    first = _compass(dx * cosine + dy * sine, dy * cosine - dx * sine)
    last = _compass(dx * cosine - dy * sine, dy * cosine + dx * sine)
    return near, first, last if last >= first else last + 4.0


@njit(cache=True, inline="always")
def _rise_bin(rise: float) -> int:
    """Return the bin of a rise per level metre."""
    return int(min(max((rise + 1.0) * (NUM_RISES / 2), 0.0), NUM_RISES - 1.0))


@njit(cache=True, inline="always")
def bin_of(dx: float, dy: float, dz: float, num_slices: int) -> int:
    """Return the bin of a direction."""
    k = min(int(_compass(dx, dy) * (num_slices / 4.0)), num_slices - 1)
    level = math.sqrt(dx * dx + dy * dy)
    e = _rise_bin(dz / level) if level > 1e-12 else (0 if dz < 0 else NUM_RISES - 1)
    return k * NUM_RISES + e


@njit(cache=True)
def _used_bins(directions: Floats, num_slices: int) -> tuple[NDArray[np.int32], NDArray[np.int32], Floats, float]:
    """Return the bin (n,) of each ray, the least and largest rise bin of each slice (slices, 2), and the rays' cone.

    The cone is seen from above: x y of its middle and the sine and cosine of half its angle, which is 90 degrees and more
    where the rays point to all sides (cosine <= 0). Last comes the longest level length of a direction.
    """
    bins = np.empty(len(directions), np.int32)
    used = np.empty((num_slices, 2), np.int32)
    used[:, 0], used[:, 1] = NUM_RISES, -1
    longest, sum_x, sum_y = 0.0, 0.0, 0.0
    scale = num_slices / 4.0
    for r in range(len(directions)):
        dx, dy, dz = directions[r, 0], directions[r, 1], directions[r, 2]
        square = dx * dx + dy * dy
        longest = max(longest, square)
        sum_x, sum_y = sum_x + dx, sum_y + dy
        bins[r] = bin_of(dx, dy, dz, num_slices)
        k, e = bins[r] // NUM_RISES, bins[r] % NUM_RISES
        used[k, 0], used[k, 1] = min(used[k, 0], e), max(used[k, 1], e)
    size = math.sqrt(sum_x * sum_x + sum_y * sum_y)
    cone = np.array([1.0, 0.0, 0.0, -1.0])
    if size > 0.0:
        cone[0], cone[1] = sum_x / size, sum_y / size
        narrowest = 1.0
        for k in range(num_slices):
            if used[k, 1] >= 0:
                for edge in range(2):
                    x, y = _towards((k + edge) / scale)
                    narrowest = min(narrowest, x * cone[0] + y * cone[1])
        cone[2], cone[3] = math.sqrt(max(1.0 - narrowest * narrowest, 0.0)), narrowest
    return bins, used, cone, math.sqrt(longest)


@njit(cache=True)
def _towards(compass: float) -> tuple[float, float]:
    """Return the unit vector of a compass number 0..4."""
    x = 1.0 - compass if compass <= 2.0 else compass - 3.0
    y = (1.0 - abs(x)) * (1.0 if compass <= 2.0 else -1.0)
    size = math.sqrt(x * x + y * y)
    return x / size, y / size


@njit(cache=True)
def candidates(
    boxes: Floats,
    slabs: Floats,
    footprints: Floats,
    origin: Floats,
    reach_m: Floats,
    used: NDArray[np.int32],
    cone: Floats,
    limit_m: float,
) -> tuple[Floats, Ints, Ints]:
    """Return (near (n,), starts (bins + 1,), items): at which level distance each primitive begins, and those of each bin.

    footprints (n, 5) as `footprints_of` gives them. reach_m (n,): how far from the origin a ray may start, plus how far the
    primitive may be from its place. used (slices, 2): first and last rise bin that is needed. cone (4,): what lies outside is
    left out, see `_used_bins`. The nearest comes first in a bin; near is inf for what is left out.
    """
    num_slices, first_round, first_slab = len(used), len(boxes), len(footprints) - len(slabs)
    scale = num_slices / 4.0
    ox, oy, oz = origin[0], origin[1], origin[2]
    near = np.full(len(footprints), math.inf)
    spans = np.empty((len(footprints), 4), np.int32)
    for i in range(len(footprints)):
        px, py, reach = footprints[i, 0] - ox, footprints[i, 1] - oy, reach_m[i]
        radius = footprints[i, 2] + reach
        square = px * px + py * py
        if square > (limit_m + radius) ** 2:
            continue
        if cone[3] > 0.0 and abs(px * cone[1] - py * cone[0]) * cone[3] - (px * cone[0] + py * cone[1]) * cone[2] > radius + 1e-6:
            continue
        if i < first_round:
            begin, first, last = _box_extent(boxes[i], ox, oy)
        elif i < first_slab:
            begin, first, last = _round_extent(px, py, footprints[i, 2])
        else:
            begin, first, last = _box_extent(slabs[i - first_slab], ox, oy)
        if begin - reach > limit_m:
            continue
        if begin <= reach * 1.01:
            begin, first, last = 0.0, 0.0, 4.0
        elif reach > 0.0:
            wider = math.asin(reach / begin)  # a compass number grows by at most one a radian
            begin, first, last = begin - reach, first - wider, last + wider
        low, high = footprints[i, 3] - oz - reach, footprints[i, 4] - oz + reach
        farthest, nearest = math.sqrt(square) + radius, max(begin, 1e-9)
        spans[i, 0] = int(math.floor(first * scale - 1e-6))
        spans[i, 1] = min(int(math.floor(last * scale + 1e-6)), spans[i, 0] + num_slices - 1)
        spans[i, 2] = _rise_bin((low / nearest if low < 0.0 else low / farthest) - 1e-9)
        spans[i, 3] = _rise_bin((high / nearest if high > 0.0 else high / farthest) + 1e-9)
        near[i] = begin
    chosen = np.flatnonzero(near < math.inf)
    order = chosen[np.argsort(near[chosen])]
    fill = np.zeros(num_slices * NUM_RISES, np.int64)
    starts = np.zeros(num_slices * NUM_RISES + 1, np.int64)
    items = np.zeros(0, np.int64)
    for is_second in range(2):
        for i in order:
            for turned in range(spans[i, 0], spans[i, 1] + 1):
                k = turned % num_slices
                for e in range(max(spans[i, 2], used[k, 0]), min(spans[i, 3], used[k, 1]) + 1):
                    b = k * NUM_RISES + e
                    if is_second:
                        items[fill[b]] = i
                        fill[b] += 1
                    else:
                        starts[b + 1] += 1
        if not is_second:
            for b in range(len(fill)):
                starts[b + 1] += starts[b]
                fill[b] = starts[b]
            items = np.empty(starts[len(fill)], np.int64)
    return near, starts, items


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
    num_slices = NUM_SLICES_OF_FEW if len(directions) < FEW_RAYS else NUM_SLICES
    bins, used, cone, longest = _used_bins(directions, num_slices)
    footprints = footprints_of(boxes, cylinders, ellipsoids, slabs)
    near, starts, items = candidates(boxes, slabs, footprints, origin, np.zeros(len(footprints)), used, cone, limit * longest)
    distance = np.empty(len(directions))
    hit = np.empty(len(directions), np.int32)
    for r in range(len(directions)):
        dx, dy, dz = directions[r, 0], directions[r, 1], directions[r, 2]
        best, what = limit, -1
        if dz < 0.0 and (ground_m - oz) / dz < best:
            best, what = (ground_m - oz) / dz, 0
        level = math.sqrt(dx * dx + dy * dy)
        for at in range(starts[bins[r]], starts[bins[r] + 1]):
            i = items[at]
            if near[i] > best * level:
                break
            if i < num_boxes:
                t = _box_entry(boxes[i], ox, oy, oz, dx, dy, dz)
            elif i >= first_slab:
                t = _slab_entry(slabs[i - first_slab], ox, oy, oz, dx, dy, dz)
            elif i < num_boxes + num_cylinders:
                t = _cylinder_entry(cylinders[i - num_boxes], ox, oy, oz, dx, dy, dz)
            else:
                t = _ellipsoid_entry(ellipsoids[i - num_boxes - num_cylinders], ox, oy, oz, dx, dy, dz)
            if t < best:
                best, what = t, i + 1
        distance[r] = best if what >= 0 else math.inf
        hit[r] = what
    return distance, hit
