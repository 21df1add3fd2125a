"""Which processes a process has started, from /proc: a test that kills looks for what is left."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

LONGEST_WAIT_S = 600.0
"""Of a condition that a busy machine reaches late; nothing is measured by it."""


def descendants(pid: int) -> dict[int, str]:
    """Return the command line of each process below one, by its number."""
    parents = _all_parents()
    below, found = [pid], {}
    while below:
        parent = below.pop()
        for child in [child for child, its in parents.items() if its == parent]:
            below.append(child)
            found[child] = command_of(child)
    return found


def command_of(pid: int) -> str:
    """Return the command line of a process; "" if it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""


def is_alive(pid: int) -> bool:
    """Say whether a process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False


def parent_of(pid: int) -> int:
    return _all_parents().get(pid, 0)


def loader_workers(pid: int) -> list[int]:
    """Return the processes that read for a training; their parent is the process that they are forked from."""
    below = descendants(pid)
    return [child for child, command in below.items() if "forkserver" in command and "forkserver" in command_of(parent_of(child))]


def forkserver(pid: int) -> int:
    return next(child for child, command in descendants(pid).items() if "forkserver" in command and parent_of(child) == pid)


def wait_until(condition: Callable[[], object], what: str, *, seconds: float = LONGEST_WAIT_S) -> None:
    """Wait by condition; AssertionError after a limit that says nothing of speed."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}"
        time.sleep(0.02)


def wait_until_gone(processes: dict[int, str]) -> None:
    """Wait until none of these processes is alive."""
    wait_until(lambda: not any(map(is_alive, processes)), f"all of {processes} end")


def _all_parents() -> dict[int, int]:
    parents = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            except (OSError, IndexError):
                continue
    return parents
