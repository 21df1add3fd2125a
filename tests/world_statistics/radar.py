"""What radar returns look like: strength, range and states by themselves, beside the LiDAR, on cars, and over time."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from tests.world_statistics.sensor_frames import SensorFrame, inside, moved

MARGIN_M = 0.4
RANGES_M = ((0, 10), (10, 20), (20, 40), (40, 70), (70, 120))


def is_kept(points: np.ndarray) -> np.ndarray:
    """Say which returns (n,) the devkit's default filter keeps."""
    return (points["invalid_state"] == 0) & (points["dyn_prop"] < 7) & (points["ambig_state"] == 3)


def place(points: np.ndarray) -> np.ndarray:
    """Return positions (n, 3) of returns in the radar's frame."""
    return np.stack([points["x"], points["y"], points["z"]], axis=1).astype(np.float64)


def range_m(points: np.ndarray) -> np.ndarray:
    """Return the range (n,) of returns."""
    return np.hypot(points["x"].astype(np.float64), points["y"])


def of_scans(scans: Sequence[np.ndarray]) -> dict[str, float]:
    """Return figures of scans by themselves: counts, range, bearing, strength, motion, states."""
    every = np.concatenate(scans)
    kept = every[is_kept(every)]
    far, bearing = range_m(kept), np.abs(np.rad2deg(np.arctan2(kept["y"], kept["x"])))
    speed = np.hypot(kept["vx_comp"], kept["vy_comp"])
    out = {
        "returns": len(every) / len(scans),
        "kept": len(kept) / len(scans),
        "kept_share": len(kept) / len(every),
        **{f"range_q{q}": float(np.percentile(far, q)) for q in (5, 25, 50, 75, 95)},
        **{f"bearing_{d}": float((bearing < d).mean()) for d in (10, 30, 45)},
        **{f"rcs_q{q}": float(np.percentile(kept["rcs"], q)) for q in (5, 50, 95)},
        "rcs_sd": float(kept["rcs"].std()),
        "moving": float((speed > 1.0).mean()),
        "neighbour_m": float(np.median(np.concatenate([_neighbour_m(scan[is_kept(scan)]) for scan in scans]))),
        "close_pairs": float(np.mean([_close_pairs(scan[is_kept(scan)]) for scan in scans])),
        "standing_doppler_q50": float(np.percentile(speed[kept["dyn_prop"] == 1], 50)),
        "standing_doppler_q90": float(np.percentile(speed[kept["dyn_prop"] == 1], 90)),
        "standing_doppler_q99": float(np.percentile(speed[kept["dyn_prop"] == 1], 99)),
    }
    reach = range_m(every)
    for low, high in RANGES_M:
        ring = (reach >= low) & (reach < high)
        out[f"kept_share_{low}_{high}"] = float(is_kept(every)[ring].mean()) if ring.any() else np.nan
        strong = every["rcs"][ring & is_kept(every)]
        out[f"rcs_{low}_{high}"] = float(np.median(strong)) if len(strong) else np.nan
        out[f"candidate_{low}_{high}"] = float((every["dyn_prop"][ring] == 3).mean()) if ring.any() else np.nan
    return out


def state_shares(scans: Sequence[np.ndarray], name: str) -> dict[int, float]:
    """Return the share of all returns with each value of a field, the most frequent first."""
    values, counts = np.unique(np.concatenate(scans)[name], return_counts=True)
    order = np.argsort(-counts)
    return {int(values[i]): float(counts[i] / counts.sum()) for i in order}


def beside_lidar(frames: Sequence[SensorFrame], rng: np.random.Generator, *, limit_m: float = 60.0) -> dict[str, float]:
    """Return how kept returns in the image lie beside the LiDAR returns of their column, +-0.5 % of the image's width."""
    near, random, beyond, off, above = [], [], [], [], []
    for frame in frames:
        assert frame.rows is not None and frame.world_from_lidar is not None
        cloud = frame.rows[np.linalg.norm(frame.rows[:, :3], axis=1) > 2.5, :3]
        kept = place(frame.radar[is_kept(frame.radar)])
        in_radar = moved(cloud, np.linalg.inv(frame.world_from_radar) @ frame.world_from_lidar)
        upright = in_radar[(in_radar[:, 2] > -0.2) & (in_radar[:, 2] < 3.0)]
        for x, y, _ in kept[np.hypot(kept[:, 0], kept[:, 1]) < 50.0]:
            above.append(bool((np.hypot(upright[:, 0] - x, upright[:, 1] - y) < 1.0).any()))
        width, height = frame.image_size
        lidar, uv = _in_image(frame, frame.in_camera(cloud, frame.world_from_lidar))
        radar, places = _in_image(frame, frame.in_camera(kept, frame.world_from_radar))
        half_u, half_v = width * 8 / 1600, height * 60 / 900
        for (u, v), depth in zip(places, radar[:, 2], strict=True):
            if depth >= limit_m:
                continue
            column = np.abs(uv[:, 0] - u) <= half_u
            near.append(bool((np.abs(lidar[column, 2] - depth) < 1.0).any()))
            beyond.append(bool((lidar[column, 2] < depth - 3.0).all()))
            patch = column & (np.abs(uv[:, 1] - v) <= half_v)
            if patch.any():
                off.append(bool(abs(np.median(lidar[patch, 2]) - depth) > 5.0))
            other = np.abs(uv[:, 0] - rng.uniform(half_u, width - half_u)) <= half_u
            random.append(bool((np.abs(lidar[other, 2] - depth) < 1.0).any()))
    return {
        "count": len(near),
        "column": float(np.mean(near)),
        "random_column": float(np.mean(random)),
        "beyond": float(np.mean(beyond)),
        "off_median": float(np.mean(off)),
        "birds_view": float(np.mean(above)),
    }


