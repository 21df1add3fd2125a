"""What goes on in a store's runs, for whoever asks from another process or another machine: ``depthmill status --watch``.

Why    Events are written when a scene has ended, and a remote store gets them now and then. Neither says what is running now
How    Each run and each training keeps one small file that says how far it is, written again while it goes on and removed at its
       end. A process that was killed leaves its file: on its own machine it is known to be gone, elsewhere it has fallen silent
Writes <runs>/going-on/progress-<name>.json
"""

from __future__ import annotations

import json
import os
import platform
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict

from flows.run.runs import Runs
from pipeline.plan import Plan
from pipeline.types import ItemResult
from storage_schemas.beside import beside
from storage_schemas.errors import StoreError
from storage_schemas.files import StoreFiles
from storage_schemas.going_on import is_dead, this_machine
from storage_schemas.shown_text import without_secrets

if TYPE_CHECKING:
    from model.train.loop import OnProgress, Progress

FOLDER = "going-on"
LOCAL_S, REMOTE_S = 1.0, 5.0
"""Seconds between two writings, if there is anything new."""
BEAT_S = 30.0
"""It is written this often even if nothing is new, so that others see that the process lives."""
SILENT = timedelta(seconds=150)
"""Who has not written for longer is taken to be gone, if its process cannot be looked at."""
NUM_ERRORS = 5
"""So many of the last errors are named."""


class StageProgress(BaseModel):
    """Units of one stage in one run."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    to_do: int
    ok: int = 0
    errors: int = 0
    skipped: int = 0

    @property
    def done(self) -> int:
        """Return how many are over, well or not."""
        return self.ok + self.errors + self.skipped


class GoingOn(BaseModel):
    """A run or a training that goes on, as its own process wrote it last."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    kind: Literal["run", "training"]
    name: str
    doing: str
    host: str
    pid: int
    machine: str
    started_utc: AwareDatetime
    written_utc: AwareDatetime
    stages: dict[str, StageProgress] = {}
    running: dict[str, AwareDatetime] = {}
    errors: tuple[str, ...] = ()
    num_bytes: int = 0
    step: int = 0
    num_steps: int = 0
    text: str = ""

    @property
    def to_do(self) -> int:
        """Return how many units or optimiser steps there were to do."""
        return self.num_steps if self.kind == "training" else sum(stage.to_do for stage in self.stages.values())

    @property
    def done(self) -> int:
        """Return how many of them are over."""
        return self.step if self.kind == "training" else sum(stage.done for stage in self.stages.values())

    @property
    def who(self) -> str:
        """Say in words which process it is."""
        return f"process {self.pid} on {self.host}"

    def ended_unseen(self, now: datetime) -> str:
        """Say how the process is known to have ended without a word; "" = it goes on, as far as can be known."""
        if is_dead(host=self.host, pid=self.pid, machine=self.machine, started=self.started_utc):
            return f"{self.who} was killed; the same command does what is left"
        silent = now - self.written_utc
        return f"{self.who} has given no sign for {silent.seconds} s, so it was killed or cut off" if silent > SILENT else ""


def going_on(files: StoreFiles) -> list[GoingOn]:
    """Return what goes on in the runs of a store, oldest first, with what killed processes left behind.

    Raises:
        StoreError: the store cannot be read.
    """
    found = [_read(files, name) for name in files.names(FOLDER) if name.startswith("progress-")]
    return sorted((one for one in found if one is not None), key=lambda one: one.started_utc)


def _read(files: StoreFiles, name: str) -> GoingOn | None:
    try:
        return GoingOn.model_validate(json.loads(files.get(f"{FOLDER}/{name}")))
    except (FileNotFoundError, ValueError):  # it ended after the listing; or another version of depthmill wrote it
        return None


def _about(kind: Literal["run", "training"], name: str, started: datetime, **more: object) -> GoingOn:
    doing = without_secrets(" ".join([Path(sys.argv[0]).name, *sys.argv[1:]]))[:300]
    return GoingOn.model_validate(
        {
            "kind": kind, "name": name, "doing": doing, "host": platform.node(), "pid": os.getpid(), "machine": this_machine(),
            "started_utc": started, "written_utc": datetime.now(UTC), **more,
        }
    )  # fmt: skip


