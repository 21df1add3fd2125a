"""How work is carried out: in a bare loop, or as flows of Prefect. The work itself is the same and knows neither."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

from flows.run.materialize import Made, RunScenes
from flows.run.training import Training
from flows.workers.pool import WorkerPool
from pipeline.plan import Plan

if TYPE_CHECKING:
    from model.train.loop import OnProgress


@dataclass(frozen=True)
class Series:
    """Trainings that are done one after the other; one that fails does not stop the others.

    Attributes:
        name: of the whole.
        manifest: fingerprint of the data.
        trainings: by title; each trains, and returns why it failed, if it did.
        on_done: is told of each, with why it failed; writes the table.
        table: the Markdown file that ``on_done`` writes.
    """

    name: str
    manifest: str
    trainings: Mapping[str, Callable[[], str | None]]
    on_done: Callable[[str, str | None], None]
    table: Path


class RoundEnd(Protocol):
    """What a round of retraining has led to."""

    @property
    def name(self) -> str:
        """Name of the round."""

    @property
    def text(self) -> str:
        """Its report, Markdown."""

    @property
    def message(self) -> str:
        """What came of it and why, in one line."""

    @property
    def page(self) -> str | None:
        """URL of the report of its training; None if nothing was trained."""


R = TypeVar("R", bound=RoundEnd)


class Orchestrator(Protocol):
    """Carries work out."""

    def make(self, plan: Plan, pool: WorkerPool, work: Callable[[RunScenes], Made]) -> Made:
        """Make the units of a plan.

        Args:
            plan: what is to be done.
            pool: who runs the scenes.
            work: does the plan, given what runs its scenes.
        """
        ...

    def train(self, training: Training, on_progress: OnProgress | None) -> None:
        """Do every part of a training that is not done, from where a former run stopped."""
        ...

    def train_series(self, series: Series) -> None:
        """Do trainings one after the other."""
        ...

    def retrain(self, name: str, work: Callable[[], R]) -> R:
        """Do a round of retraining, which calls the methods above; ``name`` is the recipe's."""
        ...
