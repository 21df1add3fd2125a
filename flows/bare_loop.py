"""The same run without Prefect: a thread per worker process and nothing else. Results are identical."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed

from flows.materialize import OnResult, Opened, RunSummary, materialize_plan
from pipeline.plan import Plan
from pipeline.run import SceneRequest
from pipeline.types import ItemResult
from pipeline.workers import ScenePool


def materialize_bare(opened: Opened, plan: Plan, on_result: OnResult) -> RunSummary:
    """Run a plan with the standard library only."""
    workers = opened.settings.workers

    def run_scenes(requests: Sequence[SceneRequest]) -> Iterable[list[ItemResult]]:
        with ScenePool(workers) as pool, ThreadPoolExecutor(workers) as threads:
            for future in as_completed([threads.submit(pool.run, request) for request in requests]):
                yield future.result()

    return materialize_plan(opened, plan, run_scenes, on_result)
