"""The order in which stages run: it follows from what they read and write.

A stage runs after the stages that write what it reads. Where several orders are possible, the position in the list decides.
A stage over the whole data set runs after all others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.stage import StageSpec
from storage_schemas.errors import DepthmillError


class StageOrderError(DepthmillError):
    """Stages that cannot stand in one list."""


def in_order(stages: Sequence[StageSpec[Any]]) -> tuple[StageSpec[Any], ...]:
    """Return stages in the order that they run; a list that is in order already stays as it is.

    Raises:
        StageOrderError: two stages have one name, two that always run write the same store, or stages wait for each other.
    """
    _refuse_rivals(stages)
    waits_for = {stage.name: [other.name for other in stages if _goes_first(other, stage)] for stage in stages}
    left, ordered = {stage.name: stage for stage in stages}, []
    while left:
        name = next((name for name in left if not left.keys() & waits_for[name]), None)
        if name is None:
            raise StageOrderError(
                f"stages wait for each other: {' after '.join(_cycle(waits_for, left))}. Change what one of them reads"
            )
        ordered.append(left.pop(name))
    return tuple(ordered)


def _goes_first(other: StageSpec[Any], stage: StageSpec[Any]) -> bool:
    """Say whether a stage waits for another."""
    if stage.per == "dataset" or other.per == "dataset":
        return other.per != "dataset"
    if other.writes in stage.after:
        return True
    return other.writes in stage.reads and stage.writes not in other.after


def _refuse_rivals(stages: Sequence[StageSpec[Any]]) -> None:
    for number, stage in enumerate(stages):
        for other in stages[:number]:
            if other.name == stage.name:
                raise StageOrderError(f"two stages have the name '{stage.name}'. Rename one of them")
            if other.writes.name == stage.writes.name and other.is_unconditional and stage.is_unconditional:
                raise StageOrderError(
                    f"stages {other.name} and {stage.name} both write '{stage.writes.name}' for every scene. Give one of them "
                    "is_wanted or needs, or a layout of its own"
                )


def _cycle(waits_for: Mapping[str, Sequence[str]], left: Mapping[str, Any]) -> list[str]:
    """Return a cycle of names: each stage waits for the next, and the last name is the first again."""
    path = [next(iter(left))]
    while path.count(path[-1]) == 1:
        path.append(next(name for name in waits_for[path[-1]] if name in left))
    return path[path.index(path[-1]) :]
