"""``depthmill retrain``."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from flows.command_line.options import (
    AsJson,
    Dask,
    Device,
    FineTune,
    LeastShare,
    Log,
    Margin,
    NeedsInterval,
    NoPrefect,
    Overrides,
    RecipeFile,
    RuleCap,
    RuleMetric,
    RuleRadar,
    WithPrefect,
    Workers,
    given_rules,
)


def retrain(
    context: typer.Context,
    recipe: RecipeFile,
    overrides: Overrides = None,
    margin: Margin = 0.0,
    metric: RuleMetric = "mae_mm",
    cap: RuleCap = 80.0,
    radar: RuleRadar = "on",
    needs_interval: NeedsInterval = False,
    least_share: LeastShare = 0.5,
    fine_tune: FineTune = False,
    workers: Workers = None,
    dask: Dask = None,
    log: Log = None,
    device: Device = None,
    prefect: WithPrefect = False,
    no_prefect: NoPrefect = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="say what a round would do, and write nothing")] = False,
    as_json: AsJson = False,
) -> None:
    """Do one round of the schedule by hand.

    If there are new drives or rules, it makes the units, pins a manifest, trains, compares with the champion on the same
    frames, and promotes the new training if it is better.
    """
    from depthmill.recipes import orchestrator
    from flows.command_line.answers import console, echo, print_json, say
    from flows.command_line.tables import as_shown
    from flows.prefect_api import uses_prefect
    from flows.retrain.preview import preview_round
    from flows.retrain.round import retrain as retrain_recipe
    from flows.retrain.rules import overrides_of
    from flows.run.opening import open_with_settings

    opened = open_with_settings(recipe, (*(overrides or ()), *overrides_of(**given_rules(context))), workers, dask, log, device)
    where = str(recipe.absolute())
    if dry_run:
        preview = preview_round(opened, where=where)
        say(preview.as_json(), preview.text, as_json=as_json)
        return
    ended = retrain_recipe(
        opened,
        orchestrator(prefect=uses_prefect(prefect=prefect, no_prefect=no_prefect)),
        console(as_json=as_json),
        where=where,
    )
    if as_json:
        print_json(asdict(ended.row))
    elif ended.row.outcome != "nothing to do":
        echo(as_shown(f"\n{ended.text}"), nl=False)
