"""First hits of a scanner that moves while it turns, in a world that moves too: the hot loops of `slots`.

Twin: `lidar_slots.Spinning.hits_plain`. As in `raycast_kernels` the primitives are sorted into bins of compass direction around
one place, the scanner's at the middle of the turn. A ray starts up to `reach_m` from there, and a thing moves in the meantime,
so each primitive's bins are widened by the angle that both take at its distance.
"""

# numba's decorator has no types
# mypy: disable-error-code="untyped-decorator"

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from pipeline.sources.synthetic.rays.raycast_kernels import (
    NUM_RISES,
    NUM_SLICES_OF_FEW,
    _box_entry,
    _cylinder_entry,
    _ellipsoid_entry,
    _slab_entry,
    bin_of,
    candidates,
    footprints_of,
)
from pipeline.sources.synthetic.rigid import Floats, Hits, Ints

HALF_SEEN = 0.25  # strength of an echo that is measured every second time, on the scale of the intensity at 30 m


@njit(cache=True)
def turning_bins(
    boxes: Floats,
    cylinders: Floats,
    ellipsoids: Floats,
    slabs: Floats,
    centre: Floats,
    reach_m: Floats,
    limit: float,
) -> tuple[Floats, Ints, Ints]:
    """Return (least distance (n,) of each primitive to any ray's start, starts (bins + 1,), items): candidates of each bin.

    reach_m (n,) is how far a ray may start from the centre, plus how far the primitive moves in the turn.
    """
    footprints = footprints_of(boxes, cylinders, ellipsoids, slabs)
    used = np.empty((NUM_SLICES_OF_FEW, 2), np.int32)
    used[:, 0], used[:, 1] = 0, NUM_RISES - 1
    all_round = np.array([1.0, 0.0, 0.0, -1.0])
    return candidates(boxes, slabs, footprints, centre, reach_m, used, all_round, limit)


@njit(cache=True)
def turning_hits(
    boxes: Floats,
    cylinders: Floats,
    ellipsoids: Floats,
    slabs: Floats,
    ground_m: float,
    velocities: Floats,
    nearest: Floats,
    starts: Ints,
    items: Ints,
    origins: Floats,
    rotations: Floats,
    before_s: Floats,
    firing: Ints,
    directions: Floats,
    limit: float,
) -> tuple[Floats, Hits, Floats]:
    """Return (distance (n,), hit (n,), cosine (n,) of the angle to the normal) of rays: see `raycast.cast_rays`.

    A ray belongs to a firing (n,), which gives its origin (steps, 3), the rotation (steps, 3, 3) that turns directions
    (n, 3), and how long it was before the time of the primitives, before_s (steps,). velocities (primitives, 3), m/s.
    """
    num_boxes, num_cylinders, num_ellipsoids = len(boxes), len(cylinders), len(ellipsoids)
    first_slab = num_boxes + num_cylinders + num_ellipsoids
    distance = np.empty(len(firing))
    hit = np.empty(len(firing), np.int32)
    cosine = np.ones(len(firing))
    for r in range(len(firing)):
        f = firing[r]
        turn = rotations[f]
        a, b, c = directions[r, 0], directions[r, 1], directions[r, 2]
        dx = turn[0, 0] * a + turn[0, 1] * b + turn[0, 2] * c
        dy = turn[1, 0] * a + turn[1, 1] * b + turn[1, 2] * c
        dz = turn[2, 0] * a + turn[2, 1] * b + turn[2, 2] * c
        best, what = limit, -1
        if dz < 0.0 and (ground_m - origins[f, 2]) / dz < best:
            best, what = (ground_m - origins[f, 2]) / dz, 0
        level = math.sqrt(dx * dx + dy * dy)
        k = bin_of(dx, dy, dz, NUM_SLICES_OF_FEW)
        for at in range(starts[k], starts[k + 1]):
            i = items[at]
            if nearest[i] > best * level:
                break
            # a thing was elsewhere before: seen from it, the scanner was
            ox = origins[f, 0] + velocities[i, 0] * before_s[f]
            oy = origins[f, 1] + velocities[i, 1] * before_s[f]
            oz = origins[f, 2] + velocities[i, 2] * before_s[f]
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
        hit[r] = what
        distance[r] = best if what >= 0 else math.inf
        if what == 0:
            cosine[r] = abs(dz)
        elif what > 0:
            i = what - 1
            x = origins[f, 0] + velocities[i, 0] * before_s[f] + best * dx
            y = origins[f, 1] + velocities[i, 1] * before_s[f] + best * dy
            z = origins[f, 2] + velocities[i, 2] * before_s[f] + best * dz
            if i < num_boxes:
                cosine[r] = _box_cosine(boxes[i], x, y, z, dx, dy, dz)
            elif i < num_boxes + num_cylinders:
                round_one = cylinders[i - num_boxes]
                cosine[r] = abs((x - round_one[0]) * dx + (y - round_one[1]) * dy) / round_one[2]
            elif i >= first_slab:
                cosine[r] = _slab_cosine(slabs[i - first_slab], x, y, z, dx, dy, dz)
            else:
                e = ellipsoids[i - num_boxes - num_cylinders]
                nx, ny, nz = (x - e[0]) / e[3] ** 2, (y - e[1]) / e[3] ** 2, (z - e[2]) / e[4] ** 2
                cosine[r] = abs(nx * dx + ny * dy + nz * dz) / math.sqrt(nx * nx + ny * ny + nz * nz)
    return distance, hit, cosine


