"""The record of one run on disk: events.jsonl while it goes on, summary.json at the end."""

from __future__ import annotations

import datetime
import itertools
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.types import ItemResult
from storage_schemas.errors import StoreError
from storage_schemas.shown_text import shown, without_secrets

RUNS_LOOKED_AT = 20
"""Runs that an estimate may draw its seconds from."""


class RunLog:
    """Folder of one run: ``<runs>/<UTC time>/``. One JSON line is added per finished unit, so that a crash keeps what was known.

    Raises:
        StoreError: the folder cannot be made.
    """

    def __init__(self, runs_folder: Path) -> None:
        self._has_warned = False
        stamp = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H-%M-%S-%f")[:-3]
        self.folder = runs_folder / stamp
        try:
            runs_folder.mkdir(parents=True, exist_ok=True)
            for number in itertools.count(2):
                try:
                    self.folder.mkdir()
                    break
                except FileExistsError:  # another run started within the same millisecond
                    self.folder = runs_folder / f"{stamp}-{number}"
        except OSError as error:
            raise StoreError(
                f"cannot make the run folder '{self.folder}': {error.strerror}. Give this user write permission on the "
                "store, choose another 'store:' in the recipe, or set DEPTHMILL_RUNS_DIR"
            ) from error

    @property
    def events(self) -> Path:
        """The event file."""
        return self.folder / "events.jsonl"

    def add(self, result: ItemResult) -> None:
        """Append one finished unit."""
        line = {"time_utc": datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds"), **result.as_event()}
        self._write(self.events, json.dumps(line) + "\n", mode="a")

    def finish(self, summary: dict[str, Any]) -> None:
        """Write the summary."""
        self._write(self.folder / "summary.json", json.dumps(summary, indent=1), mode="w")

    def _write(self, path: Path, text: str, *, mode: str) -> None:
        """Write to a log file; a full disk costs the log, never the run."""
        try:
            with path.open(mode, encoding="utf-8") as stream:
                stream.write(without_secrets(text))
        except OSError as error:
            if not self._has_warned:
                line = f"warning: cannot write the run log '{path}': {error.strerror}; the run goes on without it"
                print(shown(line), file=sys.stderr)
            self._has_warned = True


def last_summary(runs_folder: Path) -> dict[str, Any] | None:
    """Return the newest summary that did any work, with its folder under 'folder'; None if there is none."""
    return next(_summaries(runs_folder), None)


def seconds_per_unit(runs_folder: Path) -> dict[str, float]:
    """Return mean seconds a unit by stage, each from the newest of the last runs that did this stage."""
    seconds_by_stage: dict[str, float] = {}
    for summary in itertools.islice(_summaries(runs_folder), RUNS_LOOKED_AT):
        seconds_by_stage = {**summary.get("seconds_per_unit", {}), **seconds_by_stage}
    return seconds_by_stage


def _summaries(runs_folder: Path) -> Iterator[dict[str, Any]]:
    for path in sorted(runs_folder.glob("*/summary.json"), reverse=True):
        try:
            summary: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if summary.get("num_ok"):
            yield {**summary, "folder": str(path.parent)}
