"""``depthmill prune``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from flows.command_line.answers import echo, print_json
from flows.command_line.options import AsJson, StoreOrRecipe

if TYPE_CHECKING:
    from storage_schemas.prune import Prunable


def prune(
    store: StoreOrRecipe,
    delete: Annotated[bool, typer.Option("--delete", help="delete them; without it they are only listed")] = False,
    older_than: Annotated[str, typer.Option(help="keep units younger than this: 90m, 24h, 7d, or 0")] = "24h",
    as_json: AsJson = False,
) -> None:
    """List the units that nothing names any more, or delete them.

    A unit stays if a manifest or an unfinished run names it.
    """
    from flows.run.opening import open_store
    from storage_schemas.prune import delete_prunable, find_prunable, parse_age

    age, opened = parse_age(older_than), open_store(store)
    if delete:
        prunable = delete_prunable(opened, older_than=age, on_unit=None if as_json else lambda path: echo(path.key))
    else:
        prunable = find_prunable(opened, older_than=age)
    if as_json:
        kept = {"young": prunable.young, "held": tuple(prunable.held), "unreadable": prunable.unreadable}
        print_json(
            {
                "units": [path.key for path in prunable.units],
                "deleted": delete,
                "leftovers": list(prunable.leftovers.old),
                "kept": {why: [path.key for path in paths] for why, paths in kept.items()},
            }
        )
        return
    echo(prune_text(prunable, is_deleted=delete, older_than=older_than))


def prune_text(prunable: Prunable, *, is_deleted: bool, older_than: str) -> str:
    """List what may go, or say that it is gone, and what is kept and why."""
    from flows.text import num_units_text

    lines = [] if is_deleted else [path.key for path in prunable.units]
    count = f"{num_units_text(len(prunable.units))} no manifest names"
    lines.append(f"{count}, deleted" if is_deleted else f"{count}; --delete removes them")
    if prunable.young:
        lines.append(
            f"kept {num_units_text(len(prunable.young))} younger than {older_than} (--older-than), e.g. {prunable.young[0].key}"
        )
    for who in dict.fromkeys(note.who for note in prunable.held.values()):
        count = num_units_text(sum(note.who == who for note in prunable.held.values()))
        lines.append(f"kept {count} that the {who} names")
    if prunable.leftovers.old:
        verb = "deleted" if is_deleted else "--delete removes them"
        lines.append(f"{len(prunable.leftovers.old)} leftovers of killed runs, e.g. {prunable.leftovers.old[0]}; {verb}")
    if prunable.leftovers.num_young:
        lines.append(f"kept {prunable.leftovers.num_young} leftovers of killed runs or of runs that go on, younger than a day")
    if prunable.unreadable:
        lines.append(
            f"kept {num_units_text(len(prunable.unreadable))} whose lineage cannot be read, e.g. {prunable.unreadable[0].key}: "
            "see depthmill verify --all"
        )
    return "\n".join(lines)
