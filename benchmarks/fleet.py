"""Claim: 100 Dask workers on 10,000 scenes wait for nobody: what depthmill itself costs a scene is a few ms, and does not grow with their number.

Fleet     a Dask cluster of threads in this process, a thread a worker; a scene is its six commit marks, with no arrays and no kernel
Scenes    copies of one of a made-up release, planned as any other; requests, pool, run log and lines are those of ``depthmill run``
Bare      the same cluster is given the same number of tasks that return as much, by ``client.submit``, and that is all
Prefect   a part of the scenes as Prefect tasks, on a server of its own
Measured  CPU time of the process (scheduler, workers and command together, without the idle cluster) and wall time a scene; peak memory
"""

from __future__ import annotations

import contextlib
import cProfile
import io
import logging
import os
import pickle
import pstats
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import measure  # isort: skip  (before numpy: it limits the thread pools)
import plan_850
import yaml

from flows.run.bare_loop import BareLoop
from flows.run.listener import Listener
from flows.run.making import make_units
from flows.run.materialize import Made
from flows.run.opening import Opened, open_recipe
from flows.settings import Settings
from flows.workers import dask_pool
from flows.workers.dask_cluster import DaskTarget
from flows.workers.dask_pool import DaskScenes
from flows.workers.pool import WorkerPool
from pipeline.plan import Plan
from pipeline.recipe import load_recipe
from pipeline.run import SceneRequest, scene_requests
from pipeline.sources.spec import OnDisk, Source
from pipeline.stage import RawReader
from pipeline.types import ItemResult, SceneInfo
from storage_schemas.lineage import LINEAGE_FILE, LineageRecord
from storage_schemas.store import Store

TASK_MESSAGE = "40 frames, 31.2 % of pixels measured"


@dataclass(frozen=True)
class Cost:
    """What some scenes cost: seconds of CPU and of wall time, and how many they were."""

    cpu_s: float
    wall_s: float
    num_scenes: int

    @property
    def net_ms(self) -> float:
        """CPU time a scene without what the cluster costs when it has nothing to do; that depends on how busy the machine is."""
        return 1e3 * (self.cpu_s - IDLE["cpu_a_second"] * self.wall_s) / self.num_scenes

    def __str__(self) -> str:
        return f"{self.net_ms:.2f} ms CPU a scene, {1e3 * self.wall_s / self.num_scenes:.2f} ms wall"


