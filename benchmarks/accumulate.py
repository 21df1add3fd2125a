"""Claim: accumulating 160 sweeps takes 1/40 of the CPU time of the straightforward way, in less than 1 GB a worker.

World  a simulated 20 s drive at nuScenes size: 390 sweeps of about 34,700 points, 1600x900, boxes on everything that moves
Theirs ``devkit_accumulation``: the devkit's functions, np.minimum.at, PNG by PIL; a few key frames spread over the scene
Ours   all of ``run_item`` for accumulate_lidar: read files, filter, project, check, encode Zarr, write, fsync; the whole scene
Floor  the bytes of the window's points read once from memory (12 B a point)
"""

from __future__ import annotations

import argparse
import multiprocessing
import shutil
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import measure  # isort: skip  (before numpy: it limits the thread pools)
import numpy as np
from world import simulated_world

from pipeline.kernels.accumulate_twin import depth_of_sweeps
from pipeline.kernels.project_frames import project_frames
from pipeline.plan import Plan, make_plan
from pipeline.recipe import Recipe, parse_recipe
from pipeline.run import SceneMemory, SceneRequest, run_item, run_scene, scene_requests
from pipeline.sources import Source, open_source
from pipeline.sources.synthetic import SyntheticParams, version_name
from pipeline.stage import StageInput
from pipeline.stages.accumulate_lidar import key_sweep, lidar_chain, scene_points, window_around
from storage_schemas.layout import rows
from storage_schemas.store import Store

if TYPE_CHECKING:
    from devkit_accumulation import DevkitAccumulation

NUM_SWEEPS = 160


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=measure.DATA, help="folder where the simulated world is kept between runs")
    parser.add_argument("--frames", type=int, default=8, help="key frames done the straightforward way, about 2 s each")
    parser.add_argument("--repeat", type=int, default=3, help="runs of ours; the median counts")
    args = parser.parse_args()
    world, params = simulated_world(args.data)
    print(measure.machine())
    source = _source(world, params, args.data)
    peaks = ", ".join(f"{peak:.0f} MB ({moving})" for moving, peak in _worker_peaks_mb(source, world, params, args.data).items())
    print(f"peak memory of a worker that runs every stage of the scene: {peaks}")
    from devkit_accumulation import DevkitAccumulation  # here, so that the worker above does not import the devkit

    theirs = DevkitAccumulation(world, version_name(params))
    gb_per_s = measure.read_gb_per_s()
    print(f"memory read by one core: {gb_per_s:.1f} GB/s")
    print(f"key frames done the straightforward way: {args.frames} of {len(theirs.samples)}")
    for moving in ("keep", "drop"):
        _compare(moving, theirs, source, world, params, args, gb_per_s)


def _source(world: Path, params: SyntheticParams, data: Path) -> Source:
    recipe = _recipe("keep", world, params, data / "unused")
    source = open_source(recipe.source, data / "cache")
    source.scenes()
    return source


def _recipe(moving: str, world: Path, params: SyntheticParams, store: Path) -> Recipe:
    return parse_recipe({
        "source": {"kind": "nuscenes", "root": str(world), "version": version_name(params)}, "store": str(store),
        "stages": {"accumulate_lidar": {"num_sweeps": NUM_SWEEPS, "moving": moving}}}, where="benchmark")  # fmt: skip


def _worker_peaks_mb(source: Source, world: Path, params: SyntheticParams, data: Path) -> dict[str, float]:
    """Run all stages of the scene in a spawned process, as the worker pool does; return its peak memory by moving mode."""
    peaks = {}
    for moving in ("keep", "drop", "carry"):
        with tempfile.TemporaryDirectory(dir=data) as folder:
            recipe = _recipe(moving, world, params, Path(folder))
            store = Store(folder)
            request = scene_requests(make_plan(recipe, source, store), recipe, store, source.reader())[0]
            with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
                peaks[moving] = pool.submit(_peak_of, request).result()
    return peaks


def _peak_of(request: SceneRequest) -> float:
    bad = [result.message for result in run_scene(request) if result.status != "OK"]
    if bad:
        raise RuntimeError(bad[0])
    return measure.peak_rss_mb()


