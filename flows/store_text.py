"""What the user reads after ``verify`` and ``prune``."""

from __future__ import annotations

from collections.abc import Set

from pipeline.verify import Verdict
from storage_schemas.prune import Prunable
from storage_schemas.store import UnitPath


def verdict_text(verdict: Verdict, *, is_deleted: bool, of_recipe: Set[UnitPath]) -> str:
    """Say what was read, each fault in a line, and what to do about them.

    Args:
        verdict: of the check.
        is_deleted: the damaged units were deleted.
        of_recipe: units that a run of the recipe would make.
    """
    lines = [f"FAULT {fault}" for fault in verdict.faults]
    size = f"{verdict.num_units} units, {verdict.num_bytes / 1e6:.1f} MB read: "
    if not verdict.faults:
        return size + "all whole"
    faults = f"{len(verdict.faults)} fault{'s' if len(verdict.faults) != 1 else ''}"
    lines.append(f"{size}{faults}, {_units(len(verdict.damaged))} damaged")
    if not verdict.damaged:
        lines.append("Next: do what the FAULT lines say; no unit's bytes are known to be wrong")
    elif is_deleted:
        lines.append(f"deleted {', '.join(path.key for path in verdict.damaged)}")
        lines.append("Next: depthmill run makes them again, with the same bytes")
    else:
        lines.append(
            "Next: the same command with --delete-damaged, then depthmill run, which makes them again with the same bytes"
        )
    if foreign := [path for path in verdict.damaged if path not in of_recipe]:
        lines.append(f"{_units(len(foreign))} not of this recipe, e.g. {foreign[0].key}: run the recipe that made them")
    return "\n".join(lines)


def prune_text(found: Prunable, *, is_deleted: bool, older_than: str) -> str:
    """List what may go, or say that it is gone, and what is kept and why."""
    lines = [] if is_deleted else [path.key for path in found.units]
    count = f"{_units(len(found.units))} no manifest names"
    lines.append(f"{count}, deleted" if is_deleted else f"{count}; --delete removes them")
    if found.young:
        lines.append(f"kept {_units(len(found.young))} younger than {older_than} (--older-than), e.g. {found.young[0].key}")
    for who in dict.fromkeys(note.who for note in found.held.values()):
        count = _units(sum(note.who == who for note in found.held.values()))
        lines.append(f"kept {count} that the {who} names")
    if found.unreadable:
        lines.append(
            f"kept {_units(len(found.unreadable))} whose lineage cannot be read, e.g. {found.unreadable[0].key}: "
            "see depthmill verify --all"
        )
    return "\n".join(lines)


def _units(count: int) -> str:
    return f"{count} unit{'s' if count != 1 else ''}"
