"""The same run without Prefect: a thread per worker process and nothing else. Results are identical."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from flows.materialize import OnResult, Opened, RunSummary, WriteReport, materialize_plan
from pipeline.plan import Plan
from pipeline.run import SceneRequest
from pipeline.types import ItemResult
from pipeline.workers import ScenePool


def materialize_bare(
    opened: Opened, plan: Plan, on_result: OnResult, write_report: WriteReport
) -> tuple[RunSummary, Path | None]:
    """Run a plan with the standard library only; return the summary, and the report if one was written."""
    workers = opened.settings.workers

    def run_scenes(requests: Sequence[SceneRequest]) -> Iterable[list[ItemResult]]:
        with ScenePool(workers) as pool, ThreadPoolExecutor(workers) as threads:
            for future in as_completed([threads.submit(pool.run, request) for request in requests]):
                yield future.result()

    summary = materialize_plan(opened, plan, run_scenes, on_result)
    return summary, write_report(summary)
