"""Ctrl-C or SIGTERM while a run or a training goes on."""

from __future__ import annotations

import os
import signal
import sys
import threading
from typing import NoReturn

from storage_schemas.shown_text import shown

INTERRUPT_GRACE_S = 5.0
"""After Ctrl-C a run may take this long to close what it has opened."""
INTERRUPTED = 130
"""Exit code after Ctrl-C, as a shell says it: 128 and the number of the signal."""
TERMINATED = 143


def stop_soon_when_interrupted() -> None:
    """Let Ctrl-C end a run within seconds with one line, and a second one at once; SIGTERM says its line, too.

    Processes that the run has started watch it and end with it, so it may end without waiting for them.
    """

    def interrupt(signum: int, frame: object) -> None:
        signal.signal(signal.SIGINT, _end_at_once)
        _say("interrupted")
        watchdog = threading.Timer(INTERRUPT_GRACE_S, os._exit, (INTERRUPTED,))
        watchdog.daemon = True
        watchdog.start()
        raise KeyboardInterrupt

    def terminate(signum: int, frame: object) -> NoReturn:
        _say("ended by SIGTERM")
        os._exit(TERMINATED)

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, interrupt)
        signal.signal(signal.SIGTERM, terminate)


def exit_when_interrupted() -> NoReturn:
    """Exit as after Ctrl-C; a second Ctrl-C meanwhile changes nothing, not even the exit code."""
    if signal.getsignal(signal.SIGINT) is _end_at_once:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Python puts back the default before it ends, unless a signal is ignored
    sys.exit(INTERRUPTED)


def _end_at_once(*_: object) -> NoReturn:
    os._exit(INTERRUPTED)


def _say(what: str) -> None:
    print(shown(f"{what}: finished units are kept; the same command does what is left"), file=sys.stderr, flush=True)
