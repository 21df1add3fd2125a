"""Claim: front surface, mask behind moving boxes and closing together add at most 13 ms of CPU to a key frame of 160 sweeps.

World  a simulated 20 s drive at nuScenes size, moving objects dropped; points in memory, so that the projection alone is timed
Theirs float64 NumPy: a stable sort by pixel and depth and a loop over layers for the surface; scipy's grey closing in float64
Ours   ``project_frames`` (nearest, the path without additions) and ``project_surfaces``; ``drop_occluded``
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import measure  # isort: skip  (before numpy: it limits the thread pools)
import numpy as np
from stage_runs import StageRuns, open_runs, unit_and_sweeps
from world import simulated_world

from pipeline.kernels.accumulate_twin import depth_of_sweeps
from pipeline.kernels.front_surface_twin import front_depth, returns_of_pixels
from pipeline.kernels.occluded import drop_occluded
from pipeline.kernels.project_frames import project_frames
from pipeline.kernels.project_surfaces import SurfaceRule, project_surfaces
from pipeline.stages.accumulate_lidar import scene_points
from storage_schemas.encoding import decode_depth

NUM_SWEEPS = 160
CLOSING = {"reach_m": 0.15, "behind_m": 1.0, "behind_share": 0.1}
RULES = {
    "mask, nearest": SurfaceRule(hides_behind_moving=True),
    "front surface": SurfaceRule(is_front=True),
    "front surface, mask": SurfaceRule(is_front=True, hides_behind_moving=True),
    "front surface, mask, confidence": SurfaceRule(is_front=True, hides_behind_moving=True, has_confidence=True),
}


def main() -> None:
    parser = measure.arguments(__doc__)
    parser.add_argument("--repeat", type=int, default=5, help="runs of ours; the median counts")
    args = measure.parsed(parser, repeat=1)
    world = simulated_world(args.data, small=args.small)
    print(measure.machine())
    with tempfile.TemporaryDirectory(dir=args.data) as folder:
        stages = {"accumulate_lidar": {"num_sweeps": NUM_SWEEPS, "moving": "drop"}}
        runs = open_runs(world, Path(folder), args.data, stages=stages)
        runs.run_stages("index_frames")
        _compare(runs, args)


def _compare(runs: StageRuns, args: argparse.Namespace) -> None:
    p, (unit, lidars) = runs.recipe.stages.accumulate_lidar, unit_and_sweeps(runs)
    windows = lidars.windows(unit.keyframes, p.num_sweeps, scene=unit.scene)
    points = scene_points(unit, p, lidars.sweeps)
    height, width = unit.image_size()
    size: dict[str, Any] = {"height": height, "width": width}
    made = project_frames(points, unit.keyframes, windows, engine="numba", **size)
    nearest_ms = _ms(lambda: project_frames(points, unit.keyframes, windows, engine="numba", **size), args, len(windows))
    measured = made.num_measured.mean()
    print(f"nearest, no additions     {nearest_ms:8.2f} ms CPU a key frame; {100 * measured / made.steps[0].size:.1f} % measured")
    for words, rule in RULES.items():
        made = project_surfaces(points, unit.keyframes, windows, rule, **size)
        spent = _ms(lambda rule=rule: project_surfaces(points, unit.keyframes, windows, rule, **size), args, len(windows))
        print(
            f"{words:<32}  {spent:8.2f} ms, {spent - nearest_ms:+.2f}; {100 * made.num_measured.mean() / made.steps[0].size:.1f} %"
        )
    focal_px = unit.keyframes[0]["intrinsic_px"][0]
    maps = made.steps[:: max(1, len(made.steps) // 5)].copy()
    copies = [maps.copy() for _ in range(args.repeat + 1)]
    drop_occluded(copies[0][0], focal_px=focal_px, **CLOSING)
    closing_ms = _ms(lambda: [drop_occluded(m, focal_px=focal_px, **CLOSING) for m in copies.pop()], args, len(maps))
    theirs_ms = measure.cpu_ms(lambda: _closing_straightforward(maps[0], focal_px))
    print(f"closing, 3, 5 and 9 pixels  ours {closing_ms:.2f} ms; scipy's grey_closing {theirs_ms:.1f} ms")
    middle = len(windows) // 2
    pairs = [
        (lidars.sweeps[number], unit.raw.read_points(lidars.sweeps[number]["file"]))
        for part in windows[middle]
        for number in part
    ]
    twin_ms = measure.cpu_ms(lambda: _surface_straightforward(pairs, unit.keyframes[middle]))
    plain_ms = measure.cpu_ms(lambda: depth_of_sweeps(pairs, unit.keyframes[middle], precision="float64"))
    print(f"float64 NumPy, one key frame: nearest {plain_ms:.0f} ms, front surface {twin_ms:.0f} ms")


def _ms(work: Any, args: argparse.Namespace, count: int) -> float:
    return measure.cpu_ms(work, repeat=args.repeat) / count


def _surface_straightforward(pairs: list[tuple[dict[str, Any], np.ndarray]], keyframe: dict[str, Any]) -> np.ndarray:
    depth = np.zeros(keyframe["height"] * keyframe["width"])
    for pixel, values in returns_of_pixels(pairs, keyframe).items():
        depth[pixel] = front_depth(values)
    return depth


def _closing_straightforward(steps: np.ndarray, focal_px: float) -> np.ndarray:
    from scipy.ndimage import grey_closing

    depth = decode_depth(steps).astype(np.float64)
    inverse = np.where(depth > 0, 1 / np.maximum(depth, 1e-9), 0)
    dropped = np.zeros(depth.shape, bool)
    for window in (3, 5, 9):
        closed = grey_closing(inverse, size=(window, window), mode="constant")
        with np.errstate(divide="ignore"):
            surface = 1 / closed
        counts = (window - 1) * surface <= 2 * CLOSING["reach_m"] * focal_px
        dropped |= counts & (depth > surface + CLOSING["behind_m"]) & (depth > (1 + CLOSING["behind_share"]) * surface)
    return np.where(dropped, 0, depth)


if __name__ == "__main__":
    main()
