"""From a plan to a filled store: the steps that every way of running shares, with or without Prefect."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.run.opening import Opened
from flows.run.progress import RunProgress
from flows.run.run_log import RunLog, print_event, seconds_per_unit
from flows.run.teachers import teacher_factory
from flows.text import duration
from pipeline.finding import finding_lines
from pipeline.kernels.compiled import are_compiled
from pipeline.plan import Plan
from pipeline.run import SceneRequest, nothing_found, run_manifest, scene_requests
from pipeline.types import ItemResult
from storage_schemas.awaited import awaited
from storage_schemas.files import StoreFiles
from storage_schemas.jobs import noted_run

OnResult = Callable[[ItemResult], None]
RunScenes = Callable[[Sequence[SceneRequest]], Iterable[list[ItemResult]]]
"""Runs scenes anywhere and yields each scene's results as it finishes."""


@dataclass(frozen=True)
class RunSummary:
    """What a run did.

    ``folder`` is the local folder of its log; ``address`` is how people find it, in a remote store a URL.
    """

    num_ok: int
    num_errors: int
    num_skipped: int
    seconds: float
    folder: Path
    results: tuple[ItemResult, ...]
    workers: int
    warnings: tuple[str, ...] = ()
    address: str = ""

    def as_json(self) -> dict[str, Any]:
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
            "workers": self.workers,
            "num_bytes": sum(result.num_bytes for result in self.results),
            "seconds_per_unit": {stage: round(sum(values) / len(values), 4) for stage, values in seconds.items()},
            "warnings": list(self.warnings),
            "failed": [result.as_event() for result in self.results if result.status == "ERROR"],
        }


@dataclass(frozen=True)
class Made:
    """What became of a plan.

    Attributes:
        plan: as it was before.
        summary: of the run; None if there was nothing to do.
        report: report.html of the run; None if none was written.
    """

    plan: Plan
    summary: RunSummary | None = None
    report: Path | None = None

    def __repr__(self) -> str:
        """Return what a person reads."""
        return self.text

    @property
    def num_failed(self) -> int:
        """Return the number of units that failed."""
        return len(self.errors)

    @property
    def errors(self) -> list[str]:
        """Return why units failed, a text each."""
        results = () if self.summary is None else self.summary.results
        return [result.message for result in results if result.status == "ERROR"]

    def as_json(self) -> dict[str, Any]:
        """Return the JSON form; its manifest is null if units failed."""
        fingerprint = self.plan.manifest.path.fingerprint
        if self.summary is None:
            return {
                "num_ok": 0,
                "num_errors": 0,
                "num_skipped": 0,
                "up_to_date": len(self.plan.items),
                "warnings": self.plan.warnings(),
                "manifest": fingerprint,
            }
        manifest = None if self.num_failed else fingerprint
        warnings = [*self.plan.warnings(), *self.summary.warnings]
        return {**self.summary.as_json(), "warnings": warnings, "folder": self.summary.address, "manifest": manifest}

    @property
    def text(self) -> str:
        """Return what was done, where the details are, and what to do next."""
        return self.text_after(0.0 if self.summary is None else self.summary.seconds)

    def text_after(self, seconds: float) -> str:
        """Return the same where the user has waited longer than for the units, e.g. for the report."""
        summary = self.summary
        if summary is None:
            return f"nothing to do: all {len(self.plan.items)} units are up to date"
        parts = [f"{summary.num_ok} ok"]
        if summary.num_errors:
            parts.append(f"{summary.num_errors} error{'s' if summary.num_errors != 1 else ''}")
        if summary.num_skipped:
            parts.append(f"{summary.num_skipped} skipped")
        files = (summary.folder / "events.jsonl", self.report)
        details = ", ".join(f"{summary.address}/{path.name}" for path in files if path is not None and path.is_file())
        text = f"done: {', '.join(parts)} in {duration(seconds)}." + (f" Details: {details}" if details else "")
        if summary.num_errors:
            scenes = list(dict.fromkeys(result.scene for result in summary.results if result.status == "ERROR"))
            left = ", ".join(scenes[:3]) + (f" and {len(scenes) - 3} more" if len(scenes) > 3 else "")
            text += f"\nNext: fix what the ERROR lines name, then run the same command; only {left} and the manifest are left."
        return text


