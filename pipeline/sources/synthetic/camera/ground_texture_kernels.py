"""What the ground looks like: worn asphalt with markings, crossings, manholes and puddles; kerbs, pavements, lawns.

A pixel far away covers much ground, so every line is painted by the share of the pixel that it covers, and fine noise fades.
"""

# numba's decorator has no types
# mypy: disable-error-code="untyped-decorator"

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from pipeline.sources.synthetic.camera.surface_patterns import cell_noise, value_noise
from pipeline.sources.synthetic.rigid import Floats, Hits, Ints

GROUND, KERB, ASPHALT, PAVEMENT, CROSSING = 0, 16, 22, 23, 24
ROAD, KERB_STONE, BESIDE = 0, 1, 2
CENTRE_LEFT = 1.8
LANE = 3.6
KERB_WIDTH = 0.18
PAVEMENT_HALF = 10.0


@njit(cache=True, inline="always")
def _street_place(
    x: float, y: float, grid: Ints, low: Floats, points: Floats, tangents: Floats, s: Floats
) -> tuple[float, float, float, float]:
    """Return (s, l, tangent x, y): metres along the street and metres left of the middle of the road."""
    cx = min(max(int((x - low[0]) * 0.25), 0), grid.shape[1] - 1)
    cy = min(max(int((y - low[1]) * 0.25), 0), grid.shape[0] - 1)
    i = grid[cy, cx]
    along = 0.0
    for _ in range(2):
        along = (x - points[i, 0]) * tangents[i, 0] + (y - points[i, 1]) * tangents[i, 1]
        i = min(max(i + int(round(along)), 0), len(points) - 1)
    along = (x - points[i, 0]) * tangents[i, 0] + (y - points[i, 1]) * tangents[i, 1]
    a = min(max(i if along > 0.0 else i - 1, 0), len(points) - 2)  # in a bend lines must not jump from vertex to vertex
    dx, dy, tx, ty = x - points[i, 0], y - points[i, 1], tangents[i, 0], tangents[i, 1]
    if tangents[a, 0] * tangents[a + 1, 0] + tangents[a, 1] * tangents[a + 1, 1] > 0.9999:
        return s[i] + along, dy * tx - dx * ty - CENTRE_LEFT, tx, ty
    ex, ey = points[a + 1, 0] - points[a, 0], points[a + 1, 1] - points[a, 1]
    length = math.sqrt(ex * ex + ey * ey) + 1e-12
    dx, dy = x - points[a, 0], y - points[a, 1]
    share = (dx * ex + dy * ey) / (length * length)
    foot = min(max(share, 0.0), 1.0)
    off_x, off_y = dx - foot * ex, dy - foot * ey
    side = 1.0 if ex * dy - ey * dx > 0.0 else -1.0
    is_inner = 0 < a < len(points) - 2
    left = side * math.sqrt(off_x * off_x + off_y * off_y) if is_inner else (ex * dy - ey * dx) / length
    return s[a] + share * (s[a + 1] - s[a]), left - CENTRE_LEFT, ex / length, ey / length


@njit(cache=True, inline="always")
def _cover(off: float, half: float, footprint: float) -> float:
    """Return the share of a footprint, its middle `off` from the middle of a stripe of half width `half`, on the stripe."""
    low, high = max(off - footprint / 2, -half), min(off + footprint / 2, half)
    return max(high - low, 0.0) / footprint


