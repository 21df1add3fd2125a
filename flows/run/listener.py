"""The listener receives what the work reports, for the console or Prefect's pages; by default it prints warnings only."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flows.run.lines import StepLines, UnitLines
from flows.waiting import said
from pipeline.plan import Plan
from pipeline.types import ItemResult
from storage_schemas.awaited import awaited
from storage_schemas.shown_text import shown

if TYPE_CHECKING:
    from model.train.loop import OnProgress


def warn_on_stderr(line: str) -> None:
    """Print a line on standard error."""
    print(shown(line), file=sys.stderr, flush=True)
    said()


@dataclass(frozen=True)
class Listener:
    """Receives what the work reports; without arguments it prints warnings and nothing else.

    Attributes:
        line: takes a line; None = nobody listens. A training on several devices calls it in a process of its own.
        warn: takes a line about what went wrong and does not stop the work.
        begin: is called before work that takes long.
        began_s: since when the user waits, in seconds of ``time.monotonic``; None = since the work was called.
    """

    line: Callable[[str], None] | None = None
    warn: Callable[[str], None] = warn_on_stderr
    begin: Callable[[], None] | None = None
    began_s: float | None = None

    def say(self, line: str) -> None:
        """Report a line about the work."""
        if self.line is not None:
            self.line(line)

    def work_begins(self) -> None:
        """Report that work begins that takes long."""
        if self.begin is not None:
            self.begin()

    @contextmanager
    def units_of(self, plan: Plan) -> Iterator[Callable[[ItemResult], None]]:
        """Yield the function that gets the result of each finished unit of a plan."""
        lines = None if self.line is None else UnitLines(plan, self.line)
        with awaited("units are made", total=len(plan.to_do)) as work:

            def on_result(result: ItemResult) -> None:
                work.done += 1
                if lines is not None:
                    lines(result)

            yield on_result

    def steps(self) -> OnProgress | None:
        """Return the function that gets the progress of one training at each optimiser step; None if nobody listens."""
        return None if self.line is None else StepLines(self.line)