def materialize_plan(
    opened: Opened,
    plan: Plan,
    run_scenes: RunScenes,
    on_result: OnResult,
    *,
    began_s: float | None = None,
    progress: RunProgress | None = None,
) -> RunSummary:
    """Do everything a plan lists; a failed scene never stops another.

    Args:
        opened: recipe, source and store.
        plan: made with them.
        run_scenes: how scenes are run.
        on_result: told of every finished unit, in this thread.
        began_s: since when the user waits, in seconds of ``time.monotonic``; None = now.
        progress: is told of every unit too, and shown to whoever watches the store; None = a new one.
    """
    began_s = time.monotonic() if began_s is None else began_s
    log = RunLog(opened.runs, print_event if opened.settings.log == "json" else None)
    progress = progress or RunProgress(opened.runs, plan)
    results: list[ItemResult] = []

    def note(scene_results: Iterable[ItemResult]) -> None:
        for result in scene_results:
            log.add(result)
            results.append(result)
            progress.add(result)
            on_result(result)

    with progress.shown(log.folder.name):  # to the end of the log: a run that is neither shown nor logged looks killed
        if plan.to_do:
            _make(opened, plan, run_scenes, note, results)
        count = {status: sum(result.status == status for result in results) for status in ("OK", "ERROR", "SKIP")}
        summary = RunSummary(
            count["OK"],
            count["ERROR"],
            count["SKIP"],
            time.monotonic() - began_s,
            log.folder,
            tuple(results),
            opened.settings.workers,
            _warnings(plan, results),
            opened.runs.address(log.folder),
        )
        log.finish(summary.as_json())
    return summary


def _make(
    opened: Opened,
    plan: Plan,
    run_scenes: RunScenes,
    note: Callable[[Iterable[ItemResult]], None],
    results: Sequence[ItemResult],
) -> None:
    """Make the units of a plan; ``results`` is what ``note`` has been told."""
    # without the note of the run, prune could delete these units meanwhile
    relied_on = [item.path for item in plan.items if item.reason is None]
    with noted_run(opened.store, [item.path for item in plan.items], relied_on=relied_on):
        opened.source.prepare(num_workers=opened.settings.workers)
        raw = opened.source.reader()
        depth_model = teacher_factory(opened.recipe, opened.settings)
        requests = scene_requests(plan, opened.recipe, opened.store, raw, depth_model=depth_model)
        for scene_results in _first_awaited(run_scenes(requests)):
            note(scene_results)
        note(run_manifest(plan, opened.recipe, opened.store, raw, results))


def _first_awaited(scenes: Iterable[list[ItemResult]]) -> Iterator[list[ItemResult]]:
    """Yield the results of scenes, and say what is going on if the first ones let wait."""
    results = iter(scenes)
    kernels = "" if are_compiled() else ", and compile the kernels of the stages, which takes up to a minute once on a machine"
    with awaited(f"workers start and make the first scenes{kernels}"):
        first = next(results, None)
    if first is not None:
        yield first
        yield from results


def _warnings(plan: Plan, results: Iterable[ItemResult]) -> tuple[str, ...]:
    """Return a line for each kind of unit that holds nothing."""
    counts = {result.fingerprint: result.counts for result in results if result.status == "OK"}
    made = [(item.identity, counts[item.path.fingerprint]) for item in plan.items if item.path.fingerprint in counts]
    return tuple(finding_lines(nothing_found(made), len(plan.chosen.scenes)))


def estimate_seconds(plan: Plan, runs: StoreFiles, workers: int) -> float | None:
    """Estimate how long a plan takes from the last runs' seconds a unit; None if a stage to do was never timed."""
    seconds_by_stage = seconds_per_unit(runs, {item.stage for item in plan.to_do})
    if any(item.stage not in seconds_by_stage for item in plan.to_do):
        return None
    return sum(seconds_by_stage[item.stage] for item in plan.to_do) / workers
