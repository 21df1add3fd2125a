"""The ``ablate`` flow: Prefect 3 around an ablation, whose tasks are its trainings; imported inside the verb."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from prefect import State, flow, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.states import Completed, Failed

from flows.ablation.ablation import Ablation, Run
from flows.ablation.table import TABLE_FILE
from flows.prefect.materialize import OrchestratorError
from flows.prefect.server import refuse_silent_server
from storage_schemas.errors import DepthmillError


def train_all_with_prefect(
    ablation: Ablation, runs: Mapping[str, Run], train: Callable[[Run], str | None], on_done: Callable[[Run, str | None], None]
) -> None:
    """Do trainings one after the other as the tasks of one flow; a failed one ends Failed, and the others go on.

    Args:
        ablation: the plan.
        runs: the trainings to do, by title.
        train: does one, and returns why it failed, if it did.
        on_done: told of each; writes the table.

    Raises:
        OrchestratorError: Prefect itself failed.
        DepthmillError: what ``on_done`` raised.
    """
    finished: dict[str, str | None] = {}
    is_through: list[bool] = []

    @task(name="train", task_run_name="{title}", cache_policy=NO_CACHE, persist_result=False)
    def train_task(title: str) -> State[Any]:
        finished[title] = error = train(runs[title])
        return Completed(message="done") if error is None else Failed(message=error)

    @flow(name="ablate", flow_run_name=ablation.name, validate_parameters=False, log_prints=False)
    def ablate(manifest: str) -> State[Any]:
        for title, run in runs.items():
            state = train_task(title, return_state=True)
            # an orchestrator's failure (cancelled task) must not lose the other trainings
            finished.setdefault(title, f"the task failed outside the training: {state.message}")
            on_done(run, finished[title])
        is_through.append(True)
        table = (ablation.folder / TABLE_FILE).read_text(encoding="utf-8")
        create_markdown_artifact(key="ablation-table", markdown=table, description=ablation.name)
        failed = [title for title, error in finished.items() if error is not None]
        if failed:  # a flow that merely returns would end Completed although trainings failed
            return Failed(message=f"{len(failed)} of {len(runs)} trainings failed: {'; '.join(failed)}")
        return Completed(message=f"{len(runs)} trainings done: {ablation.folder}")

    refuse_silent_server()
    try:
        state = ablate(ablation.manifest, return_state=True)
        if not is_through:
            state.result(raise_on_failure=True)
    except DepthmillError:
        raise
    except Exception as error:  # Prefect has many error types for a server that is gone
        raise OrchestratorError(
            f"Prefect could not finish the ablation: {type(error).__name__}: {error}. Start the server of PREFECT_API_URL, unset "
            "it to use the embedded one, or add --no-prefect. Then run the same command; it goes on where it stopped"
        ) from error
