"""``depthmill report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.command_line.answers import say
from flows.command_line.options import AsJson, Overrides, RecipeFile


def report(
    recipe: RecipeFile,
    overrides: Overrides = None,
    out: Annotated[Path, typer.Option("--out", help="file to write")] = Path("report.html"),
    as_json: AsJson = False,
) -> None:
    """Write one HTML page about a store.

    It needs no other file. It shows coverage, images with depth before and after each stage, and errors against the truth.
    """
    from flows.reports.store import write_report
    from flows.run.opening import open_with_settings

    opened = open_with_settings(recipe, overrides)
    page = write_report(opened.plan(), opened.store, out, title=recipe.stem, runs=opened.runs.files)
    say({"report": str(page)}, f"wrote {page}", as_json=as_json)
