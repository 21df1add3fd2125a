"""Work without Prefect: a thread for each scene in flight and nothing else. Results are identical."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import TYPE_CHECKING

from flows.run.materialize import Made, RunScenes
from flows.run.orchestrator import R, Series
from flows.run.training import Training
from flows.workers.pool import WorkerPool
from pipeline.plan import Plan
from pipeline.run import SceneRequest
from pipeline.types import ItemResult

if TYPE_CHECKING:
    from model.train.loop import OnProgress


class BareLoop:
    """The ``Orchestrator`` where no Prefect API is configured, of ``--no-prefect``, of tests and of Python."""

    def make(self, plan: Plan, pool: WorkerPool, work: Callable[[RunScenes], Made]) -> Made:
        """Make the units of a plan."""

        def run_scenes(requests: Sequence[SceneRequest]) -> Iterable[list[ItemResult]]:
            with pool.open() as runner, ThreadPoolExecutor(pool.num_threads) as threads:
                for future in as_completed([threads.submit(runner.run, request) for request in requests]):
                    yield future.result()

        return work(run_scenes)

    def train(self, training: Training, on_progress: OnProgress | None) -> None:
        """Do every part of a training that is not done."""
        for part in training.parts(on_progress).values():
            part()

    def train_series(self, series: Series) -> None:
        """Do trainings one after the other."""
        for title, train in series.trainings.items():
            series.on_done(title, train())

    def retrain(self, name: str, work: Callable[[], R]) -> R:
        """Do a round of retraining."""
        return work()
