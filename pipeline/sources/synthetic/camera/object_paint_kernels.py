"""What everything else looks like: people, leaves, poles, signs, fences, walls, hedges, barriers, cones, cycles, lamps.

Bars of a fence, gaps between leaves and between legs are drawn, not cut: depth stays that of the whole piece.
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

POLE, CROWN, PERSON, LAMP, TRUNK, GLASS = 2, 3, 7, 8, 9, 10
TYRE, SIGN, HEDGE, FENCE, WALL = 11, 12, 13, 14, 15
BARRIER, CONE, CYCLE, PLATE, OWN_CAR = 17, 18, 19, 20, 21
LAMP_POWER = 60.0


@njit(cache=True)
def _leaves(table: NDArray[np.float32], x: float, y: float, z: float, u: float, v: float, foot: float) -> float:
    """Return how light leaves are, 0..1: clumps in space, and single leaves at (u, v), metres across the line of sight."""
    clump = 0.5 * value_noise(table, 1.7 * x + 0.4 * y, 1.9 * z) + 0.5 * value_noise(table, 1.7 * y - 0.4 * x, 1.9 * z + 37.0)
    leaf = value_noise(table, 4.7 * u, 5.3 * v) if foot < 0.2 else 0.5
    small = value_noise(table, 13.0 * u + 3.0 * v, 14.0 * v - 2.0 * u) if foot < 0.06 else 0.5
    return min(max(0.5 + 0.8 * (clump - 0.5) + 0.45 * (leaf - 0.5) + 0.4 * (small - 0.5), 0.0), 1.0)


@njit(cache=True)
def _person(
    table: NDArray[np.float32], across: float, share: float, number: int, r: float, g: float, b: float
) -> tuple[float, float, float]:
    """Return the colour of a person's body: `across` -1..1 over its outline as seen, `share` 0..1 of its height."""
    pick, bare = cell_noise(table, number, 21), cell_noise(table, number, 22)
    fold = 0.8 + 0.35 * value_noise(table, 5.0 * across + number, 9.0 * share)
    if share < 0.035:
        return 0.03, 0.03, 0.03
    if share < 0.5:
        if abs(across) < 0.2 * (1.0 - share / 0.5) + 0.03:
            return 0.03, 0.03, 0.03  # between the legs
        if share < 0.3 and bare > 0.7:
            return 0.3, 0.2, 0.145
        if pick < 0.5:
            return 0.025 * fold, 0.035 * fold, 0.075 * fold
        if pick < 0.75:
            return 0.025 * fold, 0.025 * fold, 0.028 * fold
        return 0.2 * fold, 0.165 * fold, 0.11 * fold
    if 0.7 < abs(across) < 0.76:
        return 0.4 * r, 0.4 * g, 0.4 * b  # where the arm begins
    if abs(across) > 0.76 and share < 0.72 and bare > 0.35:
        return 0.3, 0.2, 0.145
    return r * fold, g * fold, b * fold


@njit(cache=True)
def _fence(table: NDArray[np.float32], along: float, up: float, top: float, foot: float, number: int) -> float:
    """Return the grey of a fence: rails, posts, bars or boards; -1 in a gap."""
    if abs(up - 0.12) < 0.03 or abs(up - top + 0.05) < 0.04 or abs((along + 500.0) % 2.4 - 1.2) < 0.04:
        return 1.0
    is_boards = cell_noise(table, number, 31) > 0.6
    if is_boards:
        return 0.85 + 0.3 * cell_noise(table, int(math.floor(along / 0.14)), number) if (along + 500.0) % 0.14 > 0.015 else 0.3
    if foot > 0.06:
        return 0.35 if foot > 0.12 else -1.0
    return 1.0 if (along + 500.0) % 0.13 < 0.022 + foot / 3 else -1.0


