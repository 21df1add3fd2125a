"""How cost grows: with the sweeps of a window, the length of a scene, cameras and workers; what lies on disk; what nuScenes would take.

World    simulated drives at nuScenes size: 1600x900, about 34,700 points a sweep, 20 s unless the table says otherwise
CPU      of this process and all its threads, a key frame, kernels loaded before; all of ``run_item`` unless it says projection
Memory   peak of a process of its own that runs every stage of the scene, as the worker pool does
Workers  wall time of all stages of four scenes through the pool of ``flows.workers.pool``, and the CPU time of every process of it
nuScenes 34,149 key frames times what was measured here, added up part by part, for ours and for the straightforward way
         (``devkit_accumulation``, PNG by PIL, ``clean.straightforward``). An estimate: no nuScenes drive is read, and what a process
         spends once (tables, kernels) is left out on both sides
"""

from __future__ import annotations

import argparse
import dataclasses
import io
import multiprocessing
import os
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import measure  # isort: skip  (before numpy: it limits the thread pools)
import numpy as np
import psutil
from stage_runs import StageRuns, accumulate_ms, floor_ms, open_runs, points_ms, projection_ms, run_whole, worker_peak_mb
from world import simulated_world

from flows.workers.pool import local_workers
from pipeline.run import SceneRequest, run_scene
from pipeline.sources.synthetic import SyntheticParams, version_name
from pipeline.sources.synthetic.config import CAMERA_CHANNELS
from pipeline.types import ItemResult

T = TypeVar("T")
NUSCENES_KEYFRAMES = 34_149


def main() -> None:
    parser = measure.arguments(__doc__)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--repeat", type=int, default=3, help="runs of ours; the median counts")
    parser.add_argument("--frames", type=int, default=6, help="key frames done the straightforward way, about 1.5 s each")
    parser.add_argument("--sweeps", type=int, nargs="+", default=[1, 10, 40, 80, 160, 320])
    parser.add_argument("--seconds", type=float, nargs="+", default=[5, 10, 20, 40], help="lengths of scenes, at most 40")
    parser.add_argument("--cameras", type=int, nargs="+", default=[1, 2, 3, 6])
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--scenes", type=int, default=4, help="scenes that the workers share")
    args = measure.parsed(parser, repeat=1, frames=1, sweeps=[1, 10, 320], seconds=[2, 3], cameras=[1, 2], scenes=2)
    print(measure.machine())
    for part in args.parts:
        PARTS[part](args)


