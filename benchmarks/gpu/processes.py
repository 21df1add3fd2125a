"""Parts in processes of their own: begun, waited for, ended with all that they started, and what they had measured until then."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpu.figure import Figure

GRACE_S = 5.0
"""Between asking a process to end and ending it."""


@dataclass
class Running:
    """A part that runs.

    Attributes:
        process: of the part, leader of its own group.
        report: file that it appends its figures to, a line each.
        log: file of what it prints.
        began_at: by ``time.monotonic``.
    """

    process: subprocess.Popen[bytes]
    report: Path
    log: Path
    began_at: float

    def end(self) -> None:
        """End the process and all that it started."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(timeout=GRACE_S)


def begin(name: str, command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> Running:
    """Begin a part."""
    folder.mkdir(parents=True, exist_ok=True)
    report, log = folder / f"{name}.jsonl", folder / f"{name}.log"
    report.write_bytes(b"")
    with open(log, "wb") as stream:
        process = subprocess.Popen(
            [*command, "--report", str(report)],
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            env={**os.environ, **environment},
            start_new_session=True,
        )
    return Running(process, report, log, time.monotonic())


def finish(running: Running, seconds: float) -> dict[str, Any]:
    """Wait for a part, at most so long; return its status, why it is not whole, and its figures."""
    try:
        code: int | None = running.process.wait(timeout=max(seconds, 0.0))
    except subprocess.TimeoutExpired:
        code = None
    finally:
        running.end()
    figures = read_report(running.report)
    values = [figure for figure in figures if figure.value is not None]
    why = ""
    if code is None:
        why = f"its time of {time.monotonic() - running.began_at:.0f} s was over"
    elif code:
        ended = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        why = f"it ended with {ended}: {_last_line(running.log)}"
    incomplete = bool(why) or any(figure.value is None and figure.why for figure in figures)
    status = "measured" if values and not incomplete else "partly measured" if values else "not measured"
    if status == "not measured" and not why:
        why = next((figure.why for figure in figures if figure.why), "it measured nothing")
    return {
        "status": status,
        "is_broken": bool(code),
        "why": why,
        "seconds": round(time.monotonic() - running.began_at, 1),
        "figures": [vars(figure) for figure in figures],
    }


def read_report(path: Path) -> list[Figure]:
    """Return the figures of a report; a line that was cut when its process was ended is left out."""
    figures = []
    for line in path.read_text(encoding="utf-8").splitlines():
        with contextlib.suppress(ValueError, TypeError):
            figures.append(Figure(**json.loads(line)))
    return figures


def append_to_report(path: Path, figure: Figure) -> None:
    """Append a figure at once, so that it is kept whatever happens next."""
    with open(path, "a", encoding="utf-8") as stream:
        stream.write(json.dumps(vars(figure)) + "\n")


def _last_line(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return lines[-1][:300] if lines else "it printed nothing"
