"""``depthmill status``."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from flows.command_line.answers import echo, print_json, print_line
from flows.command_line.options import AsJson, Overrides, RecipeFile
from flows.waiting import take_line_away
from storage_schemas.shown_text import shown

if TYPE_CHECKING:
    from flows.run.opening import Opened
    from flows.run.run_log import PastRun
    from storage_schemas.files import StoreFiles


def status(
    recipe: RecipeFile,
    overrides: Overrides = None,
    as_json: AsJson = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="show what runs now, by any process or machine, until nothing does; Ctrl-C ends it")
    ] = False,
    runs: Annotated[
        int,
        typer.Option(min=0, help="also list so many of the last runs: when, units, errors, how long, bytes", show_default=False),
    ] = 0,
) -> None:
    """Say what a store has, and what is going on in it.

    It shows how much of the recipe is there, the newest manifest, and how the last run went.
    """
    from flows.run.opening import open_with_settings
    from flows.run.progress import going_on
    from flows.run.run_log import last_summary, past_runs
    from flows.run.watch import line_of
    from flows.text import duration
    from storage_schemas.leftovers import find_leftovers
    from storage_schemas.manifest import manifest_paths

    opened = open_with_settings(recipe, overrides)
    if watch:
        _watch(opened, as_json=as_json)
    found, now = going_on(opened.runs.files), datetime.now(UTC)
    planned = opened.plan()
    manifests = [path.fingerprint for path in manifest_paths(opened.store)]
    num_leftovers = find_leftovers(opened.store).num_all
    last, past = last_summary(opened.runs.files), past_runs(opened.runs.files, runs) if runs else []
    warnings = list(dict.fromkeys([*planned.warnings(), *(last or {}).get("warnings", [])]))
    if as_json:
        print_json(
            {
                "up_to_date": len(planned.items) - len(planned.to_do),
                "to_do": len(planned.to_do),
                "manifests": manifests,
                "last_run": last,
                "leftovers": num_leftovers,
                **({"runs": [{"folder": one.folder, **(one.summary or {})} for one in past]} if runs else {}),
                "going_on": [one.model_dump(mode="json") for one in found if not one.ended_unseen(now)],
                "warnings": warnings,
            }
        )
        return
    echo(f"store     {opened.store.root}")
    echo(f"units     {len(planned.items) - len(planned.to_do)} of {len(planned.items)} up to date")
    manifest = planned.manifest
    state = "up to date" if manifest.reason is None else f"to do: {manifest.reason}"
    echo(f"manifest  {manifest.path.fingerprint} ({state}); {len(manifests)} in the store")
    for one in found:
        echo(f"{'killed' if one.ended_unseen(now) else 'now':<9} {line_of(one, now)}")
    if last:
        echo(
            f"last run  {last['num_ok']} ok, {last['num_errors']} errors, {last['num_skipped']} skipped "
            f"in {duration(last['seconds'])}: {last['folder']}"
        )
    if num_leftovers:
        echo(f"leftovers {num_leftovers} of killed runs, or of runs that go on; depthmill prune --delete removes the old ones")
    for line in warnings:
        echo(f"warning: {line}")
    if runs:
        names = {one.name for one in found if not one.ended_unseen(now)}
        echo(f"\n{past_text(past, names)}" if past else "no run has made anything here yet")


def past_text(past: list[PastRun], going_on: set[str]) -> str:
    """Return runs as a table, a line each.

    Args:
        past: the runs.
        going_on: names of those that have not ended.
    """
    from flows.command_line.tables import aligned
    from flows.text import duration, size

    table: list[tuple[str, ...]] = [("started (UTC)", "ok", "errors", "skipped", "took", "written", "workers", "details")]
    for run in past:
        if run.summary is None:
            state = "goes on" if run.name in going_on else "killed"
            table.append((run.started, "", "", "", state, "", "", run.folder))
            continue
        counts = [str(run.summary.get(key, "")) for key in ("num_ok", "num_errors", "num_skipped")]
        written = size(run.summary["num_bytes"]) if "num_bytes" in run.summary else ""  # former versions did not count them
        took, workers = duration(run.summary.get("seconds", 0.0)), str(run.summary.get("workers", ""))
        table.append((run.started, *counts, took, written, workers, run.folder))
    return aligned(table, right=range(1, 7))


def _watch(opened: Opened, *, as_json: bool) -> None:
    """Show what goes on until nothing does: a live view on a terminal, plain lines elsewhere; JSON lines with ``--json``."""
    from flows.run.interrupt import as_python_does

    as_python_does()  # Ctrl-C is how one leaves it
    try:
        _show(opened.runs.files, as_json=as_json)
    except KeyboardInterrupt:
        raise typer.Exit from None
    if as_json:
        raise typer.Exit


def _show(files: StoreFiles, *, as_json: bool) -> None:
    from flows.run.watch import WatchLines, looks, text_of

    if as_json:
        for found in looks(files):
            print_line(json.dumps([one.model_dump(mode="json") for one in found]))
        return
    if not sys.stdout.isatty():
        lines = WatchLines(print_line)
        for found in looks(files):
            lines.look(found, datetime.now(UTC))
        return
    from rich.live import Live
    from rich.text import Text

    take_line_away()

    with Live(auto_refresh=False, transient=True) as live:
        for found in looks(files):
            live.update(Text(shown(text_of(found, datetime.now(UTC)))), refresh=True)
