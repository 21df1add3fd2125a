"""Run commands of depthmill one after the other in one process, and print what each said: ``python run_commands.py '[[...], ...]'``."""

from __future__ import annotations

import contextlib
import io
import json
import sys


def run(arguments: list[str]) -> dict[str, object]:
    """Run one command; return its exit code and all that it printed."""
    from flows.cli import main

    sys.argv, code, text = ["depthmill", *arguments], 0, io.StringIO()
    with contextlib.redirect_stdout(text), contextlib.redirect_stderr(text):
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
    return {"code": code, "text": text.getvalue()}


if __name__ == "__main__":
    print(json.dumps([run(arguments) for arguments in json.loads(sys.argv[1])]))