@njit(cache=True, inline="always")
def _box_cosine(box: Floats, x: float, y: float, z: float, dx: float, dy: float, dz: float) -> float:
    """Return the cosine between a direction and the normal of a box at a point on it."""
    px, py, pz = x - box[0], y - box[1], z - box[2]
    qx, qy = box[6] * px + box[7] * py, box[6] * py - box[7] * px
    fx, fy, fz = abs(qx) / box[3], abs(qy) / box[4], abs(pz) / box[5]
    if fx >= fy and fx >= fz:
        return float(abs(box[6] * dx + box[7] * dy))
    if fy >= fz:
        return float(abs(box[6] * dy - box[7] * dx))
    return abs(dz)


@njit(cache=True, inline="always")
def _slab_cosine(s: Floats, x: float, y: float, z: float, dx: float, dy: float, dz: float) -> float:
    """Return the cosine between a direction and the normal of a slab at a point on it."""
    px, py, pz = x - s[0], y - s[1], z - s[2]
    qx, qy = s[6] * px + s[7] * py, s[6] * py - s[7] * px
    sx, sy = s[6] * dx + s[7] * dy, s[6] * dy - s[7] * dx
    fx, fy, fz = abs(qx) / s[3], abs(qy) / s[4], abs(pz - s[8] * qx - s[9] * qy) / s[5]
    if fz >= fx and fz >= fy:
        return float(abs(dz - s[8] * sx - s[9] * sy) / math.sqrt(1.0 + s[8] * s[8] + s[9] * s[9]))
    return float(abs(sx) if fx >= fy else abs(sy))


@njit(cache=True)
def moved_to_stamp(
    range_m: Floats, directions: Floats, origins: Floats, rotations: Floats, stamp_origin: Floats, stamp_rotation: Floats
) -> Floats:
    """Return points (steps * beams, 3) in the LiDAR frame at the stamp, measured along directions in that of their firing.

    origins (steps, 3) and rotations (steps, 3, 3) are world from LiDAR at the firings, the others at the stamp.
    """
    beams = len(range_m) // len(origins)
    out = np.empty((len(range_m), 3))
    for r in range(len(range_m)):
        f = r // beams
        a, b, c = directions[r, 0] * range_m[r], directions[r, 1] * range_m[r], directions[r, 2] * range_m[r]
        x = rotations[f, 0, 0] * a + rotations[f, 0, 1] * b + rotations[f, 0, 2] * c + origins[f, 0] - stamp_origin[0]
        y = rotations[f, 1, 0] * a + rotations[f, 1, 1] * b + rotations[f, 1, 2] * c + origins[f, 1] - stamp_origin[1]
        z = rotations[f, 2, 0] * a + rotations[f, 2, 1] * b + rotations[f, 2, 2] * c + origins[f, 2] - stamp_origin[2]
        for k in range(3):
            out[r, k] = stamp_rotation[0, k] * x + stamp_rotation[1, k] * y + stamp_rotation[2, k] * z
    return out


@njit(cache=True)
def measure(
    distance: Floats,
    hit: Hits,
    cosine: Floats,
    echo: Floats,
    lost: Floats,
    half_m: Floats,
    spread: float,
    fade_m: float,
    airborne: Floats,
    own: Floats,
    own_echo: float,
    bias: Floats,
    noise_m: float,
    empty: Floats,
    range_m: Floats,
    normals: NDArray[np.float32],
    lots: NDArray[np.float32],
) -> tuple[Floats, Floats]:
    """Return (range (n,) that each slot measures, 0 without an echo, its intensity (n,)).

    echo and lost (primitives + 1,) tell of each surface how bright it is where met squarely, and which share of beams it
    swallows; half_m (primitives + 1,): the range at which it throws half of the others aside, inf for a rough surface. A beam
    is measured with a chance that falls with the echo's strength. airborne and own (n,): distance of a
    return from the air and of the own car, inf for none. bias and empty (beams,): how much too far a laser measures, and
    what stands in the intensity of a slot without an echo. range_m (2,): least and largest range. fade_m: length in which
    rain takes 63 % of the light. normals (2, n) and lots (2, n): random numbers, normal and even in 0..1.
    """
    beams = len(bias)
    out, intensity = np.zeros(len(hit)), np.empty(len(hit))
    for r in range(len(hit)):
        ring = r % beams
        what = hit[r]
        far, bright = math.inf, 0.0
        if what >= 0 and range_m[0] < distance[r] < range_m[1]:
            bright = echo[what] * math.exp(spread * normals[0, r] - 0.5 * spread * spread)
            strength = bright * cosine[r] * (30.0 / distance[r]) ** 3 * math.exp(-distance[r] / fade_m)
            aside = distance[r] / half_m[what]
            if lots[0, r] > 1.0 - (1.0 - lost[what]) / (1.0 + aside * aside) and lots[1, r] < 0.995 * strength / (
                strength + HALF_SEEN
            ):
                far = distance[r]
        true_m = distance[r] if what >= 0 else math.inf
        if airborne[r] < true_m:
            far, bright = airborne[r], 1.0 + 4.0 * lots[0, r]
        if own[r] < far:
            far, bright = own[r], own_echo * math.exp(0.8 * normals[0, r] - 0.3)
        if far < math.inf:
            out[r] = max(far + bias[ring] + noise_m * normals[1, r], 0.0)
            intensity[r] = min(max(math.floor(bright + 0.5), 1.0), 255.0)
        else:
            intensity[r] = empty[ring]
    return out, intensity