@njit(cache=True)
def _sign(
    table: NDArray[np.float32], u: float, v: float, number: int, foot: float, r: float, g: float, b: float
) -> tuple[float, float, float]:
    """Return the colour of a sign's front of a given base colour at u, v, -1..1 over its width and height."""
    is_light = r + g + b > 0.75
    mark = (
        (0.45, 0.03, 0.03)
        if is_light and cell_noise(table, number, 41) > 0.5
        else (0.02, 0.02, 0.02)
        if is_light
        else (0.6, 0.6, 0.58)
    )
    border = 0.86 < max(abs(u), abs(v)) < 0.95
    glyph = cell_noise(table, int(math.floor(u * 7.0)), int(math.floor(v * 2.6)) + number) > 0.35
    glyph = glyph and abs(u) < 0.75 and abs(v) < 0.8 and (abs(v) % 0.38) < 0.2
    return mark if border or (glyph and foot < 0.12) else (r, g, b)


@njit(cache=True)
def _box_look(
    table: NDArray[np.float32], material: int, box: Floats, face: int, qx: float, qy: float, qz: float, foot: float, number: int,
    r: float, g: float, b: float,
) -> tuple[float, float, float, float]:  # fmt: skip
    """Return colour and gloss of a box that is neither house nor vehicle."""
    along, half = (qy, box[4]) if face < 2 else (qx, box[3])
    up, top = qz + box[5], 2.0 * box[5]
    if material == WALL:
        light = (0.78 + 0.3 * value_noise(table, 0.5 * along + number, 0.5 * up)) * (0.75 + 0.25 * min(up / 0.6, 1.0))
        if face >= 4 or up > top - 0.12:
            return 0.3, 0.29, 0.27, 0.0
        if cell_noise(table, number, 51) > 0.5 and foot < 0.12:
            course = math.floor(up / 0.08)
            light *= 0.75 + 0.5 * cell_noise(table, int(math.floor(along / 0.25 + 0.5 * (course % 2))), int(course))
        return r * light, g * light, b * light, 0.0
    if material == FENCE and box[5] < 0.2:  # one rail
        light = 0.8 + 0.3 * value_noise(table, 1.5 * along, 8.0 * up + number)
        return r * light, g * light, b * light, 0.0
    if material == FENCE:
        grey = _fence(table, along, up, top, foot, number)
        if grey < 0.0:
            return 0.05, 0.055, 0.04, 0.0
        return r * grey, g * grey, b * grey, 0.02
    if material == BARRIER and box[5] < 0.25 and r + g + b > 0.1:  # a board with slanted stripes
        return (0.5, 0.05, 0.03, 0.06) if (along + up + 500.0) % 0.7 < 0.35 else (0.58, 0.57, 0.55, 0.06)
    if material == BARRIER and box[5] < 0.35:
        return r, g, b, 0.02
    if material == BARRIER:
        block = math.floor((along + 500.0) / 1.0)
        shade = 0.8 + 0.25 * value_noise(table, 1.7 * along, 2.3 * up + number)
        if (along + 500.0) % 1.0 < 0.03 + foot / 2 or up < 0.08:
            return 0.05, 0.05, 0.05, 0.0
        if block % 2 == 0:
            return 0.42 * shade, 0.05 * shade, 0.03 * shade, 0.06
        return 0.55 * shade, 0.54 * shade, 0.52 * shade, 0.06
    if material == SIGN:
        if (face >= 2 and box[3] < box[4]) or (face < 2 and box[3] >= box[4]) or face >= 4:
            return 0.2, 0.2, 0.2, 0.05
        if (cell_noise(table, number, 42) > 0.6) != (face == 0 or face == 2):
            return 0.22, 0.22, 0.22, 0.05  # the back
        if r + g + b < 0.05 and box[5] < 0.7:  # traffic lights
            light = 2 - int(math.floor((qz / box[5] + 1.0) * 1.4999))
            ring = (along * along + (qz - (1 - light) * 0.667 * box[5]) ** 2) / (0.3 * box[5]) ** 2
            is_lit = light == (0 if cell_noise(table, number, 43) < 0.5 else 2)
            if ring < 1.0 and is_lit:
                return (-0.9, 0.06, 0.03, 0.0) if light == 0 else (-0.05, 0.8, 0.45, 0.0)
            return (0.05, 0.05, 0.05, 0.0) if ring < 1.0 else (0.015, 0.015, 0.015, 0.0)
        sr, sg, sb = _sign(table, along / half, qz / box[5], number, foot, r, g, b)
        return sr, sg, sb, 0.05
    if material == PLATE:
        is_letter = abs(along) < 0.8 * half and abs(qz) < 0.5 * box[5]
        is_letter = is_letter and cell_noise(table, int(math.floor(along / 0.05)), number) > 0.4
        grey = 0.05 if is_letter and foot < 0.04 else 0.55
        return grey, grey, 0.9 * grey, 0.05
    if material == GLASS:
        inside = 0.015 + 0.04 * value_noise(table, 2.0 * along + number, 2.0 * qz)
        return inside, inside, inside, 0.5
    if material == CYCLE:
        return r, g, b, 0.12
    return r, g, b, 0.04


