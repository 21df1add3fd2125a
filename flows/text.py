"""Durations, sizes and counts as people read them."""

from __future__ import annotations


def duration(seconds: float) -> str:
    """Say a duration with two or three digits: 6.1 s, 39 min, 2.5 h."""
    if seconds < 99.5:
        return f"{seconds:.1f} s"
    if seconds < 99.5 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def size(num_bytes: int) -> str:
    """Say a size with three digits: 512 B, 1.23 kB, 45.6 MB, 789 GB."""
    value, unit = float(num_bytes), "B"
    for larger in ("kB", "MB", "GB", "TB", "PB"):
        if value < 999.5:
            break
        value, unit = value / 1000, larger
    return f"{value:.0f} {unit}" if unit == "B" else f"{value:.3g} {unit}"


def num_units_text(count: int) -> str:
    """Return a count of units with its noun: 1 unit, 2 units."""
    return f"{count} unit{'s' if count != 1 else ''}"
