"""Scenes on a Dask cluster: one Dask task per scene, from the bare loop and from the Prefect flow alike.

Under Prefect each scene is one Prefect task in a thread of the flow's process, which waits for one Dask task. It is not
prefect-dask's task runner that takes scenes to the workers, for three reasons (prefect-dask 0.3.7). Its workers run Prefect's own
engine, so each needs the server's address or starts a server of its own (seen: a child process in each worker, 230 MB before
any work, 17 s for four tasks that do nothing), and the embedded server listens on 127.0.0.1, which no other node reaches. A
scene whose worker died ends in KilledWorker, ignores retries, and the flow may still end Completed. And the bare way would need
a second path. This way workers need neither Prefect nor a server, and both ways share every line below.

What may go wrong, and what becomes of it. A worker dies: Dask runs its scene on another, at most DEATHS_ALLOWED times; then it
is submitted again, at most SUBMISSIONS times in all, because Dask blames every scene that was assigned to a dead worker, also
those that had not begun; then the scene is reported as failed and the others go on. The scheduler is lost: its scenes are
submitted again if it comes back, else the run ends with one error. Nothing is lost in any case: a unit exists when its commit
mark does, and a scene that runs twice writes the same bytes. What a worker says it made is looked up in the store from here.
"""

from __future__ import annotations

import sys
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from typing import Any

from flows.workers.dask_cluster import (
    DEATHS_ALLOWED,
    RECONNECT_S,
    DaskError,
    DaskTarget,
    check_target,
    gone,
    num_workers,
    open_client,
    parse_target,
)
from flows.workers.dask_task import packages_here, run_scene_on_worker
from flows.workers.pool import SceneRunner, WorkerPool
from pipeline.run import SceneRequest
from pipeline.types import ItemResult
from storage_schemas.errors import DepthmillError
from storage_schemas.shown_text import shown
from storage_schemas.store import Store

SUBMISSIONS = 3
"""A scene that killed its workers in this many submissions is the one that kills them."""
SCENES_IN_FLIGHT = 128
"""Threads that wait on a cluster of unknown size; a waiting thread costs next to nothing."""
LOOK_S = 30.0
"""How often a waiting scene looks whether there is any worker left."""
VISIBLE_S = 60.0
"""How long a unit may take to be seen from here: NFS clients keep what they know of a folder for up to a minute."""


def dask_workers(text: str) -> WorkerPool:
    """Return the pool of workers that ``--dask`` names.

    Raises:
        RecipeError: the value is unknown, or the extra ``dask`` is not installed.
        DaskError: nothing answers at the scheduler's address.
    """
    target = parse_target(text)
    check_target(target)
    return WorkerPool(lambda: _open(target), 2 * target.workers or SCENES_IN_FLIGHT)  # twice, so that no worker waits


@contextmanager
def _open(target: DaskTarget) -> Iterator[SceneRunner]:
    with open_client(target) as client:
        yield DaskScenes(client, target)


