"""Local copies of files of a remote data set: bounded in size, shared by all processes of a machine, never half a file.

How    A copy is named by the file's URL, the tag that the server gives its content (an ETag, or else its time) and its size. A
       file that changes at the server gets another tag, so that its old copy is not found any more. A copy appears by a rename
       when it is whole. A copy whose size is not the one in its name is none: a power cut can leave that
Bound  Whoever has added a fiftieth of the bound looks at all copies, and deletes those that were used longest ago. So with n
       processes the bound is kept but for n fiftieths. A file that is open when its copy is deleted can be read to its end
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from storage_schemas.errors import SourceError
from storage_schemas.files import KEPT_S, explain_write_error

LOOK_SHARE = 0.02
"""Share of the bound that a process adds between two looks at all copies."""

KEPT_SHARE = 0.9
"""Share of the bound that a look leaves, so that not every addition needs another."""

_NUM_FOLDERS_DIGITS = 3


class RawCacheSettings(BaseSettings):
    """Bound and place of the copies, from the environment (``DEPTHMILL_RAW_CACHE_*``) or ``.env``; changes no result."""

    model_config = SettingsConfigDict(env_prefix="DEPTHMILL_RAW_CACHE_", env_file=".env", frozen=True, extra="ignore")
    gb: float = Field(default=20.0, gt=0, description="GB (1e9 bytes) of raw files from a URL that are kept on this machine")
    dir: Path | None = Field(default=None, description="folder of the copies; default: raw/ below DEPTHMILL_CACHE_DIR")


def raw_cache_settings() -> RawCacheSettings:
    """Read the settings of this process; SourceError names one that is wrong."""
    try:
        return RawCacheSettings()
    except ValidationError as error:
        first = error.errors()[0]
        name = f"DEPTHMILL_RAW_CACHE_{'_'.join(map(str, first['loc'])).upper()}"
        raise SourceError(f"setting {name} is {first['input']!r}: {first['msg']}. Correct or unset it") from error


@dataclass(frozen=True)
class RemoteFile:
    """A file of a remote data set as the server lists it.

    Attributes:
        url: of the file.
        tag: stands for its content; "" if the server gives nothing that does.
        num_bytes: its size, None if the server does not say it.
    """

    url: str
    tag: str
    num_bytes: int | None


@dataclass
class RawCache:
    """The copies below one folder.

    Attributes:
        folder: where they lie.
        most_bytes: bound.
    """

    folder: Path
    most_bytes: int
    _added: int = field(default=0, init=False)

    @staticmethod
    def below(cache_folder: Path) -> RawCache:
        """Return the cache that the settings of this process ask for."""
        settings = raw_cache_settings()
        folder = (settings.dir or cache_folder / "raw").expanduser().absolute()
        return RawCache(folder, int(settings.gb * 1e9))

    def opened(self, file: RemoteFile) -> io.FileIO | None:
        """Open the copy of a file, unbuffered; None if there is none."""
        name = self._path(file)
        if name is None:
            return None
        try:
            stream = io.FileIO(name)
        except OSError:
            return None
        if os.fstat(stream.fileno()).st_size != file.num_bytes:
            stream.close()
            return None
        with suppress(OSError):  # the time says when it was used last
            os.utime(name)
        return stream

    def content(self, file: RemoteFile) -> bytes | None:
        """Return what the copy of a file holds; None if there is none."""
        stream = self.opened(file)
        if stream is None:
            return None
        with stream:
            content = stream.readall()
        return content if len(content) == file.num_bytes else None

    def add(self, file: RemoteFile, write: Callable[[BinaryIO], None]) -> io.FileIO:
        """Keep a copy.

        Args:
            file: what it is a copy of.
            write: writes the content; what it raises leaves no copy.

        Returns:
            The copy, opened; it can be read even if other processes delete it.

        Raises:
            SourceError: it cannot be written; says where, and what to do.
        """
        name = self._path(file) or self._unnamed(file)
        temporary = name.with_name(f".{name.name}.{os.urandom(16).hex()}")
        try:
            name.parent.mkdir(parents=True, exist_ok=True)
            try:
                with open(temporary, "xb") as stream:
                    write(stream)
                    self._added += stream.tell()
                opened = io.FileIO(temporary)
                if self._path(file) is None:  # the server says nothing that would tell whether it has changed
                    temporary.unlink()
                else:
                    temporary.replace(name)
            except BaseException:
                with suppress(OSError):
                    temporary.unlink()
                raise
        except OSError as error:
            raise SourceError(
                str(
                    explain_write_error(
                        error,
                        f"a copy of '{file.url}' in '{self.folder}'",
                        if_full="Free some space, set DEPTHMILL_RAW_CACHE_GB to less, or DEPTHMILL_RAW_CACHE_DIR to another disk",
                        if_denied="Set DEPTHMILL_CACHE_DIR or DEPTHMILL_RAW_CACHE_DIR to a folder you may write",
                        otherwise="Check the disk, or set DEPTHMILL_RAW_CACHE_DIR to another folder",
                    )
                )
            ) from error
        if self._added > LOOK_SHARE * self.most_bytes:
            self._added = 0
            self.shrink()
        return opened

    def shrink(self) -> None:
        """Delete the copies that were used longest ago, if all together are more than the bound."""
        copies: list[tuple[float, int, str]] = []
        now = time.time()
        for bucket in _entries(str(self.folder)):
            for entry in _entries(bucket.path):
                with suppress(OSError):  # another process has deleted it
                    status = entry.stat(follow_symlinks=False)
                    if not entry.name.startswith("."):
                        copies.append((status.st_mtime, status.st_size, entry.path))
                    elif now - status.st_mtime > KEPT_S:  # of a process that was killed
                        Path(entry.path).unlink()
        excess = sum(size for _, size, _ in copies) - self.most_bytes
        if excess <= 0:
            return
        excess += int((1 - KEPT_SHARE) * self.most_bytes)
        for _, size, path in sorted(copies):
            if excess <= 0:
                break
            with suppress(OSError):
                Path(path).unlink()
            excess -= size

    def _path(self, file: RemoteFile) -> Path | None:
        if not file.tag or file.num_bytes is None:
            return None
        url, tag = _digest(file.url, 32), _digest(file.tag, 16)
        return Path(f"{self.folder}/{url[:_NUM_FOLDERS_DIGITS]}/{url}-{tag}-{file.num_bytes}")

    def _unnamed(self, file: RemoteFile) -> Path:
        url = _digest(file.url, 32)
        return Path(f"{self.folder}/{url[:_NUM_FOLDERS_DIGITS]}/{url}")


def _digest(text: str, length: int) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:length]


def _entries(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.EACCES):
            return []
        raise
