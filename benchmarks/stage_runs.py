"""The stages of a recipe over a simulated world, opened so that one stage, or one part of it, can be run and timed alone."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import measure  # isort: skip  (before numpy: it limits the thread pools)
import numpy as np

from pipeline.kernels.project_frames import project_frames
from pipeline.lidar_windows import LidarSweeps, chosen_sweeps
from pipeline.plan import Plan, make_plan
from pipeline.processes import ProcessPool
from pipeline.recipe import Recipe, parse_recipe
from pipeline.run import SceneMemory, SceneRequest, run_item, run_scene, scene_requests
from pipeline.sources import open_source
from pipeline.sources.spec import Source
from pipeline.sources.synthetic import SyntheticParams, version_name
from pipeline.stage import StageInput
from pipeline.stages.accumulate_lidar import scene_points
from pipeline.types import ItemResult, WorkItem
from storage_schemas.store import Store, UnitPath


@dataclass(frozen=True)
class StageRuns:
    """A recipe, its opened source, a store, and the plan of what the store did not hold when it was opened."""

    recipe: Recipe
    source: Source
    store: Store
    plan: Plan

    def item(self, stage: str) -> WorkItem:
        """Return the first unit of a stage."""
        return next(item for item in self.plan.items if item.stage == stage)

    def run(self, item: WorkItem, memory: SceneMemory, *, keep: bool = True) -> ItemResult:
        """Make one unit; RuntimeError with the stage's own message if that fails."""
        result = run_item(item, self.recipe, self.store, self.source.reader(), memory, keep=keep)
        return _ok([result])[0]

    def run_stages(self, *stages: str) -> dict[str, UnitPath]:
        """Make the units of some stages of a single scene and camera; return their addresses by stage."""
        memory = SceneMemory()
        for stage in stages:
            self.run(self.item(stage), memory)
        return {stage: self.item(stage).path for stage in stages}

    def requests(self) -> list[SceneRequest]:
        """Return the work of each scene as a worker gets it."""
        return scene_requests(self.plan, self.recipe, self.store, self.source.reader())

    def forget(self, item: WorkItem) -> None:
        """Delete a unit, so that it can be made again."""
        shutil.rmtree(self.store.files.path(item.path.key), ignore_errors=True)


def open_runs(
    world: tuple[Path, SyntheticParams],
    store: Path,
    data: Path,
    *,
    stages: Mapping[str, Any] | None = None,
    cameras: Sequence[str] = ("CAM_FRONT",),
) -> StageRuns:
    """Open a recipe over a world of `simulated_world`; the index of its tables is kept below ``data``."""
    root, params = world
    source_keys = {"kind": "nuscenes", "root": str(root), "version": version_name(params)}
    recipe = parse_recipe(
        {"source": source_keys, "store": str(store), "cameras": list(cameras), "stages": dict(stages or {})}, where="benchmark"
    )
    source = open_source(recipe.source, data / "cache")
    return StageRuns(recipe, source, Store(store), make_plan(recipe, source, Store(store)))


def accumulate_ms(runs: StageRuns, repeat: int) -> float:
    """Return CPU ms a key frame of all of run_item for accumulate_lidar; the first run, which loads the kernels, does not count."""
    runs.run_stages("index_frames")
    item, times_ms = runs.item("accumulate_lidar"), []
    num_frames = 0.0
    for number in range(repeat + 1):
        runs.forget(item)
        results: list[ItemResult] = []
        spent = measure.cpu_ms(lambda results=results: results.append(runs.run(item, SceneMemory(), keep=False)))
        num_frames = results[0].counts["frames"]
        if number:
            times_ms.append(spent)
    return float(np.median(times_ms)) / num_frames


def projection_ms(runs: StageRuns, repeat: int, *, engine: str = "numba", clock: Callable[..., float] = measure.cpu_ms) -> float:
    """Return ms a key frame of projection alone, the points being in memory and the kernel loaded; needs index_frames."""
    p, (unit, lidars) = runs.recipe.stages.accumulate_lidar, unit_and_sweeps(runs)
    windows = lidars.windows(unit.keyframes, p.num_sweeps, scene=unit.scene)
    points = scene_points(unit, p, lidars.sweeps)
    height, width = unit.image_size()
    size = {"height": height, "width": width, "engine": engine}
    project_frames(points, unit.keyframes, windows, **size)  # the first call allocates its memory
    spent = clock(lambda: project_frames(points, unit.keyframes, windows, **size), repeat=repeat)
    return spent / len(windows)


def points_ms(runs: StageRuns, repeat: int) -> float:
    """Return CPU ms a key frame of what all cameras share: reading the scene's points and the moving filter; needs index_frames."""
    p, times_ms = runs.recipe.stages.accumulate_lidar, []
    for _ in range(repeat + 1):  # the first one loads the kernels
        unit, lidars = unit_and_sweeps(runs)  # a new unit, because a unit caches its points
        num_frames = len(unit.keyframes)
        times_ms.append(measure.cpu_ms(lambda unit=unit, lidars=lidars: scene_points(unit, p, lidars.sweeps)))
    return float(np.median(times_ms[1:])) / num_frames


def unit_and_sweeps(runs: StageRuns) -> tuple[StageInput, LidarSweeps]:
    """Return what accumulate_lidar gets, and its sweeps in time order."""
    item, p = runs.item("accumulate_lidar"), runs.recipe.stages.accumulate_lidar
    frames = runs.store.read_unit(item.inputs["frames"])
    unit = StageInput(item.identity.scene, item.identity.camera, {"frames": frames}, runs.source.reader())
    return unit, chosen_sweeps(unit.sweeps, p.lidar, scene=unit.scene)


def floor_ms(num_points: np.ndarray, gb_per_s: float) -> float:
    """Return the ms that it takes one core to read the points of a mean window once (12 B each)."""
    return float(12 * num_points.mean() / gb_per_s / 1e6)


def worker_peak_mb(runs: StageRuns) -> float:
    """Run all stages of the first scene in a process of its own, as the worker pool does; return that process's peak in MB."""
    with ProcessPool(1) as pool:
        return pool.run(_peak_of, runs.requests()[0])


def run_whole(request: SceneRequest) -> list[ItemResult]:
    """Run all items of a scene; RuntimeError with the first message if one fails."""
    return _ok(run_scene(request))


def _peak_of(request: SceneRequest) -> float:
    run_whole(request)
    return measure.peak_rss_mb()


def _ok(results: list[ItemResult]) -> list[ItemResult]:
    for result in results:
        if result.status != "OK":
            raise RuntimeError(f"{result.stage} {result.title}: {result.message}")
    return results
