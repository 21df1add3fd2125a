"""The flows as Prefect deployments: what a schedule, a worker or a person in Prefect's pages starts.

Each parameter's type and description appear in the form of Prefect's pages; both come from the signatures and docstrings here.
Where and how fast stay settings of the process that runs the flow: DEPTHMILL_WORKERS, DEPTHMILL_DEVICE and so on.
A Dask cluster is a parameter as well, because the flows of one recipe may run on a larger one.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

from prefect import State, flow, get_run_logger
from prefect.exceptions import MissingContextError
from prefect.states import Completed
from pydantic import Field

from flows.prefect.guard import state_of
from flows.prefect.orchestrator import PrefectOrchestrator
from flows.retrain.round import retrain
from flows.run.interrupt import stop_soon_when_interrupted
from flows.run.lasting import refuse_deleted_folder
from flows.run.listener import Listener
from flows.run.making import make_units
from flows.run.opening import Opened, open_with_settings
from flows.run.train import train_recipe
from flows.run.training import missing_for_training
from model.train.judging import Rules
from pipeline.recipe import Recipe
from storage_schemas.errors import DepthmillError, RecipeError
from storage_schemas.shown_text import shown

Metric = Literal[
    "mae_mm", "rmse_mm", "imae_per_km", "irmse_per_km", "abs_rel", "sq_rel_m", "delta1", "delta2", "delta3"
]  # fmt: skip
Workers = Annotated[int, Field(ge=1)] | None
Dask = str | None
Seed = Annotated[int, Field(ge=0)] | None


@flow(name="materialize", log_prints=True)
def materialize(recipe: str, overrides: tuple[str, ...] = (), workers: Workers = None, dask: Dask = None) -> State[Any]:
    """Make every unit that a recipe asks for and its store lacks.

    Args:
        recipe: Recipe file, an absolute path on the machine that runs the flow.
        overrides: Changed recipe keys, each key.key=value, e.g. stages.accumulate_lidar.num_sweeps=30.
        workers: Worker processes, about 1 GB each; empty = DEPTHMILL_WORKERS, or one per core.
        dask: Dask cluster that makes units instead, e.g. tcp://scheduler:8786; empty = DEPTHMILL_DASK, or no cluster.
    """
    return _ended(lambda: _make(_open(recipe, overrides, workers, dask), materialize.name))


@flow(name="reclean", log_prints=True)
def reclean(
    recipe: str,
    upper_fraction: float | None = None,
    near_m: float | None = None,
    mono_disagree_m: float | None = None,
    near_mono_m: float | None = None,
    window_px: int | None = None,
    min_neighbors: int | None = None,
    mad_factor: float | None = None,
    floor_m: float | None = None,
    overrides: tuple[str, ...] = (),
    workers: Workers = None,
    dask: Dask = None,
) -> State[Any]:
    """Clean again with another rule: a new manifest beside the former; nothing but cleaning and manifest is made again.

    The recipe file stays as it is. Empty fields keep what it says.

    Args:
        recipe: Recipe file, an absolute path on the machine that runs the flow.
        upper_fraction: Pass A: rows above this share of the image height.
        near_m: Pass A: nearer than this, metres.
        mono_disagree_m: Pass B: monocular depth is farther by more than this, metres.
        near_mono_m: Pass B: and the return nearer than this, metres.
        window_px: Pass C: side of the window in pixels, odd.
        min_neighbors: Pass C: valid depths needed in the window, the pixel itself included.
        mad_factor: Pass C: median - depth exceeds this many median absolute deviations.
        floor_m: Pass C: and exceeds this, metres.
        overrides: Other changed recipe keys, each key.key=value.
        workers: Worker processes, about 1 GB each; empty = DEPTHMILL_WORKERS, or one per core.
        dask: Dask cluster that makes units instead, e.g. tcp://scheduler:8786; empty = DEPTHMILL_DASK, or no cluster.
    """
    rule = {
        "upper_fraction": upper_fraction,
        "near_m": near_m,
        "mono_disagree_m": mono_disagree_m,
        "near_mono_m": near_mono_m,
        "window_px": window_px,
        "min_neighbors": min_neighbors,
        "mad_factor": mad_factor,
        "floor_m": floor_m,
    }
    changes = [f"stages.clean_horizon.{key}={value}" for key, value in rule.items() if value is not None]
    return _ended(lambda: _make(_open(recipe, (*overrides, *changes), workers, dask), reclean.name))


@flow(name="pretrain", log_prints=True)
def pretrain(
    recipe: str,
    overrides: tuple[str, ...] = (),
    manifest: str | None = None,
    seed: Seed = None,
    workers: Workers = None,
    dask: Dask = None,
) -> State[Any]:
    """Make what is missing, pre-train a backbone (family mim4d), evaluate, probe the frozen backbone, write the report.

    Args:
        recipe: Recipe file with train.family mim4d, an absolute path on the machine that runs the flow.
        overrides: Changed recipe keys, each key.key=value, e.g. train.probe.steps=1000.
        manifest: Fingerprint of the manifest to train on; empty = the recipe's own.
        seed: Seed of the initial weights; empty = what the recipe says.
        workers: Worker processes that make units; empty = DEPTHMILL_WORKERS, or one per core.
        dask: Dask cluster that makes units instead, e.g. tcp://scheduler:8786; empty = DEPTHMILL_DASK, or no cluster.
    """

    def work() -> str:
        opened = _open(recipe, (*overrides, *_seed(seed)), workers, dask)
        if not pretrains(opened.recipe):
            from model.families import FAMILIES

            family_name = opened.recipe.train.get("family", FAMILIES.default.name)
            takes = " or ".join(family.name for family in FAMILIES if family.flow_name == pretrain.name)
            raise RecipeError(
                f"recipe '{recipe}' has train.family {family_name}, the flow pretrain takes {takes}. Run train_and_evaluate, or "
                "change the family"
            )
        return _train(opened, pretrain.name, recipe=recipe, manifest=manifest)

    return _ended(work)


@flow(name="train_and_evaluate", log_prints=True)
def train_and_evaluate(
    recipe: str,
    overrides: tuple[str, ...] = (),
    manifest: str | None = None,
    seed: Seed = None,
    workers: Workers = None,
    dask: Dask = None,
) -> State[Any]:
    """Make what is missing, train on the manifest, evaluate, write the report. The champion is not touched.

    Args:
        recipe: Recipe file, an absolute path on the machine that runs the flow.
        overrides: Changed recipe keys, each key.key=value, e.g. train.epochs=10.
        manifest: Fingerprint of the manifest to train on; empty = the recipe's own.
        seed: Seed of the initial weights; empty = what the recipe says.
        workers: Worker processes that make units; empty = DEPTHMILL_WORKERS, or one per core.
        dask: Dask cluster that makes units instead, e.g. tcp://scheduler:8786; empty = DEPTHMILL_DASK, or no cluster.
    """

    def work() -> str:
        opened = _open(recipe, (*overrides, *_seed(seed)), workers, dask)
        return _train(opened, train_and_evaluate.name, recipe=recipe, manifest=manifest)

    return _ended(work)


@flow(name="retrain_and_evaluate", log_prints=True)
def retrain_and_evaluate(
    recipe: str,
    overrides: tuple[str, ...] = (),
    margin: Annotated[float, Field(ge=0)] = 0.0,
    metric: Metric = "mae_mm",
    cap_m: Literal[50, 70, 80] = 80,
    radar: Literal["on", "off"] = "on",
    needs_interval: bool = False,
    least_share: Annotated[float, Field(gt=0, le=1)] = 0.5,
    fine_tune: bool = False,
    seed: Seed = None,
    workers: Workers = None,
    dask: Dask = None,
) -> State[Any]:
    """Look for new drives or changed rules; if there are any: make, pin, train, meet the champion, promote if better.

    Args:
        recipe: Recipe file, an absolute path on the machine that runs the flow.
        overrides: Changed recipe keys, each key.key=value, e.g. stages.clean_horizon.near_m=25.
        margin: Improvement of the mean that a training must reach to become the champion, in the metric's unit (mae_mm: mm).
        metric: Metric that decides; smaller is better, except delta1 to delta3.
        cap_m: Largest target depth that counts, metres.
        radar: Compare with the radar seen (on) or taken away (off).
        needs_interval: Promote only if the 95 % bootstrap interval of the mean difference excludes 0 as well.
        least_share: Share of frames and pixels, at least, that champion and challenger must both have been measured on.
        fine_tune: Start from the champion's weights instead of from scratch.
        seed: Seed of the initial weights; empty = what the recipe says.
        workers: Worker processes that make units; empty = DEPTHMILL_WORKERS, or one per core.
        dask: Dask cluster that makes units instead, e.g. tcp://scheduler:8786; empty = DEPTHMILL_DASK, or no cluster.
    """

    def work() -> str:
        rules = Rules(margin, metric, float(cap_m), radar, needs_interval, least_share)
        opened = _open(recipe, (*overrides, *_seed(seed)), workers, dask)
        orchestrator = PrefectOrchestrator(inside=retrain_and_evaluate.name)
        return retrain(opened, orchestrator, PAGES, where=recipe, rules=rules, fine_tune=fine_tune).message

    return _ended(work)


def pretrains(recipe: Recipe) -> bool:
    """Say whether a recipe's training is a pre-training, which ``pretrain`` runs and not ``train_and_evaluate``."""
    if not recipe.train or missing_for_training():
        return False
    from model.families import FAMILIES

    family = FAMILIES.named(recipe.train.get("family", FAMILIES.default.name), where="of the deployment")
    return family.flow_name == pretrain.name


