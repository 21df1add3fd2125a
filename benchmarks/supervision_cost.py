"""Claim: with `preset: surface` accumulate_lidar and the closing take at most 40 ms of CPU a key frame; 25 ms with six cameras.

World  a simulated 20 s drive at nuScenes size: 390 sweeps of about 34,700 points, 1600x900, by one camera and by six
Ours   all of ``run_item`` for accumulate_lidar and clean_horizon of every camera, one scene memory, as a worker does it: read,
       filter, project, check, encode Zarr, write, fsync. Then the parts of one camera, each with what it adds
Theirs the readable float64 twins of votes and front surface are timed in `free_space.py` and `surface.py`
Floor  bytes: what each part reads and writes at least, at the speed of memory
Times  are the least of some runs: other work on the machine only adds to them
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import measure  # isort: skip  (before numpy: it limits the thread pools)
from stage_runs import StageRuns, open_runs, unit_and_sweeps
from world import simulated_world

from pipeline.kernels.project_frames import project_frames
from pipeline.kernels.project_surfaces import SurfaceRule, project_surfaces
from pipeline.kernels.refined_poses import refine_sweeps
from pipeline.kernels.scene_points import read_scene_points
from pipeline.presets import PRESETS
from pipeline.run import SceneMemory, run_item
from pipeline.sources.synthetic.config import CAMERA_CHANNELS
from pipeline.stages.accumulate_lidar import Params, scene_points
from pipeline.stages.clean_horizon import Occluded, drop_hidden

NUM_SWEEPS = 160
NUM_CAMERAS = 6


def main() -> None:
    parser = measure.arguments(__doc__)
    parser.add_argument("--repeat", type=int, default=7, help="runs of each; the least counts")
    args = measure.parsed(parser, repeat=1)
    print(measure.machine())
    gb_per_s = measure.read_gb_per_s()
    print(f"memory read by one core: {gb_per_s:.1f} GB/s")
    for num_cameras in (1, NUM_CAMERAS):
        _whole(num_cameras, args)
    _parts(args, gb_per_s)


def _open(preset: str, num_cameras: int, folder: Path, args: argparse.Namespace) -> StageRuns:
    world = simulated_world(args.data, small=args.small, num_cameras=num_cameras)
    stages = {stage: dict(keys) for stage, keys in PRESETS[preset].get("stages", {}).items()}
    stages["accumulate_lidar"] = {"num_sweeps": NUM_SWEEPS, "moving": "drop", **stages.get("accumulate_lidar", {})}
    return open_runs(world, folder / f"{preset}-{num_cameras}", args.data, stages=stages, cameras=CAMERA_CHANNELS[:num_cameras])


def _whole(num_cameras: int, args: argparse.Namespace) -> None:
    """Say what both presets take from reading to written, per image."""
    with tempfile.TemporaryDirectory(dir=args.data) as folder:
        for preset in PRESETS:
            runs = _open(preset, num_cameras, Path(folder), args)
            stages = {
                stage: [item for item in runs.plan.items if item.stage == stage]
                for stage in ("index_frames", "accumulate_lidar", "clean_horizon")
            }
            least = dict.fromkeys(stages, float("inf"))
            frames = 0.0
            for _ in range(args.repeat + 1):  # the first one loads the kernels, and is never the least
                memory, reader = SceneMemory(), runs.source.reader()
                for stage, items in stages.items():
                    for item in items:
                        runs.forget(item)
                    start = time.process_time()
                    results = [run_item(item, runs.recipe, runs.store, reader, memory, keep=True) for item in items]
                    least[stage] = min(least[stage], 1e3 * (time.process_time() - start))
                frames = sum(result.counts["frames"] for result in results)
            spent = {stage: ms / frames for stage, ms in least.items()}
            total = spent["accumulate_lidar"] + spent["clean_horizon"]
            print(
                f"{preset + ',':10s} cameras: {num_cameras}  {total:6.2f} ms CPU an image, reading to written; "
                f"accumulate_lidar {spent['accumulate_lidar']:.2f}, clean_horizon {spent['clean_horizon']:.2f}"
            )


def _parts(args: argparse.Namespace, gb_per_s: float) -> None:
    with tempfile.TemporaryDirectory(dir=args.data) as folder:
        runs = _open("surface", 1, Path(folder), args)
        runs.run_stages("index_frames")
        p, (unit, lidars) = runs.recipe.stages.accumulate_lidar, unit_and_sweeps(runs)
        num_frames, pixels = len(unit.keyframes), unit.image_size()[0] * unit.image_size()[1]

        def least_ms(work: Callable[[], Any]) -> float:
            work()  # loads the kernels
            return min(measure.cpu_ms(work) for _ in range(args.repeat)) / num_frames

        def line(name: str, ms: float, added_ms: float, floor_mb: float) -> None:
            print(f"  {name:30s} {ms:7.2f} ms; {added_ms:+6.2f}; floor {floor_mb / gb_per_s:5.2f} ms = {floor_mb:.1f} MB")

        print("parts, one camera, per key frame: the time with a part on, what it adds, and its floor")
        shared_ms, plain_ms = _shared_parts(unit, lidars.sweeps, p, least_ms, line)
        points = scene_points(unit, p, lidars.sweeps)
        windows = lidars.windows(unit.keyframes, p.num_sweeps, scene=unit.scene)
        height, width = unit.image_size()
        size: dict[str, Any] = {"height": height, "width": width}
        nearest_ms = least_ms(lambda: project_frames(points, unit.keyframes, windows, engine="numba", **size))
        in_window_mb = 12 * project_frames(points, unit.keyframes, windows, engine="numba", **size).num_points.mean() / 1e6
        line("projection, nearest return", nearest_ms, nearest_ms, in_window_mb)
        before_ms = nearest_ms
        share = p.least_front_share
        for name, rule in {
            "surface": SurfaceRule(is_front=True),
            "least_front_share": SurfaceRule(is_front=True, least_front_share=share),
            "behind_moving": SurfaceRule(is_front=True, least_front_share=share, hides_behind_moving=True),
        }.items():
            ms = least_ms(lambda rule=rule: project_surfaces(points, unit.keyframes, windows, rule, **size))
            line(name, ms, ms - before_ms, in_window_mb)
            before_ms = ms
        occluded = runs.recipe.stages.clean_horizon.occluded or Occluded()
        maps = project_surfaces(points, unit.keyframes, windows, rule, **size).steps
        ms = least_ms(lambda: [drop_hidden(steps, row, occluded) for steps, row in zip(maps, unit.keyframes, strict=True)])
        line("occluded", ms, ms, 4 * pixels / 1e6)
        print(
            f"  all parts of {NUM_CAMERAS} cameras, per image, nothing written: {shared_ms / NUM_CAMERAS + before_ms + ms:.2f} ms"
        )
        print(
            f"  all parts of one camera, nothing written: {shared_ms + before_ms + ms:.2f} ms; of published: {plain_ms + nearest_ms:.2f}"
        )


def _shared_parts(
    unit: Any, sweeps: list[dict[str, Any]], p: Params, least_ms: Callable[..., float], line: Callable[..., None]
) -> tuple[float, float]:
    """Say what is done once for all cameras of a scene; return its ms, and those of reading alone."""
    from pipeline.kernels.boxes import SceneBoxes

    boxes = SceneBoxes(unit.units["frames"].tables["boxes"], moving_mps=p.moving_mps, movable=p.movable)
    num_frames, poses_ms, spent = len(unit.keyframes), 0.0, []
    if p.poses is not None:
        poses_ms = ms = least_ms(lambda: refine_sweeps(unit.raw, sweeps, p.poses))
        line("poses", ms, ms, 20 * 40 * 34_700 / num_frames / 1e6)
    counts = read_scene_points(unit.raw, sweeps, boxes, moving=p.moving).counts
    points_mb, before_ms = 12 * counts.read / num_frames / 1e6, 0.0
    for name, options, mb in (
        ("reading, moving boxes dropped", {}, points_mb * 32 / 12),
        ("own_car_m", {"own_car_m": p.own_car_m}, 0.0),
        ("free_space", {"own_car_m": p.own_car_m, "free_space": p.free_space}, (2 * len(p.free_space.scouts) + 2) * points_mb),
    ):
        ms = least_ms(lambda options=options: read_scene_points(unit.raw, sweeps, boxes, moving=p.moving, **options))
        line(name, ms, ms - before_ms, mb)
        before_ms = ms
        spent.append(ms)
    return poses_ms + spent[-1], spent[0]


if __name__ == "__main__":
    main()
