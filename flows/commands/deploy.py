"""``depthmill deploy``."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from flows.command_line.answers import echo
from flows.command_line.options import (
    Dask,
    FineTune,
    LeastShare,
    Margin,
    NeedsInterval,
    Overrides,
    RecipeFile,
    RuleCap,
    RuleMetric,
    RuleRadar,
    given_rules,
)


def deploy(
    context: typer.Context,
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
    metric: RuleMetric = "mae_mm",
    cap: RuleCap = 80.0,
    radar: RuleRadar = "on",
    needs_interval: NeedsInterval = False,
    least_share: LeastShare = 0.5,
    fine_tune: FineTune = False,
    dask: Dask = None,
) -> None:
    """Register the flows of a recipe with Prefect.

    retrain_and_evaluate runs on a schedule. The others are started by hand: materialize, reclean, train_and_evaluate or
    pretrain, and ablate where the recipe has variants.
    """
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "INFO")  # else Prefect's pages lack the log lines of the flows
    from flows.prefect.deploy import deployments, register, schedule_of, serve_here
    from flows.run.interrupt import as_python_does
    from flows.run.lasting import refuse_lost_results
    from flows.run.opening import open_with_settings

    opened = open_with_settings(recipe, overrides, dask=dask)
    refuse_lost_results(opened, where=str(recipe), has_pool=not serve)
    _ = opened.pool  # looked for now: a scheduler that is not there must not be found out at night
    # what is not given stays the recipe's, which is read anew at every firing
    parameters = {"overrides": overrides or [], **given_rules(context)}
    schedule = schedule_of(cron=cron, interval_s=interval, timezone=timezone)
    to_deploy = deployments(recipe, name=name or recipe.stem, schedule=schedule, parameters=parameters, dask=opened.settings.dask)
    if serve:
        as_python_does()  # Prefect ends its rounds before it ends
        serve_here(to_deploy, port=port, say=echo)
        return
    register(to_deploy, pool=pool)
    for deployment in to_deploy:
        echo(f"registered {deployment.flow_name}/{deployment.name}")
    echo(f"Next, where the flows shall run: prefect worker start --pool {pool}")
