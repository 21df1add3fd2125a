"""How the flows become deployments: served from one process, or registered for a work pool."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from prefect import Flow, serve
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.deployments.runner import RunnerDeployment
from prefect.exceptions import ObjectNotFound, ParameterTypeError
from prefect.schedules import Cron, Interval, Schedule
from prefect.settings import PREFECT_API_URL
from prefect.types.entrypoint import EntrypointType
from prefect.workers.process import ProcessWorker

from flows.prefect.deployments import (
    ablate,
    materialize,
    pretrain,
    pretrains,
    reclean,
    retrain_and_evaluate,
    train_and_evaluate,
)
from flows.prefect.guard import OrchestratorError, explained
from flows.prefect.server import refuse_silent_server, scheduling_server
from flows.retrain.rules import overrides_of, rules_of
from flows.run.runs import with_local_starts
from flows.run.training import missing_for_training
from flows.settings import settings_of_machine
from pipeline.recipe import Recipe, load_recipe
from pipeline.retrain_choices import RetrainChoices
from storage_schemas.errors import RecipeError

ADVICE = "Look at the server of PREFECT_API_URL (prefect version says which it is), then run the same command"


def schedule_of(*, cron: str | None, interval_s: float | None, timezone: str = "UTC") -> Schedule | None:
    """Return a schedule; None for neither cron nor interval.

    Raises:
        RecipeError: both are given, or one of them is not understood.
    """
    if cron is not None and interval_s is not None:
        raise RecipeError("--cron and --interval are two schedules, expected one of them. Leave one out")
    try:
        ZoneInfo(timezone)
        if interval_s is not None:
            if interval_s < 1:
                raise ValueError("an interval is 1 s or more")
            return Interval(interval_s, timezone=timezone)
        return None if cron is None else Cron(cron, timezone=timezone)
    except (ValueError, KeyError) as error:
        option = f"--cron '{cron}'" if cron is not None else f"--interval {interval_s}"
        raise RecipeError(
            f"{option} with --timezone '{timezone}' is no schedule: {' '.join(str(error).split())}. Write minute, hour, day, "
            "month and weekday, e.g. --cron '0 3 * * *', or seconds, e.g. --interval 3600"
        ) from error


def deployments(
    recipe: Path, *, name: str, schedule: Schedule | None, parameters: dict[str, Any], dask: str | None = None
) -> list[RunnerDeployment]:
    """Return the deployments of a recipe, of which only ``retrain_and_evaluate`` is scheduled.

    Its training is ``train_and_evaluate``, or ``pretrain`` if it is a pre-training. ``ablate`` is there where the recipe has
    variants, ``retrain_and_evaluate`` where the family has champions.

    Args:
        recipe: the recipe file; must be there and be a recipe.
        name: name of the deployments: materialize/<name> and so on.
        schedule: when to look for work; None = only when asked.
        parameters: of ``retrain_and_evaluate``, besides the recipe.
        dask: cluster that makes the units of every flow; None = what DEPTHMILL_DASK says where the flow runs.

    Raises:
        RecipeError: the recipe, a parameter or the name has a mistake, or there is a schedule and nothing to do by it.
    """
    where = {"recipe": str(recipe.absolute()), **({} if dask is None else {"dask": dask})}
    try:
        retrain_and_evaluate.validate_parameters({**where, **parameters})
    except ParameterTypeError as error:
        raise RecipeError(f"parameters of retrain_and_evaluate: {' '.join(str(error).split())}") from error
    if not re.fullmatch(r"[\w. -]+", name):  # Prefect's addresses are flow/name
        raise RecipeError(f"--name is '{name}', expected letters, digits, '.', '_', '-' and spaces")
    rules = overrides_of(**{key: value for key, value in parameters.items() if key in RetrainChoices.model_fields})
    # read now: a typo must not fail at the first firing of the schedule
    loaded = load_recipe(recipe, overrides=(*parameters.get("overrides", ()), *rules))
    refusal = _refusal(loaded, where=str(recipe))
    if refusal and schedule is not None:
        raise RecipeError(f"{refusal}. Leave --cron and --interval out, and the other flows are deployed")
    unscheduled: list[Flow[..., Any]] = [materialize, reclean, pretrain if pretrains(loaded) else train_and_evaluate]
    unscheduled += [ablate] if loaded.ablation.variants else []
    kind = EntrypointType.MODULE_PATH  # depthmill is installed wherever it runs; a path would depend on the folder
    made = [RunnerDeployment.from_flow(flow, name, parameters=where, entrypoint_type=kind) for flow in unscheduled]
    if refusal:
        return made
    every_night = RunnerDeployment.from_flow(
        retrain_and_evaluate,
        name,
        parameters={**where, **parameters},
        schedule=schedule,
        entrypoint_type=kind,
    )
    return [*made, every_night]


def _refusal(recipe: Recipe, *, where: str) -> str:
    """Return why trainings of a recipe's family are never judged; "" if they are, RecipeError if a rule has a mistake."""
    if missing_for_training():
        return ""
    from model.families import family_of, parse_train_config

    config = parse_train_config(with_local_starts(recipe.train, settings_of_machine().cache_dir), where=where)
    family = family_of(config)
    if family.retrain_refusal:
        return f"recipe '{where}': train.family is '{family.name}', and {family.retrain_refusal}"
    rules_of(recipe.retrain, family, config, where=where)
    return ""


def serve_here(to_serve: list[RunnerDeployment], *, port: int, say: Callable[[str], None]) -> None:
    """Serve deployments from this process until it is stopped; without PREFECT_API_URL with a server beside it.

    Raises:
        OrchestratorError: there is no server, and none can be started.
    """
    with scheduling_server(port) as url:
        say(f"Prefect server {url}, pages at {url.removesuffix('/api')}")
        for deployment in to_serve:
            say(f"serving {deployment.flow_name}/{deployment.name}")
        say("stop with Ctrl-C; a round that is cut off goes on at the next firing")
        with explained("serve the deployments", ADVICE):
            serve(*to_serve, print_starting_message=False)


def register(to_register: list[RunnerDeployment], *, pool: str) -> None:
    """Register deployments for a work pool, which is made (type process) if it is not there; a worker runs them.

    Raises:
        OrchestratorError: there is no server, or it refuses.
    """
    if PREFECT_API_URL.value() is None:
        raise OrchestratorError(
            "a work pool needs a Prefect server that stays, and PREFECT_API_URL is not set. Run 'prefect server start', set "
            "PREFECT_API_URL=http://127.0.0.1:4200/api, and run the same command; or add --serve to do without a pool"
        )
    refuse_silent_server()
    with explained("register the deployments", ADVICE), get_client(sync_client=True) as client:
        try:
            client.read_work_pool(pool)
        except ObjectNotFound:
            template = ProcessWorker.get_default_base_job_template()
            client.create_work_pool(WorkPoolCreate(name=pool, type="process", base_job_template=template))
        for deployment in to_register:
            deployment.apply(work_pool_name=pool)
