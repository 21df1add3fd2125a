"""Make what a recipe's store lacks: plan, run, write the report."""

from __future__ import annotations

import time
from pathlib import Path

from flows.run.listener import Listener
from flows.run.materialize import Made, RunScenes, materialize_plan
from flows.run.opening import Opened
from flows.run.orchestrator import Orchestrator
from flows.run.progress import RunProgress
from flows.workers.pool import WorkerPool, telling
from storage_schemas.errors import DepthmillError

SILENT = Listener()


def make_units(
    opened: Opened,
    orchestrator: Orchestrator,
    listener: Listener = SILENT,
    *,
    report: bool = True,
    pool: WorkerPool | None = None,
) -> Made:
    """Do everything that the plan lists; a failed scene never stops another.

    Args:
        opened: the recipe.
        orchestrator: carries it out.
        listener: is told of every finished unit and how it went.
        report: write report.html beside the run's events, if any unit was made.
        pool: who runs the scenes; None = those that the settings name.

    Raises:
        DepthmillError: the workers or the orchestrator failed, e.g. a Dask scheduler is gone.
    """
    began_s = time.monotonic() if listener.began_s is None else listener.began_s
    pool = pool or opened.pool  # before the plan: a scheduler that is not there must be reported before any work
    plan = opened.plan()
    for line in plan.warnings():
        listener.warn(f"warning: {line}")
    if not plan.to_do:
        made = Made(plan)
        listener.say(made.text)
        return made
    if first := opened.source.preparation():
        listener.say(first)
    if new := _new_store(opened):
        listener.say(new)
    listener.work_begins()
    progress = RunProgress(opened.runs, plan)
    with listener.units_of(plan) as on_result:

        def work(run_scenes: RunScenes) -> Made:
            summary = materialize_plan(opened, plan, run_scenes, on_result, began_s=began_s, progress=progress)
            made = Made(plan, summary)
            return _with_report(made, opened, listener) if report and summary.num_ok else made

        made = orchestrator.make(plan, telling(pool, progress.scene_begins), work)
    if made.summary is not None:
        for line in made.summary.warnings:
            listener.warn(f"warning: {line}")
    listener.say(made.text_after(time.monotonic() - began_s))
    return made


def _new_store(opened: Opened) -> str:
    """Say where a store is made that is not there yet; a relative path means another one from another folder."""
    store, given = opened.store, opened.recipe.store
    if store.files.names(""):
        return ""
    text = f"a new store is made: {store.shown_root}"
    if store.files.is_local and not Path(given.removeprefix("file://")).expanduser().is_absolute():
        text += f" ('store: {given}' starts at the folder of this command; write the whole path to mean this one from everywhere)"
    return text


def _with_report(made: Made, opened: Opened, listener: Listener) -> Made:
    from flows.reports.store import write_report

    assert made.summary is not None
    folder = made.summary.folder
    try:
        page = write_report(opened.plan(), opened.store, folder / "report.html", title=folder.name, runs=opened.runs.files)
        opened.runs.keep(folder)
    except DepthmillError as error:  # the units are there; a page that cannot be written must not fail the run
        listener.warn(f"no report: {error}")
        return made
    return Made(made.plan, made.summary, page)
