"""Trainings as tasks of Prefect, in whatever flow is running: the parts of one, or those of an ablation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prefect import State, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.exceptions import FailedRun
from prefect.states import Completed, Failed

from flows.prefect.guard import Guarded
from flows.prefect.links import leave_link
from flows.run.orchestrator import Series
from flows.run.training import Training

if TYPE_CHECKING:
    from model.train.loop import OnProgress


def run_parts(training: Training, on_progress: OnProgress | None) -> Training:
    """Do the parts of a training, a task each, and return it; every task goes on where a former run stopped.

    Raises:
        DepthmillError: what a part raised.
        FailedRun: a task failed for another reason.
    """
    parts = training.parts(on_progress)
    guards = {part: Guarded[None]() for part in parts}

    @task(cache_policy=NO_CACHE, persist_result=False)
    def run_part(folder: str, part: str) -> State[Any]:
        return guards[part].state(parts[part], lambda _: Completed(message="done"))

    for part, guard in guards.items():
        state = run_part.with_options(name=part)(str(training.folder), part, return_state=True)
        if not guard.is_over:
            raise FailedRun(state.message)
        guard.check()
    return training


def trained_state(training: Training) -> State[Any]:
    """Leave the tables of a complete training and a link to its report, and return how its flow ends."""
    for key, table in (("train-table", "evaluation/table.md"), ("probe-table", "probe/table.md")):
        path = training.folder / table
        if path.is_file():
            text = path.read_text(encoding="utf-8")
            create_markdown_artifact(key=key, markdown=text, description=f"training {training.folder.name}")
    report = training.folder / "report.html"
    if report.is_file():
        leave_link("train-report", training.link(report.name), report.name)
    return Completed(message=training.address)


def run_series(series: Series) -> dict[str, str | None]:
    """Do trainings one after the other, a task each; a failed one ends Failed, and the others go on.

    Returns:
        Why each failed, by title; None if it did not.

    Raises:
        DepthmillError: what ``on_done`` raised.
    """
    finished: dict[str, str | None] = {}

    @task(name="train", task_run_name="{title}", cache_policy=NO_CACHE, persist_result=False)
    def train_task(title: str) -> State[Any]:
        finished[title] = error = series.trainings[title]()
        return Completed(message="done") if error is None else Failed(message=error)

    for title in series.trainings:
        state = train_task(title, return_state=True)
        # an orchestrator's failure (cancelled task) must not lose the other trainings
        finished.setdefault(title, f"the task failed outside the training: {state.message}")
        series.on_done(title, finished[title])
    return finished


def series_state(series: Series, finished: dict[str, str | None]) -> State[Any]:
    """Leave the table of an ablation, and return how its flow ends."""
    create_markdown_artifact(key="ablation-table", markdown=series.table.read_text(encoding="utf-8"), description=series.name)
    failed = [title for title, error in finished.items() if error is not None]
    if failed:  # a flow that merely returns would end Completed although trainings failed
        return Failed(message=f"{len(failed)} of {len(finished)} trainings failed: {'; '.join(failed)}")
    return Completed(message=f"{len(finished)} trainings done: {series.table.parent}")