@njit(cache=True)
def _paint_share(
    s: float, left: float, foot_s: float, foot_l: float, looks: Floats, marks: Floats, half: float
) -> tuple[float, float]:
    """Return the shares of white and of yellow paint."""
    white, yellow = 0.0, 0.0
    at = min(max(int(math.floor(s - marks[0, 0])), 0), len(marks) - 1)
    if marks[at, 2] > 0.0:
        return 0.0, 0.0
    off = s - marks[at, 1]
    nearest = abs(off)
    if nearest < 22.0:
        if abs(off) < 3.0 + foot_s:
            stripe = _cover((left + 50.0) % 1.1 - 0.55, 0.28, foot_l) if foot_l < 1.0 else 0.5
            white = max(white, stripe * _cover(off, 1.6, foot_s) * (1.0 if abs(left) < half - 0.35 else 0.0))
        for side in (-1.0, 1.0):
            if abs(off - side * 3.6) < 1.0 + foot_s and left * side > 0.15 and abs(left) < LANE - 0.1:
                white = max(white, _cover(off - side * 3.6, 0.17, foot_s))
        ahead = off + 17.0  # an arrow in the right lane, before the crossing
        if -foot_s < ahead < 4.6 + foot_s and abs(left + 1.8) < 0.8:
            wide = 0.07 if ahead < 2.8 else max(0.42 * (4.2 - ahead) / 1.4, 0.0)
            white = max(white, _cover(left + 1.8, wide, foot_l) if 0.0 < ahead < 4.2 else 0.0)
    if nearest > 3.7:
        if looks[0] < 0.4:
            yellow = max(_cover(left - 0.13, 0.06, foot_l), _cover(left + 0.13, 0.06, foot_l))
        elif looks[0] < 0.8 or nearest > 24.0:
            dash = _cover(s % 9.0 - 2.0, 2.0, min(foot_s, 4.4))
            white = max(white, _cover(left, 0.07, foot_l) * dash)
        else:
            white = max(white, _cover(left, 0.08, foot_l))
        if looks[1] < 0.6:
            white = max(white, _cover(abs(left) - LANE, 0.06, foot_l))
        if looks[1] > 0.4:
            kerb_lines = _cover(abs(left) - half + 0.35, 0.05, foot_l)
            yellow = max(yellow, max(kerb_lines, _cover(abs(left) - half + 0.6, 0.05, foot_l)))
    return white, yellow


@njit(cache=True)
def _asphalt(table: NDArray[np.float32], x: float, y: float, s: float, left: float, foot: float, tone: float) -> float:
    """Return the grey of asphalt: patches, wheel tracks, cracks, manholes and grain."""
    wide = value_noise(table, 0.11 * x, 0.11 * y) + 0.5 * value_noise(table, 0.43 * x + 9.0, 0.43 * y)
    grey = tone * (0.82 + 0.26 * wide)
    row, lane = int(math.floor(s / 7.0)), int(math.floor(left / 1.9))
    if cell_noise(table, row, lane) > 0.9:
        grey *= 0.72
        seam = min(min(s % 7.0, 7.0 - s % 7.0), min(left % 1.9, 1.9 - left % 1.9))
        if seam < 0.05 + 0.5 * foot:
            grey *= 0.75
    track = abs(abs(abs(left) - 1.8) - 0.78)
    grey *= 1.0 - 0.1 * max(1.0 - track / 0.45, 0.0) - 0.09 * max(1.0 - abs(abs(left) - 1.8) / 0.35, 0.0)
    if foot < 1.5:
        streak = value_noise(table, 1.9 * left + 31.0, 0.06 * s) - 0.5
        grey *= 1.0 + 0.16 * streak
    if foot < 0.35 and wide > 0.72:
        bent = value_noise(table, 0.6 * x, 0.6 * y)
        if abs(value_noise(table, 0.31 * x + 2.0 * bent, 0.31 * y + 60.0) - 0.5) < 0.0035:
            grey *= 0.55 + min(foot, 0.35)
    if foot < 0.5:
        grey *= 1.0 + 0.24 * (1.0 - 2.0 * foot) * (value_noise(table, 5.3 * x, 5.3 * y) - 0.5)
    if foot < 0.06:
        grey *= 1.0 + 0.35 * (1.0 - foot / 0.06) * (value_noise(table, 41.0 * x, 41.0 * y) - 0.5)
    block = math.floor(s / 23.0)
    hole = cell_noise(table, int(block), 91)
    if hole < 0.7:
        ds, dl = s - block * 23.0 - 11.0, left - 8.0 * (hole - 0.35)
        radius = math.sqrt(ds * ds + dl * dl)
        if radius < 0.4:
            grey *= 0.45 if radius > 0.33 else 0.72
    return grey


