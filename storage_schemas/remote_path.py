"""Files and folders of a data set at a URL, with the part of ``pathlib.Path`` that sources use.

Why    Sources look at folders, tables, lists and heads of images through ``Path``. The same code reads ``s3://bucket/nuscenes``
How    ``remote_data.py``: a file that is opened is first copied to this machine
Errors A missing file raises FileNotFoundError, as a local one does; a server that refuses or is not reached StoreAccessError
"""

from __future__ import annotations

import fnmatch
import io
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from storage_schemas.errors import SourceError
from storage_schemas.files import StoreFiles
from storage_schemas.many_requests import all_at_once
from storage_schemas.remote_data import RemoteData


def is_url(root: str) -> bool:
    """Say whether a root is a URL, and not a path."""
    return "://" in root and not root.startswith("file://")


@dataclass(frozen=True)
class RemotePath:
    """A file or folder of a remote data set.

    Attributes:
        data: the data set's server.
        key: path below the bucket.
    """

    data: RemoteData = field(compare=False, repr=False)
    key: str

    def __str__(self) -> str:
        """Return the URL."""
        return self.data.files.path(self.key)

    def __truediv__(self, name: str) -> RemotePath:
        """Return what lies below."""
        return RemotePath(self.data, f"{self.key}/{name}".strip("/") if name else self.key)

    @property
    def name(self) -> str:
        """Last part of the path."""
        return self.key.rpartition("/")[2]

    @property
    def stem(self) -> str:
        """Last part without its ending."""
        return PurePosixPath(self.key).stem

    @property
    def parent(self) -> RemotePath:
        """The folder that it lies in; the bucket itself at the end."""
        return RemotePath(self.data, self.key.rpartition("/")[0])

    def is_file(self) -> bool:
        """Say whether it is a file."""
        return self.data.entry(self.key) is not None

    def is_dir(self) -> bool:
        """Say whether it is a folder: an object store has those that something lies in."""
        return bool(self.data.listing(self.key))

    def exists(self) -> bool:
        """Say whether it is a file or a folder."""
        return self.is_file() or self.is_dir()

    def iterdir(self) -> Iterator[RemotePath]:
        """Yield what lies in a folder, in no order that counts."""
        for name in self.data.listing(self.key):
            yield self / name

    def glob(self, pattern: str) -> Iterator[RemotePath]:
        """Yield what fits a pattern, without ``**``; names without ``*`` are looked up and their folders are not listed."""
        first, _, rest = pattern.partition("/")
        if "*" not in first:
            found = [self / first] if rest or (self / first).exists() else []
        else:
            listing = self.data.listing(self.key)
            found = [
                self / name
                for name, entry in listing.items()
                if fnmatch.fnmatchcase(name, first) and (entry.is_folder or not rest)
            ]
        for path in found:
            if rest:
                yield from path.glob(rest)
            else:
                yield path

    def content_tag(self) -> str:
        """Return what changes with the content of a file; FileNotFoundError if there is none."""
        file = self.data.remote_file(self.key)
        return f"{file.tag} {file.num_bytes}"

    def open_copy(self) -> io.FileIO:
        """Open a copy of the file on this machine, unbuffered; FileNotFoundError if there is no such file."""
        return self.data.opened(self.key)

    def read_head(self) -> bytes:
        """Return the first ``HEAD_BYTES`` bytes of the file, all of a smaller one; FileNotFoundError if there is none."""
        return self.data.head(self.key)

    def read_bytes(self) -> bytes:
        """Return the content of the file; FileNotFoundError if there is none."""
        return self.data.content(self.key)


DataPath = Path | RemotePath
"""A file or folder of a data set, on a disk or at a URL."""


def data_path(root: str, cache_folder: Path) -> DataPath:
    """Return the root of a data set.

    Args:
        root: path, ``file://...`` or any fsspec URL.
        cache_folder: where copies of remote files may be kept, unless the settings name another folder.

    Raises:
        SourceError: the URL has no bucket, or chains file systems.
    """
    if not is_url(root):
        return Path(root.removeprefix("file://")).expanduser().absolute()
    scheme, _, rest = root.partition("://")
    bucket, _, key = rest.strip("/").partition("/")
    if "::" in root:
        raise SourceError(f"source root '{root}': '::' chains file systems, and a data set lies in one. Write the URL without it")
    if not bucket:
        raise SourceError(
            f"source root '{root}' names no bucket. Set source.root in the recipe to a URL such as {scheme}://bucket/folder"
        )
    files = StoreFiles(f"{scheme}://{bucket}", setting="source.root")
    return RemotePath(RemoteData(files, cache_folder), key)


def fetch_all(paths: Iterable[DataPath], fetch: Callable[[RemotePath], object]) -> None:
    """Fetch many remote files before they are read one by one: as a whole or their heads; nothing is done for files on a disk.

    Raises:
        StoreAccessError: the server refuses, or is not reached. Of a missing file whoever reads it says so.
    """
    remote = [path for path in paths if isinstance(path, RemotePath)]

    def fetch_one(path: RemotePath) -> None:
        with suppress(FileNotFoundError):
            fetch(path)

    if remote:
        remote[0].data.note_files([path.key for path in remote])
        all_at_once(fetch_one, remote)


def file_size(file: DataPath) -> int:
    """Return the bytes of a file; FileNotFoundError if there is none."""
    if isinstance(file, RemotePath):
        return file.data.remote_file(file.key).num_bytes or 0
    return file.stat().st_size


def folder_names(folder: DataPath) -> list[str]:
    """Return the names of files and folders in a folder, sorted; none for one that does not exist or may not be read."""
    if isinstance(folder, RemotePath):
        return sorted(folder.data.listing(folder.key))
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.name for entry in entries)
    except OSError:
        return []
