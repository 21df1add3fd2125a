"""``depthmill verify``."""

from __future__ import annotations

from collections.abc import Set
from typing import TYPE_CHECKING, Annotated

import typer

from flows.command_line.answers import echo, print_json
from flows.command_line.options import AsJson, Overrides, RecipeFile

if TYPE_CHECKING:
    from pipeline.verify import Repair, Verdict
    from storage_schemas.store import UnitPath


def verify(
    recipe: RecipeFile,
    overrides: Overrides = None,
    as_json: AsJson = False,
    everything: Annotated[bool, typer.Option("--all", help="every unit of the store, not only those of the recipe")] = False,
    is_deleting: Annotated[
        bool,
        typer.Option(
            "--delete-damaged",
            help="delete damaged units and what may have been made of them; depthmill run makes them again",
        ),
    ] = False,
) -> None:
    """Read every unit again and compare it with what was written.

    What is compared: digests, layouts and fingerprints.
    """
    from flows.run.opening import open_with_settings
    from pipeline.verify import all_units, delete_damaged, marked, verify_units

    opened = open_with_settings(recipe, overrides)
    planned = opened.plan()
    paths = all_units(opened.store) if everything else marked(opened.store, [item.path for item in planned.items])
    verdict = verify_units(opened.store, paths)
    repair = delete_damaged(opened.store, verdict.damaged) if is_deleting else None
    if as_json:
        print_json(
            {
                "num_units": verdict.num_units,
                "num_bytes": verdict.num_bytes,
                "missing": len(planned.to_do),
                "faults": list(verdict.faults),
                "damaged": [path.key for path in verdict.damaged],
                "deleted": is_deleting,
                "derived": [path.key for path in repair.derived] if repair else [],
                "held": [path.key for path in repair.held] if repair else [],
                "without_checksums": verdict.num_unsealed,
            }
        )
    else:
        echo(verdict_text(verdict, repair, of_recipe={item.path for item in planned.items}))
        if planned.to_do:
            echo(f"{len(planned.to_do)} units of the recipe are not there yet: depthmill plan says which")
    if verdict.faults:
        raise typer.Exit(1)


def verdict_text(verdict: Verdict, repair: Repair | None, *, of_recipe: Set[UnitPath]) -> str:
    """Say what was read, each fault in a line, and what to do about them.

    Args:
        verdict: of the check.
        repair: what became of the damaged units; None if none were to be deleted.
        of_recipe: units that a run of the recipe would make.
    """
    from flows.text import num_units_text

    lines = [f"FAULT {fault}" for fault in verdict.faults]
    size = f"{verdict.num_units} units, {verdict.num_bytes / 1e6:.1f} MB read: "
    if verdict.num_unsealed:
        lines.append(
            f"{num_units_text(verdict.num_unsealed)} of an older depthmill without checksums: whole now, but a loader would not "
            "notice damage to come. A unit gets them whenever it is made again"
        )
    if not verdict.faults:
        return "\n".join([*lines, size + "all whole"])
    faults = f"{len(verdict.faults)} fault{'s' if len(verdict.faults) != 1 else ''}"
    lines.append(f"{size}{faults}, {num_units_text(len(verdict.damaged))} damaged")
    if not verdict.damaged:
        lines.append("Next: do what the FAULT lines say; no unit's bytes are known to be wrong")
    elif repair is not None:
        lines += repair_lines(repair)
    else:
        lines.append(
            "Next: the same command with --delete-damaged, then depthmill run, which makes them again with the same bytes"
        )
    derived = repair.derived if repair is not None else ()
    if foreign := [path for path in (*verdict.damaged, *derived) if path not in of_recipe]:
        lines.append(f"{num_units_text(len(foreign))} not of this recipe, e.g. {foreign[0].key}: run the recipe that made them")
    return "\n".join(lines)


def repair_lines(repair: Repair) -> list[str]:
    """Say which units are gone, which are kept, and what comes next."""
    lines = []
    if repair.deleted:
        lines.append(f"deleted {', '.join(path.key for path in repair.deleted)}")
    if repair.derived:
        made = ", ".join(path.key for path in repair.derived)
        lines.append(f"deleted {made}: made of damaged units by a depthmill that did not check its inputs")
    for path, note in repair.held.items():
        lines.append(f"kept {path.key}, which the {note.who} names. Give the same command again when that has ended")
    if repair.deleted or repair.derived:
        lines.append("Next: depthmill run makes them again, with the same bytes")
    return lines
