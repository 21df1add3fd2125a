"""Light on every pixel: sun and sky by day, lamps and headlights by night, mirror images in panes, haze, the sky itself.

Works on a table of what each pixel shows, surface (n, 8): colour 0..1 (reflectance, linear), unit normal, glow (light of
its own, times its colour; negative where leaves may have a gap), gloss 0..1. Results are linear light; white paper under
the open sky alone is 1. Exposure comes later.
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

CONTACT_CELL_M = 0.25
CONTACT_CELLS = 560
LAMP_CELL_M = 8.0
LAMP_CELLS = 40
LAMPS_A_CELL = 6
LAMP_RANGE_M = 30.0


@njit(cache=True, inline="always")
def sky_light(table: NDArray[np.float32], sky: Floats, dx: float, dy: float, dz: float) -> tuple[float, float, float]:
    """Return the sky's light in a unit direction.

    sky (16,): 0-2 colour overhead, 3-5 colour at the horizon, 6-8 colour of clouds, 9 share of clouds, 10-12 direction of
    the sun, 13 its glow, 14-15 where the clouds are.
    """
    up = max(dz, 0.0)
    low = (1.0 - up) ** 3
    r, g, b = sky[0] + (sky[3] - sky[0]) * low, sky[1] + (sky[4] - sky[1]) * low, sky[2] + (sky[5] - sky[2]) * low
    if sky[9] > 0.0:
        far = 1.0 / (up + 0.12)
        u, v = 1.1 * dx * far + sky[14], 1.1 * dy * far + sky[15]
        cloud = 0.55 * value_noise(table, u, v) + 0.28 * value_noise(table, 2.3 * u, 2.3 * v)
        cloud += 0.17 * value_noise(table, 5.1 * u, 5.1 * v)
        share = min(max((cloud - 1.0 + sky[9]) * 5.0, 0.0), 1.0)
        light = 0.72 + 0.5 * cloud
        r, g, b = r + share * (sky[6] * light - r), g + share * (sky[7] * light - g), b + share * (sky[8] * light - b)
    near = dx * sky[10] + dy * sky[11] + dz * sky[12]
    if near > 0.6:
        wide = near * near
        wide = wide * wide
        wide = wide * wide  # near to the power of 8
        small = wide * wide * wide
        small = small * small
        glow = sky[13] * (0.35 * wide + 2.5 * small * small)
        r, g, b = r + glow, g + 0.95 * glow, b + 0.85 * glow
    return r, g, b


@njit(cache=True)
def contact_map(
    boxes: Floats, cylinders: Floats, reaches: Floats, darks: Floats, low_x: float, low_y: float
) -> NDArray[np.float32]:
    """Return how much of the sky is hidden near what stands on the ground, on a grid of cells from (low_x, low_y).

    reaches (n,) metres and darks (n,) 0..1 say how far and how strongly each box, then each cylinder, darkens the ground.
    """
    out = np.zeros((CONTACT_CELLS, CONTACT_CELLS), np.float32)
    for i in range(len(boxes) + len(cylinders)):
        if darks[i] <= 0.0:
            continue
        reach = reaches[i]
        if i < len(boxes):
            box = boxes[i]
            x, y, cosine, sine, half_x, half_y = box[0], box[1], box[6], box[7], box[3], box[4]
        else:
            c = cylinders[i - len(boxes)]
            x, y, cosine, sine, half_x, half_y = c[0], c[1], 1.0, 0.0, 0.7 * c[2], 0.7 * c[2]
        span_x = abs(cosine) * half_x + abs(sine) * half_y + reach
        span_y = abs(sine) * half_x + abs(cosine) * half_y + reach
        first_x, last_x = int((x - span_x - low_x) / CONTACT_CELL_M), int((x + span_x - low_x) / CONTACT_CELL_M)
        first_y, last_y = int((y - span_y - low_y) / CONTACT_CELL_M), int((y + span_y - low_y) / CONTACT_CELL_M)
        for cy in range(max(first_y, 0), min(last_y, CONTACT_CELLS - 1) + 1):
            for cx in range(max(first_x, 0), min(last_x, CONTACT_CELLS - 1) + 1):
                px, py = low_x + (cx + 0.5) * CONTACT_CELL_M - x, low_y + (cy + 0.5) * CONTACT_CELL_M - y
                gap_x = max(abs(cosine * px + sine * py) - half_x, 0.0)
                gap_y = max(abs(cosine * py - sine * px) - half_y, 0.0)
                gap = 1.0 - math.sqrt(gap_x * gap_x + gap_y * gap_y) / reach
                if gap > 0.0:
                    out[cy, cx] = max(out[cy, cx], darks[i] * gap * gap)
    return out


@njit(cache=True)
def lamp_grid(lamps: Floats, low_x: float, low_y: float) -> Ints:
    """Return the numbers of the nearest lamps (cells, cells, 6) that reach into each cell of a grid, nearest first, -1 for none.

    The grid begins at (low_x, low_y).
    """
    out = np.full((LAMP_CELLS, LAMP_CELLS, LAMPS_A_CELL), -1, np.int64)
    nearest = np.empty(LAMPS_A_CELL)
    for cy in range(LAMP_CELLS):
        for cx in range(LAMP_CELLS):
            x, y = low_x + (cx + 0.5) * LAMP_CELL_M, low_y + (cy + 0.5) * LAMP_CELL_M
            nearest[:] = LAMP_RANGE_M + 0.7 * LAMP_CELL_M
            for i in range(len(lamps)):
                distance, number = math.hypot(lamps[i, 0] - x, lamps[i, 1] - y), i
                for k in range(LAMPS_A_CELL):
                    if distance < nearest[k]:
                        distance, nearest[k] = nearest[k], distance
                        number, out[cy, cx, k] = out[cy, cx, k], number
    return out


@njit(cache=True, inline="always")
def _lamp_light(lamp: Floats, x: float, y: float, z: float, nx: float, ny: float, nz: float) -> float:
    """Return the light of one lamp on a surface: a lantern shines down, a headlight into a flat cone."""
    vx, vy, vz = lamp[0] - x, lamp[1] - y, lamp[2] - z
    square = vx * vx + vy * vy + vz * vz
    if square > LAMP_RANGE_M * LAMP_RANGE_M:
        return 0.0
    distance = math.sqrt(square) + 1e-6
    facing = (vx * nx + vy * ny + vz * nz) / distance
    facing = max(0.15 + 0.85 * facing, 0.0)
    beam = -(vx * lamp[3] + vy * lamp[4] + vz * lamp[5]) / distance
    shape = max(beam, 0.0) + 0.04 if lamp[9] < 0.5 else max((beam - 0.8) * 5.0, 0.0) ** 2
    fade = 1.0 - square / (LAMP_RANGE_M * LAMP_RANGE_M)
    return float(facing * shape * fade / (square + 2.0))


@njit(cache=True)
def light_pixels(
    table: NDArray[np.float32],
    sky: Floats,
    sun_colour: Floats,
    ambient: Floats,
    sunlit: NDArray[np.float32],
    contact: NDArray[np.float32],
    contact_low: Floats,
    lamps: Floats,
    lamps_near: Ints,
    lamps_low: Floats,
    beam: Floats,
    haze_m: float,
    is_night: bool,
    origin: Floats,
    ground_m: float,
    directions: Floats,
    depth: Floats,
    hit: Hits,
    surface: NDArray[np.float32],
    materials: Ints,
    out: NDArray[np.float32],
    marks: NDArray[np.float32],
) -> None:
    """Write the linear light (n, 3) of every pixel to out, and to marks (n,) the gloss of flat ground, -1 for a gap of leaves.

    beam (4,): where the own headlights point, and their strength; lamps (k, 10): place, direction, colour, 1 for a headlight.
    """
    ambient_r, ambient_g, ambient_b = ambient[0], ambient[1], ambient[2]
    bounce = 0.16 * (ambient_g + 0.5 * sun_colour[1])
    for p in range(len(depth)):
        dx, dy, dz = directions[p, 0], directions[p, 1], directions[p, 2]
        length = math.sqrt(dx * dx + dy * dy + dz * dz)
        dx, dy, dz = dx / length, dy / length, dz / length
        if hit[p] < 0:
            r, g, b = sky_light(table, sky, dx, dy, dz)
            out[p, 0], out[p, 1], out[p, 2], marks[p] = r, g, b, 0.0
            continue
        distance = depth[p] * length
        x, y, z = origin[0] + distance * dx, origin[1] + distance * dy, origin[2] + distance * dz
        row = surface[p]
        nx, ny, nz = float(row[3]), float(row[4]), float(row[5])
        above = z - ground_m
        open_sky = 0.5 + 0.5 * nz
        material = materials[hit[p]]
        is_ground = nz > 0.9 and (material == 0 or material == 16 or material >= 22)
        marks[p] = -1.0 if row[6] < 0.0 else row[7] if is_ground else 0.0
        if is_ground:
            cx, cy = (x - contact_low[0]) / CONTACT_CELL_M - 0.5, (y - contact_low[1]) / CONTACT_CELL_M - 0.5
            if 0.0 <= cx < CONTACT_CELLS - 1 and 0.0 <= cy < CONTACT_CELLS - 1:
                i, j = int(cx), int(cy)
                a, c = cx - i, cy - j
                dark = (contact[j, i] * (1 - a) + contact[j, i + 1] * a) * (1 - c)
                dark += (contact[j + 1, i] * (1 - a) + contact[j + 1, i + 1] * a) * c
                open_sky *= 1.0 - dark
        else:
            open_sky *= 0.62 + 0.38 * min(max(above, 0.0) / 5.0, 1.0)
        from_ground = bounce * (1.0 - open_sky) * (0.5 + 0.5 * min(max(above, 0.0) / 0.8, 1.0))
        sun = float(sunlit[p])
        light_r = ambient_r * open_sky + from_ground + sun_colour[0] * sun
        light_g = ambient_g * open_sky + from_ground + sun_colour[1] * sun
        light_b = ambient_b * open_sky + 0.9 * from_ground + sun_colour[2] * sun
        if is_night:
            cell_x, cell_y = int((x - lamps_low[0]) / LAMP_CELL_M), int((y - lamps_low[1]) / LAMP_CELL_M)
            if 0 <= cell_x < LAMP_CELLS and 0 <= cell_y < LAMP_CELLS:
                for k in range(LAMPS_A_CELL):
                    i = lamps_near[cell_y, cell_x, k]
                    if i < 0:
                        break
                    light = _lamp_light(lamps[i], x, y, z, nx, ny, nz)
                    light_r += light * lamps[i, 6]
                    light_g += light * lamps[i, 7]
                    light_b += light * lamps[i, 8]
            ahead = dx * beam[0] + dy * beam[1] + dz * beam[2]
            if ahead > 0.8:
                limit = 0.75 + 0.004 * distance  # the cut-off of a dipped beam
                below = 1.0 if above < limit else math.exp(-(above - limit) / (0.15 + 0.015 * distance))
                spread = (ahead - 0.8) * 5.0
                facing = 0.35 + 0.65 * abs(dx * nx + dy * ny + dz * nz) if nz < 0.7 else 0.3
                own = beam[3] * facing * (0.06 + 0.94 * below) * spread * spread / (140.0 + distance * distance)
                if material in (12, 17, 18, 20):  # signs, barriers, cones and plates send light back to where it comes from
                    own *= 5.0
                light_r, light_g, light_b = light_r + own, light_g + 0.96 * own, light_b + 0.88 * own
        r, g, b = row[0] * light_r, row[1] * light_g, row[2] * light_b
        gloss, glow = float(row[7]), max(float(row[6]), 0.0)
        if gloss > 0.1 and nz < 0.9:
            turn = dx * nx + dy * ny + dz * nz
            rx, ry, rz = dx - 2 * turn * nx, dy - 2 * turn * ny, dz - 2 * turn * nz
            fresnel = gloss * (0.12 + 0.88 * (1.0 - min(abs(turn), 1.0)) ** 4)
            mr, mg, mb = sky_light(table, sky, rx, ry, abs(rz))
            if not is_night:  # what stands opposite hides the lower sky
                hidden = min(max((0.42 - rz) * 3.0, 0.0), 1.0) * 0.82
                mr, mg, mb = mr * (1 - hidden) + 0.2 * hidden, mg * (1 - hidden) + 0.2 * hidden, mb * (1 - hidden) + 0.2 * hidden
            r, g, b = r * (1 - fresnel) + fresnel * mr, g * (1 - fresnel) + fresnel * mg, b * (1 - fresnel) + fresnel * mb
        r, g, b = r + glow * row[0], g + glow * row[1], b + glow * row[2]
        veil = 1.0 - math.exp(-distance / haze_m)
        out[p, 0] = r + veil * (0.9 * sky[3] - r)
        out[p, 1] = g + veil * (0.9 * sky[4] - g)
        out[p, 2] = b + veil * (0.9 * sky[5] - b)
