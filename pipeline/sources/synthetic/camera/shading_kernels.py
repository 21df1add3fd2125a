"""Colour of every pixel: procedural textures, sun or lamps and headlights, haze, sensor noise.

Only the picture depends on this file; depth comes from `raycast`. It has no numpy twin: people look at
colours and networks train on them, but no test relies on their exact values.
"""

# numba's decorator has no types
# mypy: disable-error-code="untyped-decorator"

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from pipeline.sources.synthetic.rigid import Floats, Hits, Ints

CENTRE_LEFT = 1.8
LAMP_EVERY = 28.0
LAMP_LEFT = 5.9
LAMP_HEIGHT = 7.0


@njit(cache=True, inline="always")
def _noise(a: int, b: int, c: int) -> float:
    """Return a fixed pseudo-random number 0..1 for three integers."""
    n = (a * 73856093) ^ (b * 19349663) ^ (c * 83492791)
    n = (n ^ (n >> 13)) * 1274126177 & 0x7FFFFFFF
    n = (n ^ (n >> 16)) * 974634541 & 0x7FFFFFFF
    return (n & 0xFFFF) / 65535.0


@njit(cache=True, inline="always")
def _street_place(
    x: float, y: float, grid: Ints, low: Floats, points: Floats, tangents: Floats, s: Floats
) -> tuple[float, float]:
    """Return (s, l): metres along the street and metres left of the middle of the road."""
    cx = min(max(int((x - low[0]) * 0.25), 0), grid.shape[1] - 1)
    cy = min(max(int((y - low[1]) * 0.25), 0), grid.shape[0] - 1)
    i = grid[cy, cx]
    along = 0.0
    for _ in range(2):
        along = (x - points[i, 0]) * tangents[i, 0] + (y - points[i, 1]) * tangents[i, 1]
        i = min(max(i + int(round(along)), 0), len(points) - 1)
    dx, dy = x - points[i, 0], y - points[i, 1]
    along = dx * tangents[i, 0] + dy * tangents[i, 1]
    return s[i] + along, dy * tangents[i, 0] - dx * tangents[i, 1] - CENTRE_LEFT


@njit(cache=True, inline="always")
def _ground_tone(s: float, left: float, x: float, y: float, distance: float) -> tuple[float, float, float]:
    """Return the colour of the ground: asphalt with markings, kerb, pavement slabs, lawn."""
    grain = 0.0
    if distance < 60.0:
        grain = 0.05 * (_noise(int(math.floor(x * 20)), int(math.floor(y * 20)), 1) - 0.5)
        grain += 0.05 * (_noise(int(math.floor(x * 1.5)), int(math.floor(y * 1.5)), 2) - 0.5)
    off = abs(left)
    if off < 5.85:
        is_dash = off < 0.07 and s % 9.0 < 4.0
        is_edge = abs(off - 3.6) < 0.06
        if is_dash or is_edge:
            return 0.78 + grain, 0.78 + grain, 0.74 + grain
        return 0.27 + grain, 0.27 + grain, 0.285 + grain
    if off < 6.05:
        return 0.55 + grain, 0.54 + grain, 0.52 + grain
    if off < 10.0:
        slab = -0.08 if (s % 1.2 < 0.05 or left % 1.2 < 0.05) and distance < 30.0 else 0.0
        return 0.46 + slab + grain, 0.45 + slab + grain, 0.43 + slab + grain
    return 0.22 + grain, 0.3 + grain, 0.16 + grain


@njit(cache=True, inline="always")
def _window(along: float, up: float, house: int, is_night: bool) -> float:
    """Return 0 for wall, -1 for a dark window, 1 for a lit one; `along` and `up` in metres on the wall."""
    if up < 1.2:
        return 0.0
    column, row = math.floor(along / 2.4), math.floor((up - 1.0) / 3.0)
    u, v = along / 2.4 - column, (up - 1.0) / 3.0 - row
    if u < 0.28 or u > 0.74 or v < 0.22 or v > 0.76:
        return 0.0
    is_lit = is_night and _noise(int(column), int(row), house) > 0.72
    return 1.0 if is_lit else -1.0


