"""A recipe from Python: what is to be made, making it, reading it, training on it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import xarray as xr

    from flows.assessment.work import Assessed
    from flows.run.listener import Listener
    from flows.run.materialize import Made
    from flows.run.orchestrator import Orchestrator
    from flows.run.train import Trained
    from pipeline.plan import Plan


def plan(recipe: str | Path, *, overrides: Sequence[str] = (), workers: int | None = None) -> Plan:
    """Say what a run would make and why; nothing is written.

    Args:
        recipe: recipe file.
        overrides: changed keys, each ``key.key=value``, e.g. ``stages.clean_horizon.near_m=25``.
        workers: worker processes of a run; None = DEPTHMILL_WORKERS, or one for each core. Changes no unit.

    Returns:
        ``items``, every unit in running order; ``to_do``, those that are missing, each with its reason.

    Raises:
        RecipeError: the recipe or an override has a mistake.
        SourceError: the source is not there, or its tables are broken.
    """
    from flows.run.opening import open_with_settings

    return open_with_settings(Path(recipe), overrides, workers).plan()


def run(
    recipe: str | Path,
    *,
    overrides: Sequence[str] = (),
    workers: int | None = None,
    dask: str | None = None,
    log: str | None = None,
    device: str | None = None,
    prefect: bool = False,
    report: bool = True,
    listener: Listener | None = None,
) -> Made:
    """Make everything that the plan lists; a failed scene never stops another, and running again does only what is left.

    Args:
        recipe: recipe file.
        overrides: changed keys, each ``key.key=value``.
        workers: worker processes; None = DEPTHMILL_WORKERS, or one for each core.
        dask: run the scenes on this Dask cluster instead, e.g. ``local:4`` or ``tcp://scheduler:8786``; None = DEPTHMILL_DASK.
        log: ``json`` prints each finished unit as a line of JSON on standard error; None = DEPTHMILL_LOG, or no such lines.
        device: where networks run: auto, cpu or cuda; None = DEPTHMILL_DEVICE.
        prefect: run as a flow of Prefect; units are byte-identical either way.
        report: write report.html beside the run's events.
        listener: is told of every unit; None = nobody is.

    Returns:
        The plan, and ``summary``: how many units were made, failed or were skipped; ``num_failed`` is 0 if all is well.

    Raises:
        RecipeError: the recipe, an override or a setting has a mistake.
        SourceError: the source is not there, or its tables are broken.
        DepthmillError: the workers or Prefect failed. A unit that fails raises nothing; it is in the summary.
    """
    from flows.run.making import SILENT, make_units
    from flows.run.opening import open_with_settings

    opened = open_with_settings(Path(recipe), overrides, workers, dask, log, device)
    return make_units(opened, orchestrator(prefect=prefect), listener or SILENT, report=report)


def assess(
    recipe: str | Path,
    *,
    overrides: Sequence[str] = (),
    scenes: Sequence[str] = (),
    frames: int = 20,
    reference: str = "auto",
    hold_out: int = 0,
    against: str = "published",
    parts: bool = False,
    out: str | Path | None = None,
    pictures: int = 5,
    listener: Listener | None = None,
) -> Assessed:
    """Measure the depth maps of a recipe on sampled key frames; what the store lacks is made in memory and not stored.

    Args:
        recipe: recipe file.
        overrides: changed keys, each ``key.key=value``.
        scenes: names of scenes to take frames of; none = all.
        frames: key frames to measure, taken evenly.
        reference: ``truth``, exact depth; ``sweep``, the key sweep, held out; ``auto``, truth where all scenes have it.
        hold_out: sweeps on either side of the key sweep that are held out with it.
        against: ``published`` measures the published recipe too, where this one has additions; ``none`` does not.
        parts: also without each addition of the recipe, one by one.
        out: folder for tables, figures of every frame and pictures; must not exist or be empty.
        pictures: with ``out``: so many of the worst frames are drawn.
        listener: is told of the progress; None = nobody is.

    Returns:
        ``text`` and ``data`` of the answer; ``summary`` with all sums.

    Raises:
        RecipeError: the recipe has a mistake, an option does not fit it, or a unit is missing that cannot be made here.
        SourceError: a file is missing or broken.
        StoreError: ``out`` is not empty or cannot be written.
    """
    from flows.assessment.work import Choices, assess_recipe
    from flows.run.making import SILENT
    from flows.run.opening import open_with_settings

    choices = Choices(
        scenes=tuple(scenes),
        frames=frames,
        reference=reference,
        hold_out=hold_out,
        against=against,
        parts=parts,
        out=None if out is None else Path(out),
        pictures=pictures,
    )
    return assess_recipe(open_with_settings(Path(recipe), overrides), choices, listener or SILENT, title=Path(recipe).stem)


def train(
    recipe: str | Path,
    *,
    overrides: Sequence[str] = (),
    workers: int | None = None,
    dask: str | None = None,
    log: str | None = None,
    device: str | None = None,
    manifest: str | None = None,
    out: str | Path | None = None,
    restart: bool = False,
    prefect: bool = False,
    listener: Listener | None = None,
) -> Trained:
    """Make what is missing, train what the recipe describes, measure it; the same call goes on after a stop.

    Args:
        recipe: recipe file with a group ``train:``.
        overrides: changed keys, each ``key.key=value``.
        workers: worker processes that make units.
        dask: make them on this Dask cluster instead; None = DEPTHMILL_DASK.
        log: ``json`` prints each finished unit as a line of JSON on standard error; None = DEPTHMILL_LOG, or no such lines.
        device: where networks run: auto, cpu or cuda; None = DEPTHMILL_DEVICE.
        manifest: fingerprint of another manifest than the recipe's own.
        out: another folder than ``<runs>/trainings/<name>``.
        restart: throw away what a former run left in the folder; files that depthmill did not write stay.
        prefect: run as flows of Prefect.
        listener: is told of units and of steps now and then; None = nobody is.

    Returns:
        ``training.folder`` with checkpoints and tables; ``num_failed`` units, with which nothing was trained.

    Raises:
        RecipeError: the recipe has a mistake, or torch is not installed.
        ManifestError: there is no such manifest, or its frames lack a store.
        DepthmillError: the training or the evaluation failed.
    """
    from flows.run.making import SILENT
    from flows.run.opening import open_with_settings
    from flows.run.train import train_recipe

    return train_recipe(
        open_with_settings(Path(recipe), overrides, workers, dask, log, device),
        orchestrator(prefect=prefect),
        listener or SILENT,
        where=str(recipe),
        manifest=manifest,
        out=None if out is None else Path(out),
        restart=restart,
    )


def open_dataset(data: str | Path, *, manifest: str | None = None, camera: str | None = None) -> xr.Dataset:
    """Open a manifest as one lazy xarray Dataset over frames; see ``storage_schemas.dataset.open_dataset``.

    Args:
        data: recipe file, or path or URL of a store.
        manifest: fingerprint, or its beginning; None = the recipe's own, or the store's newest.
        camera: samples of one camera only; needed where cameras differ in image size.

    Returns:
        Depth in metres (frame, y, x) float32, NaN = not measured; images (frame, y, x, channel) uint8; see there.

    Raises:
        RecipeError: there is no such store, or the recipe's manifest is not made yet.
        ManifestError: there is no such manifest, or it has images of several sizes and no camera was chosen.
    """
    from flows.run.opening import open_manifest_of
    from storage_schemas.dataset import open_dataset as open_whole_manifest

    return open_whole_manifest(open_manifest_of(str(data), manifest), camera=camera)


def open_unit(data: str | Path, key: str, *, manifest: str | None = None) -> xr.Dataset:
    """Open one unit as a lazy xarray Dataset with time, camera matrix and pose of each frame as coordinates.

    Args:
        data: recipe file, or path or URL of a store.
        key: ``<store>/<scene>/<camera>``, e.g. ``depth_clean/scene-0061/CAM_FRONT``, or with ``/<fingerprint>``; ``depthmill
            inspect`` lists them.
        manifest: says which unit is meant where the key has no fingerprint; None = the recipe's own, or the store's newest.

    Returns:
        Its arrays (frame, y, x), NaN = not measured; see ``storage_schemas.dataset.open_unit_dataset``.

    Raises:
        UnitNotFoundError: there is no such unit; names some that are there.
        RecipeError: there is no such store, or the recipe's manifest is not made yet.
        ManifestError: there is no such manifest.
    """
    from flows.run.opening import open_manifest_of
    from pipeline.unit_dataset import open_unit as open_unit_of

    return open_unit_of(open_manifest_of(str(data), manifest), key)


def orchestrator(*, prefect: bool) -> Orchestrator:
    """Return what carries out the work: Prefect, or a bare loop."""
    if prefect:
        from storage_schemas.awaited import awaited

        with awaited("Prefect is loaded"):
            from flows.prefect.orchestrator import PrefectOrchestrator
        return PrefectOrchestrator()
    from flows.run.bare_loop import BareLoop

    return BareLoop()
