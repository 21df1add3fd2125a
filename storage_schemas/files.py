"""Bytes in and out of a store's root, the same for a local path and an fsspec URL.

``put`` is atomic: a reader sees the whole file or none. On a local disk the bytes go to a temporary file in ``.unfinished``,
are flushed to the device and renamed; on an object store a single put is atomic by itself. What a killed process leaves is
therefore in one folder (``leftovers.py``). Requests to a remote store are tried
again when it fails for a moment (``retries.py``). Every request may be repeated, because a key never gets other bytes.
"""

from __future__ import annotations

import errno
import io
import os
import re
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from storage_schemas.errors import SourceError, StoreAccessError, StoreError
from storage_schemas.many_requests import all_at_once
from storage_schemas.regular_files import open_regular
from storage_schemas.shown_text import remember_secrets

if TYPE_CHECKING:
    from storage_schemas.retries import RetryPolicy

UNFINISHED = ".unfinished"
"""Folder below a local root for files that are being written, and for folders that are being deleted."""

KEPT_S = 24 * 3600.0
"""What is left of a killed process is deleted when it is older: whoever still works on it has touched it since."""

MOST_TRANSFERS = 8
"""Files of a unit that are sent or fetched whole at once: each is in memory, and several workers share one line."""


class StoreFiles:
    """Files below one root.

    Args:
        root: a local path, ``file://...`` or any fsspec URL such as ``s3://bucket/prefix`` or ``memory://name``.
        is_store: files on their way are kept in ``.unfinished``; elsewhere they stand beside their target.
        setting: key of the recipe that names the root, for errors.
    """

    def __init__(self, root: str | Path, *, is_store: bool = False, setting: str = "store:") -> None:
        text, self._is_store, self._setting = str(root), is_store, setting
        if text.startswith("file://"):
            text = text.removeprefix("file://")
        self.is_local = "://" not in text
        self.root = str(Path(text).expanduser().absolute()) if self.is_local else _utf8(text.rstrip("/"))
        if not self.is_local:
            remember_secrets(self.root)

    def __reduce__(self) -> tuple[Callable[[str, bool, str], StoreFiles], tuple[str, bool, str]]:
        """Pickle the root only, because a worker opens its own connection."""
        return (_files_of, (self.root, self._is_store, self._setting))

    @cached_property
    def policy(self) -> RetryPolicy:
        """How often a request to a remote root is tried."""
        from storage_schemas.retries import retry_policy  # not imported where a store is local: it costs start-up time

        return retry_policy()

    @cached_property
    def filesystem(self) -> Any:
        """The fsspec file system of a remote root."""
        from storage_schemas.remote import open_filesystem

        return open_filesystem(self.root, self.policy, setting=self._setting)

    def path(self, key: str) -> str:
        """Return the full path or URL of a key; StoreError if it would lead out of the root."""
        if leaves_root(key):
            raise StoreError(
                f"'{key}' does not lie below '{self.root}': a name in a table is damaged or not to be trusted. Correct the table"
            )
        return f"{self.root}/{key}" if key else self.root

    def get(self, key: str) -> bytes:
        """Return the bytes of a key; FileNotFoundError if absent, StoreAccessError if not allowed or not to be reached."""
        if not self.is_local:
            return bytes(self.persist("read", key, self.call("cat_file", key)))
        try:
            with self.open_local(key) as stream:
                return stream.readall()
        except (FileNotFoundError, NotADirectoryError) as error:
            raise FileNotFoundError(self.path(key)) from error
        except OSError as error:
            raise _explain_read_error(error, "read", self.path(key)) from error

    def open_local(self, key: str) -> io.FileIO:
        """Open a file of a local root, unbuffered; OSError as ``open``, StoreError if it is a pipe or a device."""
        try:
            return open_regular(self.path(key), most_bytes=sys.maxsize)
        except SourceError as error:
            raise StoreError(
                f"'{self.path(key)}' is a pipe or a device, expected a file. Delete it, then run the same command again"
            ) from error

    def exists(self, key: str) -> bool:
        """Say whether a file of this key exists; StoreAccessError if the store cannot tell."""
        if self.is_local:
            return Path(self.path(key)).is_file()
        try:  # fsspec's ``isfile`` would say False of a store that does not answer
            return bool(self.persist("look up", key, partial(self.info, key))["type"] == "file")
        except FileNotFoundError:
            return False

    def info(self, key: str) -> Any:
        """Ask for a file's entry; if the answer is a refusal without a reason, read a byte, whose refusal has one."""
        from storage_schemas.retries import gives_no_reason

        try:
            return self.call("info", key)()
        except Exception as error:  # clients may raise any class
            if gives_no_reason(error):
                self.call("cat_file", key, start=0, end=1)()
            raise

    def put(self, key: str, *pieces: bytes | memoryview) -> None:
        """Write a file atomically; its content may come in pieces, which need not be joined in memory first.

        Raises:
            StoreError: disk full, no permission, or the store cannot be reached; nothing is left under the key.
        """
        if not self.is_local:
            try:
                self.persist("write", key, self.call("pipe_file", key, b"".join(pieces)))
            except FileNotFoundError as error:
                raise _explain_store_error(error, self.path(key)) from error
            return
        try:
            target = Path(self.path(key))
            target.parent.mkdir(parents=True, exist_ok=True)
            with written_whole(target, temporary=self._unfinished(target)) as stream:
                for piece in pieces:
                    stream.write(piece)
        except OSError as error:
            raise _explain_store_error(error, self.path(key)) from error

    def put_all(self, contents: Mapping[str, Sequence[bytes | memoryview]]) -> None:
        """Write files, each as ``put`` does; to a remote store many at a time. When it returns, all are there."""
        if self.is_local:
            for key, pieces in contents.items():
                self.put(key, *pieces)
            return
        all_at_once(lambda item: self.put(item[0], *item[1]), contents.items(), most=MOST_TRANSFERS)

    def ends_with(self, key: str, ending: bytes) -> bool:
        """Say whether a file exists and its last bytes are these."""
        if not self.is_local:
            try:
                return self.get(key).endswith(ending)  # one small request; a look at the file's size would be one as well
            except FileNotFoundError:
                return False
        try:
            with self.open_local(key) as stream:
                stream.seek(-len(ending), os.SEEK_END)
                return stream.readall() == ending
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError as error:
            if error.errno in (errno.EINVAL, errno.EISDIR):  # shorter than the ending, or a folder
                return False
            raise _explain_read_error(error, "read", self.path(key)) from error

    def newest_change(self, key: str) -> float | None:
        """Return when a file of a local root, or the youngest below a folder, was changed (seconds since 1970); None if gone."""
        top = Path(self.path(key))
        times = []
        for path in (top, *top.rglob("*")):
            with suppress(FileNotFoundError):  # it was finished or deleted in the meantime
                times.append(path.lstat().st_mtime)
        return max(times, default=None)

    def names(self, key: str) -> list[str]:
        """Return the sorted names of files and folders directly below a key; empty if the key does not exist."""
        try:
            if self.is_local:
                with os.scandir(self.path(key)) as entries:
                    return sorted(entry.name for entry in entries if not entry.name.startswith("."))
            listed = self.persist("list", key, self.call("ls", key, detail=False, refresh=True))
            return sorted(name.rstrip("/").rsplit("/", 1)[-1] for name in listed)
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise _explain_read_error(error, "list", self.path(key)) from error

    def keys(self, key: str) -> list[str]:
        """Return the sorted keys of all files below a key, at any depth; of a remote store in one request per 1000."""
        if self.is_local:
            root = Path(self.root)
            files = (path for path in Path(self.path(key)).rglob("*") if path.is_file() and not path.name.startswith("."))
            return sorted(path.relative_to(root).as_posix() for path in files)
        base = self.filesystem._strip_protocol(self.root)
        listed = self.persist("list", key, self.call("find", key))
        return sorted(name[len(base) :].lstrip("/") for name in listed)

    def get_range(self, key: str, start: int, stop: int) -> bytes:
        """Return bytes of a file of a remote root; errors as ``get``."""
        return bytes(self.persist("read", key, self.call("cat_file", key, start=start, end=stop)))

    def remove(self, key: str) -> None:
        """Delete one file; nothing happens if it is gone already. StoreError if it could not be deleted."""
        if self.is_local:
            with _explaining_delete(self.path(key)):
                Path(self.path(key)).unlink(missing_ok=True)
        else:
            with suppress(FileNotFoundError):
                self.persist("delete", key, self.call("rm_file", key))

    def remove_tree(self, key: str) -> None:
        """Delete everything below a key, so that no reader or writer meets half a unit.

        A local folder is renamed first: whoever writes the unit meanwhile does so in a new folder. On an object store the commit
        mark goes first.

        Raises:
            StoreError: something could not be deleted.
        """
        from storage_schemas.lineage import LINEAGE_FILE

        if self.is_local:
            self._remove_local_tree(Path(self.path(key)))
            return
        self.remove(f"{key}/{LINEAGE_FILE}")
        if any(sign in self.path(key) for sign in "*?["):  # fsspec would take the path for a pattern
            for file in self.keys(key):
                self.remove(file)
        else:
            with suppress(FileNotFoundError):
                self.persist("delete", key, self.call("rm", key, recursive=True))
        if left := self.names(key):  # a bulk delete answers 200 also when it was refused
            raise StoreAccessError(
                f"cannot delete '{self.path(key)}': {left[0]} is still there. Give this user permission to delete, then try again"
            )

    def _remove_local_tree(self, folder: Path) -> None:
        import shutil

        aside = self._unfinished(folder) if folder.is_dir() else None
        with _explaining_delete(str(folder)):
            if aside is None:
                folder.unlink(missing_ok=True)
                return
            try:
                folder.replace(aside)
            except FileNotFoundError:  # another process is deleting the same tree
                return
            try:
                shutil.rmtree(aside)
            except PermissionError:
                with suppress(OSError):
                    aside.replace(folder)  # its files may not be deleted; a unit that cannot go stays where it was
                raise

    def _unfinished(self, target: Path) -> Path:
        """Return a new name for what is not yet, or no longer, to be seen as ``target``: on the same device."""
        if not self._is_store:
            return _beside(target)
        folder = Path(self.root) / UNFINISHED
        folder.mkdir(parents=True, exist_ok=True)
        if folder.stat().st_dev != target.parent.stat().st_dev:  # part of the store is a link to another disk
            return _beside(target)
        return folder / f"{target.name}.{uuid.uuid4().hex}"

    def persist(self, doing: str, key: str, action: Callable[[], Any]) -> Any:
        """Ask a remote root, again while it fails for a reason that may pass; see ``retries.persist``."""
        from storage_schemas.retries import persist

        return persist(action, doing=doing, where=self.path(key), policy=self.policy, setting=self._setting)

    def call(self, method: str, key: str, *args: Any, **options: Any) -> Callable[[], Any]:
        """Return what asks the file system of a remote root about a key."""
        return lambda: getattr(self.filesystem, method)(self.path(key), *args, **options)


