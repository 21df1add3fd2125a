"""How long a user has waited for a command, and what for.

Why    A command that is silent for ten seconds looks dead, and one that says "done in 7 s" after half a minute is not believed.
       So its clock begins with its process, when the user pressed return, and a line says what takes longer than a second
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

PATIENCE_S = 1.0
"""What takes longer is said in a line."""
_START_FIELD = 19
"""Place of the start, in ticks since boot, among the fields of /proc/self/stat that follow the command's name."""

_IMPORTED_S = time.monotonic()
_began_s: float | None = None
_say: Callable[[str], None] | None = None


def begin_command() -> None:
    """Start the clock of a command: the first one of a process began with the process, a later one, as in tests, begins now."""
    global _began_s, _say
    _began_s, _say = (time.monotonic() if _began_s is not None else _process_start_s()), None


def command_began_s() -> float | None:
    """Return when the command began, in seconds of ``time.monotonic``; None if this process runs none."""
    return _began_s


def say_what_is_awaited(say: Callable[[str], None] | None) -> None:
    """Let lines about what is awaited go there; None: nowhere, as beside ``--json``."""
    global _say
    _say = say


def tell(line: str) -> None:
    """Print a line about how the work is done, where progress is printed and nowhere else."""
    if _say is not None:
        _say(line)


@contextmanager
def awaited(what: str) -> Iterator[None]:
    """Say in a line what goes on in the block, if that takes longer than ``PATIENCE_S``.

    Args:
        what: a sentence without its full stop, e.g. "a Prefect server starts".
    """
    if _say is None:
        yield
        return
    timer = threading.Timer(PATIENCE_S, _say, (f"{what} ...",))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _process_start_s() -> float:
    """Return when this process was started, in seconds of ``time.monotonic``; where the system does not say, its first import."""
    try:
        ticks = int(Path("/proc/self/stat").read_text().rsplit(")", 1)[1].split()[_START_FIELD])
        age_s = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError, AttributeError):  # not Linux
        return _IMPORTED_S
    return min(time.monotonic() - age_s, _IMPORTED_S)
