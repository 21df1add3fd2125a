"""What ``depthmill run`` and ``depthmill demo`` do: plan, run with or without Prefect, print, write the report."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from pathlib import Path

from flows.console import ProgressLines, summary_text
from flows.crew import Crew
from flows.materialize import OnResult, Opened, RunSummary
from pipeline.plan import Plan
from storage_schemas.errors import DepthmillError

INTERRUPT_GRACE_S = 5.0
"""After Ctrl-C a run may take this long to put its affairs in order."""


def run_and_print(
    opened: Opened, *, no_prefect: bool, as_json: bool, report: bool, is_quiet: bool = False, dask: str | None = None
) -> int:
    """Do everything that the plan lists and say how it went; return the number of units that failed.

    ``is_quiet``: say nothing, because another verb will. ``dask``: the cluster that runs the scenes, else worker processes here.
    """
    crew = _dask_crew(dask) if dask is not None else None
    plan = opened.plan()
    if not plan.to_do:
        if is_quiet:
            pass
        elif as_json:
            done = {"num_ok": 0, "num_errors": 0, "num_skipped": 0, "up_to_date": len(plan.items)}
            print(json.dumps({**done, "manifest": plan.manifest.path.fingerprint}, indent=1))
        else:
            print(f"nothing to do: all {len(plan.items)} units are up to date")
        return 0
    is_telling = not as_json and not is_quiet
    if is_telling and (first := opened.source.preparation()):
        print(first, flush=True)
    progress = ProgressLines(plan) if is_telling else None
    stop_soon_when_interrupted()
    try:
        tell = progress or (lambda result: None)
        summary, page = _execute(opened, plan, tell, report=report, no_prefect=no_prefect, crew=crew)
    finally:
        if progress is not None:
            progress.close()
    if is_quiet:
        pass
    elif as_json:
        manifest = None if summary.num_errors else plan.manifest.path.fingerprint
        words = {**summary.as_json(opened.settings.workers), "folder": str(summary.folder), "manifest": manifest}
        print(json.dumps(words, indent=1))
    else:
        print(summary_text(summary, report=page))
    return summary.num_errors


def stop_soon_when_interrupted() -> None:
    """Let Ctrl-C end a run within seconds, although Prefect would go on asking a server that the same Ctrl-C has ended."""

    def interrupt(signum: int, frame: object) -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # a second Ctrl-C ends it at once
        print("interrupted: finished units are kept; the same command does what is left", file=sys.stderr, flush=True)
        watchdog = threading.Timer(INTERRUPT_GRACE_S, os._exit, (130,))
        watchdog.daemon = True
        watchdog.start()
        raise KeyboardInterrupt

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, interrupt)


def _dask_crew(dask: str) -> Crew:
    from flows.dask_crew import dask_crew

    return dask_crew(dask)


def _execute(
    opened: Opened, plan: Plan, on_result: OnResult, *, report: bool, no_prefect: bool, crew: Crew | None
) -> tuple[RunSummary, Path | None]:
    def write(summary: RunSummary) -> Path | None:
        if not report or not summary.num_ok:
            return None
        from flows.reports.store import write_report

        try:
            return write_report(opened.plan(), opened.store, summary.folder / "report.html", title=summary.folder.name)
        except DepthmillError as error:  # the units are there; a page that cannot be written must not fail the run
            print(f"no report: {error}", file=sys.stderr)
            return None

    if no_prefect:
        from flows.bare_loop import materialize_bare

        return materialize_bare(opened, plan, on_result, write, crew)
    from flows.build_flow import materialize_with_prefect

    return materialize_with_prefect(opened, plan, on_result, write, crew)
