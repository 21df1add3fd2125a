"""Run commands of depthmill one after the other in one process, and write what they printed.

Run as a script, with the code to use on PYTHONPATH: ``python commands.py ANSWERS [SAVES]``. The commands stand on standard input
as a JSON list of argument lists. ANSWERS becomes a JSON file: the folder of the code that ran, exit code and text of each command.

With SAVES the process kills itself, as a power cut would, just before a training writes its checkpoint ``last.pt`` for that time.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import sys
import traceback
from pathlib import Path


def answer(arguments: list[str]) -> dict[str, object]:
    """Return the exit code and the printed text of one command."""
    from flows.cli import main

    sys.argv = ["depthmill", *arguments]
    printed, code = io.StringIO(), 0
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        try:
            main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        except Exception:  # a defect of the code under test; the test shows it
            traceback.print_exc()
            code = -1
    return {"command": arguments, "code": code, "text": printed.getvalue()}


def die_before_save(number: int) -> None:
    """Kill this process when ``last.pt`` is about to be renamed into place for the given time."""
    saves = 0

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal saves
        if event == "os.rename" and str(arguments[1]).endswith("last.pt"):
            saves += 1
            if saves == number:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)


if __name__ == "__main__":
    if len(sys.argv) > 2:
        die_before_save(int(sys.argv[2]))
    import flows

    answers = Path(sys.argv[1])
    found = {"code": str(Path(flows.__path__[0]).parent), "answers": [answer(arguments) for arguments in json.load(sys.stdin)]}
    answers.write_text(json.dumps(found, indent=1))
