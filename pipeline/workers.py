"""Run scenes in worker processes that may die: the other scenes go on, and the error names the scene that killed its worker.

Workers import neither Prefect nor, unless a depth teacher has learned, torch, so that each stays below 1 GB for a 20 s scene.
"""

from __future__ import annotations

import os
import threading
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from pipeline.processes import worker_pool
from pipeline.run import SceneRequest, run_scene
from pipeline.types import ItemResult

SINGLE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
"""A worker uses one core: libraries must not start their own thread pools."""


class ScenePool:
    """A pool of worker processes that survives the death of a worker; safe to call from many threads.

    Args:
        num_workers: worker processes; 1 = run in this process.
    """

    def __init__(self, num_workers: int) -> None:
        self._num_workers = num_workers
        self._lock = threading.Lock()
        self._executor: ProcessPoolExecutor | None = None

    def __enter__(self) -> ScenePool:
        """Set the thread limits that the workers inherit."""
        for name, value in SINGLE_THREAD.items():
            os.environ.setdefault(name, value)
        return self

    def __exit__(self, *exc: object) -> None:
        """Stop the workers."""
        if self._executor is not None:
            self._executor.shutdown(cancel_futures=True)

    def run(self, request: SceneRequest) -> list[ItemResult]:
        """Run one scene and return its results; never raises for the death of a worker.

        When a worker dies, every scene in flight loses its worker with it. Each is then run once more in a process of its own,
        so that only the scene that kills even that process is reported as failed.
        """
        if self._num_workers == 1:
            return run_scene(request)
        executor = self._current()
        try:
            return executor.submit(run_scene, request).result()
        except BrokenProcessPool:
            self._retire(executor)
        with worker_pool(1) as alone:
            try:
                return alone.submit(run_scene, request).result()
            except BrokenProcessPool:
                return request.failed(
                    "the worker process died twice in this scene, probably killed for lack of memory. "
                    "Run with fewer --workers, then run the same command again"
                )

    def _current(self) -> ProcessPoolExecutor:
        with self._lock:
            if self._executor is None:
                self._executor = worker_pool(self._num_workers)
            return self._executor

    def _retire(self, executor: ProcessPoolExecutor) -> None:
        with self._lock:
            if self._executor is executor:
                self._executor = None
        executor.shutdown(wait=False, cancel_futures=True)
