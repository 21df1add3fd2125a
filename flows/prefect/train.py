"""The flows ``train_and_evaluate`` and, of a pre-training, ``pretrain``: Prefect 3 around a training, whose parts are tasks.

Imported inside the verb.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from prefect import State, flow, task
from prefect.artifacts import create_link_artifact, create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.states import Completed, Failed

from flows.prefect.materialize import OrchestratorError
from flows.run.training import Training
from storage_schemas.errors import DepthmillError

if TYPE_CHECKING:
    from model.train.loop import Progress


def train_with_prefect(training: Training, on_progress: Callable[[Progress], None] | None) -> None:
    """Run a training as a Prefect flow; every task goes on where a former run stopped.

    Raises:
        DepthmillError: what the training or the evaluation raised.
        OrchestratorError: Prefect itself failed.
    """
    raised: list[DepthmillError] = []
    parts = training.parts(on_progress)

    def guarded(work: Callable[[], Any]) -> State[Any]:
        try:
            work()
        except DepthmillError as error:  # a user's mistake: Prefect shall keep its text, not print a traceback
            raised.append(error)
            return Failed(message=str(error))
        return Completed(message="done")

    @task(cache_policy=NO_CACHE, persist_result=False)
    def run_part(folder: str, part: str) -> State[Any]:
        return guarded(parts[part])

    @flow(name=training.flow_name, flow_run_name=training.folder.name, validate_parameters=False, log_prints=False)
    def run_training(manifest: str) -> State[Any]:
        for part in parts:
            state = run_part.with_options(name=part)(str(training.folder), part, return_state=True)
            if not state.is_completed():
                return Failed(message=state.message)
        _leave_artifacts(training)
        return Completed(message=f"{training.folder}")

    try:
        state = run_training(training.manifest.path.fingerprint, return_state=True)
        if not raised and not state.is_completed():
            state.result(raise_on_failure=True)
    except DepthmillError:
        raise
    except Exception as error:  # Prefect has many error types for a server that is gone
        raise OrchestratorError(
            f"Prefect could not finish the training: {type(error).__name__}: {error}. Start the server of "
            f"PREFECT_API_URL, unset it "
            "to use the embedded one, or add --no-prefect. Then run the same command; it goes on from the last checkpoint"
        ) from error
    if raised:
        raise raised[0]


def _leave_artifacts(training: Training) -> None:
    for key, table in (("train-table", "evaluation/table.md"), ("probe-table", "probe/table.md")):
        path = training.folder / table
        if path.is_file():
            text = path.read_text(encoding="utf-8")
            create_markdown_artifact(key=key, markdown=text, description=f"training {training.folder.name}")
    report = training.folder / "report.html"
    if report.is_file():
        create_link_artifact(key="train-report", link=report.absolute().as_uri(), link_text=report.name)
