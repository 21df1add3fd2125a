"""``depthmill status``."""

from __future__ import annotations

from flows.command_line.answers import echo, print_json
from flows.command_line.options import AsJson, Overrides, RecipeFile


def status(recipe: RecipeFile, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Say what of a recipe is there, which manifest is the newest, and how the last run went."""
    from flows.run.opening import open_with_settings
    from flows.run.run_log import last_summary
    from flows.text import duration
    from storage_schemas.leftovers import find_leftovers
    from storage_schemas.manifest import manifest_paths

    opened = open_with_settings(recipe, overrides)
    planned = opened.plan()
    manifests = [path.fingerprint for path in manifest_paths(opened.store)]
    num_leftovers = find_leftovers(opened.store).num_all
    last = last_summary(opened.runs.files)
    warnings = list(dict.fromkeys([*planned.warnings(), *(last or {}).get("warnings", [])]))
    if as_json:
        print_json(
            {
                "up_to_date": len(planned.items) - len(planned.to_do),
                "to_do": len(planned.to_do),
                "manifests": manifests,
                "last_run": last,
                "leftovers": num_leftovers,
                "warnings": warnings,
            }
        )
        return
    echo(f"store     {opened.store.root}")
    echo(f"units     {len(planned.items) - len(planned.to_do)} of {len(planned.items)} up to date")
    manifest = planned.manifest
    state = "up to date" if manifest.reason is None else f"to do: {manifest.reason}"
    echo(f"manifest  {manifest.path.fingerprint} ({state}); {len(manifests)} in the store")
    if last:
        echo(
            f"last run  {last['num_ok']} ok, {last['num_errors']} errors, {last['num_skipped']} skipped "
            f"in {duration(last['seconds'])}: {last['folder']}"
        )
    if num_leftovers:
        echo(f"leftovers {num_leftovers} of killed runs, or of runs that go on; depthmill prune --delete removes the old ones")
    for line in warnings:
        echo(f"warning: {line}")