@njit(cache=True)
def _beside(
    table: NDArray[np.float32],
    x: float,
    y: float,
    s: float,
    left: float,
    foot: float,
    foot_s: float,
    foot_l: float,
    looks: Floats,
) -> tuple[float, float, float, float]:
    """Return colour and gloss beside the road: paving of slabs, or a lawn."""
    off = abs(left)
    place = cell_noise(table, int(math.floor(s / 24.0)), 200 + (1 if left > 0 else 0))
    is_strip = off > PAVEMENT_HALF or (off > 8.6 and looks[4] > 0.5) or (off < 7.4 and place > 0.75)
    wide = value_noise(table, 0.3 * x, 0.3 * y)
    fine = value_noise(table, 6.0 * x, 6.0 * y) if foot < 0.3 else 0.5
    if is_strip and place > 0.35:
        leaf = value_noise(table, 17.0 * x, 17.0 * y) if foot < 0.1 else 0.5
        light = (0.6 + 0.5 * wide) * (0.55 + 0.45 * fine + 0.45 * leaf)
        dry = value_noise(table, 0.17 * x, 0.17 * y + 40.0)
        bare = min(max((value_noise(table, 0.5 * x + 80.0, 0.5 * y) - 0.7) * 5.0, 0.0), 0.8)
        r, g, b = light * (0.075 + 0.06 * dry), light * (0.1 + 0.02 * dry), light * 0.04
        return r + bare * (0.14 - r), g + bare * (0.11 - g), b + bare * (0.08 - b), 0.0
    grey = (0.2 + 0.1 * looks[4]) * (0.78 + 0.3 * wide + 0.12 * fine)
    grey *= 0.92 + 0.16 * cell_noise(table, int(math.floor(s / 1.2)), int(math.floor(left / 1.2)))
    if foot < 0.25 and (s % 1.2 < 0.02 + foot_s / 2 or left % 1.2 < 0.02 + foot_l / 2):
        grey *= 0.72
    return grey, grey * 0.97, grey * 0.91, 0.03


@njit(cache=True, inline="always")
def _slab_normal(slab: Floats, qx: float, qy: float, z: float) -> tuple[float, float, float]:
    """Return the normal of a slab's top, or of the side that a place below its top lies on."""
    if z > slab[2] + slab[5] + slab[8] * qx + slab[9] * qy - 0.008:
        nx, ny = -slab[8] * slab[6] + slab[9] * slab[7], -slab[8] * slab[7] - slab[9] * slab[6]
        norm = math.sqrt(nx * nx + ny * ny + 1.0)
        return nx / norm, ny / norm, 1.0 / norm
    if slab[3] - abs(qx) < slab[4] - abs(qy):
        turn = 1.0 if qx > 0 else -1.0
        return turn * slab[6], turn * slab[7], 0.0
    turn = 1.0 if qy > 0 else -1.0
    return -turn * slab[7], turn * slab[6], 0.0


