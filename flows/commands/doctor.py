"""``depthmill doctor``."""

from __future__ import annotations

from typing import Annotated

import typer

from flows.command_line.answers import echo, print_json
from flows.command_line.options import AsJson


def doctor(
    store: Annotated[str | None, typer.Argument(help="store path or URL, or a recipe file, to try writing to")] = None,
    dask: Annotated[str | None, typer.Option(help="address of a Dask scheduler to try, e.g. tcp://head:8786")] = None,
    as_json: AsJson = False,
) -> None:
    """Check this machine: versions, disk, store, Prefect, Dask, devices, and which engine of the scan is used and why."""
    from flows.doctor import diagnose

    if store is not None and store.endswith((".yaml", ".yml")):
        from pipeline.recipe import load_recipe  # imported late: a refused plug-in would end the doctor without a report

        store = load_recipe(store).store
    findings = diagnose(store, dask=dask)
    if as_json:
        print_json([finding._asdict() for finding in findings])
    else:
        for finding in findings:
            echo(f"{'ok  ' if finding.is_ok else 'FAIL'}  {finding.about:<22} {finding.says}")
    if not all(finding.is_ok for finding in findings):
        raise typer.Exit(1)
