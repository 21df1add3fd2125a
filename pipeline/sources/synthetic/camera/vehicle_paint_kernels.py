"""What vehicles look like: panels, windows, lights, wheels and number plates drawn on their boxes.

A car is two boxes, so its faces are shaded as if they were bulged: the normal leans up and outwards.
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

CAR_BODY, CAR_CABIN, TRUCK, TYRE = 4, 5, 6, 11
PARKED = 4
HEADLIGHT, TAIL_LIGHT = 40.0, 3.0


@njit(cache=True)
def _wheel(along: float, up: float, radius: float) -> float:
    """Return the grey of a wheel at a place from its hub, -1 outside."""
    off = math.sqrt(along * along + up * up) / radius
    if off > 1.0:
        return -1.0
    if off > 0.66:
        return 0.018
    spoke = math.cos(5.0 * math.atan2(up, along))
    return 0.32 if spoke > 0.1 or off > 0.58 or off < 0.18 else 0.04


@njit(cache=True)
def _body(
    table: NDArray[np.float32],
    box: Floats,
    face: int,
    qx: float,
    qy: float,
    qz: float,
    foot: float,
    number: int,
    has_wheels: bool,
) -> tuple[int, float]:
    """Return (what, grey) on a car's body.

    what: 0 paint, times grey; 1 grey: dark or rim; 2 headlight; 3 tail light; 4 number plate, times grey.
    """
    half_l, half_w, up = box[3], box[4], qz + box[5]
    low_light, high_light = (0.25, 0.45) if box[5] > 0.6 else (0.95 * box[5], 1.5 * box[5])
    if face >= 4:
        seam = abs(abs(qx) - 0.56 * half_l) < 0.012 + foot / 2 and foot < 0.06
        return 0, (0.6 if seam else 1.0)
    if face >= 2:
        if not has_wheels:
            low = qz + 0.25
            along = abs(qx) - 0.62 * half_l
            wheel = _wheel(along, low, 0.31)
            if wheel >= 0.0:
                return 1, wheel
            if along * along + low * low < 0.14:
                return 1, 0.015
        if up < 0.1:
            return 1, 0.03
        for door in (-0.33, 0.08, 0.44):
            if abs(qx - door * half_l) < 0.008 + foot / 3 and foot < 0.05:
                return 0, 0.5
        if abs(qz - 0.18) < 0.02 and (abs(qx - 0.02 * half_l) < 0.09 or abs(qx + 0.38 * half_l) < 0.09):
            return 0, 0.6
        if low_light < up < high_light and abs(qx) > 0.93 * half_l:
            return (2, 1.0) if qx > 0 else (3, 1.0)
        return 0, 1.0
    share = abs(qy) / half_w
    if share < 0.26 / half_w and -0.16 < qz < -0.04:
        letter = (
            abs(qy) < 0.22 and abs(qz + 0.1) < 0.035 and cell_noise(table, int(math.floor(qy / 0.05)) + number * 9, number) > 0.35
        )
        return 4, (0.1 if letter and foot < 0.05 else 1.0)
    if share > 0.62 and low_light < up < high_light:
        return (2, 1.0) if face == 0 else (3, 1.0)
    if face == 0 and share < 0.55 and low_light < up < high_light:
        return 1, (0.02 if up % 0.05 < 0.03 or foot > 0.03 else 0.2)
    if up < 0.16:
        return 1, 0.035
    if abs(qz + 0.01) < 0.01 + foot / 3 and foot < 0.05:
        return 0, 0.5
    return 0, 1.0


@njit(cache=True)
def paint_vehicles(
    boxes: Floats,
    materials: Ints,
    colours: Floats,
    surfaces: NDArray[np.uint8],
    owners: Ints,
    table: NDArray[np.float32],
    has_wheels: bool,
    paints: Floats,
    origin: Floats,
    directions: Floats,
    depth: Floats,
    hit: Hits,
    pixel_rad: float,
    is_night: bool,
    surface: NDArray[np.float32],
) -> None:
    """Fill the rows of surface (n, 8) of rays that hit part of a car or truck: colour, normal, glow, gloss.

    has_wheels tells that wheels are pieces of their own; otherwise they are drawn on the body. paints (owners, 3): colour of
    each owner's body, linear.
    """
    for p in range(len(depth)):
        what = hit[p]
        if what < 1 or what > len(boxes):
            continue
        material = materials[what]
        if material != CAR_BODY and material != CAR_CABIN and material != TRUCK and material != TYRE:
            continue
        box = boxes[what - 1]
        dx, dy, dz = directions[p, 0], directions[p, 1], directions[p, 2]
        length = math.sqrt(dx * dx + dy * dy + dz * dz)
        foot = depth[p] * length * pixel_rad
        face, qx, qy, qz = box_face(box, origin[0] + depth[p] * dx, origin[1] + depth[p] * dy, origin[2] + depth[p] * dz)
        nx, ny, nz = face_normal(box, face)
        r, g, b = colours[what, 0] ** 2, colours[what, 1] ** 2, colours[what, 2] ** 2
        glow, gloss = 0.0, 0.3
        number = owners[what] + 1
        is_on = surfaces[what] != PARKED
        if material == TYRE:
            grey = _wheel(qx, qz, max(box[3], box[5])) if 2 <= face < 4 and box[3] < 0.6 else 0.02
            r = g = b = grey if grey >= 0.0 else 0.012
            gloss = 0.0
            if grey < 0.0 and qz > 0.0 and owners[what] >= 0:  # corners of the octagon look like the wheel arch
                r, g, b = 0.5 * paints[owners[what], 0], 0.5 * paints[owners[what], 1], 0.5 * paints[owners[what], 2]
        elif material == TRUCK and box[5] < 0.3:
            gloss = 0.25  # a car's roof
        elif material == TRUCK:
            gloss = 0.08
            light = 0.85 + 0.25 * value_noise(table, 0.8 * qx + number, 0.5 * qz)
            if face < 4:
                rib = qx % 0.6 < 0.03 + foot / 2 if face >= 2 else abs(qy) < 0.02 + foot / 2
                light *= 0.75 if rib and foot < 0.15 else 1.0
                if face >= 2 and abs(qz - 0.15 * box[5]) < 0.4 and abs(qx) < 0.6 * box[3]:
                    tone = cell_noise(table, number, 17)
                    stripe = cell_noise(table, int(math.floor(qx / 0.35)), number) > 0.35 or abs(qz - 0.15 * box[5]) > 0.3
                    if stripe:
                        r, g, b = 0.05 + 0.3 * tone, 0.06 + 0.1 * (tone * 5.0 % 1.0), 0.1 + 0.3 * (1.0 - tone)
                if face == 1 and qz < -box[5] + 0.35:
                    r, g, b = 0.06, 0.06, 0.06
                    if abs(qy) > 0.72 * box[4]:
                        r, g, b = 0.35, 0.02, 0.015
                        if is_on and is_night:
                            r, g, b, glow = 1.0, 0.05, 0.03, TAIL_LIGHT
            if glow == 0.0:
                r, g, b = r * light, g * light, b * light
        elif material == CAR_CABIN:
            is_glass = face < 4 and qz < 0.72 * box[5] and qz > -0.92 * box[5]
            if face >= 2 and face < 4 and (abs(qx) > 0.9 * box[3] or abs(qx + 0.08 * box[3]) < 0.05):
                is_glass = False
            if face < 2 and abs(qy) > 0.9 * box[4]:
                is_glass = False
            lean = 0.5 if face < 2 else 0.25
            nx, ny, nz = nx, ny, lean
            if face >= 4:
                nx, ny, nz = 0.0, 0.0, 1.0
            if is_glass:
                seat = value_noise(table, 3.0 * qx + number, 3.0 * qz + 2.0 * qy)
                r = g = b = 0.012 + 0.05 * seat * seat
                gloss = 0.4
        else:
            part, grey = _body(table, box, face, qx, qy, qz, foot, number, has_wheels)
            if part == 0:
                r, g, b = r * grey, g * grey, b * grey
                dirt = max(-qz / box[5], 0.0) * 0.35 * value_noise(table, 1.1 * qx + number, 2.0 * qz)
                r, g, b = r + dirt * (0.1 - r), g + dirt * (0.09 - g), b + dirt * (0.075 - b)
            elif part == 1:
                r = g = b = grey
                gloss = 0.03
            elif part == 2:
                r, g, b = 0.6, 0.6, 0.62
                if is_on and (is_night or cell_noise(table, number, 5) > 0.7) and face == 0:
                    power = HEADLIGHT * max(-(dx * nx + dy * ny) / length, 0.0) ** 3 if is_night else 1.4
                    r, g, b, glow = 1.0, 0.95, 0.85, power
            elif part == 3:
                r, g, b = 0.28, 0.012, 0.01
                if is_on and is_night and face == 1:
                    r, g, b, glow = 1.0, 0.04, 0.02, TAIL_LIGHT
            else:
                r, g, b = 0.55 * grey, 0.55 * grey, 0.5 * grey
                gloss = 0.0
            if face < 4:
                lift, side = 0.55 * qz / box[5], 0.0
                if face < 2:
                    side = 0.5 * (qy / box[4]) ** 3
                    nx, ny, nz = nx - side * box[7], ny + side * box[6], lift
                else:
                    side = 0.4 * (qx / box[3]) ** 5
                    nx, ny, nz = nx + side * box[6], ny + side * box[7], lift
        norm = math.sqrt(nx * nx + ny * ny + nz * nz)
        row = surface[p]
        row[0], row[1], row[2] = r, g, b
        row[3], row[4], row[5] = nx / norm, ny / norm, nz / norm
        row[6], row[7] = glow, gloss
