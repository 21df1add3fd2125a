"""What a LiDAR file looks like: rows without a return, range, intensity, noise, and what hangs in the air behind the car."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

BEAMS = 32
UPPER_RINGS = tuple(range(24, 32))


def ranges(rows: np.ndarray) -> np.ndarray:
    """Return the range (n,) of rows (n, 5)."""
    return np.linalg.norm(rows[:, :3].astype(np.float64), axis=1)


def of_sweeps(sweeps: Sequence[np.ndarray]) -> dict[str, float]:
    """Return figures of the rows of sweeps: how many are near, returns beyond 2.5 m, their range, intensity beyond 2.5 m."""
    rows = np.concatenate(sweeps)
    far_m = ranges(rows)
    seen, intensity = far_m[far_m > 2.5], rows[far_m > 2.5, 3]
    return {
        "rows": float(np.mean([len(sweep) for sweep in sweeps])),
        "near_share": float((far_m < 1.0).mean()),
        "returns": float(np.mean([(ranges(sweep) > 2.5).sum() for sweep in sweeps])),
        **{f"range_q{q}": float(np.percentile(seen, q)) for q in (5, 25, 50, 75, 95, 99)},
        "beyond_30m": float((seen > 30.0).mean()),
        **{f"intensity_q{q}": float(np.percentile(intensity, q)) for q in (5, 25, 50, 75, 95, 99)},
        "intensity_max": float(intensity.max()),
        "intensity_bright": float((intensity > 100).mean()),
    }


def near_share_of_rings(sweeps: Sequence[np.ndarray]) -> np.ndarray:
    """Return the share (32,) of the rows of each ring that lie nearer than 1 m: own car, or no echo."""
    rows = np.concatenate(sweeps)
    near = ranges(rows) < 1.0
    return np.array([near[rows[:, 4] == ring].mean() for ring in range(BEAMS)])


def road_noise_m(rows: np.ndarray) -> tuple[float, float]:
    """Return the median and the 90 % of the range noise along rings 2 to 8 on the road, from second differences of range.

    rows are all slots in firing order. Only five neighbours of one ring that lie on an even stretch count.
    """
    far_m = ranges(rows).reshape(-1, BEAMS)
    noise = []
    for ring in range(2, 9):
        track = far_m[:, ring]
        bend = track[:-2] - 2.0 * track[1:-1] + track[2:]
        usable = (track[:-2] > 2.5) & (track[1:-1] > 2.5) & (track[2:] > 2.5) & (track[1:-1] < 12.0) & (np.abs(bend) < 0.1)
        noise.append(np.abs(bend[usable]) / np.sqrt(6.0) / 0.6745)
    every = np.concatenate(noise)
    return float(np.median(every)), float(np.percentile(every, 90))


def airborne(rows: np.ndarray) -> tuple[int, int]:
    """Return how many lone returns lie above +2 degrees and nearer than 20 m: in all, and behind the car.

    Lone: no other return of the sweep within 0.5 m.
    """
    from scipy.spatial import cKDTree

    points = rows[ranges(rows) > 2.5, :3].astype(np.float64)
    far_m = np.linalg.norm(points, axis=1)
    rises = np.rad2deg(np.arcsin(points[:, 2] / far_m)) > 2.0
    chosen = points[rises & (far_m < 20.0)]
    if len(chosen) == 0:
        return 0, 0
    gap, _ = cKDTree(points).query(chosen, k=2)
    lone = chosen[gap[:, 1] > 0.5]
    behind = lone[:, 1] < -0.65 * np.linalg.norm(lone[:, :2], axis=1)
    return len(lone), int(behind.sum())


def in_firing_order(rows: np.ndarray) -> bool:
    """Say whether the file holds all rings of a firing together, in order."""
    rings = rows[:, 4].astype(int)
    return len(rows) % BEAMS == 0 and bool((rings.reshape(-1, BEAMS) == np.arange(BEAMS)).all())
