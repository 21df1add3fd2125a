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
from prefect.states import Cancelled, Completed
from pydantic import Field

from flows.ablation.ablation import read_ablation
from flows.ablation.table import TABLE_FILE, refuse_other_folder, results_of
from flows.ablation.training import train_variants
from flows.prefect.guard import state_of
from flows.prefect.orchestrator import PrefectOrchestrator
from flows.retrain.round import retrain
from flows.retrain.rules import overrides_of
from flows.run.interrupt import stop_soon_when_interrupted
from flows.run.lasting import refuse_deleted_folder
from flows.run.listener import Listener
from flows.run.making import make_units
from flows.run.opening import Opened, open_with_settings
from flows.run.train import train_recipe
from flows.run.training import missing_for_training
from pipeline.recipe import Recipe
from storage_schemas.errors import DepthmillError, RecipeError
from storage_schemas.folder_lock import FolderBusyError
from storage_schemas.shown_text import shown

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


@flow(name="ablate", log_prints=True)
def ablate(
    recipe: str,
    overrides: tuple[str, ...] = (),
    manifest: str | None = None,
    workers: Workers = None,
    dask: Dask = None,
) -> State[Any]:
    """Train every variant of the recipe's ablation group with every seed; what is complete is not trained again.

    Args:
        recipe: Recipe file with a group ablation, an absolute path on the machine that runs the flow.
        overrides: Changed recipe keys, each key.key=value, e.g. ablation.seeds=[0,1].
        manifest: Fingerprint of the manifest to train on; empty = the recipe's own.
        workers: Worker processes that make units; empty = DEPTHMILL_WORKERS, or one per core.
        dask: Dask cluster that makes units instead, e.g. tcp://scheduler:8786; empty = DEPTHMILL_DASK, or no cluster.
    """

    def work() -> str:
        opened = _open(recipe, overrides, workers, dask)
        planned = read_ablation(opened, where=recipe, manifest=manifest, out=None)
        refuse_other_folder(planned.folder)
        results_of(planned, {})  # read first: a damaged training must be reported before hours of work
        orchestrator = PrefectOrchestrator(inside=ablate.name)
        results = train_variants(planned, opened, orchestrator, PAGES, is_making=manifest is None)
        if failed := [f"{one.run.title}: {one.error}" for one in results if one.error is not None]:
            raise DepthmillError(f"{len(failed)} of {len(results)} trainings failed: {'; '.join(failed)}")
        return f"{len(results)} trainings are in the table {planned.folder / TABLE_FILE}"

    return _ended(work)


@flow(name="retrain_and_evaluate", log_prints=True)
def retrain_and_evaluate(
    recipe: str,
    overrides: tuple[str, ...] = (),
    metric: str | None = None,
    cap_m: float | None = None,
    radar: Literal["on", "off"] | None = None,
    margin: Annotated[float, Field(ge=0)] | None = None,
    needs_interval: bool | None = None,
    least_share: Annotated[float, Field(gt=0, le=1)] | None = None,
    fine_tune: bool | None = None,
    seed: Seed = None,
    workers: Workers = None,
    dask: Dask = None,
) -> State[Any]:
    """Look for new drives or changed rules; if there are any: make, pin, train, meet the champion, promote if better.

    Empty rules are those of the recipe's group retrain.

    Args:
        recipe: Recipe file, an absolute path on the machine that runs the flow.
        overrides: Changed recipe keys, each key.key=value, e.g. stages.clean_horizon.near_m=25.
        metric: Measure that decides, e.g. mae_mm, Car/3d@0.7/moderate or reconstruct/abs_rel.
        cap_m: Of depth networks: largest target depth that counts, metres.
        radar: Of depth networks: compare with the radar seen (on) or taken away (off).
        margin: Improvement of the mean that a training must reach to become the champion, in the metric's unit (mae_mm: mm).
        needs_interval: Promote only if the 95 % bootstrap interval of the difference excludes 0 as well.
        least_share: Share, at least, of what either network was measured on that both must have.
        fine_tune: Start from the champion's weights instead of from scratch.
        seed: Seed of the initial weights; empty = what the recipe says.
        workers: Worker processes that make units; empty = DEPTHMILL_WORKERS, or one per core.
        dask: Dask cluster that makes units instead, e.g. tcp://scheduler:8786; empty = DEPTHMILL_DASK, or no cluster.
    """

    def work() -> str:
        rules = overrides_of(
            metric=metric,
            cap_m=cap_m,
            radar=radar,
            margin=margin,
            needs_interval=needs_interval,
            least_share=least_share,
            fine_tune=fine_tune,
        )
        opened = _open(recipe, (*overrides, *_seed(seed), *rules), workers, dask)
        return retrain(opened, PrefectOrchestrator(inside=retrain_and_evaluate.name), PAGES, where=recipe).message

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
            f"{num_failed} units failed. Fix what the ERROR lines of the log name, then run this again; only these are left"
        )


def _ended(work: Callable[[], str]) -> State[Any]:
    """Do the work of a flow; it ends with what the work says, or Failed with the text of a user's mistake.

    It ends Cancelled while another process does the same work: a firing that came too early, whose work the next one finds. This
    is not left to Prefect's own limit of a deployment: a killed worker keeps a place of that for minutes, and a server that is
    away for seconds while a place is renewed ends the training.
    """

    def state() -> State[Any]:
        try:
            return Completed(message=work())
        except FolderBusyError as busy:
            return Cancelled(message=str(busy))

    return state_of(state)
