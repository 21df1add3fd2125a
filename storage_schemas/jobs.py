"""Notes of what is going on in a store, so that pruning and running can go on at once without a lock or a server.

Why    A run relies on units that no manifest names yet; a prune beside it must not take them away
How    Each writes its own note first and reads the other's afterwards, so at least one of them sees the other: a prune that sees
       a run keeps the units that the run names; a run that sees a prune waits until it has ended and then looks whether what it
       relies on is still there. This holds where a file that was written is seen by the next reader: a local disk, S3 and what
       speaks its protocol. On NFS a listing may be a minute old; the grace period of ``prune`` (a day) covers that.
Writes ``runs/going-on/<kind>-<time>-<id>.json``, deleted at the end. The note of a killed process counts no longer where it is
       known to be gone: on its own machine. Elsewhere it counts until it is as old as ``RUN_LASTS`` or ``PRUNE_LASTS``. A note
       from the future counts nowhere, because it would never grow old.
"""

from __future__ import annotations

import datetime
import os
import platform
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from storage_schemas.errors import StoreAccessError, StoreError, UnitNotFoundError
from storage_schemas.going_on import CLOCKS_DIFFER, is_dead, this_machine
from storage_schemas.store import Store, UnitPath
from storage_schemas.unit_listing import marked_units

FOLDER = "runs/going-on"

RUN_LASTS = datetime.timedelta(days=7)
"""A note of a run that is older was left behind by a run that was killed."""

PRUNE_LASTS = datetime.timedelta(hours=1)
"""A note of a prune that is older was left behind by a killed prune: a prune stops by itself in less time."""

PRUNE_PATIENCE_S = 60.0
"""A run waits this long for a prune to end."""

Kind = Literal["run", "prune"]


class Note(BaseModel):
    """One run or prune that is going on: its process, its start and the units that it needs."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    kind: Kind
    host: str
    pid: int
    machine: str = Field(default="", description="what tells its process numbers from those of another machine")
    started_utc: AwareDatetime
    units: tuple[str, ...] = Field(description="keys of all units that a run makes or relies on; none for a prune")

    @property
    def who(self) -> str:
        """Say in words whose note it is."""
        return f"{self.kind} of process {self.pid} on {self.host} since {self.started_utc:%Y-%m-%d %H:%M} UTC"

    def is_left_behind(self, now: datetime.datetime) -> bool:
        """Say whether it was left by a process that is gone: known dead, too old to be true, or from the future."""
        lasts = RUN_LASTS if self.kind == "run" else PRUNE_LASTS
        if not now - lasts < self.started_utc < now + CLOCKS_DIFFER:
            return True
        return is_dead(host=self.host, pid=self.pid, machine=self.machine, started=self.started_utc)


@contextmanager
def noted_run(
    store: Store, units: Iterable[UnitPath], *, relied_on: Iterable[UnitPath], sleep: Callable[[float], None] = time.sleep
) -> Iterator[None]:
    """Tell every prune which units this run needs for as long as the block lasts.

    Args:
        store: where the run writes.
        units: everything that its plan names, made already or not.
        relied_on: those of them that the plan takes for made.
        sleep: waits.

    Raises:
        StoreError: the note cannot be written, or a prune is going on and does not end.
        UnitNotFoundError: a unit was pruned after the plan was made.
    """
    with _noted(store, "run", units):
        _wait_for_prunes(store, sleep)
        _refuse_pruned(store, list(relied_on))
        yield


@contextmanager
def noted_prune(store: Store) -> Iterator[None]:
    """Tell every run that units are being deleted for as long as the block lasts."""
    with _noted(store, "prune", ()):
        yield


def notes(store: Store, kind: Kind) -> list[Note]:
    """Return what is going on, oldest first, without what was left behind by processes that are long gone.

    Raises:
        StoreError: a note cannot be read.
    """
    now = datetime.datetime.now(datetime.UTC)
    names = [name for name in store.files.names(FOLDER) if name.startswith(f"{kind}-")]
    read_notes = [note for name in names if (note := _read(store, f"{FOLDER}/{name}")) is not None]
    return sorted((note for note in read_notes if not note.is_left_behind(now)), key=lambda note: note.started_utc)


@contextmanager
def _noted(store: Store, kind: Kind, units: Iterable[UnitPath]) -> Iterator[None]:
    started = datetime.datetime.now(datetime.UTC)
    note = Note(
        kind=kind,
        host=platform.node(),
        pid=os.getpid(),
        machine=this_machine(),
        started_utc=started,
        units=tuple(sorted(path.key for path in units)),
    )
    key = f"{FOLDER}/{kind}-{started:%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:8]}.json"
    store.files.put(key, note.model_dump_json(indent=1).encode())
    try:
        yield
    finally:
        with suppress(StoreAccessError):  # a run without permission to delete must not fail at its end; the note expires
            store.files.remove(key)


def _read(store: Store, key: str) -> Note | None:
    try:
        return Note.model_validate_json(store.files.get(key))
    except FileNotFoundError:  # the job ended after the listing
        return None
    except ValidationError as error:
        raise StoreError(
            f"note '{store.files.path(key)}' is damaged: {error.errors()[0]['msg']}. "
            "Delete it if no run or prune is going on in this store"
        ) from error


def _wait_for_prunes(store: Store, sleep: Callable[[float], None]) -> None:
    waited_s = 0.0
    while going_on := notes(store, "prune"):
        if waited_s >= PRUNE_PATIENCE_S:
            raise StoreError(
                f"store '{store.root}' is being pruned ({going_on[0].who}). Run the same command again when that has ended; "
                f"if it was killed, delete '{store.files.path(FOLDER)}/prune-*' or wait until it is an hour old"
            )
        sleep(1.0)
        waited_s += 1.0


def _refuse_pruned(store: Store, relied_on: list[UnitPath]) -> None:
    if store.files.is_local:
        missing = [path for path in relied_on if not store.has(path)]
    else:  # one listing per layout costs less than one request per unit
        marked = marked_units(store, {path.layout for path in relied_on})
        missing = [path for path in relied_on if path not in marked]
    if missing:
        raise UnitNotFoundError(
            f"unit '{min(missing).key}' was deleted after the plan was made ({len(missing)} of {len(relied_on)} units gone from "
            f"store '{store.root}'). Run the same command again: it makes them anew"
        )
