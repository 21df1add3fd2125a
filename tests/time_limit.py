"""Interrupts what hangs, as a reader of a pipe without a writer does."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager


class TooLongError(BaseException):
    """Is raised in what hangs; no handler of ordinary errors catches it."""


@contextmanager
def within(seconds: int) -> Iterator[None]:
    """Raise TooLongError if the block takes longer; for the main thread."""

    def stop(*_: object) -> None:
        raise TooLongError

    former = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, former)
