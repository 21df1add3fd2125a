"""One writer for a folder: a training, or the rounds of a store.

Why    Two trainings of one folder tear each other's files; two rounds of one store change one champion.
How    The holder locks a file in the folder (``flock``), which the kernel frees when the holder dies, however it dies. In that
       file stands who it is. Some file systems keep such locks on one machine only, and some have none at all. So a holder also
       shows that it lives: it touches the file every ``BEAT_S`` seconds. Who comes from another machine takes a file over that
       was not touched for ``SILENT_S`` seconds by the clock of the file system. Without locks, the process is looked up.
Writes ``<folder>/.depthmill-lock``, removed at the end. What a killed holder leaves is read by the next one, and holds nothing.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import platform
import stat
import threading
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from storage_schemas.beside import beside
from storage_schemas.errors import StoreError
from storage_schemas.files import explain_write_error
from storage_schemas.going_on import has_process, this_kernel

LOCK_FILE = ".depthmill-lock"
BEAT_S = 15.0
SILENT_S = 120.0
"""A holder on another machine that gave no sign for so long is dead: eight beats."""


class FolderBusyError(StoreError):
    """Another process works in the folder."""


@dataclass(frozen=True)
class Holder:
    """Who works in a folder.

    Attributes:
        doing: the command and what it is given.
        host: name of the machine.
        pid: number of the process there.
        kernel: that of the machine since it started; locks of one kernel are seen by all its processes.
        started_utc: when, ISO 8601.
        about: what else the holder says of its work.
        name: no other holder has it.
    """

    doing: str
    host: str
    pid: int
    kernel: str
    started_utc: str
    about: Mapping[str, Any] = field(default_factory=dict)
    name: str = field(default_factory=lambda: uuid.uuid4().hex)

    def __str__(self) -> str:
        """Say in words who it is."""
        return f"{self.doing}, process {self.pid} on {self.host} since {self.started_utc[:19].replace('T', ' ')} UTC"


class HeldFolder:
    """A folder that this process holds.

    Attributes:
        former: who held it before and was killed; None if the last one ended in order.
    """

    def __init__(self, file: int, holder: Holder, former: Holder | None) -> None:
        self.former = former
        self._file, self._holder = file, holder

    def say(self, about: Mapping[str, Any]) -> None:
        """Write down what there is to say of the work, for whoever finds the folder after this process was killed."""
        content = json.dumps(asdict(self._holder) | {"about": dict(about)}).encode()
        os.pwrite(self._file, content, 0)
        os.ftruncate(self._file, len(content))

    def refuse_lost(self) -> None:
        """Do nothing: a file system keeps its lock for as long as the process lives. That of a remote store may be lost."""


@contextmanager
def locked_folder(folder: Path, *, doing: str, if_denied: str) -> Iterator[HeldFolder]:
    """Hold a folder for as long as the block lasts; it is made if it is not there.

    Args:
        folder: on a file system.
        doing: command and what it is given, for whoever is refused.
        if_denied: what to do where the folder cannot be written.

    Raises:
        FolderBusyError: another process works in it; says who.
        StoreError: the folder cannot be written.
    """
    try:
        file = _open_locked(folder)
    except OSError as error:
        raise explain_write_error(
            error, f"'{folder / LOCK_FILE}'", if_full="Free some space, then run the same command", if_denied=if_denied,
            otherwise="Check the disk, then run the same command",
        ) from error  # fmt: skip
    try:
        former = _read(file)
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        holder = Holder(doing, platform.node(), os.getpid(), this_kernel(), now)
        held = HeldFolder(file, holder, former)
        held.say({} if former is None else former.about)  # until this holder has something to say, in case it is killed too
        with _beating(file):
            yield held
    finally:
        with suppress(OSError):  # a user may delete the folder while it is worked in
            (folder / LOCK_FILE).unlink()
        os.close(file)


def holder_of(folder: Path) -> Holder | None:
    """Return who works in a folder, or was killed there; None if nobody does."""
    try:
        file = os.open(folder / LOCK_FILE, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        return _read(file)
    finally:
        os.close(file)


def _open_locked(folder: Path) -> int:
    """Return the opened lock file of a folder, locked; FolderBusyError if another process has it."""
    path = folder / LOCK_FILE
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            if not stat.S_ISREG(path.lstat().st_mode):
                raise _no_lock(path)
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NONBLOCK | os.O_NOFOLLOW | getattr(os, "O_CLOEXEC", 0), 0o666)
        try:
            if not stat.S_ISREG(os.fstat(file).st_mode):
                raise _no_lock(path)
            has_locks = _lock(file, folder)
            former = _read(file)
            if former is not None and _lives(former, path, has_locks=has_locks):
                raise busy_error(str(folder), former)
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(file), path.stat()):
                    return file
        except BaseException:
            os.close(file)
            raise
        os.close(file)  # the holder removed the file between opening and locking: the next one makes a new file


def _no_lock(path: Path) -> StoreError:
    return StoreError(
        f"'{path}' is a link, a folder or a pipe, which depthmill never makes there. Move it away, then run the same command"
    )


def _lock(file: int, folder: Path) -> bool:
    """Lock an opened file; False if the file system has no locks, FolderBusyError if another process has it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise busy_error(str(folder), _read(file)) from error
    except OSError as error:
        if error.errno in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL):
            return False
        raise
    return True


def busy_error(folder: str, holder: Holder | None) -> FolderBusyError:
    """Return the error that says who works in a folder."""
    who = "another process, which has just begun" if holder is None else str(holder)
    return FolderBusyError(
        f"'{folder}' is in use: {who}. Wait until that has ended, or end it; then run the same command. A process that was "
        f"killed holds nothing on its own machine, and for {SILENT_S:.0f} s at most on another"
    )


def _lives(holder: Holder, path: Path, *, has_locks: bool) -> bool:
    """Say whether a holder whose file could be locked, or need not be, is at work all the same."""
    if holder.kernel == this_kernel():
        return not has_locks and holder.pid != os.getpid() and has_process(holder.pid)
    return _clock_of(path.parent) - path.stat().st_mtime < SILENT_S


def _clock_of(folder: Path) -> float:
    """Return the time now by the clock that stamps the files of a folder."""
    probe = folder / f"{LOCK_FILE}.{uuid.uuid4().hex}"
    try:
        probe.touch()
        return probe.stat().st_mtime
    finally:
        probe.unlink(missing_ok=True)


def _read(file: int) -> Holder | None:
    """Return who stands in an opened lock file; None if nobody, or half of somebody."""
    try:
        return holder_in(os.pread(file, 1 << 20, 0))
    except OSError:
        return None


def holder_in(content: bytes) -> Holder | None:
    """Return who stands in the content of a lock file; None if nobody, or half of somebody."""
    try:
        holder = Holder(**json.loads(content))
    except (ValueError, TypeError, RecursionError):
        return None
    texts = (holder.doing, holder.host, holder.kernel, holder.started_utc, holder.name)
    is_sound = all(isinstance(text, str) for text in texts) and type(holder.pid) is int and isinstance(holder.about, dict)
    return holder if is_sound else None


@contextmanager
def _beating(file: int) -> Iterator[None]:
    """Touch an opened file now and then for as long as the block lasts."""

    def beat(ended: threading.Event) -> None:
        while not ended.wait(BEAT_S):
            with suppress(OSError):  # a disk that is away for a moment
                os.utime(file)

    with beside(beat, name="folder lock"):
        yield
