"""From light to a picture: mirror images on a wet road, motion blur, bloom, drops on the lens, exposure, noise, tone curve.

All work on pictures (y, x, 3) of linear light. Nothing here changes depth or surface.
"""

# numba's decorator has no types
# mypy: disable-error-code="untyped-decorator"

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from pipeline.sources.synthetic.camera.exposure import TONE_LIMIT, TONE_STEPS
from pipeline.sources.synthetic.camera.surface_patterns import cell_noise, value_noise
from pipeline.sources.synthetic.rigid import Floats, Hits, Ints

Light = NDArray[np.float32]
MAX_BLUR_TAPS = 9
BLOOM_PX = 4


@njit(cache=True)
def fray_leaves(light: Light, marks: Light, depth: Floats, reach_m: float, focal_px: float) -> None:
    """Make, in place, the edges of leaves ragged: a gap near an edge shows what is behind, taken from beside the crown.

    marks (n,) is negative where a gap may be.
    """
    height, width = light.shape[:2]
    for i in range(height):
        for j in range(width):
            p = i * width + j
            if marks[p] >= 0.0:
                continue
            far = max(int(reach_m * focal_px / depth[p]), 1)
            for k in range(8):
                reach = far if k < 4 else (far + 1) // 2
                row = i + (reach if k % 4 == 0 else -reach if k % 4 == 1 else 0)
                column = j + (reach if k % 4 == 2 else -reach if k % 4 == 3 else 0)
                if row < 0 or row >= height or column < 0 or column >= width:
                    continue
                q = row * width + column
                if marks[q] >= 0.0 and depth[q] > depth[p] + 2.0:
                    for c in range(3):
                        light[i, j, c] = light[row, column, c]
                    break


