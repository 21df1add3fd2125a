"""The scenes of a plan as tasks of Prefect, one each, in whatever flow is running."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from prefect import State, task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.futures import as_completed
from prefect.states import Completed, Failed
from prefect.task_runners import ThreadPoolTaskRunner

from flows.prefect.guard import Guarded
from flows.prefect.links import leave_link
from flows.run.materialize import Made, RunSummary
from flows.workers.pool import WorkerPool
from pipeline.run import SceneRequest
from pipeline.types import ItemResult


def run_scenes(pool: WorkerPool, requests: Sequence[SceneRequest]) -> Iterable[list[ItemResult]]:
    """Run one task for each scene and yield its results; each thread of the task runner waits for one scene of the pool.

    Tasks receive the scene's name and nothing large. A scene with a failed unit ends Failed.

    Raises:
        DepthmillError: the pool failed, e.g. its Dask scheduler is gone.
    """
    by_scene = {request.scene: request for request in requests}
    guards = {scene: Guarded[list[ItemResult]]() for scene in by_scene}
    task_runner: Any = ThreadPoolTaskRunner(max_workers=pool.num_threads)
    with pool.open() as runner, task_runner as threads:

        @task(name="run scene", task_run_name="{scene}", cache_policy=NO_CACHE, persist_result=False)
        def run_scene_task(scene: str) -> State[Any]:
            return guards[scene].state(lambda: runner.run(by_scene[scene]), _scene_state)

        futures = {threads.submit(run_scene_task, {"scene": scene}): scene for scene in by_scene}
        for future in as_completed(list(futures)):
            scene = futures[future]
            if guards[scene].is_over:
                yield guards[scene].value()
            else:  # an orchestrator's failure (lost server, cancelled task) must not lose the other scenes
                yield by_scene[scene].failed(f"the task failed outside the stage: {future.state.message}")


def _scene_state(results: Sequence[ItemResult]) -> State[Any]:
    errors = [f"{result.stage}: {result.message}" for result in results if result.status == "ERROR"]
    return Failed(message="; ".join(errors)) if errors else Completed(message=f"{len(results)} units made")


def made_state(made: Made) -> State[Any]:
    """Leave a table of the run and a link to its report or events, and return how a flow that made units ends."""
    summary = made.summary
    assert summary is not None
    _leave_table(summary)
    details = made.report or summary.folder / "events.jsonl"
    url = f"{summary.address}/{details.name}"
    leave_link("materialize-report", url if "://" in url else details.absolute().as_uri(), details.name)
    if summary.num_errors:  # a flow that merely returns would end Completed although units failed
        return Failed(message=f"{summary.num_errors} units failed, {summary.num_skipped} skipped; see {summary.address}")
    return Completed(message=f"{summary.num_ok} units made")


def _leave_table(summary: RunSummary) -> None:
    stages: dict[str, dict[str, float]] = {}
    for result in summary.results:
        row = stages.setdefault(result.stage, {"OK": 0, "ERROR": 0, "SKIP": 0, "seconds": 0.0})
        row[result.status] += 1
        row["seconds"] += result.seconds
    create_table_artifact(
        key="materialize-summary",
        description=f"run {summary.folder.name}",
        table=[{"stage": stage, **{key: round(value, 2) for key, value in row.items()}} for stage, row in stages.items()],
    )
