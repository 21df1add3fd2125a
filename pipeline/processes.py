"""A pool of worker processes that never outlive the process that started them; the death of one is told to its caller alone."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, TypeVar

from storage_schemas.processes import WorkerProcess, end_all

T = TypeVar("T")


class ProcessPool:
    """Calls functions in worker processes, which are started when they are needed; safe to call from many threads.

    Args:
        num_workers: most calls at once; further callers wait.
    """

    def __init__(self, num_workers: int) -> None:
        self._room = threading.Semaphore(num_workers)
        self._lock = threading.Lock()
        self._idle: list[WorkerProcess] = []
        self._all: list[WorkerProcess] = []

    def __enter__(self) -> ProcessPool:
        """Return the pool; leaving the block ends its workers."""
        return self

    def __exit__(self, error_class: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """End the workers; if an error ends the block, those that are still at work are killed."""
        with self._lock:
            workers, self._all, self._idle = self._all, [], []
        end_all(workers, grace_s=5.0 if error_class is None else 0.0)

    def run(self, function: Callable[..., T], *arguments: Any) -> T:
        """Call a function of a module in a worker; return what it returned or raise what it raised.

        Raises:
            WorkerDiedError: the worker died in this call, e.g. killed for lack of memory; other calls are not touched.
        """
        with self._room:
            worker = self._take()
            try:
                worker.send((function, arguments))
                result: T = worker.receive()
            finally:
                self._give_back(worker)
            return result

    def _take(self) -> WorkerProcess:
        with self._lock:
            if self._idle:
                return self._idle.pop()
            worker = WorkerProcess(_call, preload=None, name="scene worker")
            self._all.append(worker)
            return worker

    def _give_back(self, worker: WorkerProcess) -> None:
        with self._lock:
            if worker not in self._all:  # the pool has ended meanwhile
                return
            if worker.num_waiting == 0:
                self._idle.append(worker)
                return
            self._all.remove(worker)
        worker.end(grace_s=0.0)  # it died, or its answer would be taken for that to the next call


def _call(request: tuple[Callable[..., Any], tuple[Any, ...]], _: Sequence[int]) -> Any:
    function, arguments = request
    return function(*arguments)
