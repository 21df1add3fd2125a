"""Files and folders of a data set at a URL, with the part of ``pathlib.Path`` that sources use.

Why    Sources look at folders, tables, lists and heads of images through ``Path``. The same code reads ``s3://bucket/nuscenes``
How    A folder is listed once in the life of an opened data set. A file that is opened is first copied into the raw cache
       (``raw_cache.py``), whose copy is then read: as a whole, in pieces, or its head alone
Errors A missing file raises FileNotFoundError, as a local one does; a server that refuses or is not reached StoreAccessError
"""

from __future__ import annotations

import fnmatch
import io
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, NamedTuple

from storage_schemas.errors import SourceError
from storage_schemas.files import StoreFiles
from storage_schemas.many_requests import all_at_once
from storage_schemas.raw_cache import RawCache, RemoteFile
from storage_schemas.read_ahead import ReadAhead
from storage_schemas.remote_listing import facts_in_folder, facts_of, facts_of_prefix, tag_of

PIECE_BYTES = 16 << 20
"""A larger file is fetched in pieces of this size, many at a time."""

HEAD_BYTES = 4096
"""The sizes of nearly all images stand within so many bytes."""

AHEAD_SHARE = 0.25
"""Share of the cache that one process fills with files that it has not read yet."""


def is_url(root: str) -> bool:
    """Say whether a root is a URL, and not a path."""
    return "://" in root and not root.startswith("file://")


class Entry(NamedTuple):
    """A name in a folder."""

    is_folder: bool
    tag: str
    num_bytes: int | None


