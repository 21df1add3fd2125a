"""One writer for a folder of a remote store, where there are no file locks: who holds it is a file that only one can make.

Why    Rounds of one store change one champion, and trainings of one name replace each other's checkpoints, from any machine
How    The file is put on the condition that there is none (S3: ``If-None-Match``), and from then on that it is still the holder's
       (``If-Match``). The holder writes it again every ``BEAT_S`` seconds. One that was not written for ``SILENT_S`` seconds, by
       the clock of the store, is taken over; so is that of a process of this machine that is known to be gone. A holder that was
       taken over learns of it at its next beat, and ``refuse_lost`` says so before anything more is put.
       A server that takes the condition and does not heed it is found out by asking twice. There the file is read again after
       ``SETTLE_S`` seconds, and who stands in it then has it. This is as good as requests are faster than that.
Writes ``<key>/.depthmill-lock``, removed at the end; while somebody is asked for, a file beside it for a moment
"""

from __future__ import annotations

import json
import os
import platform
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from storage_schemas import folder_lock
from storage_schemas.beside import beside
from storage_schemas.errors import StoreAccessError, StoreError
from storage_schemas.files import StoreFiles
from storage_schemas.folder_lock import LOCK_FILE, FolderBusyError, Holder, busy_error, holder_in
from storage_schemas.going_on import is_dead, this_machine
from storage_schemas.retries import persist, status_of

SETTLE_S = 2.0
"""Seconds after which two that wrote at once have both written, on a server that heeds no condition."""

_REFUSED = (409, 412)
_UNKNOWN_CONDITION = (400, 405, 501)


class HeldKey:
    """A folder of a remote store that this process holds.

    Attributes:
        former: who held it before and was killed; None if the last one ended in order.
    """

    def __init__(self, lock: _LockFile, holder: Holder, former: Holder | None) -> None:
        self.former = former
        self._lock, self._holder, self._taken_by = lock, holder, ""
        self._content = _content(holder)
        self._mutex = threading.Lock()

    def say(self, about: Mapping[str, Any]) -> None:
        """Write down what there is to say of the work, for whoever finds the folder after this process was killed.

        Raises:
            FolderBusyError: another process has taken the folder over.
        """
        self._content = _content(self._holder, about)
        with suppress(StoreAccessError):  # the next beat writes it
            self.beat()
        self.refuse_lost()

    def beat(self) -> None:
        """Show that this process lives; StoreError if the store does not answer."""
        with self._mutex:
            if not self._taken_by and not self._lock.replace(self._content, self._holder):
                now = self._lock.holder()
                self._taken_by = "a process that has ended since" if now is None else str(now)

    def refuse_lost(self) -> None:
        """Check that no other process has taken the folder over; FolderBusyError says which one did."""
        if self._taken_by:
            raise FolderBusyError(
                f"'{self._lock.folder}' was taken over by {self._taken_by}: this process gave no sign for "
                f"{folder_lock.SILENT_S:.0f} s, as when a machine sleeps or the store cannot be reached. Nothing more was put "
                "there. Wait until the other one has ended, then run the same command: it goes on from what the store has"
            )

    def release(self) -> None:
        """Let others have it."""
        with self._mutex, suppress(StoreError):  # a store that is away now: silence frees the folder
            if not self._taken_by and self._lock.is_of(self._holder):
                self._lock.remove()


@contextmanager
def locked_key(files: StoreFiles, key: str, *, doing: str) -> Iterator[HeldKey]:
    """Hold a folder of a remote store for as long as the block lasts.

    Args:
        files: of the remote root.
        key: the folder in it; need not be there.
        doing: command and what it is given, for whoever is refused.

    Raises:
        FolderBusyError: another process works in it; says who.
        StoreError: the store cannot be written.
    """
    lock = _LockFile(files, key)
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    holder = Holder(doing, platform.node(), os.getpid(), this_machine(), now)
    held = HeldKey(lock, holder, lock.take(holder))
    held.say({} if held.former is None else held.former.about)  # until this one has something to say, in case it is killed too
    try:
        with _beating(held):
            yield held
    finally:
        held.release()


def holder_of_key(files: StoreFiles, key: str) -> Holder | None:
    """Return who works in a folder of a remote store, or was killed there; None if nobody does."""
    return _LockFile(files, key).holder()