class RunProgress:
    """How far a run is; safe to call from many threads. Writing it costs the run nothing: a thread of its own does it.

    Args:
        runs: where it is written.
        plan: what the run is to do.
    """

    def __init__(self, runs: Runs, plan: Plan) -> None:
        self._runs, self._lock = runs, threading.Lock()
        self._to_do = Counter(item.stage for item in plan.to_do)
        self._counts: Counter[tuple[str, str]] = Counter()
        self._running: dict[str, datetime] = {}
        self._errors: list[str] = []
        self._num_bytes = 0
        self._is_new = True

    def scene_begins(self, scene: str) -> None:
        """Take note that a scene was given to a worker."""
        with self._lock:
            self._running[scene] = datetime.now(UTC)
            self._is_new = True

    def add(self, result: ItemResult) -> None:
        """Take note of a unit that is over."""
        with self._lock:
            self._running.pop(result.scene, None)
            self._counts[result.stage, result.status] += 1
            self._num_bytes += result.num_bytes
            if result.status == "ERROR":
                first_line = result.message.splitlines()[0] if result.message else ""
                self._errors = [*self._errors, f"{result.stage} {result.title}: {first_line}"][-NUM_ERRORS:]
            self._is_new = True

    @contextmanager
    def shown(self, name: str) -> Iterator[None]:
        """Write it for as long as the block lasts, under the name of the run."""
        started = datetime.now(UTC)
        key, period_s = _key(name), LOCAL_S if self._runs.is_local else REMOTE_S

        def write_now_and_then(ended: threading.Event) -> None:
            _forget_ended(self._runs.files)
            written_s = -BEAT_S
            while True:
                if self._is_new or time.monotonic() - written_s >= BEAT_S:
                    written_s, self._is_new = time.monotonic(), False
                    _put(self._runs.files, key, self._now(name, started))
                if ended.wait(period_s):
                    return

        try:
            with beside(write_now_and_then, name="progress of the run"):
                yield
        finally:
            _remove(self._runs.files, key)

    def _now(self, name: str, started: datetime) -> GoingOn:
        with self._lock:
            stages = {
                stage: StageProgress(
                    to_do=num,
                    ok=self._counts[stage, "OK"],
                    errors=self._counts[stage, "ERROR"],
                    skipped=self._counts[stage, "SKIP"],
                )
                for stage, num in self._to_do.items()
            }
            return _about(
                "run", name, started, stages=stages, running=dict(self._running), errors=tuple(self._errors),
                num_bytes=self._num_bytes,
            )  # fmt: skip


class NotedSteps:
    """Keeps the file of a training at its optimiser steps, and passes them on; goes to the processes of devices, so it pickles.

    Args:
        runs: where it is written.
        name: of the training.
        then: what else is told of a step.
    """

    def __init__(self, runs: Runs, name: str, then: OnProgress | None) -> None:
        self._root, self._name, self._then = runs.root, name, then
        self._period_s = LOCAL_S if runs.is_local else REMOTE_S
        self._started, self._written_s = datetime.now(UTC), -BEAT_S
        self._thread: threading.Thread | None = None

    def wait(self) -> None:
        """Wait until nothing is being written any more."""
        if self._thread is not None:
            self._thread.join()

    def __call__(self, progress: Progress) -> None:
        """Take note of a step."""
        if time.monotonic() - self._written_s >= self._period_s:
            self._written_s = time.monotonic()
            text = f"loss {progress.loss:.4f}"
            about = _about("training", self._name, self._started, step=progress.step, num_steps=progress.num_steps, text=text)
            if self._thread is None or not self._thread.is_alive():  # a training never waits for its store
                self._thread = threading.Thread(target=_put, args=(StoreFiles(self._root), _key(self._name), about), daemon=True)
                self._thread.start()
        if self._then is not None:
            self._then(progress)


@contextmanager
def noted_steps(runs: Runs, name: str, then: OnProgress | None) -> Iterator[OnProgress]:
    """Yield what a training tells its steps; its file is removed at the end of the block."""
    noted = NotedSteps(runs, name, then)
    try:
        yield noted
    finally:
        noted.wait()
        _remove(runs.files, _key(name))


def _forget_ended(files: StoreFiles) -> None:
    """Remove what killed processes left: it is news until somebody goes on."""
    now = datetime.now(UTC)
    with suppress(StoreError):
        for one in going_on(files):
            if one.ended_unseen(now):
                _remove(files, _key(one.name))


def _key(name: str) -> str:
    return f"{FOLDER}/progress-{name}.json"


def _put(files: StoreFiles, key: str, about: GoingOn) -> None:
    with suppress(StoreError):  # nobody can watch, but the work goes on; what it writes itself says what is wrong with the store
        # not model_dump_json: a path on the command line may not be UTF-8, and only json writes such a letter as its code
        files.put(key, json.dumps(about.model_dump(mode="json")).encode())


def _remove(files: StoreFiles, key: str) -> None:
    with suppress(StoreError):  # without permission to delete it stays, and falls silent
        files.remove(key)