class DaskScenes:
    """Runs scenes on a cluster; safe to call from many threads.

    Args:
        client: a ``distributed.Client``.
        target: what it is connected to, for the words of errors.
    """

    def __init__(self, client: Any, target: DaskTarget) -> None:
        self._client, self._target = client, target
        self._packages = packages_here()
        self._lock = threading.Lock()
        self._fault: DepthmillError | None = None
        self._has_said_no_workers = False

    def run(self, request: SceneRequest) -> list[ItemResult]:
        """Run one scene and return its results; never raises for the death of a worker.

        Raises:
            DaskError: the scheduler is gone, or a worker lacks depthmill or does not share the store.
            ForeignWorkerError: a worker has other package versions.
        """
        try:
            return self._run(request)
        except DepthmillError as error:
            with self._lock:
                self._fault = self._fault or error  # scenes that have not begun must not each wait for a lost scheduler
            raise

    def _run(self, request: SceneRequest) -> list[ItemResult]:
        from distributed import CancelledError, KilledWorker

        last = ""
        for _ in range(SUBMISSIONS):
            if self._fault is not None:
                raise copy(self._fault)  # each thread its own: a traceback grows wherever it is raised
            try:
                results = self._wait(self._submit(request))
            except KilledWorker as error:
                last = str(error.last_worker.address)
                continue
            except CancelledError:  # dask gives up every future when it loses its scheduler
                self._await_scheduler()
                continue
            except DepthmillError:
                raise
            except Exception as error:  # stages report their errors as results: this is a worker that cannot run them at all
                raise self._unable(error) from error
            self._check_visible(request, results)
            return results
        if not last:
            raise gone(self._target, f"was lost {SUBMISSIONS} times")
        return request.failed(
            f"the Dask worker died {SUBMISSIONS * (DEATHS_ALLOWED + 1)} times in this scene (last on {last}), probably "
            "killed for lack of memory. Give workers more memory (local:<workers>:<memory each>, memory_per_worker of the SLURM "
            "profile, dask worker --memory-limit), then run the same command again"
        )

    def _submit(self, request: SceneRequest) -> Any:
        from distributed.client import ClosedClientError

        key = f"run_scene-{request.scene}-{uuid.uuid4().hex}"  # never the key of a former try, whose failure dask remembers
        try:
            return self._client.submit(run_scene_on_worker, request, self._packages, key=key, pure=False)
        except ClosedClientError as error:
            raise gone(self._target, "does not answer any more") from error

    def _wait(self, future: Any) -> list[ItemResult]:
        """Wait for a scene without asking the client's event loop, which 200 threads that ask would keep from its work."""
        is_over = threading.Event()
        future.add_done_callback(lambda _: is_over.set())
        while not is_over.wait(LOOK_S):
            if self._client.status not in ("running", "connecting"):
                raise gone(self._target, "does not answer any more")
            self._say_if_no_workers()
        results: list[ItemResult] = future.result()
        return results

    def _say_if_no_workers(self) -> None:
        with self._lock:
            if self._client.status != "running" or num_workers(self._client):
                self._has_said_no_workers = False
            elif not self._has_said_no_workers:
                self._has_said_no_workers = True
                start = f" Start one: dask worker {self._target.where} --nthreads 1." if self._target.kind == "tcp" else ""
                line = (
                    f"the Dask scheduler '{self._target.where}' has no worker left; the run goes on when one comes.{start} "
                    "Ctrl-C is safe: finished units are kept"
                )
                print(shown(line), file=sys.stderr, flush=True)

    def _await_scheduler(self) -> None:
        deadline = time.monotonic() + RECONNECT_S + 5.0
        while self._client.status == "connecting" and time.monotonic() < deadline:
            time.sleep(0.2)
        if self._client.status != "running":
            raise gone(self._target, "does not answer any more")

    def _unable(self, error: Exception) -> DaskError:
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        return DaskError(
            f"a worker of '{self._target.where}' cannot run scenes: {type(cause).__name__}: {cause}. Install the same depthmill "
            "there (same commit, same constraints.txt), restart the workers, then run the same command; finished units are kept"
        )

    def _check_visible(self, request: SceneRequest, results: Sequence[ItemResult]) -> None:
        """Look up in the store, from here, what a worker says it made."""
        store, deadline = Store(request.store_root), time.monotonic() + VISIBLE_S
        for item, result in zip(request.items, results, strict=True):
            while result.status == "OK" and not store.has(item.path):
                if time.monotonic() > deadline:
                    raise DaskError(
                        f"a worker of '{self._target.where}' made unit '{item.path.key}', but it is not in the store "
                        f"'{request.store_root}' as this machine sees it. Put the store on a file system that all machines "
                        "share at the same path, or on an object store (store: s3://...), then run the same command"
                    )
                time.sleep(0.5)
                store.files.names(item.path.key)  # listing a folder makes an NFS client ask its server again
