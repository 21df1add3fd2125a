"""Fill the triangles of a Delaunay triangulation of pixels, and the readable twin.

scipy makes the triangulation, but evaluates it by looking up the triangle of every pixel, and cannot leave triangles out. Going
through the triangles instead can, and takes a tenth of the time (benchmarks/interpolate.py).
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

MIN_VERTICES = 3
ROUNDING = 1e-6
"""Values are truncated to whole steps: this much below a whole number is the rounding of a float64 sum, not a smaller depth."""


def triangulate(columns: NDArray[np.int64], rows: NDArray[np.int64]) -> NDArray[np.int32]:
    """Return the Delaunay triangles (t, 3) of pixels, as numbers of the pixels; none where all lie on one line.

    Args:
        columns: (n,) x of the pixels, each pixel once.
        rows: (n,) y of the pixels.
    """
    from scipy.spatial import Delaunay

    dx, dy = columns - columns[:1], rows - rows[:1]
    if len(columns) < MIN_VERTICES or not np.any(dx * dy[-1] - dy * dx[-1]):
        return np.zeros((0, 3), np.int32)
    triangles: NDArray[np.int32] = Delaunay(np.stack([columns, rows], axis=1).astype(np.float64)).simplices
    return triangles


@njit(cache=True, error_model="numpy")
def fill_triangles(columns, rows, values, triangles, out):  # type: ignore[no-untyped-def]
    """Write the linear interpolation inside each triangle, its border included, into the pixels.

    Args:
        columns: (n,) int64 x of the vertices.
        rows: (n,) int64 y of the vertices.
        values: (n,) float64 at the vertices.
        triangles: (t, 3) int32 numbers of vertices; a triangle without area is skipped.
        out: (height, width) float64; pixels of no triangle are left as they are.
    """
    for t in range(len(triangles)):
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        xa, ya = columns[a], rows[a]
        bx, by, cx, cy = columns[b] - xa, rows[b] - ya, columns[c] - xa, rows[c] - ya
        area = bx * cy - cx * by
        if area == 0:
            continue
        if area < 0:
            b, c = c, b
            bx, by, cx, cy = cx, cy, bx, by
            area = -area
        to_b, to_c = values[b] - values[a], values[c] - values[a]
        for y in range(min(0, by, cy), max(0, by, cy) + 1):
            left, right = _span(bx, by, cx, cy, y)
            for x in range(left, right + 1):
                along_b, along_c = x * cy - y * cx, bx * y - by * x
                out[ya + y, xa + x] = values[a] + (along_b * to_b + along_c * to_c) / area


@njit(cache=True, error_model="numpy")
def _span(bx, by, cx, cy, y):  # type: ignore[no-untyped-def]
    """Return the first and last whole x of row y inside the triangle 0, b, c, which turns left, in whole numbers throughout."""
    left, right = min(0, bx, cx), max(0, bx, cx)
    for px, py, qx, qy in ((0, 0, bx, by), (bx, by, cx, cy), (cx, cy, 0, 0)):
        dx, dy = qx - px, qy - py
        # inside is left of the edge: dx * (y - py) - dy * (x - px) >= 0
        reach = dx * (y - py) + dy * px
        if dy > 0:
            right = min(right, reach // dy)
        elif dy < 0:
            left = max(left, -(reach // -dy))
        elif reach < 0:
            return 1, 0
    return left, right


def fill_triangles_plain(
    columns: NDArray[np.int64],
    rows: NDArray[np.int64],
    values: NDArray[np.float64],
    triangles: NDArray[np.int32],
    out: NDArray[np.float64],
) -> None:
    """Do the same as ``fill_triangles`` with barycentric coordinates of every pixel in every triangle, in numpy."""
    y, x = np.mgrid[: out.shape[0], : out.shape[1]]
    for a, b, c in triangles:
        edges = np.array([[columns[b] - columns[a], columns[c] - columns[a]], [rows[b] - rows[a], rows[c] - rows[a]]], float)
        if abs(np.linalg.det(edges)) < 0.5:
            continue
        to_b, to_c = np.tensordot(np.linalg.inv(edges), np.stack([x - columns[a], y - rows[a]]), axes=1)
        inside = (to_b >= -1e-9) & (to_c >= -1e-9) & (to_b + to_c <= 1 + 1e-9)
        mixed = values[a] + to_b * (values[b] - values[a]) + to_c * (values[c] - values[a])
        out[inside] = mixed[inside]
