"""From a recipe to a filled store: the steps that every way of running shares, with or without Prefect."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.run_log import RunLog, seconds_per_unit
from flows.settings import Settings
from flows.teachers import teacher_factory, teacher_facts
from pipeline.plan import Plan, make_plan
from pipeline.recipe import Recipe
from pipeline.run import SceneRequest, run_manifest, scene_requests
from pipeline.sources import open_source
from pipeline.sources.spec import Source
from pipeline.types import ItemResult
from storage_schemas.jobs import noted_run
from storage_schemas.store import Store

OnResult = Callable[[ItemResult], None]
RunScenes = Callable[[Sequence[SceneRequest]], Iterable[list[ItemResult]]]
"""Runs scenes anywhere and yields each scene's results as it finishes."""


@dataclass(frozen=True)
class Opened:
    """A recipe with its source and store opened."""

    recipe: Recipe
    source: Source
    store: Store
    settings: Settings

    @property
    def runs_folder(self) -> Path:
        """Folder of this store's run logs."""
        return self.settings.runs_folder(self.store.root)

    def plan(self) -> Plan:
        """Plan against the store as it is now."""
        return make_plan(self.recipe, self.source, self.store, facts=teacher_facts(self.recipe, self.settings))


def open_recipe(recipe: Recipe, settings: Settings) -> Opened:
    """Open source and store of a recipe; nothing is written to the store."""
    return Opened(recipe, open_source(recipe.source, settings.cache_dir), Store(recipe.store), settings)


@dataclass(frozen=True)
class RunSummary:
    """What a run did."""

    num_ok: int
    num_errors: int
    num_skipped: int
    seconds: float
    folder: Path
    results: tuple[ItemResult, ...]

    def as_json(self, workers: int) -> dict[str, Any]:
        """Return the JSON form, with mean seconds a unit and stage for the next plan's estimate."""
        seconds: dict[str, list[float]] = {}
        for result in self.results:
            if result.status == "OK":
                seconds.setdefault(result.stage, []).append(result.seconds)
        return {
            "num_ok": self.num_ok,
            "num_errors": self.num_errors,
            "num_skipped": self.num_skipped,
            "seconds": round(self.seconds, 3),
            "workers": workers,
            "seconds_per_unit": {stage: round(sum(values) / len(values), 4) for stage, values in seconds.items()},
            "failed": [result.as_event() for result in self.results if result.status == "ERROR"],
        }


WriteReport = Callable[[RunSummary], Path | None]
"""Writes the report of a run, or not."""


def materialize_plan(opened: Opened, plan: Plan, run_scenes: RunScenes, on_result: OnResult) -> RunSummary:
    """Do everything a plan lists; a failed scene never stops another.

    Args:
        opened: recipe, source and store.
        plan: made with them.
        run_scenes: how scenes are run.
        on_result: told of every finished unit, in this thread.
    """
    start = time.perf_counter()
    log = RunLog(opened.runs_folder)
    results: list[ItemResult] = []

    def note(found: Iterable[ItemResult]) -> None:
        for result in found:
            log.add(result)
            results.append(result)
            on_result(result)

    if plan.to_do:
        relied_on = [item.path for item in plan.items if item.reason is None]
        with noted_run(opened.store, [item.path for item in plan.items], relied_on=relied_on):  # prune then spares them
            opened.source.prepare(num_workers=opened.settings.workers)
            raw = opened.source.reader()
            depth_model = teacher_factory(opened.recipe, opened.settings)
            for found in run_scenes(scene_requests(plan, opened.recipe, opened.store, raw, depth_model=depth_model)):
                note(found)
            note(run_manifest(plan, opened.recipe, opened.store, raw, results))
    count = {status: sum(result.status == status for result in results) for status in ("OK", "ERROR", "SKIP")}
    summary = RunSummary(count["OK"], count["ERROR"], count["SKIP"], time.perf_counter() - start, log.folder, tuple(results))
    log.finish(summary.as_json(opened.settings.workers))
    return summary


def estimate_seconds(plan: Plan, runs_folder: Path, workers: int) -> float | None:
    """Estimate how long a plan takes from the last runs' seconds a unit; None if a stage to do was never timed."""
    known = seconds_per_unit(runs_folder)
    if any(item.stage not in known for item in plan.to_do):
        return None
    return sum(known[item.stage] for item in plan.to_do) / workers
