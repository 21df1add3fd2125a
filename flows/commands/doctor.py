"""``depthmill doctor``."""

from __future__ import annotations

from typing import Annotated

import typer

from flows.command_line.answers import echo, print_json
from flows.command_line.options import AsJson


def doctor(
    store: Annotated[
        str | None, typer.Argument(help="store path or URL to try writing to, or a recipe file, whose data set is looked at too")
    ] = None,
    dask: Annotated[str | None, typer.Option(help="address of a Dask scheduler to try, e.g. tcp://head:8786")] = None,
    as_json: AsJson = False,
) -> None:
    """Check this machine, and say what to do.

    It lists versions, disk, store, Prefect, Dask and devices, and says which engine of the scan is used and why.

    ok: it works. missing: it is optional, and not here. FAIL: it must be put right, and the line says how.
    """
    from flows.doctor import diagnose

    source: str | None = None
    if store is not None and store.endswith((".yaml", ".yml")):
        from pipeline.recipe import load_recipe  # imported late: a refused plug-in would end the doctor without a report

        recipe = load_recipe(store)
        store, source = recipe.store, getattr(recipe.source, "root", None)
    findings = []
    for finding in diagnose(store, source=source, dask=dask):
        findings.append(finding)
        if not as_json:
            echo(f"{finding.state:<7}  {finding.about:<22} {finding.says}")
    if as_json:
        print_json([{**finding._asdict(), "state": finding.state} for finding in findings])
    if not all(finding.is_ok for finding in findings):
        raise typer.Exit(1)
