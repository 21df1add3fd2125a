"""Lines of text about what is going on: durations, a line for each finished unit, a line now and then of a training."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from flows.waiting import is_painted
from pipeline.plan import Plan
from pipeline.types import ItemResult
from storage_schemas.awaited import Work

if TYPE_CHECKING:
    from model.train.loop import OnProgress, Progress

SECONDS_PER_LINE = 10.0
"""A training tells of a step this often, and of every evaluation."""


def duration(seconds: float) -> str:
    """Say a duration with two or three digits: 6.1 s, 39 min, 2.5 h."""
    if seconds < 99.5:
        return f"{seconds:.1f} s"
    if seconds < 99.5 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def size(num_bytes: int) -> str:
    """Say a size with three digits: 512 B, 1.23 kB, 45.6 MB, 789 GB."""
    value, unit = float(num_bytes), "B"
    for larger in ("kB", "MB", "GB", "TB", "PB"):
        if value < 999.5:
            break
        value, unit = value / 1000, larger
    return f"{value:.0f} {unit}" if unit == "B" else f"{value:.3g} {unit}"


def num_units_text(count: int) -> str:
    """Return a count of units with its noun: 1 unit, 2 units."""
    return f"{count} unit{'s' if count != 1 else ''}"


class UnitLines:
    """One line for each finished unit.

    Args:
        plan: what is to be done.
        say: takes a line.
    """

    def __init__(self, plan: Plan, say: Callable[[str], None]) -> None:
        self._say = say
        self._total = len(plan.to_do)
        self._done = 0
        self._widths = (
            max((len(item.stage) for item in plan.to_do), default=0),
            max((len(item.title) for item in plan.to_do), default=0),
        )

    def __call__(self, result: ItemResult) -> None:
        """Report one finished unit."""
        self._done += 1
        self._say(_result_line(result, number=self._done, total=self._total, widths=self._widths))


def _result_line(result: ItemResult, *, number: int, total: int, widths: tuple[int, int]) -> str:
    seconds = duration(result.seconds) if result.status == "OK" else ""
    digits = len(str(total))
    return (
        f"{number:>{digits}}/{total} {result.stage:<{widths[0]}} {result.title:<{widths[1]}}  "
        f"{result.status:<5} {seconds:>7}  {result.message}"
    ).rstrip()


class StepLines:
    """A line of a training now and then, and one at every evaluation; goes to the processes of other devices, so it pickles.

    Where a line of the terminal shows every step, only evaluations are told.

    Args:
        say: takes a line.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._start: float | None = None
        self._first_step = 0
        self._last_line_s = 0.0

    def __call__(self, progress: Progress) -> None:
        """Report one optimiser step, at most every few seconds unless it was evaluated."""
        now = time.monotonic()
        if self._start is None:
            self._start, self._first_step = now, progress.step
        if progress.measured_text is None and (is_painted() or now - self._last_line_s < SECONDS_PER_LINE):
            return
        self._last_line_s = now
        line = f" {progress.step}/{progress.num_steps} loss {progress.loss:.4f}, {progress.losses_text}"
        line += "" if progress.measured_text is None else f", {progress.measured_text}"
        if done := progress.step - self._first_step:
            line += f"; {duration((now - self._start) / done * (progress.num_steps - progress.step))} left"
        self._say(line)


class CountedSteps:
    """Counts the optimiser steps of a training as work that is awaited; pickles, and counts a copy in another process.

    Args:
        work: the training.
        then: what else is told of a step.
    """

    def __init__(self, work: Work, then: OnProgress | None) -> None:
        self._work, self._then = work, then

    def __call__(self, progress: Progress) -> None:
        """Take note of a step."""
        work = self._work
        if work.total is None:  # the time until the first step says nothing of the others
            work.total, work.first, work.began_s = progress.num_steps, progress.step, time.monotonic()
        work.done, work.text = progress.step, f"loss {progress.loss:.4f}"
        if self._then is not None:
            self._then(progress)
