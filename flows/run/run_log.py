"""The record of one run on disk: events.jsonl while it goes on, summary.json at the end."""

from __future__ import annotations

import datetime
import itertools
import json
import re
import sys
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.run.runs import Runs
from pipeline.types import ItemResult
from storage_schemas.errors import StoreError
from storage_schemas.files import StoreFiles
from storage_schemas.shown_text import shown, without_secrets

RUNS_LOOKED_AT = 20
"""Runs that an estimate may draw its seconds from."""

SECONDS_PER_UPLOAD = 30.0
"""The events of a run that goes on are put into a remote store so often, when a unit is finished."""

_RUN_NAME = re.compile(r"\d{4}-\d\d-\d\dT")


class RunLog:
    """Folder of one run: ``<runs>/<UTC time>/``. One JSON line is added per finished unit, so that a crash keeps what was known.

    With a remote store it is written in the local work folder and put into the store now and then, and at the end.

    Args:
        runs: of the store.
        tell: gets each of these lines too.

    Raises:
        StoreError: the folder cannot be made.
    """

    def __init__(self, runs: Runs, tell: Callable[[str], None] | None = None) -> None:
        self._tell = tell
        self._runs, self._has_warned, self._kept_s = runs, False, time.monotonic()
        stamp = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H-%M-%S-%f")[:-3]
        if not runs.is_local:  # runs of other machines cannot be seen in the local folder
            stamp += f"-{uuid.uuid4().hex[:6]}"
        self.folder = runs.work / stamp
        try:
            runs.work.mkdir(parents=True, exist_ok=True)
            for number in itertools.count(2):
                try:
                    self.folder.mkdir()
                    break
                except FileExistsError:  # another run started within the same millisecond
                    self.folder = runs.work / f"{stamp}-{number}"
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
        text = without_secrets(json.dumps(line))
        self._write(self.events, f"{text}\n", mode="a")
        if self._tell is not None:
            self._tell(text)
        if time.monotonic() - self._kept_s > SECONDS_PER_UPLOAD:
            self.keep()

    def finish(self, summary: dict[str, Any]) -> None:
        """Write the summary."""
        self._write(self.folder / "summary.json", json.dumps(summary, indent=1), mode="w")
        self.keep()

    def keep(self) -> None:
        """Put what is new into a remote store; one that does not answer costs the log, never the run."""
        self._kept_s = time.monotonic()
        try:
            self._runs.keep(self.folder)
        except StoreError as error:
            self._warn(f"warning: the run log is not in the store: {error}; '{self.folder}' has it")

    def _write(self, path: Path, text: str, *, mode: str) -> None:
        """Write to a log file; a full disk costs the log, never the run."""
        try:
            with path.open(mode, encoding="utf-8") as stream:
                stream.write(without_secrets(text))
        except OSError as error:
            self._warn(f"warning: cannot write the run log '{path}': {error.strerror}; the run goes on without it")

    def _warn(self, line: str) -> None:
        if not self._has_warned:
            print(shown(line), file=sys.stderr)
        self._has_warned = True


def print_event(line: str) -> None:
    """Print a line of events.jsonl for programs that read standard error."""
    print(shown(line), file=sys.stderr, flush=True)


def last_summary(files: StoreFiles) -> dict[str, Any] | None:
    """Return the newest summary that did any work, with its folder under 'folder'; None if there is none.

    Args:
        files: of the runs folder.

    Raises:
        StoreError: a remote store cannot be read.
    """
    return next(_summaries(files), None)


def seconds_per_unit(files: StoreFiles, stages: Iterable[str]) -> dict[str, float]:
    """Return mean seconds a unit by stage, each from the newest of the last runs that did this stage.

    Args:
        files: of the runs folder.
        stages: those that are asked for; it is looked no further back than they need.
    """
    wanted = set(stages)
    seconds_by_stage: dict[str, float] = {}
    for summary in itertools.islice(_summaries(files), RUNS_LOOKED_AT) if wanted else ():
        seconds_by_stage = {**summary.get("seconds_per_unit", {}), **seconds_by_stage}
        if wanted <= set(seconds_by_stage):
            break
    return seconds_by_stage


@dataclass(frozen=True)
class PastRun:
    """What is left to say of a run.

    Attributes:
        name: of its folder, which begins with its start (UTC).
        folder: path or URL.
        summary: content of summary.json; None if it was killed, or goes on.
    """

    name: str
    folder: str
    summary: dict[str, Any] | None

    @property
    def started(self) -> str:
        """Return its start, UTC, as text."""
        day, _, time_of_day = self.name.partition("T")
        return f"{day} {time_of_day[:8].replace('-', ':')}"


def past_runs(files: StoreFiles, last: int) -> list[PastRun]:
    """Return the newest runs that made units or tried to, oldest first.

    Args:
        files: of the runs folder.
        last: so many.

    Raises:
        StoreError: the store cannot be read.
    """
    names = sorted(filter(_RUN_NAME.match, files.names("")))[-last:]
    return [PastRun(name, without_secrets(files.path(name)), _summary(files, name)) for name in names]


def _summary(files: StoreFiles, name: str) -> dict[str, Any] | None:
    try:
        summary: dict[str, Any] = json.loads(files.get(f"{name}/summary.json"))
    except (FileNotFoundError, ValueError):
        return None
    return summary


def _summaries(files: StoreFiles) -> Iterator[dict[str, Any]]:
    for name in sorted(filter(_RUN_NAME.match, files.names("")), reverse=True):
        summary = _summary(files, name)
        if summary is not None and summary.get("num_ok"):
            yield {**summary, "folder": without_secrets(files.path(name))}
