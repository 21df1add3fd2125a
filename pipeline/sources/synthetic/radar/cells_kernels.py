"""Echo of every ray, and the sum of echoes in the resolution cells of a radar: the hot loops of `cells`.

Twin: `cells.sum_cells_plain` for the sums; the echo of a ray has no twin, its parts are one line each.
"""

# numba's decorator has no types
# mypy: disable-error-code="untyped-decorator"

from __future__ import annotations

import math

import numpy as np
from numba import njit

from pipeline.sources.synthetic.rigid import Floats, Hits, Ints

TEXTURE_M = 0.6


@njit(cache=True, inline="always")
def _unit_number(a: int, b: int, c: int, d: int) -> float:
    """Return a fixed pseudo-random number in (0, 1) for four integers."""
    n = (a * 73856093) ^ (b * 19349663) ^ (c * 83492791) ^ (d * 50331653)
    n = ((n ^ (n >> 15)) * 2246822519) & 0x7FFFFFFF
    n = ((n ^ (n >> 13)) * 3266489917) & 0x7FFFFFFF
    n = n ^ (n >> 16)
    return ((n & 0xFFFFFF) + 0.5) / 16777216.0


@njit(cache=True)
def echoes(
    boxes: Floats,
    cylinders: Floats,
    ellipsoids: Floats,
    materials: Ints,
    owners: Ints,
    diffuse: Floats,
    mirror: Floats,
    spikiness: float,
    corner_share: float,
    corner_rcs: float,
    origin: Floats,
    directions: Floats,
    distance: Floats,
    hit: Hits,
    solid_angle: Floats,
) -> tuple[Floats, Floats, Floats]:
    """Return (rcs (n,) in m2 that each ray adds, normal (n, 2) of the upright surface it meets, mark (n,) of the spot there).

    directions (n, 3) are unit vectors in the world frame. A surface of area a that is met at an angle t from its normal
    has rcs a * (diffuse * cos t + mirror * exp(-(tan t / 0.12)^2)), by its material, times a texture: a fixed random
    number of mean 1 for each `TEXTURE_M` of the piece, by Weibull's law with 1 / `spikiness` as shape, so that few spots
    shine; a `corner_share` of the spots are corners that shine `corner_rcs` times as bright as the mean. A normal is (0, 0)
    where the surface is not upright. A mark is a fixed number 0..1 of each spot of two textures' length. A material with
    neither echo has none.
    """
    num_boxes, num_cylinders, num_ellipsoids = len(boxes), len(cylinders), len(ellipsoids)
    mean = math.gamma(1.0 + spikiness)
    rcs = np.zeros(len(distance))
    normals = np.zeros((len(distance), 2))
    marks = np.zeros(len(distance))
    for r in range(len(distance)):
        what = hit[r]
        if what <= 0:
            continue
        material = materials[what]
        if diffuse[material] + mirror[material] <= 0.0:
            continue
        far = distance[r]
        dx, dy, dz = directions[r, 0], directions[r, 1], directions[r, 2]
        x, y, z = origin[0] + far * dx, origin[1] + far * dy, origin[2] + far * dz
        nx, ny, nz = 0.0, 0.0, 1.0
        i = what - 1
        if i < num_boxes:
            box = boxes[i]
            px, py, pz = x - box[0], y - box[1], z - box[2]
            qx, qy = box[6] * px + box[7] * py, box[6] * py - box[7] * px
            fx, fy, fz = abs(qx) / box[3], abs(qy) / box[4], abs(pz) / box[5]
            if fx >= fy and fx >= fz:
                turn = 1.0 if qx > 0 else -1.0
                nx, ny, nz = box[6] * turn, box[7] * turn, 0.0
            elif fy >= fz:
                turn = 1.0 if qy > 0 else -1.0
                nx, ny, nz = -box[7] * turn, box[6] * turn, 0.0
            piece_x, piece_y = box[0], box[1]
            a, b, c = qx, qy, pz
        elif i < num_boxes + num_cylinders:
            cylinder = cylinders[i - num_boxes]
            a, b, c = x - cylinder[0], y - cylinder[1], z
            nx, ny, nz = a / cylinder[2], b / cylinder[2], 0.0
            piece_x, piece_y = cylinder[0], cylinder[1]
            a, b = 0.0, 0.0  # a post shines as a whole, wherever it is met
        elif i < num_boxes + num_cylinders + num_ellipsoids:
            e = ellipsoids[i - num_boxes - num_cylinders]
            a, b, c = x - e[0], y - e[1], z - e[2]
            nx, ny, nz = a / e[3] ** 2, b / e[3] ** 2, c / e[4] ** 2
            norm = math.sqrt(nx * nx + ny * ny + nz * nz)
            nx, ny, nz = nx / norm, ny / norm, nz / norm
            piece_x, piece_y = e[0], e[1]
        else:
            a, b, c = x, y, 0.0
            piece_x, piece_y = 0.0, 0.0
        if abs(nz) < 0.5:
            normals[r, 0], normals[r, 1] = nx, ny
        cosine = max(abs(nx * dx + ny * dy + nz * dz), 0.02)
        square = cosine * cosine
        tangent = (1.0 - square) / square
        shine = diffuse[material] * cosine + mirror[material] * math.exp(-tangent / 0.0144)
        owner = owners[what]
        first = int(owner) + 1 if owner >= 0 else int(math.floor(piece_x * 8.0)) * 1009 + int(math.floor(piece_y * 8.0))
        second, third = int(math.floor(a / TEXTURE_M)), int(math.floor(b / TEXTURE_M))
        spot = _unit_number(first, second, third, int(math.floor(c / TEXTURE_M)) * 64 + material)
        texture = (-math.log(spot)) ** spikiness / mean
        if _unit_number(first + 13, second, third, 5 + int(math.floor(c / TEXTURE_M))) < corner_share:
            texture += corner_rcs
        marks[r] = _unit_number(first + 7, second // 2, third // 2, int(material))
        rcs[r] = shine * texture * far * far * solid_angle[r] / cosine
    return rcs, normals, marks


@njit(cache=True)
def sum_cells(power: Floats, cell: Ints, num_cells: int) -> tuple[Floats, Ints]:
    """Return (sum (num_cells,) of the power of the rays in each cell, the ray with the most power in it or -1).

    cell (n,) is the number of each ray's cell; a negative one is in no cell.
    """
    total = np.zeros(num_cells)
    most = np.zeros(num_cells)
    ray = np.full(num_cells, -1, np.int64)
    for r in range(len(power)):
        k = cell[r]
        if k < 0 or power[r] <= 0.0:
            continue
        total[k] += power[r]
        if power[r] > most[k]:
            most[k], ray[k] = power[r], r
    return total, ray


@njit(cache=True)
def neighbour_rank(power: Floats) -> Ints:
    """Return for cells (planes, ranges, azimuths) how many of the four cells beside them in their plane are stronger."""
    planes, rows, columns = power.shape
    rank = np.zeros(power.shape, np.int64)
    for p in range(planes):
        for i in range(rows):
            for j in range(columns):
                if power[p, i, j] <= 0.0:
                    continue
                for side in range(4):
                    y, x = i + (side == 0) - (side == 1), j + (side == 2) - (side == 3)
                    if 0 <= y < rows and 0 <= x < columns and power[p, y, x] > power[p, i, j]:
                        rank[p, i, j] += 1
    return rank
