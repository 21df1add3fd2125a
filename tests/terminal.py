"""A command on a pseudo-terminal, and how long it was silent: in seconds, and in seconds of CPU that it used meanwhile."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
_FIELDS_BEFORE_CPU = 11
"""Fields of /proc/<pid>/stat between the command's name and the CPU times: utime, stime, and those of children that ended."""


@dataclass(frozen=True)
class Heard:
    """What came at one moment.

    Attributes:
        wall_s: since the start.
        cpu_s: CPU time of the process and of its ended children until then.
        text: what was printed.
    """

    wall_s: float
    cpu_s: float
    text: str


@dataclass(frozen=True)
class Watched:
    """A command that has ended."""

    code: int
    heard: tuple[Heard, ...]
    wall_s: float
    cpu_s: float

    @property
    def text(self) -> str:
        """Everything that was printed, with the codes that steer the terminal."""
        return "".join(one.text for one in self.heard)

    @property
    def first_s(self) -> float:
        """Seconds until the first output."""
        return self.heard[0].wall_s if self.heard else self.wall_s

    @property
    def first_cpu_s(self) -> float:
        """CPU time until the first output."""
        return self.heard[0].cpu_s if self.heard else self.cpu_s

    @property
    def longest_silence_s(self) -> float:
        """Longest time between two outputs, or to the end."""
        return _longest([one.wall_s for one in self.heard], self.wall_s)

    @property
    def longest_silence_cpu_s(self) -> float:
        """Most CPU time that was used between two outputs, or to the end."""
        return _longest([one.cpu_s for one in self.heard], self.cpu_s)


def watch(arguments: Sequence[object], *, cwd: Path, environment: Mapping[str, str] | None = None) -> Watched:
    """Run depthmill on a pseudo-terminal of 100 columns and note when it prints."""
    leader, follower = pty.openpty()
    command = [sys.executable, "-c", "from flows.cli import command; command()", *map(str, arguments)]
    own = {"TERM": "xterm-256color", "COLUMNS": "100", "LINES": "40", "PYTHONPATH": str(REPOSITORY), "PYTHONUTF8": "1"}
    start = time.monotonic()
    process = subprocess.Popen(
        command, stdin=follower, stdout=follower, stderr=follower, cwd=cwd, env={**os.environ, **(environment or {}), **own}
    )
    os.close(follower)
    heard: list[Heard] = []
    cpu_s = 0.0
    while True:
        ready, _, _ = select.select([leader], [], [], 0.1)
        cpu_s = max(cpu_s, _cpu_s(process.pid))
        if ready:
            try:
                content = os.read(leader, 1 << 16)
            except OSError:  # Linux says so when the last process has closed the terminal
                content = b""
            if not content:
                break
            heard.append(Heard(time.monotonic() - start, cpu_s, content.decode(errors="replace")))
    os.close(leader)
    code = process.wait()
    return Watched(code, tuple(heard), time.monotonic() - start, cpu_s)


def _cpu_s(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return 0.0
    return sum(map(int, fields[_FIELDS_BEFORE_CPU : _FIELDS_BEFORE_CPU + 4])) / os.sysconf("SC_CLK_TCK")


def _longest(moments: Sequence[float], end: float) -> float:
    return max(after - before for before, after in zip((0.0, *moments), (*moments, end), strict=True))
