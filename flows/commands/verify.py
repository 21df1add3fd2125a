"""``depthmill verify``."""

from __future__ import annotations

from collections.abc import Set
from typing import TYPE_CHECKING, Annotated

import typer

from flows.command_line.answers import echo, print_json
from flows.command_line.options import AsJson, Overrides, RecipeFile

if TYPE_CHECKING:
    from pipeline.verify import Verdict
    from storage_schemas.store import UnitPath


def verify(
    recipe: RecipeFile,
    overrides: Overrides = None,
    as_json: AsJson = False,
    everything: Annotated[bool, typer.Option("--all", help="every unit of the store, not only those of the recipe")] = False,
    delete_damaged: Annotated[
        bool, typer.Option("--delete-damaged", help="delete units whose bytes are wrong; depthmill run makes them again")
    ] = False,
) -> None:
    """Read every unit again and compare it with what was written: digests, layouts, fingerprints."""
    from flows.run.opening import open_with_settings
    from pipeline.verify import all_units, delete_units, verify_units

    opened = open_with_settings(recipe, overrides)
    planned = opened.plan()
    paths = all_units(opened.store) if everything else [item.path for item in planned.items if item.reason is None]
    verdict = verify_units(opened.store, paths)
    if delete_damaged:
        delete_units(opened.store, verdict.damaged)
    if as_json:
        print_json(
            {
                "num_units": verdict.num_units,
                "num_bytes": verdict.num_bytes,
                "missing": len(planned.to_do),
                "faults": list(verdict.faults),
                "damaged": [path.key for path in verdict.damaged],
                "deleted": delete_damaged,
            }
        )
    else:
        echo(verdict_text(verdict, is_deleted=delete_damaged, of_recipe={item.path for item in planned.items}))
        if planned.to_do:
            echo(f"{len(planned.to_do)} units of the recipe are not there yet: depthmill plan says which")
    if verdict.faults:
        raise typer.Exit(1)


def verdict_text(verdict: Verdict, *, is_deleted: bool, of_recipe: Set[UnitPath]) -> str:
    """Say what was read, each fault in a line, and what to do about them.

    Args:
        verdict: of the check.
        is_deleted: the damaged units were deleted.
        of_recipe: units that a run of the recipe would make.
    """
    from flows.text import num_units_text

    lines = [f"FAULT {fault}" for fault in verdict.faults]
    size = f"{verdict.num_units} units, {verdict.num_bytes / 1e6:.1f} MB read: "
    if not verdict.faults:
        return size + "all whole"
    faults = f"{len(verdict.faults)} fault{'s' if len(verdict.faults) != 1 else ''}"
    lines.append(f"{size}{faults}, {num_units_text(len(verdict.damaged))} damaged")
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
        lines.append(f"{num_units_text(len(foreign))} not of this recipe, e.g. {foreign[0].key}: run the recipe that made them")
    return "\n".join(lines)
