"""The ``materialize`` flow: Prefect 3 around the same steps, one task per scene.

Prefect imports in two to three seconds, so this module is imported inside the verb that needs it. Without a configured server
(PREFECT_API_URL) Prefect starts an embedded one by itself and stops it again; there is nothing to start by hand.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from prefect import State, flow, task
from prefect.artifacts import create_link_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.futures import as_completed
from prefect.states import Completed, Failed
from prefect.task_runners import ThreadPoolTaskRunner

from flows.run.materialize import OnResult, Opened, RunSummary, WriteReport, materialize_plan
from flows.workers.pool import SceneRunner, WorkerPool, local_workers
from pipeline.plan import Plan
from pipeline.run import SceneRequest
from pipeline.types import ItemResult
from storage_schemas.errors import DepthmillError


class OrchestratorError(DepthmillError):
    """Prefect itself failed, not a unit."""


def materialize_with_prefect(
    opened: Opened, plan: Plan, on_result: OnResult, write_report: WriteReport, crew: WorkerPool | None = None
) -> tuple[RunSummary, Path | None]:
    """Run a plan as a Prefect flow; each thread of its task runner waits for one scene of the crew.

    Without a ``crew`` the scenes run in worker processes of this machine.

    Returns:
        The summary, and the report if one was written.

    Raises:
        OrchestratorError: Prefect itself failed.
        DepthmillError: the crew failed, e.g. its Dask scheduler is gone.
    """
    chosen = crew or local_workers(opened.settings.workers)
    runner: Any = ThreadPoolTaskRunner(max_workers=chosen.num_threads)

    @flow(
        name="materialize",
        flow_run_name=f"{len(plan.to_do)}-units",
        task_runner=runner,
        validate_parameters=False,
        log_prints=False,
    )
    def materialize() -> State[Any]:
        with chosen.open() as pool:
            summary = materialize_plan(opened, plan, lambda requests: _run_scenes(pool, requests), on_result)
        page = write_report(summary)
        found.append((summary, page))
        _leave_artifacts(summary, page)
        if summary.num_errors:  # a flow that merely returns would end Completed although units failed
            return Failed(message=f"{summary.num_errors} units failed, {summary.num_skipped} skipped; see {summary.folder}")
        return Completed(message=f"{summary.num_ok} units made")

    found: list[tuple[RunSummary, Path | None]] = []
    try:
        state = materialize(return_state=True)
        if not found:
            state.result(raise_on_failure=True)
    except DepthmillError:
        raise  # a user's mistake, not Prefect's
    except Exception as error:  # Prefect has many error types for a server that is gone; the store is whole in any case
        raise OrchestratorError(
            f"Prefect could not finish the flow: {type(error).__name__}: {error}. Start the server of PREFECT_API_URL, "
            "unset it to use the embedded one, or add --no-prefect. Then run the same command; finished units are kept"
        ) from error
    return found[0]


def _run_scenes(pool: SceneRunner, requests: Sequence[SceneRequest]) -> Iterable[list[ItemResult]]:
    """Submit one task per scene; tasks receive the scene's name and nothing large. A scene with a failed unit ends Failed."""
    by_scene = {request.scene: request for request in requests}
    finished: dict[str, list[ItemResult]] = {}
    raised: list[DepthmillError] = []

    @task(name="run scene", task_run_name="{scene}", cache_policy=NO_CACHE, persist_result=False)
    def run_scene_task(scene: str) -> State[Any]:
        try:
            finished[scene] = results = pool.run(by_scene[scene])
        except DepthmillError as error:  # the crew is gone: Prefect shall keep its text, not print a traceback
            raised.append(error)
            return Failed(message=str(error))
        errors = [f"{result.stage}: {result.message}" for result in results if result.status == "ERROR"]
        return Failed(message="; ".join(errors)) if errors else Completed(message=f"{len(results)} units made")

    futures = {run_scene_task.submit(scene): scene for scene in by_scene}
    for future in as_completed(list(futures)):
        scene = futures[future]
        if scene in finished:
            yield finished[scene]
        elif raised:
            raise raised[0]
        else:  # an orchestrator's failure (lost server, cancelled task) must not lose the other scenes
            yield by_scene[scene].failed(f"the task failed outside the stage: {future.state.message}")


def _leave_artifacts(summary: RunSummary, page: Path | None) -> None:
    """Leave a table of the run and a link to its report, or to its events if there is none."""
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
    details = page or summary.folder / "events.jsonl"
    create_link_artifact(key="materialize-report", link=details.absolute().as_uri(), link_text=details.name)
