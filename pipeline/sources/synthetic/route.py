"""The street as a line: places are given as (s, l), metres along the driven line and metres to the left of it.

The line follows the ego vehicle and is carried on, gently curving, before its start and beyond its end, so that
there is a street to look into. Both the world's layout and the image's road markings use these coordinates.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from pipeline.sources.synthetic.rigid import Floats, Ints

SPACING_M = 1.0
BEFORE_M = 90.0
BEYOND_M = 190.0
GRID_CELL_M = 4.0
GRID_MARGIN_M = 90.0


@dataclass(frozen=True)
class Route:
    """A polyline with one vertex a metre: points (n, 2), unit tangents (n, 2), and s (n,) of each vertex."""

    points_m: Floats
    tangents: Floats
    s_m: Floats

    def place(self, s_m: ArrayLike, l_m: ArrayLike) -> Floats:
        """Return world x y (..., 2) of places (s, l)."""
        s, left = np.asarray(s_m, dtype=np.float64), np.asarray(l_m, dtype=np.float64)
        x = np.interp(s, self.s_m, self.points_m[:, 0])
        y = np.interp(s, self.s_m, self.points_m[:, 1])
        tx = np.interp(s, self.s_m, self.tangents[:, 0])
        ty = np.interp(s, self.s_m, self.tangents[:, 1])
        norm = np.hypot(tx, ty)
        return np.stack([x - left * ty / norm, y + left * tx / norm], axis=-1)

    def yaw_at(self, s_m: ArrayLike) -> Floats:
        """Return the heading (...), radians, of the line at s."""
        yaw: Floats = np.interp(
            np.asarray(s_m, dtype=np.float64), self.s_m, np.unwrap(np.arctan2(self.tangents[:, 1], self.tangents[:, 0]))
        )
        return yaw

    def clearance(self, xy_m: Floats, *, left_m: float) -> Floats:
        """Return the distance (n,) of points (n, 2) to the line that runs `left_m` to the left of this one."""
        normals = np.stack([-self.tangents[:, 1], self.tangents[:, 0]], axis=1)
        line = self.points_m + left_m * normals
        distance: Floats = np.sqrt(((xy_m[:, None] - line[None]) ** 2).sum(axis=2)).min(axis=1)
        return distance


def route_through(xy_m: Floats, bend_per_m: Floats) -> Route:
    """Return the route through driven positions (n, 2), in order, carried on at both ends.

    bend_per_m (2,) is the curvature, 1/m to the left, of the line before the start and beyond the end, read in the
    direction of travel.
    """
    path = _every_metre(xy_m)
    start = np.arctan2(*(path[min(6, len(path) - 1)] - path[0])[::-1])
    end = np.arctan2(*(path[-1] - path[-min(7, len(path))])[::-1])
    before = _arc(path[0], float(start) + np.pi, -float(bend_per_m[0]), length_m=BEFORE_M)[::-1]
    beyond = _arc(path[-1], float(end), float(bend_per_m[1]), length_m=BEYOND_M)
    return route_along(np.concatenate([before, path, beyond]), len(before))


def route_along(points: Floats, start: int) -> Route:
    """Return the route through vertices one metre apart (n, 2), of which number `start` has s = 0."""
    kernel = np.ones(5) / 5
    padded = np.concatenate([points[:1].repeat(2, axis=0), points, points[-1:].repeat(2, axis=0)])
    smooth = np.stack([np.convolve(padded[:, k], kernel, mode="valid") for k in range(2)], axis=1)
    tangents = np.gradient(smooth, axis=0)
    tangents /= np.linalg.norm(tangents, axis=1, keepdims=True)
    steps = np.linalg.norm(np.diff(points, axis=0), axis=1)
    s = np.concatenate([[0.0], np.cumsum(steps)])
    return Route(points, tangents, s - s[start])


def _every_metre(xy_m: Floats) -> Floats:
    """Return positions one metre apart (m, 2) along a driven track (n, 2) that may stand still."""
    travelled = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(xy_m, axis=0), axis=1))])
    keep = np.concatenate([[True], np.diff(travelled) > 1e-6])
    count = max(int(travelled[-1] / SPACING_M), 1) + 1
    s = np.arange(count) * SPACING_M
    return np.stack([np.interp(s, travelled[keep], xy_m[keep, k]) for k in range(2)], axis=1)


def _arc(start_m: Floats, yaw: float, bend_per_m: float, *, length_m: float) -> Floats:
    """Return points one metre apart that go on from `start_m`, itself left out, in a wave of the given bend."""
    s = np.arange(1, int(length_m / SPACING_M) + 1) * SPACING_M
    yaws = yaw + np.cumsum(bend_per_m * np.cos(s / 60.0) * SPACING_M)
    points: Floats = start_m + np.cumsum(np.stack([np.cos(yaws), np.sin(yaws)], axis=1) * SPACING_M, axis=0)
    return points


def nearest_vertex_grid(route: Route) -> tuple[Ints, Floats]:
    """Return (grid (ny, nx) of the nearest vertex, its origin x y): the start for a fast search of (s, l)."""
    low = route.points_m.min(axis=0) - GRID_MARGIN_M
    count = np.ceil((route.points_m.max(axis=0) + GRID_MARGIN_M - low) / GRID_CELL_M).astype(int)
    xs = low[0] + (np.arange(count[0]) + 0.5) * GRID_CELL_M
    ys = low[1] + (np.arange(count[1]) + 0.5) * GRID_CELL_M
    best = np.full((count[1], count[0]), np.inf)
    grid = np.zeros((count[1], count[0]), dtype=np.int64)
    for i, (x, y) in enumerate(route.points_m):
        distance = (xs[None, :] - x) ** 2 + (ys[:, None] - y) ** 2
        nearer = distance < best
        best[nearer], grid[nearer] = distance[nearer], i
    return grid, low
