"""Who runs the scenes of a plan: worker processes of this machine, or a Dask cluster. Results are the same bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from typing import Protocol

from pipeline.run import SceneRequest
from pipeline.types import ItemResult
from pipeline.workers import ScenePool


class SceneRunner(Protocol):
    """Runs a scene somewhere and waits for it; safe to call from many threads."""

    def run(self, request: SceneRequest) -> list[ItemResult]:
        """Run one scene and return its results, one per item, in the order of the items."""
        ...


@dataclass(frozen=True)
class WorkerPool:
    """How to get a runner, and how many threads shall wait on it at once.

    Attributes:
        open: starts the workers, or connects to them; leaving the context lets go of them.
        num_threads: scenes in flight.
    """

    open: Callable[[], AbstractContextManager[SceneRunner]]
    num_threads: int


def telling(pool: WorkerPool, tell: Callable[[str], None]) -> WorkerPool:
    """Return a pool that tells the name of each scene when it is given to a worker, or waits for one at its turn."""

    @contextmanager
    def opened() -> Iterator[SceneRunner]:
        with pool.open() as runner:
            yield _TellingRunner(runner, tell)

    return replace(pool, open=opened)


@dataclass(frozen=True)
class _TellingRunner:
    runner: SceneRunner
    tell: Callable[[str], None]

    def run(self, request: SceneRequest) -> list[ItemResult]:
        self.tell(request.scene)
        return self.runner.run(request)


def local_workers(num_workers: int) -> WorkerPool:
    """Return a pool of worker processes on this machine."""
    return WorkerPool(lambda: ScenePool(num_workers), num_workers)
