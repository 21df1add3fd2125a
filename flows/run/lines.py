"""Lines about work that goes on: one for each finished unit, one now and then of a training."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from flows.text import duration
from flows.waiting import is_painted
from pipeline.plan import Plan
from pipeline.types import ItemResult
from storage_schemas.awaited import Work

if TYPE_CHECKING:
    from model.train.loop import OnProgress, Progress

SECONDS_PER_LINE = 10.0
"""A training tells of a step this often, and of every evaluation."""


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
