"""A thread that works beside a block of code and ends with it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def beside(work: Callable[[threading.Event], None], *, name: str) -> Iterator[None]:
    """Let a thread work for as long as the block lasts, and wait for its end.

    Args:
        work: is given an event that is set when the block has ended; it must return soon after.
        name: of the thread, for tracebacks and tests.
    """
    ended = threading.Event()
    thread = threading.Thread(target=work, args=(ended,), name=name, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
