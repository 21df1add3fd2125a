"""Run scenes in worker processes that may die: the other scenes go on, and the error names the scene that killed its worker.

Workers import neither Prefect nor, unless a depth teacher has learned, torch, so that each stays below 1 GB for a 20 s scene.
"""

from __future__ import annotations

import os
from typing import Any

from pipeline.processes import ProcessPool
from pipeline.run import SceneRequest, run_scene
from pipeline.types import ItemResult
from storage_schemas.processes import WorkerDiedError

SINGLE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
"""A worker uses one core: libraries must not start their own thread pools."""


class ScenePool:
    """A pool of worker processes that survives the death of a worker; safe to call from many threads.

    Args:
        num_workers: worker processes; 1 = run in this process.
    """

    def __init__(self, num_workers: int) -> None:
        self._num_workers = num_workers
        self._pool = ProcessPool(num_workers)

    def __enter__(self) -> ScenePool:
        """Set the thread limits that the workers inherit."""
        for name, value in SINGLE_THREAD.items():
            os.environ.setdefault(name, value)
        return self

    def __exit__(self, *exc: Any) -> None:
        """Stop the workers."""
        self._pool.__exit__(*exc)

    def run(self, request: SceneRequest) -> list[ItemResult]:
        """Run one scene and return its results; never raises for the death of a worker.

        A scene whose worker dies is run once more, in a process of its own; other scenes are not touched.
        """
        if self._num_workers == 1:
            return run_scene(request)
        try:
            return self._pool.run(run_scene, request)
        except WorkerDiedError:
            pass
        with ProcessPool(1) as alone:
            try:
                return alone.run(run_scene, request)
            except WorkerDiedError as error:
                return request.failed(
                    f"the worker process died twice in this scene ({error.ending}), {error.likely_cause}, then run the same "
                    "command again"
                )
