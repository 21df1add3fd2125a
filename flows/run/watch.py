"""What ``depthmill status --watch`` shows: what goes on in a store's runs, who does it, how fast, and what is left."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime

from flows.run.progress import GoingOn, going_on
from flows.text import duration, size
from storage_schemas.files import StoreFiles

LOOK_S = 2.0
"""How often it is looked."""
NAMED_SCENES = 4


def looks(files: StoreFiles, *, sleep: Callable[[float], None] = time.sleep) -> Iterator[list[GoingOn]]:
    """Yield what goes on, again and again, until nothing does; what killed processes left behind is yielded and does not count.

    Args:
        files: of the runs folder.
        sleep: waits between two looks.

    Raises:
        StoreError: the store cannot be read.
    """
    while True:
        found = going_on(files)
        yield found
        if not any(not one.ended_unseen(datetime.now(UTC)) for one in found):
            return
        sleep(LOOK_S)


def seconds_left(one: GoingOn, now: datetime) -> float | None:
    """Estimate the time that is left from the mean rate since the start; None before the first unit or step."""
    waited_s = (now - one.started_utc).total_seconds()
    return waited_s / one.done * (one.to_do - one.done) if one.done and waited_s > 0 else None


def line_of(one: GoingOn, now: datetime) -> str:
    """Return a run or training in one line."""
    unit = "steps" if one.kind == "training" else "units"
    parts = [f"{one.kind} {one.name}: {one.done} of {one.to_do} {unit}"]
    if num_errors := sum(stage.errors for stage in one.stages.values()):
        parts.append(f"{num_errors} error{'s' if num_errors != 1 else ''}")
    if ended := one.ended_unseen(now):
        return ", ".join([*parts, ended])
    left = seconds_left(one, now)
    if left is not None:
        rate = one.done / (now - one.started_utc).total_seconds()
        parts += [f"{rate:.2g} {unit} a second" if rate < 10 else f"{rate:.0f} {unit} a second", f"{duration(left)} left"]
    if one.num_bytes:
        parts.append(f"{size(one.num_bytes)} written")
    if one.text:
        parts.append(one.text)
    return ", ".join([*parts, f"{one.who} since {_clock(one.started_utc)}"])


def text_of(found: Sequence[GoingOn], now: datetime) -> str:
    """Return everything that goes on as a text of several lines, for a terminal."""
    lines: list[str] = []
    for one in found:
        lines += [line_of(one, now), f"  {one.doing}"]
        if one.stages:
            width = max(map(len, one.stages))
            lines.append(f"  {'stage':<{width}}  {'done':>6}  {'to do':>6}  {'errors':>6}")
            lines += [
                f"  {name:<{width}}  {stage.done:>6}  {stage.to_do - stage.done:>6}  {stage.errors or '':>6}".rstrip()
                for name, stage in one.stages.items()
            ]
        lines += [f"  {line}" for line in (running_text(one, now), *(f"ERROR {error}" for error in one.errors)) if line]
    return "\n".join(lines) or "nothing is going on"


def running_text(one: GoingOn, now: datetime) -> str:
    """Return which scenes are with workers and for how long, the oldest first; "" if none is."""
    if not one.running or one.ended_unseen(now):
        return ""
    oldest = sorted(one.running.items(), key=lambda item: item[1])
    named = [f"{scene} for {duration((now - since).total_seconds())}" for scene, since in oldest[:NAMED_SCENES]]
    more = f" and {len(oldest) - NAMED_SCENES} more" if len(oldest) > NAMED_SCENES else ""
    return f"running: {', '.join(named)}{more}"


class WatchLines:
    """Prints what is new at each look as plain lines, where there is no terminal.

    Args:
        say: takes a line.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._before: dict[str, GoingOn] = {}

    def look(self, found: Sequence[GoingOn], now: datetime) -> None:
        """Print a line for each run or training that has gone on, and for each new error."""
        if not found and not self._before:
            self._say("nothing is going on")
        for one in found:
            former = self._before.get(one.name)
            if former is None or former.done != one.done or former.running.keys() != one.running.keys():
                running = running_text(one, now)
                self._say(f"{_clock(now)} {line_of(one, now)}" + (f"; {running}" if running else ""))
            for error in one.errors:
                if former is None or error not in former.errors:
                    self._say(f"{_clock(now)} ERROR {error}")
        for name in self._before.keys() - {one.name for one in found}:
            self._say(f"{_clock(now)} {self._before[name].kind} {name} has ended")
        self._before = {one.name: one for one in found}


def _clock(when: datetime) -> str:
    return f"{when.astimezone(UTC):%H:%M:%S} UTC"