def _files_of(root: str, is_store: bool, setting: str) -> StoreFiles:
    return StoreFiles(root, is_store=is_store, setting=setting)


def _utf8(url: str) -> str:
    try:
        url.encode()
    except UnicodeEncodeError as error:  # a local path may hold any bytes, a URL may not
        escaped = url.encode("utf-8", "backslashreplace").decode()
        raise StoreError(f"store '{escaped}' is not UTF-8, which a URL must be. Choose another 'store:' in the recipe") from error
    return url


def leaves_root(key: str) -> bool:
    """Say whether a relative path would lead out of the folder it is relative to, or is no path at all."""
    return key.startswith(("/", "~")) or "//" in key or ".." in key.replace("\\", "/").split("/") or "\0" in key


@contextmanager
def written_whole(target: Path, *, is_flushed: bool = True, temporary: Path | None = None) -> Iterator[BinaryIO]:
    """Give a stream whose bytes become the file ``target`` when the block ends: a reader finds the former file or the new one.

    An error inside the block leaves the former file as it was, and nothing beside it.

    Args:
        target: the file; folders above it are made.
        is_flushed: the bytes reach the device before the file appears, so that it is whole after a power cut too.
        temporary: where the bytes go until then, on the same device; None = beside the target.
    """
    if temporary is None:
        target.parent.mkdir(parents=True, exist_ok=True)
        _clear_leftovers(target)
        temporary = _beside(target)
    try:
        with open(temporary, "xb") as stream:
            yield stream
            stream.flush()
            if is_flushed:
                os.fsync(stream.fileno())
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextmanager
def folder_written_whole(target: Path) -> Iterator[Path]:
    """Give a folder to write into that becomes ``target``, new or empty so far, when the block ends without an error."""
    import shutil

    temporary = _beside(target)
    try:
        temporary.mkdir(parents=True)
        _clear_leftovers(target)
        yield temporary
        temporary.replace(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _beside(target: Path) -> Path:
    return target.with_name(f".{target.name}.{uuid.uuid4().hex}")  # ``names`` hides dot files


def _clear_leftovers(target: Path) -> None:
    """Delete what a killed process left beside a target: it has a name that only ``_beside`` gives, and is a day old."""
    import shutil

    name = re.compile(rf"\.{re.escape(target.name)}\.[0-9a-f]{{32}}")
    with os.scandir(target.parent) as entries:
        left = [entry for entry in entries if name.fullmatch(entry.name)]
    for entry in left:
        with suppress(OSError):  # what may not be deleted does no harm
            if time.time() - entry.stat(follow_symlinks=False).st_mtime > KEPT_S:
                if entry.is_dir(follow_symlinks=False):
                    shutil.rmtree(entry.path)
                else:
                    Path(entry.path).unlink()


@contextmanager
def _explaining_delete(path: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreAccessError(
            f"cannot delete '{path}': {error.strerror or error}. Give this user write permission on the store"
        ) from error


def _explain_read_error(error: OSError, doing: str, path: str) -> StoreAccessError:
    if isinstance(error, PermissionError):
        return StoreAccessError(f"cannot {doing} '{path}': permission denied. Ask for read permission")
    return StoreAccessError(f"cannot {doing} '{path}': {error.strerror or error}. Check the disk and the store's path")


def explain_write_error(error: OSError, what: str, *, if_full: str, if_denied: str, otherwise: str) -> StoreError:
    """Turn an OSError of writing into one with a next step.

    Args:
        error: what the system said.
        what: the thing that could not be written, quoted, e.g. ``report 'r.html'``.
        if_full: what to do when the device is full.
        if_denied: what to do when writing is not permitted.
        otherwise: what to do in any other case.
    """
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StoreError(f"cannot write {what}: no space left on the device. {if_full}")
    if isinstance(error, PermissionError) or error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return StoreError(f"cannot write {what}: permission denied. {if_denied}")
    return StoreError(f"cannot write {what}: {error.strerror or error}. {otherwise}")


def _explain_store_error(error: OSError, path: str) -> StoreError:
    return explain_write_error(
        error,
        f"'{path}'",
        if_full="Nothing half-written is visible; free some space (depthmill prune lists units no manifest names) and run "
        "the same command again",
        if_denied="Give this user write permission on the store, or choose another 'store:' in the recipe",
        otherwise="Check the store's path, then run the same command again",
    )
