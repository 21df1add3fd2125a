"""Ctrl-C while a run or a training goes on."""

from __future__ import annotations

import os
import signal
import sys
import threading

INTERRUPT_GRACE_S = 5.0
"""After Ctrl-C a run may take this long to close what it has opened."""


def stop_soon_when_interrupted() -> None:
    """Let Ctrl-C end a run within seconds, although Prefect would go on asking a server that the same Ctrl-C has ended."""

    def interrupt(signum: int, frame: object) -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # a second Ctrl-C ends it at once
        print("interrupted: finished units are kept; the same command does what is left", file=sys.stderr, flush=True)
        watchdog = threading.Timer(INTERRUPT_GRACE_S, os._exit, (130,))
        watchdog.daemon = True
        watchdog.start()
        raise KeyboardInterrupt

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, interrupt)
