"""The files of a remote data set as one process sees them: what was listed, copies on this machine, and what is being fetched.

How    A folder is listed once in the life of an opened data set. A file that is read is first copied into the raw cache
       (``raw_cache.py``). A small file comes in one request, which a server answers with one content or not at all; the pieces of
       a large one are kept only if it has not changed meanwhile
Errors A missing file raises FileNotFoundError, a server that refuses or is not reached StoreAccessError
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
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
        """Pickle without what was listed: a worker looks for itself, with connections and a cache of its own."""
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
