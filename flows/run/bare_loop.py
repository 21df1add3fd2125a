"""The same run without Prefect: a thread per scene in flight and nothing else. Results are identical."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from flows.run.materialize import OnResult, Opened, RunSummary, WriteReport, materialize_plan
from flows.workers.pool import WorkerPool, local_workers
from pipeline.plan import Plan
from pipeline.run import SceneRequest
from pipeline.types import ItemResult


def materialize_bare(
    opened: Opened, plan: Plan, on_result: OnResult, write_report: WriteReport, crew: WorkerPool | None = None
) -> tuple[RunSummary, Path | None]:
    """Run a plan without Prefect; return the summary, and the report if one was written.

    Without a ``crew`` the scenes run in worker processes of this machine.
    """
    chosen = crew or local_workers(opened.settings.workers)

    def run_scenes(requests: Sequence[SceneRequest]) -> Iterable[list[ItemResult]]:
        with chosen.open() as pool, ThreadPoolExecutor(chosen.num_threads) as threads:
            for future in as_completed([threads.submit(pool.run, request) for request in requests]):
                yield future.result()

    summary = materialize_plan(opened, plan, run_scenes, on_result)
    return summary, write_report(summary)
