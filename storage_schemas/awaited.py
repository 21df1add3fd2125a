"""What this process is doing at the moment and how far it is, for whoever shows that to a person.

Why    A command that is silent for ten seconds looks dead. The code that works says here what it does; it knows neither terminals
       nor listeners, and it does not wait for them
How    Pieces of work lie on each other: the innermost one is what is being done. Whoever shows it looks now and then, so to count
       an item costs one addition. Where nobody looks, as from Python, nothing else happens
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sized
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

T = TypeVar("T")


@dataclass
class Work:
    """A piece of work that goes on.

    Attributes:
        what: a sentence without its full stop, e.g. "frames are measured".
        total: how many items it has; None = it has no items, or their number is not known.
        done: how many of them are over.
        first: how many were over when it began, as of a training that goes on.
        text: how it goes, e.g. the loss of the last step.
        began_s: since when, in seconds of ``time.monotonic``.
    """

    what: str
    total: int | None = None
    done: int = 0
    first: int = 0
    text: str = ""
    began_s: float = field(default_factory=time.monotonic)

    def rate(self, now_s: float) -> float | None:
        """Return items a second; None before the first."""
        seconds = now_s - self.began_s
        return (self.done - self.first) / seconds if self.done > self.first and seconds > 0 else None

    def seconds_left(self, now_s: float) -> float | None:
        """Estimate the time that is left from the mean rate; None where it cannot be known."""
        rate = self.rate(now_s)
        return None if rate is None or self.total is None else max(self.total - self.done, 0) / rate


_going_on: list[Work] = []


def going_on() -> tuple[Work, ...]:
    """Return what goes on in this process, the innermost last."""
    return tuple(_going_on)


@contextmanager
def awaited(what: str, *, total: int | None = None) -> Iterator[Work]:
    """Say what goes on in the block; the caller counts ``done`` of what is yielded, if there is anything to count.

    Args:
        what: a sentence without its full stop, e.g. "a Prefect server starts".
        total: how many items the work has.
    """
    work = Work(what, total)
    _going_on.append(work)
    try:
        yield work
    finally:
        _going_on[:] = [other for other in _going_on if other is not work]


def counted(items: Iterable[T], what: str, *, total: int | None = None) -> Iterator[T]:
    """Yield items, and say how many of them are over.

    Args:
        items: the work, item by item.
        what: as of ``awaited``.
        total: how many there are; None = as many as ``items`` says, if it says.
    """
    if total is None and isinstance(items, Sized):
        total = len(items)
    with awaited(what, total=total) as work:
        for item in items:
            yield item
            work.done += 1
