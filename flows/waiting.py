"""How long a user has waited for a command, and who says what for: the one display of everything that takes long.

Why    A command that is silent for ten seconds looks dead, and one that says "done in 7 s" after half a minute is not believed.
       So its clock begins with its process, when the user pressed return, and a thread says what goes on
How    The thread looks a few times a second at what ``storage_schemas.awaited`` holds. On a terminal it paints one line below all
       others, with count, rate and time left. Elsewhere it prints a line when nothing was printed for ``PATIENCE_S``, and again
       every ``BEAT_S`` while the same work goes on
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

from flows.text import duration
from storage_schemas.awaited import Work, going_on
from storage_schemas.beside import beside

PATIENCE_S = 0.8
"""Longest silence of a command that prints plain lines, until the work that goes on was named."""
BEAT_S = 15.0
"""It is named again this often while it goes on, unless its own lines come sooner: a training's come every 10 s or so."""
LOOK_S = 0.25
"""How often it is looked, and the line on a terminal painted."""
UNPAINTED_S = 0.4
"""A command that is over so soon paints nothing."""
_START_FIELD = 19
"""Place of the start, in ticks since boot, among the fields of /proc/self/stat that follow the command's name."""

_IMPORTED_S = time.monotonic()
_began_s: float | None = None
_said_s = _IMPORTED_S
_say: Callable[[str], None] | None = None
_is_quiet = False


class Line(Protocol):
    """The lowest line of a terminal."""

    def paint(self, text: str) -> None:
        """Show a text in it in place of the former one."""

    def close(self) -> None:
        """Take it away, for good."""


_line: Line | None = None


def begin_command() -> None:
    """Start the clock of a command: the first one of a process began with the process, a later one, as in tests, begins now."""
    global _began_s, _said_s, _say, _is_quiet
    _began_s, _say, _is_quiet = (time.monotonic() if _began_s is not None else _process_start_s()), None, False
    _said_s = _began_s


def command_began_s() -> float | None:
    """Return when the command began, in seconds of ``time.monotonic``; None if this process runs none."""
    return _began_s


def say_what_is_awaited(say: Callable[[str], None] | None) -> None:
    """Let plain lines about what is awaited go there; None: nowhere, as beside ``--json``."""
    global _say
    _say = None if _is_quiet else say


def be_quiet() -> None:
    """Show and say nothing of how the work goes, to the end of the command."""
    global _is_quiet
    _is_quiet = True
    say_what_is_awaited(None)
    take_line_away()


def is_quiet() -> bool:
    """Say whether the user wants to be told nothing of how the work goes."""
    return _is_quiet


def is_painted() -> bool:
    """Say whether a line of a terminal shows how the work goes."""
    return _line is not None


def said() -> None:
    """Take note that something was printed, so that the command is not silent."""
    global _said_s
    _said_s = time.monotonic()


def tell(line: str) -> None:
    """Print a line about how the work is done, where progress is printed and nowhere else."""
    if _say is not None:
        _say(line)


def take_line_away() -> None:
    """Take the line of the terminal away for good: something else is painted there, or the process ends."""
    global _line
    line, _line = _line, None
    if line is not None:
        line.close()


@contextmanager
def shown(line: Line | None) -> Iterator[None]:
    """Show what goes on while the block lasts: in a line of the terminal, or else as plain lines."""
    global _line
    _line = line
    try:
        with beside(_look_now_and_then, name="display of the command"):
            yield
    finally:
        take_line_away()


def work_text(works: tuple[Work, ...], now_s: float) -> str:
    """Say what goes on: the innermost work with count, rate and time left, then the counts of the work around it."""
    inner = works[-1]
    parts = [inner.what]
    if inner.total is not None:
        parts[0] += f": {inner.done} of {inner.total}"
    rate, left = inner.rate(now_s), inner.seconds_left(now_s)
    parts += [inner.text] if inner.text else []
    if rate is not None:
        parts.append(f"{duration(1 / rate)} each" if rate < 1 else f"{rate:.3g} a second")
    parts.append(f"{duration(left)} left" if left is not None else duration(now_s - inner.began_s))
    around = [f"{work.what}: {work.done} of {work.total}" for work in reversed(works[:-1]) if work.total is not None]
    return "; ".join([", ".join(parts), *around])


def _look_now_and_then(ended: threading.Event) -> None:
    named: list[Work] = []
    while not ended.wait(LOOK_S):
        with suppress(OSError, ValueError):  # nobody reads what is printed any more; the work ends by its own error, or goes on
            _look(named, time.monotonic())


def _look(named: list[Work], now_s: float) -> None:
    """Paint or say what goes on, if it is time to; ``named`` holds the works that were said already."""
    works = going_on()
    if not works or _is_quiet:
        return
    line = _line
    if line is not None:
        if now_s - (_began_s or 0.0) >= UNPAINTED_S:
            line.paint(work_text(works, now_s))
        return
    say, is_new = _say, all(work is not works[-1] for work in named)
    if say is None or now_s - _said_s < (PATIENCE_S if is_new else BEAT_S):
        return
    if is_new:
        named[:] = [*(work for work in named if any(work is other for other in works)), works[-1]]
    say(f"{works[-1].what} ..." if is_new else work_text(works, now_s))
    said()


def _process_start_s() -> float:
    """Return when this process was started, in seconds of ``time.monotonic``; where the system does not say, its first import."""
    try:
        ticks = int(Path("/proc/self/stat").read_text().rsplit(")", 1)[1].split()[_START_FIELD])
        age_s = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError, AttributeError):  # not Linux
        return _IMPORTED_S
    return min(time.monotonic() - age_s, _IMPORTED_S)
