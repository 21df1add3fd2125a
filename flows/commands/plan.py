"""``depthmill plan``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from flows.command_line.answers import echo, print_json
from flows.command_line.options import AsJson, Overrides, RecipeFile, Workers

if TYPE_CHECKING:
    from pipeline.plan import Plan


def plan(
    recipe: RecipeFile,
    overrides: Overrides = None,
    workers: Workers = None,
    as_json: AsJson = False,
    check: Annotated[bool, typer.Option("--check", help="exit with 3 if there is anything to do")] = False,
    units: Annotated[bool, typer.Option("--units", help="name every unit to do")] = False,
) -> None:
    """Say what a run would do, and why.

    Nothing is written to the store.
    """
    from flows.run.materialize import estimate_seconds
    from flows.run.opening import open_with_settings

    opened = open_with_settings(recipe, overrides, workers)
    planned = opened.plan()
    seconds = estimate_seconds(planned, opened.runs.files, opened.settings.workers)
    if as_json:
        print_json(
            {
                "to_do": [
                    {
                        "stage": item.stage,
                        "scene": item.identity.scene,
                        "camera": item.identity.camera,
                        "unit": item.path.key,
                        "reason": item.reason,
                    }
                    for item in planned.to_do
                ],
                "num_units": len(planned.items),
                "estimated_seconds": seconds,
                "warnings": planned.warnings(),
            }
        )
    else:
        if units:
            for item in planned.to_do:
                echo(f"{item.path.key}  {item.reason}")
        echo(plan_text(planned, seconds=seconds, workers=opened.settings.workers))
        for line in planned.warnings():
            echo(f"warning: {line}")
        if planned.to_do and (first := opened.source.preparation()):
            echo(first)
    if check and planned.to_do:
        raise typer.Exit(3)


def plan_text(plan: Plan, *, seconds: float | None, workers: int) -> str:
    """Return the table of a plan and its closing line."""
    from flows.command_line.tables import aligned
    from flows.text import duration, num_units_text

    table = [("stage", "up to date", "to do", "reason")]
    table += [(line.stage, str(line.num_up_to_date), str(line.num_to_do), line.text) for line in plan.lines()]
    lines = [aligned(table, right=(1, 2))]
    count = len(plan.to_do)
    if count == 0:
        lines.append(f"nothing to do: all {len(plan.items)} units are up to date")
    else:
        on = f"{workers} worker{'s' if workers != 1 else ''}"
        guess = f", about {duration(seconds)} on {on} (from the last run)" if seconds is not None else ""
        lines.append(f"{num_units_text(count)} to do{guess}")
    return "\n".join(lines)