IDLE = {"cpu_a_second": 0.0}
"""What the cluster costs when it has nothing to do; it is taken off what is measured."""


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
        idle = cost_of(lambda: time.sleep(2.0 if args.small else 10.0), 1)
        IDLE["cpu_a_second"] = idle.cpu_s / idle.wall_s
        print(
            f"the cluster costs {1e3 * idle.cpu_s / idle.wall_s:.0f} ms CPU a second when it has nothing to do; that is taken off below"
        )
        pool = WorkerPool(lambda: contextlib.nullcontext(DaskScenes(client, TARGET)), 2 * args.workers)
        few, many = (scenes_cost(folder, number, client, pool, args) for number in (args.scenes // 10, args.scenes))
        ratio = many.net_ms / few.net_ms
        print(f"a scene among {many.num_scenes} costs {ratio:.2f}x the CPU time of one among {few.num_scenes}")
        if args.prefect_scenes:
            by_prefect = prefect_cost(folder / "prefect-world", args.prefect_scenes, pool)
            print(f"{args.prefect_scenes} scenes, depthmill, as tasks of Prefect: {by_prefect}")


def scenes_cost(folder: Path, num_scenes: int, client: Any, pool: WorkerPool, args: Any) -> Cost:
    """Print what so many scenes cost, part by part, and return what depthmill's way of running them costs."""
    title = f"{num_scenes} scenes"
    print(f"{title}, bare dask: {cost_of(lambda: bare_dask(client, num_scenes), num_scenes)}")
    opened = opened_world(folder / title, num_scenes)
    print(f"{title}, plan: {cost_of(opened.plan, num_scenes)}")
    plan = opened.plan()
    raw = opened.source.reader()
    requests = scene_requests(plan, opened.recipe, opened.store, raw)
    print(f"{title}, a request is {len(pickle.dumps(requests[0]))} bytes; units: {len(plan.items)}")
    marks = cost_of(lambda: [commit_marks(request, {}) for request in requests], num_scenes)
    print(f"{title}, their commit marks alone, no cluster: {marks}")
    shutil.rmtree(opened.store.root)
    loop = Timed(num_scenes)
    listener = Listener(line=io.StringIO().write, warn=lambda _: None)
    with profiled(print_it=args.profile and num_scenes == args.scenes):
        checked(make_units(opened, loop, listener, report=False, pool=pool))
    print(f"{title}, depthmill: {loop.cost}; peak memory {measure.peak_rss_mb():.0f} MB")
    assert len(opened.plan().to_do) == 1
    return loop.cost


class Timed(BareLoop):
    """A bare loop that takes the time of the work, from the plan to the summary."""

    def __init__(self, num_scenes: int) -> None:
        self._num_scenes = num_scenes

    def make(self, plan: Plan, pool: WorkerPool, work: Callable[..., Made]) -> Made:
        made: list[Made] = []
        self.cost = cost_of(lambda: made.append(super(Timed, self).make(plan, pool, work)), self._num_scenes)
        return made[0]


TARGET = DaskTarget("local", "a fleet of threads")


QUIET = {
    "distributed.worker.profile.enabled": False,  # looks at a worker's stack 100 times a second; 100 workers share this process
    "distributed.admin.system-monitor.interval": "60s",
    "distributed.scheduler.worker-ttl": None,
}


@contextlib.contextmanager
def fleet(num_workers: int) -> Iterator[Any]:
    import dask
    from distributed import Client, LocalCluster

    with (
        dask.config.set(QUIET),
        LocalCluster(
            n_workers=num_workers, threads_per_worker=1, processes=False, dashboard_address="127.0.0.1:0", memory_limit=0,
            silence_logs=logging.CRITICAL,
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):  # fmt: skip
        client.wait_for_workers(num_workers)
        yield client


class Fleet(OnDisk):
    """A source of so many scenes, each like the only one of another source."""

    def __init__(self, like: Source, num_scenes: int) -> None:
        self.release, self._like = "fleet", like
        (scene,) = like.scenes()
        self._scenes = [replace(scene, name=f"scene-{n:05d}", digest=f"{n:016x}", findings=()) for n in range(num_scenes)]

    def scenes(self) -> list[SceneInfo]:
        return self._scenes

    def reader(self) -> RawReader:
        return self._like.reader()


def opened_world(folder: Path, num_scenes: int) -> Opened:
    """Open a recipe over so many scenes, with an empty store; there are tables of one of them only."""
    plan_850.write_tables(folder / "raw" / "v1.0-trainval", 1, 2)
    recipe = folder / "recipe.yaml"
    recipe.write_text(
        yaml.safe_dump({"source": {"kind": "nuscenes", "root": str(folder / "raw")}, "store": str(folder / "store")})
    )
    opened = open_recipe(load_recipe(recipe), Settings(workers=1, cache_dir=folder / "cache"))
    return replace(opened, source=Fleet(opened.source, num_scenes))


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


def checked(made: Made) -> None:
    """Look that every scene was made; the manifest fails, because the marks have no tables behind them."""
    assert made.summary is not None and made.summary.num_ok == len(made.plan.items) - 1, made.text


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


def prefect_cost(folder: Path, num_scenes: int, pool: WorkerPool) -> Cost:
    from flows.prefect.orchestrator import PrefectOrchestrator
    from flows.prefect.server import server_of_flows

    class TimedByPrefect(PrefectOrchestrator):
        def make(self, plan: Plan, pool: WorkerPool, work: Callable[..., Made]) -> Made:
            made: list[Made] = []
            costs.append(cost_of(lambda: made.append(super(TimedByPrefect, self).make(plan, pool, work)), num_scenes))
            return made[0]

    costs: list[Cost] = []
    opened = opened_world(folder, num_scenes)
    with server_of_flows():  # its start is not counted
        checked(make_units(opened, TimedByPrefect(), report=False, pool=pool))
    return costs[0]


if __name__ == "__main__":
    main()
