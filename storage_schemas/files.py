"""Bytes in and out of a store's root, the same for a local path and an fsspec URL.

``put`` is atomic: a reader sees the whole file or none. On a local disk the bytes go to a temporary file beside the target,
are flushed to the device and renamed; on an object store a single put is atomic by itself.
"""

from __future__ import annotations

import errno
import os
import uuid
from functools import cached_property
from pathlib import Path
from typing import Any

from storage_schemas.errors import StoreError


class StoreFiles:
    """Files below one root.

    Args:
        root: a local path, ``file://...`` or any fsspec URL such as ``s3://bucket/prefix`` or ``memory://name``.
    """

    def __init__(self, root: str | Path) -> None:
        text = str(root)
        if text.startswith("file://"):
            text = text.removeprefix("file://")
        self.is_local = "://" not in text
        self.root = str(Path(text).expanduser().absolute()) if self.is_local else text.rstrip("/")

    def __reduce__(self) -> tuple[type[StoreFiles], tuple[str]]:
        """Pickle as the root only; a worker opens its own connection."""
        return (StoreFiles, (self.root,))

    @cached_property
    def filesystem(self) -> Any:
        """The fsspec file system of a remote root."""
        import fsspec

        try:
            return fsspec.core.url_to_fs(self.root)[0]
        except (ImportError, ValueError) as error:
            raise StoreError(
                f"store '{self.root}': {error}. Install the fsspec backend of this URL scheme, e.g. pip install s3fs for s3://"
            ) from error

    def path(self, key: str) -> str:
        """Return the full path or URL of a key."""
        return f"{self.root}/{key}" if key else self.root

    def get(self, key: str) -> bytes:
        """Return the bytes of a key; FileNotFoundError if absent, StoreError if not allowed."""
        try:
            if self.is_local:
                return Path(self.path(key)).read_bytes()
            return bytes(self.filesystem.cat_file(self.path(key)))
        except NotADirectoryError as error:
            raise FileNotFoundError(self.path(key)) from error
        except PermissionError as error:
            raise StoreError(f"cannot read '{self.path(key)}': permission denied. Ask for read permission") from error

    def exists(self, key: str) -> bool:
        """Say whether a file of this key exists."""
        if self.is_local:
            return Path(self.path(key)).is_file()
        return bool(self.filesystem.isfile(self.path(key)))

    def put(self, key: str, data: bytes | memoryview) -> None:
        """Write a file atomically.

        Raises:
            StoreError: disk full or no permission; nothing is left under the key.
        """
        try:
            if self.is_local:
                _put_local(Path(self.path(key)), data)
            else:
                self.filesystem.pipe_file(self.path(key), bytes(data))
        except OSError as error:
            raise _explain_store_error(error, self.path(key)) from error

    def names(self, key: str) -> list[str]:
        """Return the sorted names of files and folders directly below a key; empty if there is none."""
        try:
            if self.is_local:
                with os.scandir(self.path(key)) as entries:
                    return sorted(entry.name for entry in entries if not entry.name.startswith("."))
            listed = self.filesystem.ls(self.path(key), detail=False, refresh=True)
            return sorted(name.rstrip("/").rsplit("/", 1)[-1] for name in listed)
        except (FileNotFoundError, NotADirectoryError):
            return []
        except PermissionError as error:
            raise StoreError(f"cannot list '{self.path(key)}': permission denied. Ask for read permission") from error

    def remove_tree(self, key: str) -> None:
        """Delete everything below a key; the commit mark goes first so that no reader sees half a unit."""
        from storage_schemas.lineage import LINEAGE_FILE

        if self.is_local:
            import shutil

            Path(self.path(f"{key}/{LINEAGE_FILE}")).unlink(missing_ok=True)
            shutil.rmtree(self.path(key), ignore_errors=True)
        else:
            if self.exists(f"{key}/{LINEAGE_FILE}"):
                self.filesystem.rm_file(self.path(f"{key}/{LINEAGE_FILE}"))
            self.filesystem.rm(self.path(key), recursive=True)


def _put_local(target: Path, data: bytes | memoryview) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex}")  # names() hides dot files
    try:
        with open(temporary, "xb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


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
