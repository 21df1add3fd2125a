"""Verbs of the schedule: retrain, runs, deploy."""

from __future__ import annotations

from typing import Annotated

import typer

from flows.verbs.opening import open_store, open_with_settings
from flows.verbs.options import AsJson, Cap, Metric, NoPrefect, Overrides, Radar, RecipeFile, StoreOrRecipe, Workers

Margin = Annotated[
    float, typer.Option(min=0, help="improvement a training must reach to become the champion, in the metric's unit")
]
NeedsInterval = Annotated[
    bool, typer.Option("--needs-interval", help="promote only if the 95 % interval of the difference excludes 0 as well")
]
FineTune = Annotated[bool, typer.Option("--fine-tune", help="start from the champion's weights instead of from scratch")]


def retrain(
    recipe: RecipeFile,
    overrides: Overrides = None,
    margin: Margin = 0.0,
    metric: Metric = "mae_mm",
    cap: Cap = 80.0,
    radar: Radar = "on",
    needs_interval: NeedsInterval = False,
    fine_tune: FineTune = False,
    workers: Workers = None,
    no_prefect: NoPrefect = False,
    as_json: AsJson = False,
) -> None:
    """If there are new drives or rules: make, pin, train, meet the champion, promote if better. What a schedule does, once."""
    from flows.retrain_verb import retrain_and_print
    from model.train.judging import Rules

    retrain_and_print(
        open_with_settings(recipe, overrides, workers),
        where=str(recipe.absolute()),
        rules=Rules(margin, metric, cap, radar, needs_interval),
        fine_tune=fine_tune,
        no_prefect=no_prefect,
        as_json=as_json,
    )


def runs(
    store: StoreOrRecipe,
    last: Annotated[int, typer.Option(min=1, help="so many of the newest")] = 20,
    as_json: AsJson = False,
) -> None:
    """Print the rounds of retrain, by hand or by schedule: when, why, what came of it; and the champion."""
    from flows.retrain_verb import print_runs
    from flows.settings import Settings

    print_runs(Settings().runs_folder(open_store(store).root), last=last, as_json=as_json)


def deploy(
    recipe: RecipeFile,
    overrides: Overrides = None,
    serve: Annotated[
        bool, typer.Option("--serve", help="serve from this process until it is stopped; needs no work pool")
    ] = False,
    pool: Annotated[str, typer.Option(help="work pool to register with; made if it is not there")] = "depthmill",
    cron: Annotated[str | None, typer.Option(help="when retrain_and_evaluate looks for work, e.g. '0 3 * * *'")] = None,
    interval: Annotated[float | None, typer.Option(help="or every so many seconds")] = None,
    timezone: Annotated[str, typer.Option(help="of --cron, e.g. Europe/Berlin")] = "UTC",
    name: Annotated[str | None, typer.Option(help="of the deployments; default: the recipe file's")] = None,
    port: Annotated[int, typer.Option(help="with --serve and no PREFECT_API_URL: of the server started beside it")] = 4200,
    margin: Margin = 0.0,
    metric: Metric = "mae_mm",
    cap: Cap = 80.0,
    radar: Radar = "on",
    needs_interval: NeedsInterval = False,
    fine_tune: FineTune = False,
) -> None:
    """Make materialize, reclean, train_and_evaluate and retrain_and_evaluate Prefect deployments, the last on a schedule."""
    import os

    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "INFO")  # of the flows that it starts: their words belong into Prefect's pages
    from flows.deploy import deployments, register, schedule_of, serve_here

    open_with_settings(recipe, overrides)
    parameters = {
        "overrides": overrides or [],
        "margin": margin,
        "metric": metric,
        "cap_m": int(cap) if cap.is_integer() else cap,
        "radar": radar,
        "needs_interval": needs_interval,
        "fine_tune": fine_tune,
    }
    schedule = schedule_of(cron=cron, interval_s=interval, timezone=timezone)
    found = deployments(recipe, name=name or recipe.stem, schedule=schedule, parameters=parameters)
    if serve:
        serve_here(found, port=port, say=typer.echo)
        return
    register(found, pool=pool)
    for one in found:
        typer.echo(f"registered {one.flow_name}/{one.name}")
    typer.echo(f"Next, where the flows shall run: prefect worker start --pool {pool}")