@njit(cache=True)
def mirror_on_ground(
    light: Light,
    table: NDArray[np.float32],
    marks: Light,
    depth: Floats,
    directions: Floats,
    rotation: Floats,
    origin: Floats,
    ground_m: float,
    camera: Floats,
) -> Light:
    """Return the picture with mirror images on wet ground, looked up in the picture itself.

    marks (n,), the gloss of flat ground, and directions (n, 3) row by row; rotation (3, 3) turns camera to world;
    camera = fx, fy, cx, cy.
    """
    height, width = light.shape[:2]
    out = light.copy()
    rise = origin[2] - ground_m
    before, r, g, b, fresnel = -1, 0.0, 0.0, 0.0, 0.0
    for p in range(height * width):
        gloss = float(marks[p])
        if gloss < 0.1 or depth[p] > 250.0:
            before = -1
            continue
        i, j = p // width, p % width
        if before == p - 1 and j % 2 == 1:  # what a rough road mirrors is smooth: one look-up serves two pixels
            out[i, j, 0] += fresnel * (0.333 * min(r, 60.0) - light[i, j, 0])
            out[i, j, 1] += fresnel * (0.333 * min(g, 60.0) - light[i, j, 1])
            out[i, j, 2] += fresnel * (0.333 * min(b, 60.0) - light[i, j, 2])
            continue
        before = -1
        dx, dy, dz = directions[p, 0], directions[p, 1], directions[p, 2]
        level = math.hypot(dx, dy)
        down = -dz / level
        if down < 0.004:
            continue
        x, y = origin[0] + depth[p] * dx, origin[1] + depth[p] * dy
        cosine = down / math.sqrt(1.0 + down * down)
        fresnel = gloss * (0.03 + 0.97 * (1.0 - cosine) ** 5)
        wave = value_noise(table, 2.1 * x, 2.1 * y) + 0.5 * cell_noise(table, p, p // width) - 0.75
        rough = 0.05 + 0.3 * (1.0 - min(gloss, 1.0))
        tilt = down * (1.0 + 0.7 * rough * wave)
        far, row, column = 60.0, 0, 0
        for _ in range(2):  # where in the picture the mirrored ray ends depends on how far off that is
            vx, vy, vz = dx / level * far, dy / level * far, tilt * far - 2.0 * rise
            cx = rotation[0, 0] * vx + rotation[1, 0] * vy + rotation[2, 0] * vz
            cy = rotation[0, 1] * vx + rotation[1, 1] * vy + rotation[2, 1] * vz
            cz = max(rotation[0, 2] * vx + rotation[1, 2] * vy + rotation[2, 2] * vz, 0.1)
            column = min(max(int(camera[0] * cx / cz + camera[2]), 0), width - 1)
            row = min(max(int(camera[1] * cy / cz + camera[3]), 0), height - 1)
            q = row * width + column
            far = 400.0 if not depth[q] < 400.0 else depth[q] * math.hypot(directions[q, 0], directions[q, 1])
            far = max(far, depth[p] * level * 1.02)
        spread = rough * (0.5 * down * camera[1]) + 0.5  # a rough road draws images long
        r, g, b = 0.0, 0.0, 0.0
        for k in range(3):
            near = min(max(row + int((k - 1.5 + cell_noise(table, p, k + 5)) * 1.8 * spread), 0), height - 1)
            r, g, b = r + light[near, column, 0], g + light[near, column, 1], b + light[near, column, 2]
        before = p
        out[i, j, 0] += fresnel * (0.333 * min(r, 60.0) - light[i, j, 0])
        out[i, j, 1] += fresnel * (0.333 * min(g, 60.0) - light[i, j, 1])
        out[i, j, 2] += fresnel * (0.333 * min(b, 60.0) - light[i, j, 2])
    return out


@njit(cache=True)
def pixel_motion(
    directions: Floats,
    depth: Floats,
    hit: Hits,
    owners: Ints,
    velocities: Floats,
    origin: Floats,
    later_rotation: Floats,
    later_origin: Floats,
    seconds: float,
    camera: Floats,
    width: int,
    height: int,
) -> Light:
    """Return how fast (ceil(y / 2), ceil(x / 2), 2) what every second pixel shows moves in the image, pixels a second."""
    out = np.zeros(((height + 1) // 2, (width + 1) // 2, 2), np.float32)
    for i in range(0, height, 2):
        for j in range(0, width, 2):
            p = i * width + j
            far = depth[p] if hit[p] >= 0 else 2000.0
            x, y, z = far * directions[p, 0], far * directions[p, 1], far * directions[p, 2]
            x, y, z = x + origin[0] - later_origin[0], y + origin[1] - later_origin[1], z + origin[2] - later_origin[2]
            owner = owners[hit[p]] if hit[p] >= 0 else -1
            if 0 <= owner < len(velocities):
                x, y = x + seconds * velocities[owner, 0], y + seconds * velocities[owner, 1]
                z += seconds * velocities[owner, 2]
            cz = later_rotation[0, 2] * x + later_rotation[1, 2] * y + later_rotation[2, 2] * z
            if cz < 0.3:
                continue
            cx = later_rotation[0, 0] * x + later_rotation[1, 0] * y + later_rotation[2, 0] * z
            cy = later_rotation[0, 1] * x + later_rotation[1, 1] * y + later_rotation[2, 1] * z
            out[i // 2, j // 2, 0] = (camera[0] * cx / cz + camera[2] - j - 0.5) / seconds
            out[i // 2, j // 2, 1] = (camera[1] * cy / cz + camera[3] - i - 0.5) / seconds
    return out


@njit(cache=True)
def blur_by_motion(light: Light, motion: Light, seconds: float) -> Light:
    """Return the picture smeared by the motion (y / 2, x / 2, 2), pixels a second, of an exposure of `seconds`."""
    height, width = light.shape[:2]
    out = light.copy()
    for i in range(height):
        fastest = 0.0
        for j in range(motion.shape[1]):
            fastest = max(fastest, max(abs(motion[i // 2, j, 0]), abs(motion[i // 2, j, 1])))
        if fastest * seconds < 0.8:
            continue
        for j in range(width):
            shift_x = motion[i // 2, j // 2, 0] * seconds
            shift_y = motion[i // 2, j // 2, 1] * seconds
            length = max(abs(shift_x), abs(shift_y))
            if length < 0.8:
                continue
            taps = min(int(length) + 2, MAX_BLUR_TAPS)
            r, g, b = 0.0, 0.0, 0.0
            for k in range(taps):
                share = (k + 0.5) / taps - 0.5
                column = min(max(int(j + 0.5 + share * shift_x), 0), width - 1)
                row = min(max(int(i + 0.5 + share * shift_y), 0), height - 1)
                r, g, b = r + light[row, column, 0], g + light[row, column, 1], b + light[row, column, 2]
            out[i, j, 0], out[i, j, 1], out[i, j, 2] = r / taps, g / taps, b / taps
    return out


@njit(cache=True)
def _box_blur_rows(picture: Light, radius: int) -> Light:
    """Return the mean over 2 * radius + 1 neighbours along x, with y and x exchanged."""
    height, width = picture.shape[:2]
    out = np.empty((width, height, 3), np.float32)
    scale = 1.0 / (2 * radius + 1)
    for i in range(height):
        for c in range(3):
            total = 0.0
            for j in range(-radius, radius + 1):
                total += picture[i, min(max(j, 0), width - 1), c]
            for j in range(width):
                out[j, i, c] = total * scale
                total += picture[i, min(j + radius + 1, width - 1), c] - picture[i, max(j - radius, 0), c]
    return out


@njit(cache=True)
def scattered(light: Light, gain: float, strengths: Floats, scale: float) -> Light:
    """Return the light (ceil(y / 4), ceil(x / 4), 3) that the lens scatters around what is brighter than white.

    strengths (3,): share of the light scattered near, further and far; scale is 1 for a picture 1600 pixels wide.
    """
    height, width = light.shape[:2]
    bright = np.zeros(((height + BLOOM_PX - 1) // BLOOM_PX, (width + BLOOM_PX - 1) // BLOOM_PX, 3), np.float32)
    for i in range(height):
        for j in range(width):
            for c in range(3):
                over = min(light[i, j, c] * gain, 40.0) - 0.9
                if over > 0.0:
                    bright[i // BLOOM_PX, j // BLOOM_PX, c] += over / (gain * BLOOM_PX * BLOOM_PX)
    total = np.zeros(bright.shape, np.float32)
    for level, radius in enumerate((1.5, 6.0, 30.0)):
        reach = max(int(radius * scale + 0.5), 1)
        spread = bright
        for _ in range(2):
            spread = _box_blur_rows(_box_blur_rows(spread, reach), reach)
        total += np.float32(strengths[level]) * spread
    return total


@njit(cache=True)
def put_drops(light: Light, drops: Floats) -> None:
    """Draw, in place, drops (k, 3) on the lens: column, row, radius in pixels.

    Each shows the scene small, turned over and blurred.
    """
    height, width = light.shape[:2]
    before = light.copy()
    for k in range(len(drops)):
        x, y, radius = drops[k, 0], drops[k, 1], drops[k, 2]
        for i in range(max(int(y - radius), 0), min(int(y + radius) + 1, height)):
            for j in range(max(int(x - radius), 0), min(int(x + radius) + 1, width)):
                u, v = (j - x) / radius, (i - y) / radius
                off = math.sqrt(u * u + v * v)
                if off > 1.0:
                    continue
                share = min((1.0 - off) * 2.5, 1.0) * 0.85
                lens = 3.5 + 4.0 * off * off
                for c in range(3):
                    total = 0.0
                    for tap in range(5):
                        shift = (tap - 2) * 0.7 * radius
                        column = min(max(int(x - lens * u * radius + shift), 0), width - 1)
                        row = min(max(int(y - lens * v * radius + 0.6 * shift), 0), height - 1)
                        total += before[row, column, c]
                    light[i, j, c] += share * (0.2 * total * (1.05 - 0.45 * off**4) - before[i, j, c])


@njit(cache=True)
def develop(
    light: Light,
    bloom: Light,
    gain: float,
    saturation: float,
    balance: Floats,
    tone: Light,
    noise: Light,
    starts: Ints,
    colour_noise: float,
    shot: float,
    read: float,
) -> NDArray[np.uint8]:
    """Return the picture (y, x, 3), 8 bits, of light that the lens softens and scatters.

    It is exposed, noisy by its signal, and goes through the tone curve.

    tone (TONE_STEPS,) is the curve over the square root of the exposed light, 0..TONE_LIMIT; noise (n,) is normal, and row i of
    the picture takes it from starts[i, 0] on, pairs of rows their colour noise from starts[i, 1:] on; shot and read are the
    noise's variance a unit of light and its sd at none.
    """
    height, width = light.shape[:2]
    out = np.empty((height, width, 3), np.uint8)
    scale = (TONE_STEPS - 1) / math.sqrt(TONE_LIMIT)
    pixel, glow, soft = np.empty(3), np.empty((bloom.shape[1], 3)), np.empty((width + 2, 3))
    for i in range(height):
        up, down = max(i - 1, 0), min(i + 1, height - 1)
        y = min(max((i + 0.5) / BLOOM_PX - 0.5, 0.0), bloom.shape[0] - 1.001)
        k, v = int(y), y - int(y)
        for m in range(bloom.shape[1]):
            for c in range(3):
                glow[m, c] = bloom[k, m, c] * (1 - v) + bloom[k + 1, m, c] * v
        for j in range(width):
            for c in range(3):
                soft[j + 1, c] = 0.6 * light[i, j, c] + 0.2 * (light[up, j, c] + light[down, j, c])
        for c in range(3):
            soft[0, c], soft[width + 1, c] = soft[1, c], soft[width, c]
        for j in range(width):
            x = min(max((j + 0.5) / BLOOM_PX - 0.5, 0.0), bloom.shape[1] - 1.001)
            m, u = int(x), x - int(x)
            for c in range(3):
                value = 0.6 * soft[j + 1, c] + 0.2 * (soft[j, c] + soft[j + 2, c])
                pixel[c] = gain * balance[c] * (value + glow[m, c] * (1 - u) + glow[m + 1, c] * u)
            grey = 0.3 * pixel[0] + 0.59 * pixel[1] + 0.11 * pixel[2]
            sd = math.sqrt(shot * min(grey, 1.0) + read * read)
            red = colour_noise * noise[starts[i - i % 2, 1] + j // 2]
            blue = colour_noise * noise[starts[i - i % 2, 2] + j // 2]
            grain = noise[starts[i, 0] + j]
            for c in range(3):
                tint = red if c == 0 else blue if c == 2 else -0.4 * (red + blue)
                value = grey + saturation * (pixel[c] - grey) + sd * (grain + tint)
                value = min(max(value, 0.0), TONE_LIMIT)
                out[i, j, c] = int(255.0 * tone[int(scale * math.sqrt(value))] + 0.5)
    return out