@njit(cache=True)
def shade(
    boxes: Floats,
    cylinders: Floats,
    ellipsoids: Floats,
    materials: Ints,
    colours: Floats,
    grid: Ints,
    grid_low: Floats,
    points: Floats,
    tangents: Floats,
    street_s: Floats,
    origin: Floats,
    forward: Floats,
    directions: Floats,
    depth: Floats,
    hit: Hits,
    is_night: bool,
    seed: int,
    ground_m: float,
) -> NDArray[np.uint8]:
    """Return RGB (n, 3) of rays with known first hits; forward (3,) is where headlights and camera look.

    ground_m: height of the road below the camera; lamps and headlights are above that.
    """
    num_boxes, num_cylinders = len(boxes), len(cylinders)
    first_slab = num_boxes + num_cylinders + len(ellipsoids)
    sun_x, sun_y, sun_z = 0.46, 0.33, 0.82
    out = np.empty((len(depth), 3), np.uint8)
    for p in range(len(depth)):
        dx, dy, dz = directions[p, 0], directions[p, 1], directions[p, 2]
        length = math.sqrt(dx * dx + dy * dy + dz * dz)
        what = hit[p]
        grey = _noise(p, seed, 7) - 0.5
        if what < 0:
            up = max(dz / length, 0.0)
            if is_night:
                r, g, b = 0.035 + 0.02 * (1 - up), 0.035 + 0.015 * (1 - up), 0.06
            else:
                cloud = 0.04 * math.sin(dx * 9 / length + 2 * math.sin(dz * 14 / length))
                r, g, b = 0.80 - 0.55 * up + cloud, 0.86 - 0.35 * up + cloud, 0.93 - 0.08 * up + cloud
        else:
            distance = depth[p] * length
            x, y, z = origin[0] + depth[p] * dx, origin[1] + depth[p] * dy, origin[2] + depth[p] * dz
            s, left = _street_place(x, y, grid, grid_low, points, tangents, street_s)
            r, g, b = colours[what, 0], colours[what, 1], colours[what, 2]
            nx, ny, nz = 0.0, 0.0, 1.0
            glow = 0.0
            material = materials[what]
            if what == 0 or (what > first_slab and material == 0):
                r, g, b = _ground_tone(s, left, x, y, distance)
            elif what <= num_boxes:
                box = boxes[what - 1]
                px, py, pz = x - box[0], y - box[1], z - box[2]
                qx, qy = box[6] * px + box[7] * py, box[6] * py - box[7] * px
                fx, fy, fz = abs(qx) / box[3], abs(qy) / box[4], abs(pz) / box[5]
                along = qx
                if fx >= fy and fx >= fz:
                    turn = 1.0 if qx > 0 else -1.0
                    nx, ny, nz = box[6] * turn, box[7] * turn, 0.0
                    along = qy
                elif fy >= fz:
                    turn = 1.0 if qy > 0 else -1.0
                    nx, ny, nz = -box[7] * turn, box[6] * turn, 0.0
                else:
                    nz = 1.0 if pz > 0 else -1.0
                if material == 1 and nz == 0.0:
                    house = int(abs(box[0]) * 10)
                    up = z - (box[2] - box[5])
                    pane = _window(along + 60.0, up, house, is_night)
                    brick = 0.06 * (_noise(int(math.floor(along * 4)), int(math.floor(up * 8)), house) - 0.5)
                    r, g, b = r + brick, g + brick, b + brick
                    if up < 0.7:
                        r, g, b = r * 0.6, g * 0.6, b * 0.6
                    if pane < 0:
                        r, g, b = 0.16, 0.2, 0.25
                    if pane > 0:
                        r, g, b, glow = 0.85, 0.66, 0.34, 0.7
                if material == 4 and nz == 0.0:
                    at_end = fx >= fy and fx >= fz
                    wheel = abs(abs(qx) - 0.62 * box[3])
                    low = pz + 0.25
                    if not at_end and wheel * wheel + low * low < 0.1:
                        r, g, b = 0.05, 0.05, 0.05
                    if at_end and abs(qy) > 0.6 * box[4] and 0.02 < pz < 0.2:
                        if qx > 0:
                            r, g, b = 0.95, 0.95, 0.85
                        else:
                            r, g, b = 0.7, 0.05, 0.04
                        glow = 0.9 if is_night else 0.15
                if material == 5 and nz == 0.0 and fz < 0.8:
                    r, g, b = 0.09, 0.11, 0.13
                if material == 6 and nz == 0.0 and abs(pz) < 0.25:
                    r, g, b = 0.2, 0.3, 0.55
                if material == 8:
                    glow = 1.0 if is_night else 0.2
            elif what <= num_boxes + num_cylinders:
                c = cylinders[what - 1 - num_boxes]
                nx, ny, nz = (x - c[0]) / c[2], (y - c[1]) / c[2], 0.0
                if material == 7 and z - c[3] < 0.85:
                    r, g, b = r * 0.5, g * 0.5, b * 0.6
            elif what <= first_slab:
                e = ellipsoids[what - 1 - num_boxes - num_cylinders]
                nx, ny, nz = (x - e[0]) / e[3] ** 2, (y - e[1]) / e[3] ** 2, (z - e[2]) / e[4] ** 2
                norm = math.sqrt(nx * nx + ny * ny + nz * nz)
                nx, ny, nz = nx / norm, ny / norm, nz / norm
                if material == 3 or material == 13:
                    leaf = _noise(int(math.floor(x * 7)), int(math.floor(y * 7)), int(math.floor(z * 7)))
                    r, g, b = r * (0.6 + 0.8 * leaf), g * (0.6 + 0.8 * leaf), b * (0.6 + 0.8 * leaf)
                else:
                    r, g, b = 0.75, 0.58, 0.47
            if is_night:
                k = math.floor((s + LAMP_EVERY / 2) / LAMP_EVERY)
                light_r, light_g, light_b = 0.035, 0.035, 0.05
                for near in range(2):
                    post = k + (near if s > k * LAMP_EVERY else -near)
                    side = -LAMP_LEFT if (post + 100) % 2 == 0 else LAMP_LEFT
                    ds, dl, dh = s - post * LAMP_EVERY, left - side, LAMP_HEIGHT - (z - ground_m)
                    square = ds * ds + dl * dl + dh * dh + 1.0
                    lamp = 26.0 * max(dh + 2.0, 0.4) / (square * math.sqrt(square))
                    light_r, light_g, light_b = light_r + lamp, light_g + 0.85 * lamp, light_b + 0.6 * lamp
                ahead = (dx * forward[0] + dy * forward[1] + dz * forward[2]) / length
                below = 1.0 if z - ground_m < 1.1 else max(0.0, 1.0 - (z - ground_m - 1.1) / (0.4 + 0.03 * distance))
                beam = 160.0 * max(ahead - 0.86, 0.0) * below / (60.0 + distance * distance)
                light_r, light_g, light_b = light_r + beam, light_g + beam, light_b + 0.95 * beam
                light_r, light_g, light_b = min(light_r, 1.1), min(light_g, 1.1), min(light_b, 1.1)
                r = r * (light_r * (1 - glow) + 1.3 * glow)
                g = g * (light_g * (1 - glow) + 1.3 * glow)
                b = b * (light_b * (1 - glow) + 1.3 * glow)
            else:
                sun = max(nx * sun_x + ny * sun_y + nz * sun_z, 0.0)
                light = 0.55 + 0.6 * sun + 0.5 * glow
                haze = 1.0 - math.exp(-distance / 420.0)
                r = r * light * (1 - haze) + 0.80 * haze
                g = g * light * (1 - haze) + 0.85 * haze
                b = b * light * (1 - haze) + 0.91 * haze
        grain = (0.03 if is_night else 0.02) * grey
        out[p, 0] = int(255 * min(max(r + grain, 0.0), 1.0))
        out[p, 1] = int(255 * min(max(g + grain, 0.0), 1.0))
        out[p, 2] = int(255 * min(max(b + grain, 0.0), 1.0))
    return out