@njit(cache=True)
def paint_objects(
    boxes: Floats,
    cylinders: Floats,
    ellipsoids: Floats,
    materials: Ints,
    colours: Floats,
    owners: Ints,
    table: NDArray[np.float32],
    origin: Floats,
    directions: Floats,
    depth: Floats,
    hit: Hits,
    pixel_rad: float,
    is_night: bool,
    is_detailed: bool,
    lamp_tint: Floats,
    surface: NDArray[np.float32],
) -> None:
    """Fill the rows of surface (n, 8) of rays that hit neither ground, house nor vehicle.

    Columns: colour, normal, glow, gloss. is_detailed: people are built of parts with colours of their own.
    """
    num_boxes, num_cylinders = len(boxes), len(cylinders)
    for p in range(len(depth)):
        what = hit[p]
        if what < 1:
            continue
        material = materials[what]
        is_box, is_cylinder = what <= num_boxes, num_boxes < what <= num_boxes + num_cylinders
        if material <= 1 or material == 16 or (is_box and (4 <= material <= 6 or material == TYRE)):
            continue
        if not is_box and not is_cylinder and what > num_boxes + num_cylinders + len(ellipsoids):
            continue
        dx, dy, dz = directions[p, 0], directions[p, 1], directions[p, 2]
        length = math.sqrt(dx * dx + dy * dy + dz * dz)
        x, y, z = origin[0] + depth[p] * dx, origin[1] + depth[p] * dy, origin[2] + depth[p] * dz
        foot = depth[p] * length * pixel_rad
        number = owners[what] + 1 if owners[what] >= 0 else what
        r, g, b = colours[what, 0] ** 2, colours[what, 1] ** 2, colours[what, 2] ** 2
        glow, gloss = 0.0, 0.0
        nx, ny, nz, u, v = 0.0, 0.0, 1.0, 0.0, 0.0
        if is_box:
            box = boxes[what - 1]
            face, qx, qy, qz = box_face(box, x, y, z)
            nx, ny, nz = face_normal(box, face)
            u, v = (qx, qy) if face >= 4 else (qy, qz) if face < 2 else (qx, qz)
            if owners[what] < 0:
                number = int(abs(box[0]) * 10.0) + 7 * int(abs(box[1]) * 10.0)
            if material != HEDGE and material != CROWN and material != LAMP:
                r, g, b, gloss = _box_look(table, material, box, face, qx, qy, qz, foot, number, r, g, b)
                if r < 0.0:  # a light of its own
                    r = -r
                    glow = 6.0 if is_night else 1.5
        elif is_cylinder:
            c = cylinders[what - 1 - num_boxes]
            nx, ny, nz = (x - c[0]) / c[2], (y - c[1]) / c[2], 0.0
            level = max(math.hypot(dx, dy), 1e-9)
            across, share = (nx * dy - ny * dx) / level, (z - c[3]) / max(c[4] - c[3], 1e-3)
            if material == PERSON and is_detailed:
                fold = 0.75 + 0.5 * value_noise(table, 3.0 * across + number, 7.0 * share)
                r, g, b = (0.03, 0.03, 0.03) if share < 0.1 else (r * fold, g * fold, b * fold)
            elif material == PERSON:
                r, g, b = _person(table, across, share, number, r, g, b)
            elif material == CONE:
                shine = 0.35 < share < 0.55 or 0.7 < share < 0.85
                r, g, b = (0.6, 0.6, 0.6) if shine else (0.55, 0.12, 0.02)
                r, g, b = (0.03, 0.03, 0.03) if share < 0.06 else (r, g, b)
            elif material == BARRIER:
                r, g, b = (0.45, 0.05, 0.03) if (share * 4.0) % 2.0 < 1.0 else (0.6, 0.6, 0.58)
            elif material == TRUNK:
                bark = value_noise(table, 9.0 * across + 40.0 * c[0], 1.5 * z) if foot < 0.1 else 0.5
                r, g, b = r * (0.6 + 0.8 * bark), g * (0.6 + 0.8 * bark), b * (0.6 + 0.8 * bark)
            elif material == POLE:
                gloss = 0.08
                if share < 0.1:
                    r, g, b = r * 0.7, g * 0.7, b * 0.7
        else:
            e = ellipsoids[what - 1 - num_boxes - num_cylinders]
            nx, ny, nz = (x - e[0]) / e[3] ** 2, (y - e[1]) / e[3] ** 2, (z - e[2]) / e[4] ** 2
            norm = math.sqrt(nx * nx + ny * ny + nz * nz)
            nx, ny, nz = nx / norm, ny / norm, nz / norm
            u, v = ((x - e[0]) * dy - (y - e[1]) * dx) / max(math.hypot(dx, dy), 1e-9) + 17.0 * what, z
            if material == PERSON:
                tint, hair = cell_noise(table, number, 23), cell_noise(table, number, 24)
                if not is_detailed:
                    r, g, b = 0.12 + 0.3 * tint, 0.08 + 0.2 * tint, 0.055 + 0.15 * tint
                if nz > 0.25 + 0.3 * hair or nx * math.cos(6.3 * hair) + ny * math.sin(6.3 * hair) > 0.3:
                    r, g, b = 0.03, 0.022, 0.016
        if material in (CROWN, HEDGE):
            light = _leaves(table, x, y, z, u, v, foot)
            rim = abs(nx * dx + ny * dy + nz * dz) / length
            tone = 0.45 + 1.9 * light * light + 0.3 * light
            grey = (r + g + b) / 3.0  # real leaves are duller than the colours of the pieces
            r, g, b = (0.6 * r + 0.4 * grey + 0.004) * tone, (0.42 * g + 0.45 * grey) * tone, (0.6 * b + 0.3 * grey) * tone
            if rim < 0.65 and value_noise(table, 3.7 * u + 50.0, 3.9 * v) > 0.28 + 0.9 * rim:
                glow = -1.0  # may be a gap: see fray_leaves
            nx, ny, nz = nx + 1.8 * (light - 0.5), ny + 1.4 * (0.5 - light), nz + 1.2 * (light - 0.4)
            norm = math.sqrt(nx * nx + ny * ny + nz * nz)
            nx, ny, nz = nx / norm, ny / norm, nz / norm
        elif material == LAMP:
            r, g, b = 0.3, 0.3, 0.3
            if is_night and nz < 0.5:
                r, g, b, glow = lamp_tint[0], lamp_tint[1], lamp_tint[2], LAMP_POWER
        row = surface[p]
        row[0], row[1], row[2] = r, g, b
        row[3], row[4], row[5] = nx, ny, nz
        row[6], row[7] = glow, gloss