class RemoteData:
    """One server and bucket, as far as a data set goes: its listings, and copies of its files.

    Args:
        files: rooted at the bucket.
        cache_folder: where copies may be kept, unless the settings of this process name another folder.
    """

    def __init__(self, files: StoreFiles, cache_folder: Path) -> None:
        self.files, self._cache_folder = files, cache_folder
        self.cache = RawCache.below(cache_folder)
        self._listings: dict[str, dict[str, Entry]] = {}
        self._entries: dict[str, Entry | None] = {}
        self._ahead: ReadAhead | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle without what was listed: a worker looks for itself, with its own connections and its own settings of the cache."""
        return (RemoteData, (self.files, self._cache_folder))

    def listing(self, key: str) -> Mapping[str, Entry]:
        """Return name -> what it is, of a folder; empty if there is none."""
        if key not in self._listings:
            self._listings[key] = {name: _entry(facts) for name, facts in facts_in_folder(self.files, key).items()}
        return self._listings[key]

    def entry(self, key: str) -> Entry | None:
        """Return what a file is, None if there is no such file; from a listing of its folder if that was asked for before."""
        parent, _, name = key.rpartition("/")
        if parent in self._listings:
            found = self._listings[parent].get(name)
            return None if found is None or found.is_folder else found
        if key not in self._entries:
            facts = facts_of(self.files, key)
            self._entries[key] = None if facts is None else _entry(facts)
        return self._entries[key]

    def _known(self, key: str) -> Entry | None:
        parent, _, name = key.rpartition("/")
        return self._listings[parent].get(name) if parent in self._listings else self._entries.get(key)

    def note_files(self, keys: Iterable[str]) -> None:
        """Ask for sizes and tags of files: of those of one folder with one listing of what begins as they do."""
        of_folder: dict[str, list[str]] = {}
        for key in keys:
            parent = key.rpartition("/")[0]
            if parent not in self._listings and key not in self._entries:
                of_folder.setdefault(parent, []).append(key)
        prefixes = [common_beginning(wanted) for wanted in of_folder.values() if len(wanted) > 1]
        for found in all_at_once(partial(facts_of_prefix, self.files), prefixes):
            self._entries.update({key: _entry(facts) for key, facts in found.items()})
        for wanted in of_folder.values():
            if len(wanted) > 1:  # what the listing did not have does not exist
                self._entries.update({key: None for key in wanted if key not in self._entries})

    def remote_file(self, key: str) -> RemoteFile:
        """Return a file as the server lists it; FileNotFoundError if there is none."""
        entry = self.entry(key)
        if entry is None:
            raise FileNotFoundError(self.files.path(key))
        return RemoteFile(self.files.path(key), entry.tag, entry.num_bytes)

    @contextmanager
    def reading_ahead(self, keys: Sequence[str]) -> Iterator[None]:
        """Fetch files in the background, in this order, while the block reads them; only those that ``note_files`` found."""
        sizes = {key: entry.num_bytes or 0 for key in keys if (entry := self._known(key)) is not None}
        self._ahead = ReadAhead(self.keep, sizes, most_bytes=int(AHEAD_SHARE * self.cache.most_bytes))
        try:
            yield
        finally:
            self._ahead.close()
            self._ahead = None

    def content(self, key: str) -> bytes:
        """Return the content of a file, from its copy if there is one; FileNotFoundError if there is no such file."""
        if self._ahead is not None:
            self._ahead.take(key)
        file = self.remote_file(key)
        kept = self.cache.content(file)
        if kept is not None:
            return kept
        if (file.num_bytes or 0) > PIECE_BYTES:
            with self._fetched(key, file) as stream:
                return stream.readall()
        content = self._whole(key, file)
        self.cache.add(self.remote_file(key), lambda stream: _write(stream, content)).close()
        return content

    def opened(self, key: str) -> io.FileIO:
        """Open the copy of a file, which is made first if there is none; FileNotFoundError if there is no such file."""
        file = self.remote_file(key)
        return self.cache.opened(file) or self._fetched(key, file)

    def head(self, key: str) -> bytes:
        """Return the first bytes of a file, all of a small one; FileNotFoundError if there is no such file."""
        file = self.remote_file(key)
        if (kept := self.cache.opened(file)) is not None:
            with kept:
                return kept.read(HEAD_BYTES)
        if file.num_bytes is None or file.num_bytes <= HEAD_BYTES:
            return self.content(key)
        beginning = RemoteFile(f"{file.url}#head", file.tag, HEAD_BYTES)
        content = self.cache.content(beginning)
        if content is None:
            content = fetched = self.files.get_range(key, 0, HEAD_BYTES)
            self.cache.add(beginning, lambda stream: _write(stream, fetched)).close()
        return content

    def keep(self, key: str) -> None:
        """Make a copy of a file if there is none."""
        self.opened(key).close()

    def _fetched(self, key: str, file: RemoteFile) -> io.FileIO:
        if (file.num_bytes or 0) <= PIECE_BYTES:
            content = self._whole(key, file)
            stream = self.cache.add(self.remote_file(key), lambda out: _write(out, content))
        else:
            stream = self.cache.add(file, lambda out: self._write_pieces(out, key, file))
        stream.seek(0)
        return stream

    def _whole(self, key: str, file: RemoteFile) -> bytes:
        """Fetch a file in one request; if its size is not the listed one, it has changed since and is asked for again."""
        content = self.files.get(key)
        if file.num_bytes in (None, len(content)):
            return content
        self._ask_again(key)
        again = self.remote_file(key)
        content = self.files.get(key)
        if again.num_bytes not in (None, len(content)):
            raise SourceError(
                f"file '{file.url}' has {again.num_bytes:,} bytes by its listing, and {len(content):,} came. It is being "
                "written, or the server cuts it. Run the same command again when nobody writes there"
            )
        return content

    def _write_pieces(self, stream: BinaryIO, key: str, file: RemoteFile) -> None:
        assert file.num_bytes is not None
        starts = range(0, file.num_bytes, PIECE_BYTES)
        descriptor = stream.fileno()

        def fetch(start: int) -> None:
            piece = self.files.get_range(key, start, min(start + PIECE_BYTES, file.num_bytes or 0))
            os.pwrite(descriptor, piece, start)

        all_at_once(fetch, starts, most=8)
        stream.seek(0, os.SEEK_END)
        self._ask_again(key)
        if self.remote_file(key) != file:  # pieces of two contents would be neither
            raise SourceError(
                f"file '{file.url}' has changed while it was fetched. Run the same command again when nobody writes there"
            )

    def _ask_again(self, key: str) -> None:
        facts = facts_of(self.files, key)
        entry = None if facts is None else _entry(facts)
        parent, _, name = key.rpartition("/")
        self._entries[key] = entry
        if parent in self._listings:
            if entry is None:
                self._listings[parent].pop(name, None)
            else:
                self._listings[parent][name] = entry


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


def common_beginning(names: Iterable[str]) -> str:
    """Return what all names begin with."""
    wanted = list(names)
    first, last = min(wanted), max(wanted)
    pairs = enumerate(zip(first, last, strict=False))
    return first[: next((at for at, (one, other) in pairs if one != other), min(len(first), len(last)))]


def _entry(facts: Mapping[str, Any]) -> Entry:
    size = facts.get("size")
    return Entry(facts.get("type") == "directory", tag_of(facts), None if size is None else int(size))


def _write(stream: BinaryIO, content: bytes) -> None:
    stream.write(content)
