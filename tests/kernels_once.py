"""Lets one of several test processes compile a kernel, while the others wait for what it keeps.

Why    numba keeps compiled kernels beside their code, and processes that start at the same time find nothing there. On a fresh
       clone each of pytest's two workers compiled every kernel: 50 s of CPU, twice
How    A lock on a file for each kernel, around what looks for a kept one, compiles and keeps. It ends with its process. numba's
       own lock is taken first, as numba takes it anyway, so that two threads never wait for each other
"""

from __future__ import annotations

import fcntl
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from numba.core.caching import NullCache
from numba.core.compiler_lock import global_compiler_lock
from numba.core.dispatcher import Dispatcher

_held: set[Path] = set()


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keep other processes out; this one may come in again, as a kernel that calls itself does."""
    if path in _held:
        yield
        return
    with open(path, "w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        _held.add(path)
        try:
            yield
        finally:
            _held.remove(path)


def compile_once(folder: Path) -> None:
    """Let this process wait for kernels that another one compiles.

    Args:
        folder: for the locks, the same for all of these processes.
    """
    compile_here = Dispatcher.compile

    def compile_or_wait(self: Any, signature: Any) -> Any:
        if isinstance(self._cache, NullCache):  # nothing is kept of it
            return compile_here(self, signature)
        name = f"{self.py_func.__module__}.{self.py_func.__qualname__}"
        with global_compiler_lock, locked(folder / f"kernel-{hashlib.sha256(name.encode()).hexdigest()[:16]}"):
            return compile_here(self, signature)

    Dispatcher.compile = compile_or_wait