class _LockFile:
    """The file that says who holds a folder, and requests about it."""

    def __init__(self, files: StoreFiles, key: str) -> None:
        self.folder = files.path(key)
        self._files, self._key = files, f"{key}/{LOCK_FILE}" if key else LOCK_FILE
        self._url = files.path(self._key)
        self._version = ""  # ETag of what this process wrote last; "" where the server gives none

    def take(self, holder: Holder) -> Holder | None:
        """Make the file ours, and return who left it behind; FolderBusyError if its holder lives."""
        former = None
        while not self._create(holder):
            former = self.holder()
            before = self._facts()
            if before is None:  # it was removed in this moment
                continue
            if not self._is_left_behind(former, before):
                raise busy_error(self.folder, former)
            if version := str(before.get("ETag") or ""):
                self._version = version
                if self.replace(_content(holder), holder):
                    return former
            else:
                self.remove()
        return former

    def replace(self, content: bytes, holder: Holder) -> bool:
        """Write the file again if it is still as this process left it; False if it is another's by now."""
        if not self._version:
            if not self.is_of(holder):
                return False
            self._put(content)
            return True
        return self._put(content, IfMatch=self._version) or self._is_ours_after_all(holder)

    def holder(self) -> Holder | None:
        """Return who stands in it; None if nobody, or what no holder writes."""
        with suppress(FileNotFoundError):
            return holder_in(self._files.get(self._key))
        return None

    def is_of(self, holder: Holder) -> bool:
        """Say whether this holder stands in it."""
        now = self.holder()
        return now is not None and now.name == holder.name

    def remove(self) -> None:
        """Delete it."""
        self._files.remove(self._key)

    def _create(self, holder: Holder) -> bool:
        content = _content(holder)
        if self._facts() is not None:  # a server that heeds no condition would replace it
            return False
        if not self._put(content, mode="create") and not self._is_ours_after_all(holder):
            return False
        if self._put(content, mode="create"):  # there is one, so a server that heeds the condition refuses
            time.sleep(SETTLE_S)
            return self._is_ours_after_all(holder)
        return True

    def _is_ours_after_all(self, holder: Holder) -> bool:
        """Say whether a refused write had been done all the same: its answer may have been lost, and it was tried again."""
        if not self.is_of(holder):
            return False
        self._version = str((self._facts() or {}).get("ETag") or "")
        return True

    def _put(self, content: bytes, **conditions: str) -> bool:
        """Write the file; False if the server says that a condition does not hold."""

        def put() -> bool:
            try:
                answer = self._files.filesystem.pipe_file(self._url, content, **conditions)
            except FileExistsError:
                return False
            except Exception as error:  # clients raise any class; what is no refused condition is raised again
                if conditions and status_of(error) in _REFUSED:
                    return False
                if conditions and status_of(error) in _UNKNOWN_CONDITION:
                    answer = self._files.filesystem.pipe_file(self._url, content)
                else:
                    raise
            self._version = str(answer.get("ETag") or "") if isinstance(answer, dict) else ""
            return True

        return persist(put, doing="write", where=self._url, policy=self._files.policy)

    def _facts(self) -> dict[str, Any] | None:
        return _facts(self._files, self._key)

    def _is_left_behind(self, holder: Holder | None, facts: Mapping[str, Any]) -> bool:
        if holder is not None and _is_gone(holder):
            return True
        written, now = _written(facts), self._clock()
        return written is not None and now is not None and now - written >= folder_lock.SILENT_S

    def _clock(self) -> float | None:
        """Return the time now by the clock that stamps the files of the store; None if it does not say."""
        probe = f"{self._key}.{uuid.uuid4().hex}"
        self._files.put(probe, b"")
        try:
            return _written(_facts(self._files, probe) or {})
        finally:
            with suppress(StoreError):  # without permission to delete, an empty file stays
                self._files.remove(probe)


def _is_gone(holder: Holder) -> bool:
    try:
        started = datetime.fromisoformat(holder.started_utc)
    except ValueError:
        return False
    return is_dead(host=holder.host, pid=holder.pid, machine=holder.kernel, started=started)


def _content(holder: Holder, about: Mapping[str, Any] | None = None) -> bytes:
    return json.dumps(asdict(holder) | {"about": dict(about or {})}).encode()


def _facts(files: StoreFiles, key: str) -> dict[str, Any] | None:
    url = files.path(key)
    try:
        return dict(persist(lambda: files.filesystem.info(url), doing="look up", where=url, policy=files.policy))
    except FileNotFoundError:
        return None


def _written(facts: Mapping[str, Any]) -> float | None:
    changed = facts.get("LastModified") or facts.get("created") or facts.get("mtime")
    return float(changed.timestamp()) if isinstance(changed, datetime) else None


@contextmanager
def _beating(held: HeldKey) -> Iterator[None]:
    """Show now and then that this process lives, for as long as the block lasts."""

    def beat(ended: threading.Event) -> None:
        while not ended.wait(folder_lock.BEAT_S):
            with suppress(StoreError):  # a store that is away for a moment
                held.beat()

    with beside(beat, name="folder lock"):
        yield