def _to_pages(line: str) -> None:
    """Write a line to the log of the flow or task that runs, which Prefect's pages show."""
    try:
        get_run_logger().info(shown(line))
    except MissingContextError:  # a process that trains on one of several devices runs outside the flow
        print(shown(line), flush=True)


def _warn_pages(line: str) -> None:
    get_run_logger().warning(shown(line))


PAGES = Listener(_to_pages, warn=_warn_pages, begin=stop_soon_when_interrupted)
"""Tells Prefect's pages what the work does."""


def _train(opened: Opened, name: str, *, recipe: str, manifest: str | None) -> str:
    trained = train_recipe(opened, PrefectOrchestrator(inside=name), PAGES, where=recipe, manifest=manifest)
    _refuse_failed(trained.num_failed)
    PAGES.say(trained.text)
    return f"trainings are in {opened.runs.address(opened.runs.work / 'trainings')}"


def _make(opened: Opened, name: str) -> str:
    made = make_units(opened, PrefectOrchestrator(inside=name), PAGES)
    _refuse_failed(made.num_failed)
    return made.text if made.summary is None else f"{len(made.plan.to_do)} units made"


def _open(recipe: str, overrides: tuple[str, ...], workers: int | None, dask: str | None) -> Opened:
    opened = open_with_settings(Path(recipe), overrides, workers, dask or None)
    refuse_deleted_folder(opened, where=recipe)
    return opened


def _seed(seed: int | None) -> tuple[str, ...]:
    return () if seed is None else (f"train.seed={seed}",)


def _refuse_failed(num_failed: int) -> None:
    if num_failed:
        raise DepthmillError(
            f"{num_failed} units failed. Mend what the ERROR lines of the log name, then run this again; only these are left"
        )


def _ended(work: Callable[[], str]) -> State[Any]:
    """Do the work of a flow; it ends with what the work says, or Failed with the text of a user's mistake."""
    return state_of(lambda: Completed(message=work()))
