"""Claim: accumulating 160 sweeps takes 1/40 of the CPU time of the straightforward way, in less than 1 GB a worker.

World  a simulated 20 s drive at nuScenes size: 390 sweeps of about 34,700 points, 1600x900, boxes on everything that moves
Theirs ``devkit_accumulation``: the devkit's functions, np.minimum.at, PNG by PIL; a few key frames spread over the scene
Ours   all of ``run_item`` for accumulate_lidar: read files, filter, project, check, encode Zarr, write, fsync; the whole scene
Floor  the bytes of the window's points read once from memory (12 B a point)
GPU    where there is one: the projection alone, by the wall clock; its result is the same bit for bit (the engine checks that)
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import measure  # isort: skip  (before numpy: it limits the thread pools)
import numpy as np
from stage_runs import StageRuns, accumulate_ms, floor_ms, open_runs, projection_ms, worker_peak_mb
from world import simulated_world

from pipeline.kernels.accumulate_twin import depth_of_sweeps
from pipeline.kernels.engine import choose_engine, gpu_of_process
from pipeline.lidar_windows import chosen_sweeps
from pipeline.sources.synthetic import SyntheticParams, version_name
from storage_schemas.layout import rows

if TYPE_CHECKING:
    from devkit_accumulation import DevkitAccumulation

NUM_SWEEPS = 160


def main() -> None:
    parser = measure.arguments(__doc__)
    parser.add_argument("--frames", type=int, default=8, help="key frames done the straightforward way, about 2 s each")
    parser.add_argument("--repeat", type=int, default=3, help="runs of ours; the median counts")
    args = measure.parsed(parser, frames=2, repeat=1)
    world = simulated_world(args.data, small=args.small)
    print(measure.machine())
    peaks = ", ".join(f"{_worker_peak_mb(moving, world, args.data):.0f} MB ({moving})" for moving in ("keep", "drop", "carry"))
    print(f"peak memory of a worker that runs every stage of the scene: {peaks}")
    from devkit_accumulation import DevkitAccumulation  # imported late: the worker above must not import it

    theirs = DevkitAccumulation(world[0], version_name(world[1]))
    gb_per_s = measure.read_gb_per_s()
    print(f"memory read by one core: {gb_per_s:.1f} GB/s")
    print(f"all of ours projects by: {choose_engine().engine}")
    print(f"key frames done the straightforward way: {args.frames} of {len(theirs.samples)}")
    for moving in ("keep", "drop"):
        _compare(moving, theirs, world, args, gb_per_s)


def _open(moving: str, world: tuple[Path, SyntheticParams], folder: str, data: Path) -> StageRuns:
    return open_runs(world, Path(folder), data, stages={"accumulate_lidar": {"num_sweeps": NUM_SWEEPS, "moving": moving}})


def _worker_peak_mb(moving: str, world: tuple[Path, SyntheticParams], data: Path) -> float:
    with tempfile.TemporaryDirectory(dir=data) as folder:
        return worker_peak_mb(_open(moving, world, folder, data))


def _compare(
    moving: str,
    theirs: DevkitAccumulation,
    world: tuple[Path, SyntheticParams],
    args: argparse.Namespace,
    gb_per_s: float,
) -> None:
    with tempfile.TemporaryDirectory(dir=args.data) as folder:
        runs = _open(moving, world, folder, args.data)
        ours_ms = accumulate_ms(runs, args.repeat)
        path = runs.item("accumulate_lidar").path
        unit = runs.store.read_unit(path)
        zarr_kb = sum(file.num_bytes for file in runs.store.lineage(path).files.values()) / len(unit.arrays["depth_m"]) / 1e3
        kernel_ms = projection_ms(runs, args.repeat)
        on_gpu = _on_gpu(runs, args.repeat)
    depth, num_points = unit.arrays["depth_m"], unit.arrays["num_points"]
    numbers = (np.arange(args.frames) + 0.5) * len(depth) / args.frames  # spread evenly, so that cut windows count as in ours
    numbers = numbers.astype(int)
    straightforward_maps: dict[int, np.ndarray] = {}
    sizes: list[int] = []

    def straightforward() -> None:
        for number in numbers:
            straightforward_maps[number], png = theirs.keyframe_png(number, num_sweeps=NUM_SWEEPS, drop_moving=moving == "drop")
            sizes.append(len(png))

    theirs_ms = measure.cpu_ms(straightforward) / len(numbers)
    floor = floor_ms(num_points, gb_per_s)
    print(f"\nmoving: {moving}")
    print(
        f"  window (mean)     {unit.arrays['num_sweeps'].mean():.0f} sweeps, {num_points.mean() / 1e6:.2f} M points; "
        f"{100 * unit.arrays['num_measured'].mean() / depth[0].size:.1f} % of pixels filled"
    )
    print(
        f"  straightforward   {theirs_ms:8.1f} ms CPU a key frame at {num_points[numbers].mean() / 1e6:.2f} M points; "
        f"PNG {np.mean(sizes) / 1e3:.0f} kB"
    )
    print(f"  ours, all of it   {ours_ms:8.2f} ms CPU a key frame; Zarr {zarr_kb:.0f} kB")
    per_point = theirs_ms / num_points[numbers].mean() * num_points.mean() / ours_ms
    print(f"  ratio             {theirs_ms / ours_ms:8.1f}x; {per_point:.1f}x for equally many points")
    print(
        f"  ours, projection  {kernel_ms:8.2f} ms; floor {floor:.2f} ms = {12 * num_points.mean() / 1e6:.1f} MB read once; "
        f"the projection is at {100 * floor / kernel_ms:.0f} % of it"
    )
    print(f"  the same, GPU     {on_gpu}")
    both = np.stack([depth[number] for number in numbers]), np.stack([straightforward_maps[number] for number in numbers])
    print(f"  pixels that differ between the two: {measure.pixels_that_differ(*both)}")
    if moving == "keep":
        _print_truth(runs, int(numbers[len(numbers) // 2]), depth, straightforward_maps)


def _on_gpu(runs: StageRuns, repeat: int) -> str:
    """Say what the projection takes on a GPU, or why that was not measured; one run before, not counted, sends the points over."""
    gpu = gpu_of_process()
    if not gpu.is_usable or gpu.is_simulated:
        return f"not measured: {gpu.says}"
    sending_ms = []

    def wall_ms(work: Callable[[], Any], *, repeat: int) -> float:
        times_ms = []
        for _ in range(repeat + 1):
            start = time.perf_counter()
            work()
            times_ms.append(1e3 * (time.perf_counter() - start))
        sending_ms.append(times_ms[0] - statistics.median(times_ms[1:]))
        return statistics.median(times_ms[1:])

    spent = projection_ms(runs, repeat, engine="cuda", clock=wall_ms)
    return f"{spent:8.2f} ms by the wall clock; {sending_ms[0]:.0f} ms a scene to send the points over; {gpu.says}"


def _print_truth(runs: StageRuns, number: int, depth: np.ndarray, straightforward_maps: dict[int, np.ndarray]) -> None:
    """Say how far both are from the same computation in float64, for one key frame."""
    raw = runs.source.reader()
    tables = raw.scene_tables(runs.plan.items[0].identity.scene)
    keyframe = [row for row in rows(tables["keyframes"]) if row["camera"] == "CAM_FRONT"][number]
    lidars = chosen_sweeps(rows(tables["sweeps"]), "LIDAR_TOP", scene="scene")
    [[window]] = lidars.windows([keyframe], NUM_SWEEPS, scene="scene")
    sweeps = [lidars.sweeps[number] for number in window]
    truth = depth_of_sweeps([(sweep, raw.read_points(sweep["file"])) for sweep in sweeps], keyframe, precision="float64")
    print(
        f"  pixels that differ from float64, key frame {number}: ours {measure.pixels_that_differ(depth[number], truth)}; "
        f"straightforward {measure.pixels_that_differ(straightforward_maps[number], truth)}"
    )


if __name__ == "__main__":
    main()
