"""What there is of lines in a store: their rounds, and which of them are at work.

Reads   <runs>/history, the locks below <runs>/rounds
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path

from flows.retrain.line import ROUNDS, Line
from flows.retrain.record import history_folder
from flows.run.runs import Runs
from storage_schemas.errors import RecipeError
from storage_schemas.folder_lock import Holder
from storage_schemas.run_history import Round, rounds_newest_first


def lines_at_work(runs: Runs) -> list[tuple[Line | None, Holder]]:
    """Return whose rounds go on, or were killed and not closed yet; the line of a former version's round is not known."""
    held: list[tuple[Line | None, Holder | None]] = [(None, runs.holder())]
    for name in runs.files.names(ROUNDS):
        line = Line.named(name)
        held.append((line, runs.holder(line.lock_key)))
    return [(line, holder) for line, holder in held if holder is not None]


def chosen_rounds(
    runs: Runs, lines: Sequence[Line], wanted: str | None, *, last: int
) -> tuple[list[Round], Callable[[Line], bool]]:
    """Return the newest rounds of the lines that a person wants, oldest first, and what says of a line whether it is wanted.

    Args:
        runs: of the store.
        lines: those that have a champion or are at work.
        wanted: name of a line, or of a recipe; None = all.
        last: so many rounds at most.

    Raises:
        RecipeError: there is no such line; names those that there are.
        StoreError: a record is damaged.
    """
    if wanted is None:
        newest = itertools.islice(rounds_newest_first(history_folder(runs)), last)
        return list(newest)[::-1], lambda line: True
    chosen: list[Round] = []
    names = {line.name for line in lines}
    for row in rounds_newest_first(history_folder(runs)):
        name, recipe = row.line, Path(row.recipe).stem
        names.add(name or recipe)
        if wanted in (name, recipe):
            chosen.append(row)
            if len(chosen) == last:
                break
    if not chosen and not any(_is(line, wanted) for line in lines):
        raise RecipeError(
            f"--line is '{wanted}', and '{runs.root}' has no rounds of it; lines there: {', '.join(sorted(names)) or 'none'}"
        )
    return chosen[::-1], lambda line: _is(line, wanted)


def _is(line: Line, wanted: str) -> bool:
    return wanted in (line.name, line.recipe)
