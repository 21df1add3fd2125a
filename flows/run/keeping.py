"""A training that is kept in a remote store while it goes on: its checkpoints are put there as they are written."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from flows.run.listener import Listener
from flows.run.runs import LAST_CHECKPOINT, Runs
from storage_schemas.errors import StoreError
from storage_schemas.folder_lock import FolderBusyError

LOOK_S = 1.0
"""How often it is looked whether there is a new checkpoint; training does not wait for it."""

_SILENT = Listener()


@contextmanager
def kept_in_store(runs: Runs, folder: Path) -> Iterator[None]:
    """Put each new checkpoint into the store while the block lasts, one after the other, and all files at its end.

    The training never waits for an upload. While the store does not answer it goes on here, and says so once.

    Raises:
        FolderBusyError: another process has taken the training over.
        StoreError: the store does not take the files at the end; they stay in the folder, and the same command puts them there.
    """
    if runs.is_local or runs.key(folder) is None:
        yield
        return
    ended = threading.Event()
    what = (runs, folder, _stamp(folder), ended)
    thread = threading.Thread(target=_keep_checkpoints, args=what, name="checkpoints to the store", daemon=True)
    thread.start()
    is_failing = True
    try:
        yield
        is_failing = False
    finally:
        ended.set()
        thread.join()
        _keep_all(runs, folder, is_failing=is_failing)


def _keep_checkpoints(runs: Runs, folder: Path, kept: tuple[int, int] | None, ended: threading.Event) -> None:
    has_warned = False
    while not ended.wait(LOOK_S):
        now = _stamp(folder)
        if now == kept:
            continue
        try:
            runs.keep_as_it_is_now(folder)
            kept = now
            if has_warned:
                _SILENT.warn(f"checkpoints of {folder.name} are in the store again")
            has_warned = False
        except FolderBusyError:  # said at the end
            return
        except StoreError as error:
            if not has_warned:
                _SILENT.warn(
                    f"warning: the newest checkpoint of {folder.name} is not in the store yet: {error}. The training goes on, "
                    f"and '{folder}' has everything; the next checkpoint is tried again"
                )
            has_warned = True


def _keep_all(runs: Runs, folder: Path, *, is_failing: bool) -> None:
    try:
        runs.keep(folder)
    except StoreError as error:
        if isinstance(error, FolderBusyError):
            text = str(error)
        else:
            text = (
                f"{error}. Nothing is lost: '{folder}' has what the store lacks. When the store answers, run the same command on "
                "this machine: it puts these files there and goes on"
            )
        if is_failing:  # why the training ended is told by its own error
            with suppress(Exception):
                _SILENT.warn(f"warning: {text}")
            return
        raise type(error)(text) from error


def _stamp(folder: Path) -> tuple[int, int] | None:
    try:
        found = (folder / LAST_CHECKPOINT).stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino
