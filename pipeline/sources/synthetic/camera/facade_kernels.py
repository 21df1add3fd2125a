"""What houses look like: storeys and bays of windows that fit each wall, doors, shops, roofs, and five kinds of wall.

Looks are drawn a house from its place, so a house looks the same in every picture.
"""

# numba's decorator has no types
# mypy: disable-error-code="untyped-decorator"

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from pipeline.sources.synthetic.camera.surface_patterns import box_face, cell_noise, face_normal, value_noise
from pipeline.sources.synthetic.rigid import Floats, Hits, Ints

BUILDING = 1
GLASS_WALL, BRICK, PLASTER, BANDS = 0, 1, 2, 3


@njit(cache=True, inline="always")
def _wall(table: NDArray[np.float32], kind: int, along: float, up: float, foot: float, house: int) -> float:
    """Return how much lighter than its paint the wall is: bricks, slabs, stains that run down, dirt near the ground."""
    light = 0.82 + 0.3 * value_noise(table, 0.13 * along + house, 0.17 * up)
    light *= 0.93 + 0.14 * value_noise(table, 1.7 * along, 0.22 * up + house)
    if kind == BRICK and foot < 0.12:
        course = math.floor(up / 0.08)
        brick = cell_noise(table, int(math.floor(along / 0.25 + 0.5 * (course % 2))), int(course) + house)
        light *= 1.0 + 0.45 * (brick - 0.5) * (1.0 - foot / 0.12)
    elif kind == BANDS and foot < 0.5 and min(up % 1.2, along % 2.4) < 0.04 + foot / 2:
        light *= 0.8
    if foot < 0.2:
        light *= 0.95 + 0.1 * value_noise(table, 9.0 * along, 9.0 * up)
    return light * (0.72 + 0.28 * min(up / 1.1, 1.0))


@njit(cache=True)
def _window(
    table: NDArray[np.float32], along: float, half: float, up: float, top: float, house: int
) -> tuple[int, float, float, int, float, float]:
    """Return (what, u, v, number, width, height) at a place on a wall.

    what: 0 wall, 1 window, 2 door, 3 shop window, 4 fascia, 5 cornice.
    u, v are 0..1 inside the opening, number tells openings apart, width and height are the opening's in metres.
    """
    kind = cell_noise(table, house, 3)
    storey, bay = 2.8 + 1.1 * cell_noise(table, house, 4), 1.7 + 2.3 * cell_noise(table, house, 5)
    wide, high = 0.36 + 0.4 * cell_noise(table, house, 6), 0.42 + 0.22 * cell_noise(table, house, 7)
    if kind < 0.2:  # glass from slab to slab
        wide, high, bay = 0.94, 0.8, 1.5
    bays = max(math.floor(2.0 * half / bay), 1.0)
    width = 2.0 * half / bays
    column = min(max(math.floor((along + half) / width), 0.0), bays - 1.0)
    u = (along + half) / width - column
    ground = min(3.3 + 1.2 * cell_noise(table, house, 8), max(top - 0.6, 2.2))
    if up > top - 0.45:
        return 5, u, 0.0, 0, width, storey
    if up < ground:
        is_shop = cell_noise(table, house, 9) > 0.6
        number = int(column) + 1000
        if is_shop:
            if up > ground - 0.65:
                return 4, u, (up - ground + 0.65) / 0.65, number, width, 0.65
            if 0.035 < u < 0.965 and 0.35 < up < ground - 0.75:
                return 3, (u - 0.035) / 0.93, (up - 0.35) / (ground - 1.1), number, 0.93 * width, ground - 1.1
            return 0, u, 0.0, number, width, ground
        if cell_noise(table, house + int(column) * 5, 10) > 0.8:
            share = 0.52 / width
            if abs(u - 0.5) < share and up < 2.25:
                return 2, (u - 0.5 + share) / (2 * share), up / 2.25, number, 1.04, 2.25
            return 0, u, 0.0, number, width, ground
        v = (up - 0.9) / (ground - 1.5)
        if abs(u - 0.5) < wide / 2 and 0.0 < v < 1.0:
            return 1, (u - 0.5) / wide + 0.5, v, number, wide * width, ground - 1.5
        return 0, u, v, number, width, ground
    storeys = max(math.floor((top - 0.6 - ground) / storey), 1.0)
    tall = (top - 0.5 - ground) / storeys
    row = min(math.floor((up - ground) / tall), storeys - 1.0)
    v = (up - ground) / tall - row
    number = int(row) * 40 + int(column)
    low = 0.5 - high / 2 if kind >= 0.2 else 0.16
    if abs(u - 0.5) < wide / 2 and low < v < low + high:
        return 1, (u - 0.5) / wide + 0.5, (v - low) / high, number, wide * width, high * tall
    return 0, u, v, number, width, tall


@njit(cache=True)
def paint_facades(
    boxes: Floats,
    materials: Ints,
    colours: Floats,
    table: NDArray[np.float32],
    origin: Floats,
    directions: Floats,
    depth: Floats,
    hit: Hits,
    pixel_rad: float,
    is_night: bool,
    buried_m: float,
    surface: NDArray[np.float32],
) -> None:
    """Fill the rows of surface (n, 8) of rays that hit a house: colour, normal, glow, gloss.

    buried_m: how far houses go on below the ground at their middle.
    """
    for p in range(len(depth)):
        what = hit[p]
        if what < 1 or materials[what] != BUILDING or what > len(boxes):
            continue
        box = boxes[what - 1]
        dx, dy, dz = directions[p, 0], directions[p, 1], directions[p, 2]
        length = math.sqrt(dx * dx + dy * dy + dz * dz)
        x, y, z = origin[0] + depth[p] * dx, origin[1] + depth[p] * dy, origin[2] + depth[p] * dz
        face, qx, qy, qz = box_face(box, x, y, z)
        nx, ny, nz = face_normal(box, face)
        facing = max(abs(dx * nx + dy * ny + dz * nz) / length, 0.05)
        foot = depth[p] * length * pixel_rad / math.sqrt(facing)
        house = int(abs(box[0]) * 10.0) + 7 * int(abs(box[1]) * 10.0)
        r, g, b = colours[what, 0] ** 2, colours[what, 1] ** 2, colours[what, 2] ** 2
        glow, gloss = 0.0, 0.0
        if face >= 4:
            grey = 0.12 + 0.08 * value_noise(table, 0.6 * x, 0.6 * y)
            r, g, b = grey, grey, grey
        else:
            along, half = (qy, box[4]) if face < 2 else (qx, box[3])
            up, top = qz + box[5] - buried_m, 2.0 * box[5] - buried_m
            kind = cell_noise(table, house, 3)
            look = GLASS_WALL if kind < 0.2 else BRICK if kind < 0.5 else PLASTER if kind < 0.8 else BANDS
            light = _wall(table, look, along, up, foot, house)
            r, g, b = r * light, g * light, b * light
            part, u, v, number, width, height = _window(table, along, half, up, top, house)
            edge = min(min(u, 1.0 - u) * width, min(v, 1.0 - v) * height)
            if part == 1 or part == 3:
                frame = 0.06 if part == 1 else 0.08
                lottery = cell_noise(table, house * 3 + number, number * 7 + face)
                bars = abs(u - 0.5) * width if lottery > 0.4 and part == 1 else 1.0
                if edge < frame or bars < 0.025:
                    tone = 0.5 if cell_noise(table, house, 11) > 0.5 else 0.06
                    r, g, b = tone, tone, tone
                else:
                    inside = 0.02 + 0.05 * lottery
                    if part == 3:  # goods behind the pane
                        inside = 0.02 + 0.16 * value_noise(table, 2.3 * along + house, 1.9 * up) ** 2
                    elif lottery > 0.62 and v > 1.0 - 1.4 * (lottery - 0.62) / 0.38:
                        inside = 0.28  # blind
                    if v > 1.0 - 0.16 / height:
                        inside *= 0.5  # shadow of the lintel
                    r, g, b = inside, inside, inside * 0.97
                    gloss = 0.4
                    is_lit = is_night and (lottery * 13.7 % 1.0) < (0.22 if part == 1 else 0.5)
                    if is_lit:
                        warm = lottery * 57.3 % 1.0
                        power = (0.05 + 0.5 * (lottery * 31.9 % 1.0) ** 3) * (2.0 if part == 3 else 1.0)
                        power *= 0.45 + 0.75 * value_noise(table, 1.5 * along, 1.2 * up + house)
                        glow, gloss = power, 0.15
                        r, g, b = 1.0, 0.62 + 0.36 * warm, 0.26 + 0.74 * warm * warm
            elif part == 2:
                tone = cell_noise(table, house, number)
                panel = 0.75 if 0.15 < u < 0.85 and (v % 0.5) > 0.08 else 1.0
                r, g, b = (0.05 + 0.2 * tone) * panel, (0.05 + 0.1 * tone) * panel, (0.06 + 0.06 * (1 - tone)) * panel
                if edge < 0.07:
                    r, g, b = 0.4, 0.39, 0.37
            elif part == 4:  # a fascia with letters
                tone = cell_noise(table, house + number // 3, 12)
                r, g, b = 0.05 + 0.35 * tone, 0.05 + 0.3 * (tone * 7.3 % 1.0), 0.05 + 0.3 * (tone * 3.1 % 1.0)
                letter = cell_noise(table, int(math.floor(along / 0.22)), house) > 0.4 and 0.25 < v < 0.75 and 0.2 < u < 0.8
                if letter:
                    r, g, b = 0.6, 0.58, 0.5
                if is_night and tone > 0.55:
                    glow = 0.3
            elif part == 5 and top - up > 0.3:
                r, g, b = r * 0.55, g * 0.55, b * 0.55  # shadow of the cornice
            elif look == BANDS and v > 0.86:
                r, g, b = r * 1.35, g * 1.35, b * 1.33
        row = surface[p]
        row[0], row[1], row[2] = r, g, b
        row[3], row[4], row[5] = nx, ny, nz
        row[6], row[7] = glow, gloss
