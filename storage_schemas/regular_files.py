"""Files that a user or a data set names, opened so that none of them can stop or fill the process.

Why    A pipe keeps its reader waiting for ever, a device never ends, and a file of terabytes fills the memory. All three can
       stand where a table, an image or a list is expected, or a link to them. What is not from a store is read through here
"""

from __future__ import annotations

import errno
import io
import os
import stat
from pathlib import Path
from typing import Protocol

from storage_schemas.errors import SourceError

MAX_FILE_BYTES = 1 << 30
"""No sweep, no image and no depth map is as large, so a larger file is not taken into memory."""

MAX_TEXT_BYTES = 64 << 20
"""Lists, labels, calibration and notes are a few megabytes at most."""

MAX_RECIPE_BYTES = 2 << 20
"""A recipe that names each of a hundred thousand scenes is no larger."""

MAX_WEIGHTS_BYTES = 64 << 30
"""Weights of networks."""

MAX_TABLE_BYTES = 32 << 30
"""The largest table of nuScenes trainval has 1.3 GB; tables are read in pieces."""


class Copied(Protocol):
    """A file elsewhere, of which a copy on this machine can be opened; see ``remote_path.py``."""

    def open_copy(self) -> io.FileIO:
        """Open the copy, unbuffered; FileNotFoundError if there is no such file."""
        ...


def open_regular(path: str | Path | Copied, *, most_bytes: int) -> io.FileIO:
    """Open a file for reading, unbuffered. What is no regular file is refused, and so is one that is too large.

    Args:
        path: of the file; a link is followed. Of a file elsewhere a copy is opened.
        most_bytes: a larger file is refused.

    Raises:
        SourceError: it is no regular file, or too large.
        OSError: as ``open``.
    """
    try:
        stream = io.FileIO(str(path), opener=_without_waiting) if isinstance(path, str | Path) else path.open_copy()
    except OSError as error:
        if error.errno in (errno.ENXIO, errno.ENODEV):  # a socket, or a device without a driver
            raise _no_file(path) from error
        raise
    status = os.fstat(stream.fileno())
    if stat.S_ISREG(status.st_mode) and status.st_size <= most_bytes:
        return stream
    stream.close()
    if stat.S_ISREG(status.st_mode):
        raise SourceError(
            f"file '{path}' has {status.st_size:,} bytes, expected at most {most_bytes:,}: a whole file of its kind is smaller. "
            "Fetch the file again, or put the right one in its place"
        )
    raise _no_file(path)


def read_regular(path: str | Path | Copied, *, most_bytes: int = MAX_FILE_BYTES) -> bytes:
    """Return the content of a file; errors as ``open_regular``, and SourceError for one that gives more than its size says."""
    with open_regular(path, most_bytes=most_bytes) as stream:
        size = os.fstat(stream.fileno()).st_size
        first = stream.read(size + 1) or b""
        if len(first) == size and not stream.read(1):  # nearly always; to put pieces together would copy the content twice
            return first
        content = bytearray(first)
        while piece := stream.read(max(size + 1 - len(content), 1)):
            content += piece
            if len(content) > max(size, most_bytes):
                raise _no_file(path)
        return bytes(content)


def read_text(path: str | Path | Copied, *, most_bytes: int = MAX_TEXT_BYTES) -> str:
    """Return a UTF-8 text, its line ends as newlines; errors as ``read_regular``, and UnicodeDecodeError."""
    return read_regular(path, most_bytes=most_bytes).decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")


def _no_file(path: str | Path | Copied) -> SourceError:
    return SourceError(f"'{path}' is a pipe or a device, expected a file. Put the file in its place, then run the same command")


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))  # on a pipe, open waits for a writer
