"""Work as flows of Prefect: ``materialize``, ``train_and_evaluate`` or ``pretrain``, ``ablate``, ``retrain_and_evaluate``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Generic

from prefect import State, flow
from prefect.artifacts import create_markdown_artifact
from prefect.states import Completed

from flows.prefect.guard import Guarded, OrchestratorError, T, explained
from flows.prefect.links import leave_link
from flows.prefect.scenes import made_state, run_scenes
from flows.prefect.server import server_of_flows
from flows.prefect.trainings import run_parts, run_series, series_state, trained_state
from flows.run.materialize import Made, RunScenes
from flows.run.orchestrator import R, RoundEnd, Series
from flows.run.training import Training
from flows.workers.pool import WorkerPool
from pipeline.plan import Plan

if TYPE_CHECKING:
    from model.train.loop import OnProgress


@dataclass(frozen=True)
class Job(Generic[T]):
    """What a flow does.

    Attributes:
        flow: name of the flow.
        run: name of the flow run.
        work: is done inside it.
        ended: leaves artifacts of what the work returned, and says how the flow ends.
        noun: what it is called in errors.
        kept: what the same command does afterwards.
        manifest: fingerprint that Prefect's pages show as the flow's parameter.
    """

    flow: str
    run: str
    work: Callable[[], T]
    ended: Callable[[T], State[Any]]
    noun: str
    kept: str
    manifest: str | None = None


@dataclass(frozen=True)
class PrefectOrchestrator:
    """The ``Orchestrator`` that starts a flow for each job, with tasks inside.

    Attributes:
        inside: name of the flow that runs already and calls the work, as a deployment does; no second one is started inside it.
    """

    inside: str | None = None

    def make(self, plan: Plan, pool: WorkerPool, work: Callable[[RunScenes], Made]) -> Made:
        """Make the units of a plan, a task for each scene.

        Raises:
            OrchestratorError: Prefect itself failed.
            DepthmillError: the pool failed, e.g. its Dask scheduler is gone.
        """
        do = partial(work, partial(run_scenes, pool))
        kept = "finished units are kept"
        return self._do(Job("materialize", f"{len(plan.to_do)}-units", do, made_state, "the flow", kept))

    def train(self, training: Training, on_progress: OnProgress | None) -> None:
        """Do every part of a training that is not done, a task each.

        Raises:
            OrchestratorError: Prefect itself failed.
            DepthmillError: what the training or the evaluation raised.
        """
        self._do(
            Job(
                flow=training.flow_name,
                run=training.folder.name,
                work=partial(run_parts, training, on_progress),
                ended=trained_state,
                noun="the training",
                kept="it goes on from the last checkpoint",
                manifest=training.manifest.path.fingerprint,
            )
        )

    def train_series(self, series: Series) -> None:
        """Do trainings one after the other, a task each; a failed one ends Failed, and the others go on.

        Raises:
            OrchestratorError: Prefect itself failed.
            DepthmillError: what ``on_done`` raised.
        """
        do, ended = partial(run_series, series), partial(series_state, series)
        self._do(Job("ablate", series.name, do, ended, "the ablation", "it goes on where it stopped", series.manifest))

    def retrain(self, name: str, work: Callable[[], R]) -> R:
        """Do a round of retraining; its units and its training are flows inside its own.

        Raises:
            OrchestratorError: Prefect itself failed.
            DepthmillError: what the round raised.
        """
        return self._do(Job("retrain_and_evaluate", name, work, _round_state, "the round", "it goes on where it stopped"))

    def _do(self, job: Job[T]) -> T:
        if job.flow == self.inside:
            value = job.work()
            job.ended(value)  # the flow that is running already returns its own end state
            return value
        return _run_flow(job)


def _run_flow(job: Job[T]) -> T:
    """Do a job as a flow of its own; its parameter, if it has one, is the manifest."""
    guard = Guarded[T]()

    def with_manifest(manifest: str) -> State[Any]:
        return guard.state(job.work, job.ended)

    def without_manifest() -> State[Any]:
        return guard.state(job.work, job.ended)

    start = flow(name=job.flow, flow_run_name=job.run, validate_parameters=False, log_prints=False)
    advice = f"Start the server of PREFECT_API_URL, or add --no-prefect. Then run the same command; {job.kept}"
    with server_of_flows():
        try:
            with explained(f"finish {job.noun}", advice):
                if job.manifest is None:
                    state: State[Any] = start(without_manifest)(return_state=True)
                else:
                    state = start(with_manifest)(job.manifest, return_state=True)
                if not guard.is_over:
                    state.result(raise_on_failure=True)
        except OrchestratorError:
            guard.check()  # that the server could not be told is not why the work failed
            raise
    return guard.value()


def _round_state(ended: RoundEnd) -> State[Any]:
    """Leave the report of a round and a link to its training's, and return how its flow ends."""
    create_markdown_artifact(key="retrain-round", markdown=ended.text, description=f"round {ended.name}")
    if ended.page is not None:
        leave_link("retrain-report", ended.page, "report.html")
    return Completed(message=ended.message)
