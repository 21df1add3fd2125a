"""Is a process that left a note still there? Said only where it is certain; a note of another machine is believed.

A process is known by its host, its number and the *machine* it runs on: the kernel's boot and the namespace of its numbers. Two
containers may have one host name and the same numbers, but not the same namespace.
"""

from __future__ import annotations

import datetime
import os
import platform
from functools import cache
from pathlib import Path

CLOCKS_DIFFER = datetime.timedelta(minutes=5)
"""A note from later than this was written by a clock that is wrong, so its age says nothing."""

_STATE, _START = 0, 19
"""Places of the state and of the start, in ticks since boot, among the fields of /proc/<pid>/stat after the command's name."""


@cache
def this_machine() -> str:
    """Return what tells this kernel and its process numbers from all others; empty where the system does not say."""
    try:
        return f"{_boot_id()} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


@cache
def this_kernel() -> str:
    """Return what tells this kernel, since it started, from all others; the host's name where the system does not say."""
    try:
        return _boot_id()
    except OSError:
        return platform.node()


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def has_process(pid: int) -> bool:
    """Say whether this machine has a process of this number; True where it is not known."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # it belongs to another user, or the number is none
        return True
    return True


def is_dead(*, host: str, pid: int, machine: str, started: datetime.datetime) -> bool:
    """Say whether a process is certainly gone.

    Args:
        host: name of its host.
        pid: its number there.
        machine: what ``this_machine`` said there; empty = not known, then the host's name decides.
        started: time at which it was running.
    """
    if host != platform.node() or (machine and machine != this_machine()):
        return False
    if not has_process(pid):
        return True
    began = _began(pid)
    return began is not None and began > started + datetime.timedelta(seconds=5)  # the number has been given to another process


def is_stopped(pid: int) -> bool:
    """Say whether a process of this machine is stopped, as by SIGSTOP; False where the system does not say."""
    try:
        return _fields(pid)[_STATE] == "T"
    except (OSError, IndexError):
        return False


def _fields(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()


def _began(pid: int) -> datetime.datetime | None:
    try:
        ticks = int(_fields(pid)[_START])
        boot = next(int(line.split()[1]) for line in Path("/proc/stat").read_text().splitlines() if line.startswith("btime"))
    except (OSError, ValueError, IndexError, StopIteration):
        return None
    return datetime.datetime.fromtimestamp(boot + ticks / os.sysconf("SC_CLK_TCK"), datetime.UTC)
