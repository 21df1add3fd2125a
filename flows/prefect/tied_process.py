"""Run a module as ``python -m`` does, in a process that ends with the one that started it, however that ends.

Why    Prefect stops its servers when Python exits. A killed process does not exit: its server was still there two hours later
How    The process that starts this one keeps the write end of a pipe. When it is gone the pipe ends, and this process ends itself
       and all that it has started. It is started in a session of its own, so that Ctrl-C does not end it before the flows

Arguments: the file descriptor of the pipe's read end, the module, its arguments.
"""

from __future__ import annotations

import os
import runpy
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from typing import IO, Any


def start_tied(module: str, arguments: Sequence[str], *, env: Mapping[str, str], output: IO[bytes]) -> subprocess.Popen[bytes]:
    """Start a module in a process that ends with this one.

    Args:
        module: is run as ``python -m`` does.
        arguments: of it.
        env: its environment.
        output: file for what it prints.
    """
    theirs, ours = os.pipe()
    command = [sys.executable, "-m", __name__, str(theirs), module, *arguments]
    try:
        process: subprocess.Popen[bytes] = subprocess.Popen(
            command, env=env, stdout=output, stderr=output, stdin=subprocess.DEVNULL, start_new_session=True, pass_fds=(theirs,)
        )
    finally:
        os.close(theirs)
    _ENDS.append(ours)
    return process


_ENDS: list[int] = []
"""Write ends of the pipes; never closed, because the system closes them when this process is gone."""


def _end_with(pipe: int) -> None:
    os.read(pipe, 1)  # nothing is ever written: this returns when the other end is gone
    os.killpg(os.getpgid(0), signal.SIGKILL)


def main(arguments: Sequence[str]) -> Any:
    """Watch the pipe from a thread and run the module."""
    pipe, module, *rest = arguments
    threading.Thread(target=_end_with, args=(int(pipe),), name="watch parent", daemon=True).start()
    sys.argv = [module, *rest]
    return runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(sys.argv[1:])
