"""Several pieces of a store's files in one call: few large requests, all of them under way at once on an object store."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from storage_schemas.checksum import REPAIR
from storage_schemas.errors import StoreAccessError, StoreError
from storage_schemas.files import StoreFiles

if TYPE_CHECKING:
    from storage_schemas.retries import Attempts

REMOTE_GAP = 256 * 1024
"""An object store sends this many bytes sooner than it answers another request; the padding between two images is less."""

_RANGE_NOT_SATISFIABLE = 416
"""HTTP status: the file ends before the first byte that was asked for."""


@dataclass(frozen=True, order=True)
class ByteRange:
    """Bytes ``start`` to ``stop`` of one file."""

    key: str
    start: int
    stop: int


def merged(ranges: Sequence[ByteRange], *, gap: int = 0) -> list[ByteRange]:
    """Return the fewest ranges that cover the given ones; those of one file with at most ``gap`` bytes between become one."""
    joined: list[ByteRange] = []
    for piece in sorted(set(ranges)):
        last = joined[-1] if joined else None
        if last is not None and last.key == piece.key and piece.start <= last.stop + gap:
            joined[-1] = ByteRange(last.key, last.start, max(last.stop, piece.stop))
        else:
            joined.append(piece)
    return joined


class RangeReader:
    """Reads pieces of files. Local reads go into one buffer that is used again: allocating memory costs more than reading.

    Args:
        files: the store's files.
    """

    def __init__(self, files: StoreFiles) -> None:
        self._files = files
        self._memory = bytearray()

    def read(self, ranges: Sequence[ByteRange]) -> list[memoryview]:
        """Read pieces of files.

        Args:
            ranges: what to read, in any order, overlapping or not.

        Returns:
            One buffer per range, in the order given; valid until the next call.

        Raises:
            StoreError: a file is missing, shorter than asked, or may not be read.
        """
        whole = merged(ranges, gap=0 if self._files.is_local else REMOTE_GAP)
        contents = self._read_local(whole) if self._files.is_local else self._read_remote(whole)
        views = []
        for piece in ranges:
            large, content = next(
                (large, content)
                for large, content in zip(whole, contents, strict=True)
                if large.key == piece.key and large.start <= piece.start and piece.stop <= large.stop
            )
            views.append(content[piece.start - large.start : piece.stop - large.start])
        return views

    def _read_local(self, ranges: Sequence[ByteRange]) -> list[memoryview]:
        num_bytes = sum(piece.stop - piece.start for piece in ranges)
        if len(self._memory) < num_bytes:
            self._memory = bytearray(num_bytes)
        views, first = [], 0
        for piece in ranges:
            view = memoryview(self._memory)[first : first + piece.stop - piece.start]
            try:
                with self._files.open_local(piece.key) as stream:
                    stream.seek(piece.start)
                    num_read = stream.readinto(view)
            except OSError as error:
                raise _unreadable(self._files, piece.key, error) from error
            _refuse_short(self._files, piece, num_read)
            views.append(view)
            first += len(view)
        return views

    def _read_remote(self, ranges: Sequence[ByteRange]) -> list[memoryview]:
        """Ask for all pieces at once, then again for those that failed, until all are there."""
        from storage_schemas.retries import Attempts

        content_of: dict[ByteRange, bytes] = {}
        attempts = Attempts(self._files.policy, "read", self._files.path(ranges[0].key) if ranges else self._files.root)
        while missing := [piece for piece in ranges if piece not in content_of]:
            paths = [self._files.path(piece.key) for piece in missing]
            starts, stops = [piece.start for piece in missing], [piece.stop for piece in missing]
            contents = self._files.filesystem.cat_ranges(paths, starts, stops, on_error="return")
            failed: dict[ByteRange, Exception] = {}
            for piece, content in zip(missing, contents, strict=True):
                if isinstance(content, Exception):
                    failed[piece] = content
                else:
                    _refuse_short(self._files, piece, len(content))
                    content_of[piece] = content
            if failed:
                time.sleep(self._wait_after(attempts, failed))
        return [memoryview(content_of[piece]) for piece in ranges]

    def _wait_after(self, attempts: Attempts, failed: dict[ByteRange, Exception]) -> float:
        """Return how long to wait. Of several errors, one that trying again cannot cure is raised."""
        from storage_schemas.retries import is_transient, status_of

        piece, error = min(failed.items(), key=lambda item: is_transient(item[1]))
        if status_of(error) == _RANGE_NOT_SATISFIABLE:
            _refuse_short(self._files, piece, 0)
        try:
            return attempts.wait_after(error, where=self._files.path(piece.key))
        except FileNotFoundError as absent:
            raise _unreadable(self._files, piece.key, absent) from absent


def _refuse_short(files: StoreFiles, wanted: ByteRange, num_bytes: int) -> None:
    if num_bytes != wanted.stop - wanted.start:
        raise StoreError(
            f"'{files.path(wanted.key)}' ends before byte {wanted.stop}: {num_bytes} bytes from {wanted.start}. {REPAIR}"
        )


def _unreadable(files: StoreFiles, key: str, error: OSError) -> StoreError:
    if isinstance(error, FileNotFoundError):
        return StoreError(f"'{files.path(key)}' is missing: its unit was pruned or damaged. {REPAIR}")
    return StoreAccessError(
        f"'{files.path(key)}' cannot be read: {error}. Check permissions and connection, then run the same command again"
    )
