"""The record of one run on disk: events.jsonl while it goes on, summary.json at the end."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

from pipeline.types import ItemResult
from storage_schemas.errors import StoreError


class RunLog:
    """Folder of one run: ``<runs>/<UTC time>/``. One JSON line is added per finished unit, so that a crash keeps what was known.

    Raises:
        StoreError: the folder cannot be made.
    """

    def __init__(self, runs_folder: Path) -> None:
        stamp = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H-%M-%S-%f")[:-3]
        self.folder = runs_folder / stamp
        try:
            self.folder.mkdir(parents=True)
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
        with self.events.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(line) + "\n")

    def finish(self, summary: dict[str, Any]) -> None:
        """Write the summary."""
        (self.folder / "summary.json").write_text(json.dumps(summary, indent=1), encoding="utf-8")


def last_summary(runs_folder: Path) -> dict[str, Any] | None:
    """Return the newest summary that did any work, with its folder under 'folder'; None if there is none."""
    for path in sorted(runs_folder.glob("*/summary.json"), reverse=True):
        try:
            summary: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if summary.get("num_ok"):
            return {**summary, "folder": str(path.parent)}
    return None
