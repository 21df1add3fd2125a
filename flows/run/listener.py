"""The listener receives what the work reports, for the console or Prefect's pages; by default it prints warnings only."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flows.text import StepLines, UnitLines
from pipeline.plan import Plan
from pipeline.types import ItemResult
from storage_schemas.shown_text import shown

if TYPE_CHECKING:
    from model.train.loop import OnProgress


def warn_on_stderr(line: str) -> None:
    """Print a line on standard error."""
    print(shown(line), file=sys.stderr, flush=True)


@dataclass(frozen=True)
class Listener:
    """Receives what the work reports; without arguments it prints warnings and nothing else.

    Attributes:
        line: takes a line; None = nobody listens. A training on several devices calls it in a process of its own.
        warn: takes a line about what went wrong and does not stop the work.
        begin: is called before work that takes long.
        has_bar: a live bar may stand below the lines of units, if this is a terminal.
        began_s: since when the user waits, in seconds of ``time.monotonic``; None = since the work was called.
    """

    line: Callable[[str], None] | None = None
    warn: Callable[[str], None] = warn_on_stderr
    begin: Callable[[], None] | None = None
    has_bar: bool = False
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
        if self.line is None:
            yield lambda result: None
            return
        lines = UnitLines(plan, self.line, has_bar=self.has_bar)
        try:
            yield lines
        finally:
            lines.close()

    def steps(self) -> OnProgress | None:
        """Return the function that gets the progress of one training at each optimiser step; None if nobody listens."""
        return None if self.line is None else StepLines(self.line)
