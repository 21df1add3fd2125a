"""Verbs that look after what is there: inspect, verify, report, prune."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from flows.verbs.opening import open_store, open_with_settings, print_json, say
from flows.verbs.options import AsJson, Overrides, RecipeFile, StoreOrRecipe, UnitChoice


def inspect(
    store: StoreOrRecipe,
    what: UnitChoice = None,
    as_json: AsJson = False,
) -> None:
    """Show what is in a store: its units, one unit with its lineage, or one sample."""
    from pipeline.inspect import describe

    found = describe(open_store(store), what)
    typer.echo(json.dumps(found.data, indent=1) if as_json else found.text)


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
    from pipeline.verify import all_units, delete_units, verify_units

    opened = open_with_settings(recipe, overrides)
    found = opened.plan()
    paths = all_units(opened.store) if everything else [item.path for item in found.items if item.reason is None]
    verdict = verify_units(opened.store, paths)
    if delete_damaged:
        delete_units(opened.store, verdict.damaged)
    if as_json:
        print_json(
            {
                "num_units": verdict.num_units,
                "num_bytes": verdict.num_bytes,
                "missing": len(found.to_do),
                "faults": list(verdict.faults),
                "damaged": [path.key for path in verdict.damaged],
                "deleted": delete_damaged,
            }
        )
    else:
        from flows.store_text import verdict_text

        typer.echo(verdict_text(verdict, is_deleted=delete_damaged, of_recipe={item.path for item in found.items}))
        if found.to_do:
            typer.echo(f"{len(found.to_do)} units of the recipe are not there yet: depthmill plan says which")
    if verdict.faults:
        raise typer.Exit(1)


def report(
    recipe: RecipeFile,
    overrides: Overrides = None,
    out: Annotated[Path, typer.Option("--out", help="file to write")] = Path("report.html"),
    as_json: AsJson = False,
) -> None:
    """Write one self-contained HTML page: coverage, images with depth before and after each stage, errors against truth."""
    from flows.reports.store import write_report

    opened = open_with_settings(recipe, overrides)
    page = write_report(opened.plan(), opened.store, out, title=recipe.stem)
    say({"report": str(page)}, f"wrote {page}", as_json=as_json)


def prune(
    store: StoreOrRecipe,
    delete: Annotated[bool, typer.Option("--delete", help="delete them; without it they are only listed")] = False,
    older_than: Annotated[str, typer.Option(help="keep units younger than this: 90m, 24h, 7d, or 0")] = "24h",
    as_json: AsJson = False,
) -> None:
    """List, or delete, the units that neither a manifest nor a run that is going on names."""
    from storage_schemas.prune import delete_prunable, find_prunable, parse_age

    age, opened = parse_age(older_than), open_store(store)
    if delete:
        found = delete_prunable(opened, older_than=age, on_unit=None if as_json else lambda path: typer.echo(path.key))
    else:
        found = find_prunable(opened, older_than=age)
    if as_json:
        kept = {"young": found.young, "held": tuple(found.held), "unreadable": found.unreadable}
        print_json(
            {
                "units": [path.key for path in found.units],
                "deleted": delete,
                "kept": {why: [path.key for path in paths] for why, paths in kept.items()},
            }
        )
        return
    from flows.store_text import prune_text

    typer.echo(prune_text(found, is_deleted=delete, older_than=older_than))
