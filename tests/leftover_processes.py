"""Ends what a test run has started and left: commands in the middle of their work, when pytest itself is killed.

Why    A killed pytest runs no clean-up, and its tests start trainings, servers and clusters as processes of their own
How    Every process below a test run inherits a mark in its environment. A watcher, in a session of its own so that no signal to
       pytest's group reaches it, waits until pytest's end of a pipe is gone, and then kills whatever has the mark
Runs   as a script, with the mark as its argument
"""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

MARK = "DEPTHMILL_TEST_RUN"
"""Environment variable with the name of the test run that a process belongs to."""

_watchers: list[subprocess.Popen[bytes]] = []  # kept, because the pipe ends with the object

_NUM_LOOKS = 3
"""A process may be starting another one while it is killed, so that one look is not enough."""


def watch_this_run() -> None:
    """Mark what this process starts from now on, and have it killed when this process is gone; once for a run."""
    if MARK in os.environ or not Path("/proc/self/environ").exists():  # a worker of a run that is watched, or another system
        return
    mark = os.environ[MARK] = secrets.token_hex(8)
    environment = {name: value for name, value in os.environ.items() if name != MARK}
    command = [sys.executable, "-S", __file__, mark]
    quiet = subprocess.DEVNULL
    # the pipe is held open by this process alone: it ends with it
    _watchers.append(
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=quiet, stderr=quiet, env=environment, start_new_session=True)
    )


def marked(mark: str) -> list[int]:
    """Return the processes of a test run."""
    entry, found = f"{MARK}={mark}".encode(), []
    for folder in Path("/proc").iterdir():
        with suppress(OSError):  # it has ended, or is another user's
            if folder.name.isdecimal() and entry in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
    return found


def main() -> None:
    """Wait for the end of the run, and kill what is left."""
    sys.stdin.buffer.read()
    for _ in range(_NUM_LOOKS):
        for pid in marked(sys.argv[1]):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.2)


if __name__ == "__main__":
    main()
