"""Worker processes that never outlive the process that started them."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import threading
from concurrent.futures import ProcessPoolExecutor


def worker_pool(num_workers: int) -> ProcessPoolExecutor:
    """Return a pool of spawned processes (fork would copy the locks of threads) that end when this process does."""
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(num_workers, mp_context=context, initializer=_end_with_parent)


def _end_with_parent() -> None:
    """Watch the parent from a thread: a killed parent tells its workers nothing, and they would wait for work for ever."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, name="watch parent", daemon=True).start()