@njit(cache=True)
def paint_ground(
    slabs: Floats,
    first_slab: int,
    materials: Ints,
    table: NDArray[np.float32],
    grid: Ints,
    grid_low: Floats,
    points: Floats,
    tangents: Floats,
    street_s: Floats,
    marks: Floats,
    looks: Floats,
    road_half: float,
    wet: float,
    origin: Floats,
    directions: Floats,
    depth: Floats,
    hit: Hits,
    pixel_rad: float,
    surface: NDArray[np.float32],
) -> None:
    """Fill the rows of surface (n, 8) of rays that hit the ground or a slab: colour, normal, glow, gloss.

    Slabs are the hits from first_slab on. marks (m, 3), one row a metre of street: s, the nearest crossing's s, 1 within a
    junction; looks (5,) numbers 0..1 of the scene; road_half half the width of the driven street; wet is 0 dry to 1 rain.
    """
    tone = 0.1 + 0.09 * looks[2]
    for p in range(len(depth)):
        what = hit[p]
        if what < 0 or (what > 0 and what < first_slab):
            continue
        material = materials[what]
        dx, dy, dz = directions[p, 0], directions[p, 1], directions[p, 2]
        length = math.sqrt(dx * dx + dy * dy + dz * dz)
        x, y = origin[0] + depth[p] * dx, origin[1] + depth[p] * dy
        nx, ny, nz = 0.0, 0.0, 1.0
        s, left, tx, ty = _street_place(x, y, grid, grid_low, points, tangents, street_s)
        if what >= first_slab:
            slab = slabs[what - first_slab]
            qx, qy = slab[6] * (x - slab[0]) + slab[7] * (y - slab[1]), slab[6] * (y - slab[1]) - slab[7] * (x - slab[0])
            nx, ny, nz = _slab_normal(slab, qx, qy, origin[2] + depth[p] * dz)
            if material == ASPHALT:  # a side street: its own middle, far from the marks of the driven one
                s, left, tx, ty = qx + slab[0] + slab[1], qy, slab[6], slab[7]
        across = depth[p] * length * pixel_rad
        along = across * length / max(abs(dx * nx + dy * ny + dz * nz), 0.02 * length)
        turn = abs(dx * tx + dy * ty) / max(math.hypot(dx, dy), 1e-9)
        foot_s, foot_l = along * turn + across * (1 - turn), across * turn + along * (1 - turn)
        foot_s, foot_l = max(foot_s, 0.004), max(foot_l, 0.004)
        foot = math.sqrt(across * along)
        off, gloss = abs(left), 0.0
        zone = ROAD if off < road_half else KERB_STONE if off < road_half + KERB_WIDTH and what == 0 else BESIDE
        zone = ROAD if material == ASPHALT else KERB_STONE if material == KERB else BESIDE if material == PAVEMENT else zone
        if zone == ROAD:
            grey = _asphalt(table, x, y, s, left, foot, tone)
            r, g, b = grey, grey * 0.985, grey * 0.96
            white, yellow = 0.0, 0.0
            if material == ASPHALT:
                white = 0.8 * _cover(left, 0.06, foot_l) * _cover(s % 6.0 - 1.5, 1.5, min(foot_s, 3.0))
            else:
                white, yellow = _paint_share(s, left, foot_s, foot_l, looks, marks, road_half)
            if white + yellow > 0.0:
                worn = value_noise(table, 1.3 * x, 1.3 * y) + 0.5 * value_noise(table, 7.0 * x, 7.0 * y)
                keep = min(max(2.0 - 1.15 * worn, 0.35), 0.95)
                white, yellow = white * keep, yellow * keep
                r = r + white * (0.58 - r) + yellow * (0.5 - r)
                g = g + white * (0.58 - g) + yellow * (0.33 - g)
                b = b + white * (0.56 - b) + yellow * (0.06 - b)
            if material != ASPHALT and off > road_half - 0.3:  # dirt lies in the gutter
                dirt = 0.8 * value_noise(table, 0.8 * x, 0.8 * y)
                r, g, b = r * (1 - 0.5 * dirt), g * (1 - 0.52 * dirt), b * (1 - 0.56 * dirt)
            gloss = 0.06
        elif zone == KERB_STONE:
            stone = 0.3 + 0.1 * value_noise(table, 2.0 * x, 2.0 * y)
            if looks[3] < 0.3 and foot_s < 2.0:
                stone = 0.06 if s % 2.0 < 1.0 else 0.55
            elif s % 1.5 < 0.03 and foot_s < 0.3:
                stone *= 0.5
            r, g, b = stone, stone * 0.98, stone * 0.93
        else:
            r, g, b, gloss = _beside(table, x, y, s, 7.5 if material == PAVEMENT else left, foot, foot_s, foot_l, looks)
        if wet > 0.0:
            low = value_noise(table, 0.21 * s, 0.55 * left) * 0.7 + 0.3 * value_noise(table, 1.1 * x, 1.1 * y)
            puddle = min(max((low - 0.56) * 9.0, 0.0), 1.0)
            dark = 1.0 - wet * (0.38 + 0.2 * puddle)
            r, g, b = r * dark, g * dark, b * dark
            gloss = wet * (0.3 + 0.65 * puddle) if zone == ROAD else wet * (0.25 if gloss > 0.0 else 0.0)
        row = surface[p]
        row[0], row[1], row[2] = r, g, b
        row[3], row[4], row[5] = nx, ny, nz
        row[6], row[7] = 0.0, gloss
