"""What the user reads: the table of a plan, one line per finished unit, the closing words, durations in plain English."""

from __future__ import annotations

import sys
from pathlib import Path

from flows.run.materialize import RunSummary
from pipeline.plan import Plan
from pipeline.types import ItemResult


def duration(seconds: float) -> str:
    """Say a duration with two or three digits: 6.1 s, 39 min, 2.5 h."""
    if seconds < 99.5:
        return f"{seconds:.1f} s"
    if seconds < 99.5 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def plan_text(plan: Plan, *, seconds: float | None, workers: int) -> str:
    """Return the table of a plan and its closing line."""
    table = [("stage", "up to date", "to do", "reason")]
    table += [(line.stage, str(line.num_up_to_date), str(line.num_to_do), line.text) for line in plan.lines()]
    widths = [max(len(row[column]) for row in table) for column in range(3)]
    lines = [
        f"{stage:<{widths[0]}}  {done:>{widths[1]}}  {todo:>{widths[2]}}  {reason}".rstrip()
        for stage, done, todo, reason in table
    ]
    count = len(plan.to_do)
    if count == 0:
        lines.append(f"nothing to do: all {len(plan.items)} units are up to date")
    else:
        crew = f"{workers} worker{'s' if workers != 1 else ''}"
        guess = f", about {duration(seconds)} on {crew} (from the last run)" if seconds is not None else ""
        lines.append(f"{count} unit{'s' if count != 1 else ''} to do{guess}")
    return "\n".join(lines)


class ProgressLines:
    """Print one line per finished unit, and on a terminal a live bar below them."""

    def __init__(self, plan: Plan) -> None:
        self._total = len(plan.to_do)
        self._done = 0
        self._widths = (
            max((len(item.stage) for item in plan.to_do), default=0),
            max((len(item.title) for item in plan.to_do), default=0),
        )
        self._bar = None
        if sys.stdout.isatty() and self._total:
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            self._bar = Progress(TextColumn("units"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), transient=True)
            self._task = self._bar.add_task("units", total=self._total)
            self._bar.start()

    def __call__(self, result: ItemResult) -> None:
        """Print the line of one finished unit."""
        self._done += 1
        line = result_line(result, number=self._done, total=self._total, widths=self._widths)
        if self._bar is not None:
            self._bar.console.print(line, markup=False, highlight=False, soft_wrap=True)
            self._bar.update(self._task, completed=self._done)
        else:
            print(line, flush=True)

    def close(self) -> None:
        """Take the live bar away."""
        if self._bar is not None:
            self._bar.stop()


def result_line(result: ItemResult, *, number: int, total: int, widths: tuple[int, int]) -> str:
    """Return the line of one finished unit."""
    seconds = duration(result.seconds) if result.status == "OK" else ""
    digits = len(str(total))
    return (
        f"{number:>{digits}}/{total} {result.stage:<{widths[0]}} {result.title:<{widths[1]}}  "
        f"{result.status:<5} {seconds:>7}  {result.message}"
    ).rstrip()


def summary_text(summary: RunSummary, *, report: Path | None) -> str:
    """Return the closing words of a run: what was done, where the details are, what to do next."""
    parts = [f"{summary.num_ok} ok"]
    if summary.num_errors:
        parts.append(f"{summary.num_errors} error{'s' if summary.num_errors != 1 else ''}")
    if summary.num_skipped:
        parts.append(f"{summary.num_skipped} skipped")
    details = ", ".join(str(path) for path in (summary.folder / "events.jsonl", report) if path is not None and path.is_file())
    text = f"done: {', '.join(parts)} in {duration(summary.seconds)}." + (f" Details: {details}" if details else "")
    if summary.num_errors:
        scenes = list(dict.fromkeys(result.scene for result in summary.results if result.status == "ERROR"))
        left = ", ".join(scenes[:3]) + (f" and {len(scenes) - 3} more" if len(scenes) > 3 else "")
        text += f"\nNext: mend what the ERROR lines name, then run the same command; only {left} and the manifest are left."
    return text
