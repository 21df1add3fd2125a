"""``depthmill retrain``."""

from __future__ import annotations

from dataclasses import asdict

from flows.command_line.options import (
    AsJson,
    Cap,
    Dask,
    FineTune,
    LeastShare,
    Log,
    Margin,
    Metric,
    NeedsInterval,
    NoPrefect,
    Overrides,
    Radar,
    RecipeFile,
    WithPrefect,
    Workers,
)


def retrain(
    recipe: RecipeFile,
    overrides: Overrides = None,
    margin: Margin = 0.0,
    metric: Metric = "mae_mm",
    cap: Cap = 80.0,
    radar: Radar = "on",
    needs_interval: NeedsInterval = False,
    least_share: LeastShare = 0.5,
    fine_tune: FineTune = False,
    workers: Workers = None,
    dask: Dask = None,
    log: Log = None,
    prefect: WithPrefect = False,
    no_prefect: NoPrefect = False,
    as_json: AsJson = False,
) -> None:
    """If there are new drives or rules: make, pin, train, meet the champion, promote if better. What a schedule does, once."""
    from depthmill.recipes import orchestrator
    from flows.command_line.answers import console, echo, print_json
    from flows.prefect_api import uses_prefect
    from flows.retrain.round import retrain as retrain_recipe
    from flows.run.opening import open_with_settings
    from model.train.judging import Rules

    ended = retrain_recipe(
        open_with_settings(recipe, overrides, workers, dask, log),
        orchestrator(prefect=uses_prefect(prefect=prefect, no_prefect=no_prefect)),
        console(is_quiet=as_json),
        where=str(recipe.absolute()),
        rules=Rules(margin, metric, cap, radar, needs_interval, least_share),
        fine_tune=fine_tune,
    )
    if as_json:
        print_json(asdict(ended.row))
    elif ended.row.outcome != "nothing to do":
        echo(f"\n{ended.text}", nl=False)