def _print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a Markdown table row by row, as the rows are measured."""
    print(f"\n### {title}\n\n| {' | '.join(columns)} |\n|{'---|' * len(columns)}", flush=True)
    for row in rows:
        print(f"| {' | '.join(row)} |", flush=True)


def _by_sweeps(args: argparse.Namespace) -> None:
    world, gb_per_s = simulated_world(args.data, small=args.small), measure.read_gb_per_s()

    def row(num_sweeps: int) -> tuple[str, ...]:
        with tempfile.TemporaryDirectory(dir=args.data) as folder:
            runs = open_runs(world, Path(folder), args.data, stages={"accumulate_lidar": {"num_sweeps": num_sweeps}})
            whole, projection = accumulate_ms(runs, args.repeat), projection_ms(runs, args.repeat)
            arrays = runs.store.read_unit(runs.item("accumulate_lidar").path).arrays
        floor = floor_ms(arrays["num_points"], gb_per_s)
        return (
            str(num_sweeps),
            f"{arrays['num_sweeps'].mean():.0f}",
            f"{whole:.2f}",
            f"{projection:.2f}",
            f"{12 * arrays['num_points'].mean() / 1e6:.2f}",
            f"{floor:.3f}",
            f"{100 * floor / projection:.0f} %",
        )

    columns = ("sweeps asked for", "in the window (mean)", "accumulate_lidar, ms", "projection, ms", "MB of points in the window",
               f"floor at {gb_per_s:.1f} GB/s, ms", "share of the floor")  # fmt: skip
    _print_table("Sweeps in a window (CPU a key frame)", columns, map(row, args.sweeps))


def _by_length(args: argparse.Namespace) -> None:
    def runs_in(folder: str, seconds: float) -> StageRuns:
        return open_runs(simulated_world(args.data, small=args.small, seconds=seconds), Path(folder), args.data)

    def row(seconds: float) -> tuple[str, ...]:
        with tempfile.TemporaryDirectory(dir=args.data) as folder:
            accumulate = accumulate_ms(runs_in(folder, seconds), args.repeat)
        with tempfile.TemporaryDirectory(dir=args.data) as folder:
            results: list[ItemResult] = []
            spent = measure.cpu_ms(lambda: results.extend(run_whole(runs_in(folder, seconds).requests()[0])))
            num_frames = _num_frames(results)
        with tempfile.TemporaryDirectory(dir=args.data) as folder:
            peak = worker_peak_mb(runs_in(folder, seconds))
        return f"{seconds:g}", f"{num_frames:.0f}", f"{accumulate:.2f}", f"{spent / num_frames:.1f}", f"{peak:.0f}"

    with tempfile.TemporaryDirectory(dir=args.data) as folder:  # loads the kernels
        run_whole(runs_in(folder, args.seconds[0]).requests()[0])
    columns = ("seconds", "key frames", "accumulate_lidar, ms", "every stage, ms", "peak of a worker, MB")
    _print_table("Length of a scene (CPU a key frame)", columns, map(row, args.seconds))


def _by_cameras(args: argparse.Namespace) -> None:
    world = simulated_world(args.data, small=args.small, num_cameras=max(args.cameras))
    used = CAMERA_CHANNELS[: max(args.cameras)]
    _accumulate_cameras_ms(world, used[:1], args)  # loads the kernels
    with tempfile.TemporaryDirectory(dir=args.data) as folder:
        runs = open_runs(world, Path(folder), args.data)
        runs.run_stages("index_frames")
        shared = points_ms(runs, args.repeat)
    alone = {camera: _accumulate_cameras_ms(world, (camera,), args) for camera in used}

    def row(count: int) -> tuple[str, ...]:
        together, apart = _accumulate_cameras_ms(world, used[:count], args), sum(alone[camera] for camera in used[:count])
        return (
            str(count),
            f"{together:.2f}",
            f"{together / count:.2f}",
            f"{apart:.2f}",
            f"{apart / together:.2f}x",
            f"{shared:.2f}",
            f"{100 * shared / together:.0f} %",
        )

    columns = (
        "cameras",
        "one run_scene, ms",
        "a camera, ms",
        "each camera alone, added up, ms",
        "ratio",
        "of it shared, ms",
        "share",
    )
    _print_table("Cameras (CPU of accumulate_lidar a key frame)", columns, map(row, args.cameras))
    print("\nShared: done once for all cameras of a run_scene, the reading of sweeps and the moving filter; measured alone.")


def _accumulate_cameras_ms(world: tuple[Path, SyntheticParams], cameras: Sequence[str], args: argparse.Namespace) -> float:
    """Return CPU ms a key frame of accumulating some cameras of the scene in one run_scene, index_frames left out; the median."""
    times_ms = []
    for _ in range(args.repeat):
        with tempfile.TemporaryDirectory(dir=args.data) as folder:
            request = open_runs(world, Path(folder), args.data, cameras=cameras).requests()[0]
            items = tuple(item for item in request.items if item.stage in ("index_frames", "accumulate_lidar"))
            times_ms.append(_cpu_ms_by_stage(dataclasses.replace(request, items=items))["accumulate_lidar"])
    return statistics.median(times_ms)


def _cpu_ms_by_stage(request: SceneRequest) -> dict[str, float]:
    """Run a scene; return CPU ms a key frame of every stage, over all its cameras; RuntimeError if an item fails."""
    spent: Counter[str] = Counter()
    last = time.process_time()

    def note(result: ItemResult) -> None:
        nonlocal last
        if result.status != "OK":
            raise RuntimeError(f"{result.stage} {result.title}: {result.message}")
        now = time.process_time()
        spent[result.stage] += 1e3 * (now - last)
        last = now

    num_frames = _num_frames(run_scene(request, note))
    return {stage: ms / num_frames for stage, ms in spent.items()}


def _num_frames(results: Iterable[ItemResult]) -> float:
    """Return the key frames of a scene."""
    return next(result.counts["frames"] for result in results if result.stage == "accumulate_lidar")


def _by_workers(args: argparse.Namespace) -> None:
    world = simulated_world(args.data, small=args.small, scenes=args.scenes)
    walls: dict[int, float] = {}

    def row(num_workers: int) -> tuple[str, ...]:
        with local_workers(num_workers).open() as pool, ThreadPoolExecutor(num_workers) as threads:

            def all_scenes() -> tuple[float, list[float]]:
                with tempfile.TemporaryDirectory(dir=args.data) as folder:
                    requests = open_runs(world, Path(folder), args.data).requests()
                    before, start = _cpu_s_by_process(), time.perf_counter()
                    results = [result for scene_results in threads.map(pool.run, requests) for result in scene_results]
                    wall, after = time.perf_counter() - start, _cpu_s_by_process()
                if bad := [result.message for result in results if result.status != "OK"]:
                    raise RuntimeError(bad[0])
                return wall, [after[process] - before.get(process, 0.0) for process in after]

            first, _ = all_scenes()
            walls[num_workers], spent = all_scenes()
        ratio = walls[min(walls)] / walls[num_workers]
        cpu = ", ".join(f"{seconds:.2f}" for seconds in spent)
        return str(num_workers), f"{first:.2f}", f"{walls[num_workers]:.2f}", f"{ratio:.2f}x", cpu, f"{sum(spent):.2f}"

    columns = (
        "workers",
        "first time, wall s",
        "again, wall s",
        "ratio",
        "CPU s of each process, the calling one first",
        "CPU s together",
    )
    _print_table(f"Workers (all stages of {args.scenes} scenes; {os.cpu_count()} cores)", columns, map(row, args.workers))
    print("\nOne worker is the calling process itself. The first time starts the others and loads their kernels.")


def _cpu_s_by_process() -> dict[int, float]:
    """Return the CPU seconds of this process and of every worker that lives, by process id."""
    pids = [os.getpid(), *sorted(child.pid for child in multiprocessing.active_children() if child.pid is not None)]
    times = {pid: psutil.Process(pid).cpu_times() for pid in pids}
    return {pid: spent.user + spent.system for pid, spent in times.items()}


def _on_disk(args: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory(dir=args.data) as folder:
        runs = open_runs(simulated_world(args.data, small=args.small), Path(folder), args.data)
        num_frames = _num_frames(run_whole(runs.requests()[0]))
        sizes = {
            path.name: [file.stat().st_size for file in path.rglob("*") if file.is_file()]
            for path in sorted(Path(folder).iterdir())
            if path.is_dir()
        }

    def row(name: str, files: Sequence[int]) -> tuple[str, ...]:
        per_frame = sum(files) / num_frames
        return name, f"{per_frame / 1e3:.1f}", str(len(files)), f"{per_frame * NUSCENES_KEYFRAMES / 1e9:.2f}"

    total = [size for files in sizes.values() for size in files]
    columns = ("store", "kB a key frame", "files a scene", f"GB for {NUSCENES_KEYFRAMES:,} key frames")
    _print_table(
        f"On disk, one camera, a scene of {num_frames:.0f} key frames",
        columns,
        [*(row(name, files) for name, files in sizes.items()), row("together", total)],
    )


def _all_of_nuscenes(args: argparse.Namespace) -> None:
    world = simulated_world(args.data, small=args.small)
    ours = _ours_ms(world, args)
    theirs = _straightforward_ms(world, args)
    hours = {name: sum(parts.values()) * NUSCENES_KEYFRAMES / 3.6e6 for name, parts in (("ours", ours), ("theirs", theirs))}

    def rows(way: str, parts: Mapping[str, float]) -> list[tuple[str, ...]]:
        lines = [*parts.items(), ("**together**", sum(parts.values()))]
        return [(way, name, f"{ms:.2f}", f"{ms * NUSCENES_KEYFRAMES / 3.6e6:.3f}") for name, ms in lines]

    columns = ("way", "part", "CPU ms a key frame", f"core-hours for {NUSCENES_KEYFRAMES:,} key frames")
    _print_table("All of nuScenes, front camera: an estimate", columns, [*rows("straightforward", theirs), *rows("ours", ours)])
    print(
        f"\nratio {hours['theirs'] / hours['ours']:.1f}x; straightforward: {args.frames} key frames spread over the drive, ours: all"
    )


def _ours_ms(world: tuple[Path, SyntheticParams], args: argparse.Namespace) -> dict[str, float]:
    """Return CPU ms a key frame of all of run_item of accumulating and cleaning, the map being handed on in memory; medians."""
    stages = ("index_frames", "accumulate_lidar", "clean_horizon")
    times_by_stage: dict[str, list[float]] = {stage: [] for stage in stages[1:]}
    for number in range(args.repeat + 1):  # the first one loads the kernels
        with tempfile.TemporaryDirectory(dir=args.data) as folder:
            request = open_runs(world, Path(folder), args.data).requests()[0]
            spent = _cpu_ms_by_stage(
                dataclasses.replace(request, items=tuple(item for item in request.items if item.stage in stages))
            )
        for stage, values in times_by_stage.items():
            values += [spent[stage]] if number else []
    return {f"{stage}, read to written": statistics.median(values) for stage, values in times_by_stage.items()}


def _straightforward_ms(world: tuple[Path, SyntheticParams], args: argparse.Namespace) -> dict[str, float]:
    """Return CPU ms a key frame of the parts of the straightforward way; the mean over key frames spread over the drive."""
    from clean import straightforward
    from devkit_accumulation import DevkitAccumulation
    from PIL import Image

    from pipeline.stages.clean_horizon import Params

    devkit, num_sweeps = DevkitAccumulation(world[0], version_name(world[1])), 160
    numbers = ((np.arange(args.frames) + 0.5) * len(devkit.samples) / args.frames).astype(int)
    spent: Counter[str] = Counter()

    def timed(part: str, work: Callable[[], T]) -> T:
        results: list[T] = []
        spent[part] += measure.cpu_ms(lambda: results.append(work())) / len(numbers)
        return results[0]

    for number in numbers:
        accumulate = "accumulate with the moving filter, PNG written"
        _, png = timed(accumulate, lambda number=number: devkit.keyframe_png(number, num_sweeps=num_sweeps, drop_moving=True))
        depth_m = timed("PNG read", lambda png=png: np.asarray(Image.open(io.BytesIO(png))).astype(np.float32) / 256)
        absent = np.zeros_like(depth_m)
        cleaned_m = timed("clean", lambda depth_m=depth_m, absent=absent: straightforward(depth_m, absent, Params()))
        timed("cleaned PNG written", lambda cleaned_m=cleaned_m: _png(cleaned_m))
    return dict(spent)


def _png(depth_m: np.ndarray) -> bytes:
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray((depth_m * 256).astype(np.uint16)).save(stream, format="PNG")
    return stream.getvalue()


PARTS: dict[str, Callable[[argparse.Namespace], None]] = {
    "sweeps": _by_sweeps,
    "length": _by_length,
    "cameras": _by_cameras,
    "workers": _by_workers,
    "disk": _on_disk,
    "nuscenes": _all_of_nuscenes,
}

if __name__ == "__main__":
    main()
