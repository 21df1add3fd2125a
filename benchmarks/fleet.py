"""Claim: 100 Dask workers on 10,000 scenes wait for nobody: what depthmill itself costs a scene is a few ms, and does not grow with their number.

Fleet     a Dask cluster of threads in this process, a thread a worker; a scene is its six commit marks, with no arrays and no kernel
Scenes    tables of a made-up release, planned as any other; requests, pool, run log and lines are those of ``depthmill run``
Bare      the same cluster is given the same number of tasks that return as much, by ``client.submit``, and that is all
Prefect   a part of the scenes as Prefect tasks, on a server of its own
Measured  CPU time of the process (scheduler, workers and command together) and wall time a scene; peak memory; where the CPU time went
"""

from __future__ import annotations

import contextlib
import cProfile
import io
import logging
import os
import pstats
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import measure  # isort: skip  (before numpy: it limits the thread pools)
import plan_850
import yaml

from flows.run.bare_loop import BareLoop
from flows.run.listener import Listener
from flows.run.making import make_units
from flows.run.opening import Opened, open_recipe
from flows.settings import Settings
from flows.workers import dask_pool
from flows.workers.dask_cluster import DaskTarget
from flows.workers.dask_pool import DaskScenes
from flows.workers.pool import WorkerPool
from pipeline.recipe import load_recipe
from pipeline.run import SceneRequest
from pipeline.types import ItemResult
from storage_schemas.lineage import LINEAGE_FILE, LineageRecord
from storage_schemas.store import Store

TASK_MESSAGE = "40 frames, 31.2 % of pixels measured"


@dataclass(frozen=True)
class Cost:
    """What some scenes cost: seconds of CPU and of wall time, and how many they were."""

    cpu_s: float
    wall_s: float
    num_scenes: int

    def __str__(self) -> str:
        return f"{1e3 * self.cpu_s / self.num_scenes:.2f} ms CPU a scene, {1e3 * self.wall_s / self.num_scenes:.2f} ms wall"


def main() -> None:
    parser = measure.arguments(__doc__)  # the benchmark leaves nothing below --data
    parser.add_argument("--scenes", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=100)
    parser.add_argument("--prefect-scenes", type=int, default=300, help="0: without Prefect")
    parser.add_argument("--profile", action="store_true", help="print where the CPU time of the command's own thread went")
    args = measure.parsed(parser, scenes=30, workers=5, prefect_scenes=0)
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    folder = Path(tempfile.mkdtemp(dir=args.data))
    os.environ["PREFECT_HOME"] = str(folder / "prefect")
    try:
        print(measure.machine())
        _measure(folder, args)
    finally:
        shutil.rmtree(folder)


