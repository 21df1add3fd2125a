"""How much memory is left: of the machine, or of the container or the job of a scheduler that this process runs in."""

from __future__ import annotations

from pathlib import Path

_CGROUP, _OWN_GROUPS = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
_LIMIT_AND_USE = (("memory.max", "memory.current"), ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"))
"""Of control groups version 2 and 1."""


def free_memory_bytes() -> int | None:
    """Return the memory that can still be had without swapping; None where the system does not say."""
    known = [number for number in (_free_of_machine(), _free_of_container()) if number is not None]
    return min(known, default=None)


def _free_of_machine() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None)


def _free_of_container() -> int | None:
    """Return the least that is free of the groups that hold this process; None if none of them has a limit.

    A container sees its own group as the topmost one. A job of Slurm or of systemd sees the machine's, and its own deep below.
    """
    known = []
    for limit, use in _LIMIT_AND_USE:
        for group in _groups(has_own_tree="/" in limit):
            limit_file = _CGROUP / Path(limit).parent / group / Path(limit).name
            try:
                limit_bytes, used_bytes = (
                    path.read_text().strip() for path in (limit_file, limit_file.with_name(Path(use).name))
                )
                cache_bytes = _reclaimable_bytes(limit_file.with_name("memory.stat"))
            except OSError:
                continue
            if limit_bytes.isdecimal():  # "max" = no limit
                known.append(max(int(limit_bytes) - int(used_bytes) + cache_bytes, 0))
    return min(known, default=None)


def _groups(*, has_own_tree: bool) -> list[Path]:
    """Return the groups that hold this process, from the topmost down, below the tree of all resources or that of memory."""
    try:
        lines = [line.split(":", 2) for line in _OWN_GROUPS.read_text().splitlines() if line.count(":") >= 2]
    except OSError:
        return [Path()]
    names = [path for _, kinds, path in lines if ("memory" in kinds.split(",") if has_own_tree else not kinds)]
    own = Path(names[0].lstrip("/")) if names and ".." not in names[0] else Path()
    return [*reversed(own.parents), own] if own.parts else [Path()]


def _reclaimable_bytes(statistics: Path) -> int:
    """Return the file cache that counts as used and is given up when memory is short."""
    lines = (line.split() for line in statistics.read_text().splitlines())
    return next((int(number) for name, number in lines if name == "inactive_file"), 0)