def per_box(
    frames: Sequence[SensorFrame], category: str, bands_m: Sequence[tuple[float, float]]
) -> list[tuple[float, float, int]]:
    """Return (kept returns a box, share of boxes with any, number of boxes) by range, of boxes with at least 5 LiDAR points."""
    counted: list[list[int]] = [[] for _ in bands_m]
    for frame in frames:
        kept = moved(place(frame.radar[is_kept(frame.radar)]), frame.world_from_radar)
        for box in frame.boxes:
            if not box.category.startswith(category) or box.num_lidar_pts < 5:
                continue
            x, y, _ = moved(box.world_from_box[None, :3, 3], np.linalg.inv(frame.world_from_radar))[0]
            if abs(np.rad2deg(np.arctan2(y, x))) > 45.0:
                continue
            for number, (low, high) in enumerate(bands_m):
                if low <= np.hypot(x, y) < high:
                    counted[number].append(
                        int(inside(kept, box.world_from_box, box.size_wlh + 2 * MARGIN_M, any_height=True).sum())
                    )
    return [(float(np.mean(c)), float(np.mean(np.array(c) > 0)), len(c)) if c else (np.nan, np.nan, 0) for c in counted]


def persistence(frames: Sequence[SensorFrame]) -> dict[float, float]:
    """Return the share of standing kept returns that the next key frame of the scene has again within 0.5, 1 and 2 m."""
    distances = []
    for first, second in itertools.pairwise(frames):
        if first.scene != second.scene:
            continue
        before, after = (moved(place(one.radar[is_kept(one.radar)]), one.world_from_radar)[:, :2] for one in (first, second))
        standing = first.radar[is_kept(first.radar)]
        is_standing = np.hypot(standing["vx_comp"], standing["vy_comp"]) < 1.0
        local = moved(np.c_[before, np.full(len(before), second.world_from_radar[2, 3])], np.linalg.inv(second.world_from_radar))
        in_view = is_standing & (local[:, 0] > 3.0) & (np.abs(np.rad2deg(np.arctan2(local[:, 1], local[:, 0]))) < 50.0)
        if len(after):
            gaps = np.linalg.norm(before[in_view][:, None] - after[None], axis=2)
            distances.append(gaps.min(axis=1))
    every = np.concatenate(distances)
    return {limit: float((every < limit).mean()) for limit in (0.5, 1.0, 2.0)}


def _in_image(frame: SensorFrame, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the points (n, 3) that lie in the image and more than a metre ahead, and their pixels (n, 2)."""
    ahead = points[points[:, 2] > 1.0]
    uv = (ahead @ frame.intrinsic.T)[:, :2] / ahead[:, 2:]
    width, height = frame.image_size
    inside_image = (uv[:, 0] >= 0) & (uv[:, 0] < width) & (uv[:, 1] >= 0) & (uv[:, 1] < height)
    return ahead[inside_image], uv[inside_image]


def _neighbour_m(points: np.ndarray) -> np.ndarray:
    """Return the distance (n,) of each return to the nearest other one."""
    if len(points) < 2:
        return np.zeros(0)
    gaps = np.linalg.norm(place(points)[:, None] - place(points)[None], axis=2)
    np.fill_diagonal(gaps, np.inf)
    return gaps.min(axis=1)


def _close_pairs(points: np.ndarray) -> int:
    """Return how many pairs of returns lie within 0.4 m of range and 3 degrees of bearing."""
    far, bearing = range_m(points), np.rad2deg(np.arctan2(points["y"], points["x"]))
    close = (np.abs(far[:, None] - far[None]) < 0.4) & (np.abs(bearing[:, None] - bearing[None]) < 3.0)
    return int((close.sum() - len(points)) // 2)
