"""Ctrl-C or SIGTERM while a command works."""

from __future__ import annotations

import os
import signal
import sys
import threading
from typing import NoReturn

from storage_schemas.shown_text import shown

INTERRUPT_GRACE_S = 5.0
"""After Ctrl-C a command may take this long to close what it has opened."""
INTERRUPTED = 130
"""Exit code after Ctrl-C, as a shell says it: 128 and the number of the signal."""
TERMINATED = 143


def stop_soon_when_interrupted(advice: str = "finished units are kept; the same command does what is left") -> None:
    """Let Ctrl-C end a command within seconds with one line, and a second one at once; SIGTERM says its line, too.

    Processes that the command has started watch it and end with it, so it may end without waiting for them.

    Args:
        advice: what the line says besides.
    """

    def interrupt(signum: int, frame: object) -> None:
        signal.signal(signal.SIGINT, _end_at_once)
        _say(f"interrupted: {advice}")
        watchdog = threading.Timer(INTERRUPT_GRACE_S, os._exit, (INTERRUPTED,))
        watchdog.daemon = True
        watchdog.start()
        raise KeyboardInterrupt

    def terminate(signum: int, frame: object) -> NoReturn:
        _say(f"ended by SIGTERM: {advice}")
        os._exit(TERMINATED)

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, interrupt)
        signal.signal(signal.SIGTERM, terminate)


def as_python_does() -> None:
    """Undo it for a command whose work handles the signals itself."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def exit_when_interrupted() -> NoReturn:
    """Exit as after Ctrl-C; a second Ctrl-C meanwhile changes nothing, not even the exit code."""
    if signal.getsignal(signal.SIGINT) is _end_at_once:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Python puts back the default before it ends, unless a signal is ignored
    sys.exit(INTERRUPTED)


def _end_at_once(*_: object) -> NoReturn:
    os._exit(INTERRUPTED)


def _say(what: str) -> None:
    print(shown(what), file=sys.stderr, flush=True)
