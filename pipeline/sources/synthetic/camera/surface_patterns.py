"""What all kernels that paint surfaces share: value noise from a table, and places on the faces of boxes.

Value noise is random numbers on a grid, blended between. Numba does not see a change of this file in what it has cached for
the files that use it: change it only together with them.
"""

# numba's decorator has no types
# mypy: disable-error-code="untyped-decorator"

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from pipeline.sources.synthetic.rigid import Floats


@njit(cache=True, inline="always")
def value_noise(table: NDArray[np.float32], u: float, v: float) -> float:
    """Return smooth noise 0..1 at (u, v), in cells of the grid; it repeats after 256 cells."""
    fu, fv = math.floor(u), math.floor(v)
    a, b = u - fu, v - fv
    a, b = a * a * (3.0 - 2.0 * a), b * b * (3.0 - 2.0 * b)
    i, j = int(fu) & 255, int(fv) & 255
    k, m = (i + 1) & 255, (j + 1) & 255
    low = table[j, i] + a * (table[j, k] - table[j, i])
    high = table[m, i] + a * (table[m, k] - table[m, i])
    return float(low + b * (high - low))


@njit(cache=True, inline="always")
def cell_noise(table: NDArray[np.float32], a: int, b: int) -> float:
    """Return a fixed random number 0..1 for two integers."""
    return float(table[(a + 57 * b) & 255, (b * 31 + 7 * (a >> 8)) & 255])


@njit(cache=True, inline="always")
def box_face(box: Floats, x: float, y: float, z: float) -> tuple[int, float, float, float]:
    """Return (face, qx, qy, qz) of a point on a box.

    Faces 0 and 1 are its front and back (+x, -x), 2 and 3 left and right, 4 top, 5 bottom;
    qx, qy, qz are metres from the middle along the box's own axes.
    """
    px, py, pz = x - box[0], y - box[1], z - box[2]
    qx, qy = box[6] * px + box[7] * py, box[6] * py - box[7] * px
    gap_x, gap_y, gap_z = abs(abs(qx) - box[3]), abs(abs(qy) - box[4]), abs(abs(pz) - box[5])
    if gap_x <= gap_y and gap_x <= gap_z:
        return (0 if qx > 0 else 1), qx, qy, pz
    if gap_y <= gap_z:
        return (2 if qy > 0 else 3), qx, qy, pz
    return (4 if pz > 0 else 5), qx, qy, pz


@njit(cache=True, inline="always")
def face_normal(box: Floats, face: int) -> tuple[float, float, float]:
    """Return the outward normal of a box's face."""
    if face == 0:
        return box[6], box[7], 0.0
    if face == 1:
        return -box[6], -box[7], 0.0
    if face == 2:
        return -box[7], box[6], 0.0
    if face == 3:
        return box[7], -box[6], 0.0
    return 0.0, 0.0, (1.0 if face == 4 else -1.0)