def _compare(
    moving: str,
    theirs: DevkitAccumulation,
    source: Source,
    world: Path,
    params: SyntheticParams,
    args: argparse.Namespace,
    gb_per_s: float,
) -> None:
    with tempfile.TemporaryDirectory(dir=args.data) as folder:
        recipe, store = _recipe(moving, world, params, Path(folder)), Store(folder)
        plan = make_plan(recipe, source, store)
        ours_ms = _ours_ms(plan, recipe, store, source, args.repeat)
        path = next(item.path for item in plan.items if item.stage == "accumulate_lidar")
        unit = store.read_unit(path)
        zarr_kb = sum(file.num_bytes for file in store.lineage(path).files.values()) / len(unit.arrays["depth_m"]) / 1e3
        kernel_ms = _kernel_ms(plan, recipe, store, source, args.repeat)
    depth, num_points = unit.arrays["depth_m"], unit.arrays["num_points"]
    numbers = (np.arange(args.frames) + 0.5) * len(depth) / args.frames  # spread evenly, so that cut windows count as in ours
    numbers = numbers.astype(int)
    found: dict[int, np.ndarray] = {}
    sizes: list[int] = []

    def straightforward() -> None:
        for number in numbers:
            found[number], png = theirs.keyframe_png(number, num_sweeps=NUM_SWEEPS, drop_moving=moving == "drop")
            sizes.append(len(png))

    theirs_ms = measure.cpu_ms(straightforward) / len(numbers)
    floor_ms = 12 * num_points.mean() / gb_per_s / 1e6
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
        f"  ours, projection  {kernel_ms:8.2f} ms; floor {floor_ms:.2f} ms = {12 * num_points.mean() / 1e6:.1f} MB read once; "
        f"the projection is at {100 * floor_ms / kernel_ms:.0f} % of it"
    )
    both = np.stack([depth[number] for number in numbers]), np.stack([found[number] for number in numbers])
    print(f"  pixels that differ between the two: {measure.pixels_that_differ(*both)}")
    if moving == "keep":
        _print_truth(plan, source, int(numbers[len(numbers) // 2]), depth, found)


def _ours_ms(plan: Plan, recipe: Recipe, store: Store, source: Source, repeat: int) -> float:
    """Return CPU ms a key frame of all of run_item; the first run, which loads the compiled kernels, does not count."""
    raw = source.reader()
    items = {item.stage: item for item in plan.items}
    assert run_item(items["index_frames"], recipe, store, raw, SceneMemory(), keep=False).status == "OK"
    item = items["accumulate_lidar"]
    num_frames = 0
    found = []
    for number in range(repeat + 1):
        shutil.rmtree(store.files.path(item.path.key), ignore_errors=True)

        def work() -> None:
            nonlocal num_frames
            result = run_item(item, recipe, store, raw, SceneMemory(), keep=False)
            assert result.status == "OK", result.message
            num_frames = int(result.counts["frames"])

        spent = measure.cpu_ms(work)
        if number:
            found.append(spent)
    return float(np.median(found)) / num_frames


def _unit(plan: Plan, store: Store, source: Source) -> StageInput:
    item = next(item for item in plan.items if item.stage == "accumulate_lidar")
    frames = store.read_unit(item.inputs["frames"])
    return StageInput(item.identity.scene, item.identity.camera, {"frames": frames}, source.reader())


def _kernel_ms(plan: Plan, recipe: Recipe, store: Store, source: Source, repeat: int) -> float:
    """Return CPU ms a key frame of projection alone, the points being in memory."""
    unit, p = _unit(plan, store, source), recipe.stages.accumulate_lidar
    chain = lidar_chain(unit.sweeps, channel=p.lidar, scene=unit.scene)
    windows = [window_around(chain, key_sweep(chain, keyframe, scene=unit.scene), p.num_sweeps) for keyframe in unit.keyframes]
    points = scene_points(unit, p, chain)
    height, width = unit.image_size()
    spent = measure.cpu_ms(lambda: project_frames(points, unit.keyframes, windows, height=height, width=width), repeat=repeat)
    return spent / len(windows)


def _print_truth(plan: Plan, source: Source, number: int, depth: np.ndarray, found: dict[int, np.ndarray]) -> None:
    """Say how far both are from the same computation in float64, for one key frame."""
    tables = source.reader().scene_tables(plan.items[0].identity.scene)
    keyframe = [row for row in rows(tables["keyframes"]) if row["camera"] == "CAM_FRONT"][number]
    chain = lidar_chain(rows(tables["sweeps"]), channel="LIDAR_TOP", scene="scene")
    window = window_around(chain, key_sweep(chain, keyframe, scene="scene"), NUM_SWEEPS)
    raw = source.reader()
    truth = depth_of_sweeps([(chain[k], raw.read_points(chain[k]["file"])) for k in window], keyframe, precision="float64")
    print(
        f"  pixels that differ from float64, key frame {number}: ours {measure.pixels_that_differ(depth[number], truth)}; "
        f"straightforward {measure.pixels_that_differ(found[number], truth)}"
    )


if __name__ == "__main__":
    main()
