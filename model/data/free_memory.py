"""How much memory is left: of the machine, or of the container that this process runs in."""

from __future__ import annotations

from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")
_LIMIT_AND_USE = (("memory.max", "memory.current"), ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"))
"""Of control groups version 2 and 1, as a container sees its own."""


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
    for limit, use in _LIMIT_AND_USE:
        try:
            limit_bytes, used_bytes = ((_CGROUP / name).read_text().strip() for name in (limit, use))
            cache_bytes = _reclaimable_bytes((_CGROUP / limit).with_name("memory.stat"))
        except OSError:
            continue
        if limit_bytes.isdecimal():  # "max" = no limit
            return max(int(limit_bytes) - int(used_bytes) + cache_bytes, 0)
    return None


def _reclaimable_bytes(statistics: Path) -> int:
    """Return the file cache that counts as used and is given up when memory is short."""
    lines = (line.split() for line in statistics.read_text().splitlines())
    return next((int(number) for name, number in lines if name == "inactive_file"), 0)