def _measure(folder: Path, args: Any) -> None:
    print(f"{args.workers} workers")
    dask_pool.run_scene_on_worker = commit_marks  # type: ignore[assignment]  # a scene without kernels
    with fleet(args.workers) as client:
        costs = {}
        for num_scenes in (args.scenes // 10, args.scenes):
            bare = cost_of(lambda num=num_scenes: bare_dask(client, num), num_scenes)
            opened = opened_world(folder / f"{num_scenes}", num_scenes)
            start = time.process_time()
            plan = opened.plan()
            planning = time.process_time() - start
            listener = Listener(line=io.StringIO().write)
            pool = WorkerPool(lambda: contextlib.nullcontext(DaskScenes(client, TARGET)), 2 * args.workers)
            with profiled(print_it=args.profile and num_scenes == args.scenes):
                ours = cost_of(
                    lambda o=opened: checked(make_units(o, BareLoop(), listener, report=False, pool=pool), o), num_scenes
                )
            costs[num_scenes] = ours
            print(f"{num_scenes} scenes, {len(plan.items)} units: plan {1e3 * planning / num_scenes:.2f} ms CPU a scene")
            print(f"{num_scenes} scenes, bare dask: {bare}")
            print(f"{num_scenes} scenes, depthmill: {ours}; peak memory {measure.peak_rss_mb():.0f} MB")
        few, many = (costs[number] for number in (args.scenes // 10, args.scenes))
        ratio = (many.cpu_s / many.num_scenes) / (few.cpu_s / few.num_scenes)
        print(f"a scene among {many.num_scenes} costs {ratio:.2f}x the CPU time of one among {few.num_scenes}")
        if args.prefect_scenes:
            by_prefect = prefect_cost(folder / "prefect-world", args.prefect_scenes, client, args.workers)
            print(f"{args.prefect_scenes} scenes, as tasks of Prefect: {by_prefect}")


TARGET = DaskTarget("local", "a fleet of threads")


@contextlib.contextmanager
def fleet(num_workers: int) -> Iterator[Any]:
    from distributed import Client, LocalCluster

    with (
        LocalCluster(
            n_workers=num_workers, threads_per_worker=1, processes=False, dashboard_address=":0", memory_limit=0,
            silence_logs=logging.CRITICAL,
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):  # fmt: skip
        client.wait_for_workers(num_workers)
        yield client


def opened_world(folder: Path, num_scenes: int) -> Opened:
    """Write tables of so many scenes with two key frames each, and open a recipe over them with an empty store."""
    plan_850.write_tables(folder / "raw" / "v1.0-trainval", num_scenes, 2)
    recipe = folder / "recipe.yaml"
    recipe.write_text(
        yaml.safe_dump({"source": {"kind": "nuscenes", "root": str(folder / "raw")}, "store": str(folder / "store")})
    )
    return open_recipe(load_recipe(recipe), Settings(workers=1, cache_dir=folder / "cache"))


def commit_marks(request: SceneRequest, _packages: dict[str, str]) -> list[ItemResult]:
    """Commit the units of a scene without content, and say so as a stage does."""
    store, results = Store(request.store_root), []
    for item in request.items:
        record = LineageRecord(
            identity=item.identity, fingerprint=item.path.fingerprint, files={}, counts={"frames": 40.0}, seconds=0.0,
            written_utc="2026-11-30T00:00:00+00:00", provenance={},
        )  # fmt: skip
        store.files.put(f"{item.path.key}/{LINEAGE_FILE}", record.to_json())
        results.append(
            ItemResult(
                item.stage,
                item.identity.scene,
                item.identity.camera,
                item.path.fingerprint,
                "OK",
                0.0,
                TASK_MESSAGE,
                {"frames": 40.0},
            )
        )
    return results


def bare_dask(client: Any, num_scenes: int) -> None:
    """Give the cluster tasks that return what a scene returns, all at once, and take the results as they come."""
    from distributed import as_completed

    futures = client.map(small_result, range(num_scenes), pure=False)
    for _, result in as_completed(futures, loop=client.loop, with_results=True):
        assert len(result) == 6
    del futures


def small_result(number: int) -> list[ItemResult]:
    return [ItemResult("stage", f"scene-{number}", "CAM_FRONT", "0" * 16, "OK", 0.0, TASK_MESSAGE, {"frames": 40.0})] * 6


def checked(made: Any, opened: Opened) -> None:
    """Look that every scene was made; the manifest fails, because the marks have no tables behind them."""
    assert made.summary.num_ok == len(made.plan.items) - 1, made.text
    assert len(opened.plan().to_do) == 1


def cost_of(work: Callable[[], object], num_scenes: int) -> Cost:
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    return Cost(time.process_time() - cpu, time.perf_counter() - wall, num_scenes)


@contextlib.contextmanager
def profiled(*, print_it: bool) -> Iterator[None]:
    """Print the functions of all threads that took most CPU time, with what they called."""
    if not print_it:
        yield
        return
    profiles: list[cProfile.Profile] = []

    def profile_thread(*_: object) -> None:
        profile = cProfile.Profile(time.thread_time)
        profiles.append(profile)
        profile.enable()

    threading.setprofile(profile_thread)
    main_profile = cProfile.Profile(time.thread_time)
    main_profile.enable()
    try:
        yield
    finally:
        main_profile.disable()
        threading.setprofile(None)
        stats = pstats.Stats(main_profile, stream=sys.stdout)
        for profile in profiles:
            profile.create_stats()
            stats.add(profile)
        stats.sort_stats("tottime").print_stats(40)


def prefect_cost(folder: Path, num_scenes: int, client: Any, num_workers: int) -> Cost:
    from flows.prefect.orchestrator import PrefectOrchestrator
    from flows.prefect.server import server_of_flows

    opened = opened_world(folder, num_scenes)
    pool = WorkerPool(lambda: contextlib.nullcontext(DaskScenes(client, TARGET)), 2 * num_workers)
    with server_of_flows():  # its start is not counted
        return cost_of(lambda: checked(make_units(opened, PrefectOrchestrator(), report=False, pool=pool), opened), num_scenes)


if __name__ == "__main__":
    main()
