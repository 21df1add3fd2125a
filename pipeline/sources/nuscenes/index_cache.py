"""The cache of an index: of which tables it is, by their content, and whether its files are still what was written.

Why    A table may be replaced by one of the same size and time, and a cache may be cut short by a full disk. Both would give
       wrong poses, or a data set without scenes, in silence
How    Tables are hashed, which takes as long as reading them: 0.3 s for trainval's 1.5 GB from memory. A table whose size, times
       and inode are those of the last time is not read again: no program can set the time of the last change (ctime)
"""

from __future__ import annotations

import json
import shutil
import time
import uuid
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import xxhash

from storage_schemas.errors import SourceError
from storage_schemas.files import written_whole
from storage_schemas.regular_files import MAX_TABLE_BYTES, open_regular, read_regular
from storage_schemas.remote_path import DataPath, RemotePath
from storage_schemas.seals import read_sealed_json, sealed_json

WHOLE_FILE = "whole.json"
"""Written last into an index: size and digest of each of its files."""

UNSETTLED_NS = 2_000_000_000
"""What changed so recently may change again within the resolution of its times, so nothing is kept of it."""

_PIECE_BYTES = 8 << 20


def digests_of_tables(tables: Iterable[DataPath], *, note: Path) -> dict[str, str]:
    """Return table -> xxh3 digest of its content; those that do not exist are left out.

    Of tables at a URL it is what the server says of their content, so that nothing is fetched for it.

    Args:
        tables: files.
        note: where digests are kept between runs; what cannot be kept is computed again.

    Raises:
        SourceError: a table cannot be read.
    """
    kept, digests, facts_now = _read_note(note), {}, {}
    for path in tables:
        if not path.is_file():
            continue
        if isinstance(path, RemotePath):
            digests[path.name] = path.content_tag()
            continue
        status, now_ns = path.stat(), time.time_ns()
        facts = [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_dev]
        former = kept.get(str(path))
        is_known = isinstance(former, list) and len(former) == 2 and former[0] == facts and isinstance(former[1], str)
        digest = former[1] if is_known and former is not None else digest_of_file(path)
        digests[path.name] = digest
        if now_ns - max(status.st_mtime_ns, status.st_ctime_ns) > UNSETTLED_NS:
            facts_now[str(path)] = [facts, digest]
    if facts_now != kept:
        with suppress(OSError), written_whole(note, is_flushed=False) as stream:
            stream.write(sealed_json(facts_now))
    return digests


def _read_note(note: Path) -> dict[str, Any]:
    """Return the digests that were kept; none of a note that is not what was written, or that has no seal."""
    try:
        return read_sealed_json(read_regular(note), needs_seal=True)
    except (OSError, ValueError):  # a SourceError and a broken seal are ValueErrors
        return {}


def digest_of_file(path: Path) -> str:
    """Return the xxh3 digest of a file; SourceError if it cannot be read."""
    total = xxhash.xxh3_128()
    try:
        with open_regular(path, most_bytes=MAX_TABLE_BYTES) as stream:
            while piece := stream.read(_PIECE_BYTES):
                total.update(piece)
    except OSError as error:
        remedy = "Give this user read permission" if isinstance(error, PermissionError) else "Put the file in its place"
        raise SourceError(f"'{path}' cannot be read: {error.strerror}. {remedy}") from error
    return total.hexdigest()


def seal(folder: Path) -> None:
    """Note size and digest of every file of a folder that is finished."""
    files = {path.name: [path.stat().st_size, digest_of_file(path)] for path in sorted(folder.iterdir())}
    (folder / WHOLE_FILE).write_text(json.dumps(files))


def is_whole(folder: Path) -> bool:
    """Say whether a folder has every file as it was sealed."""
    files = _read_json(folder / WHOLE_FILE)
    try:
        return bool(files) and all(
            (folder / name).stat().st_size == size and digest_of_file(folder / name) == digest
            for name, (size, digest) in files.items()
        )
    except (OSError, SourceError, TypeError, ValueError):
        return False


def throw_away(folder: Path) -> None:
    """Delete a folder that is damaged; it is moved aside first, so that no reader finds half of it."""
    aside = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}")
    with suppress(OSError):  # another process may be doing the same
        folder.replace(aside)
        shutil.rmtree(aside, ignore_errors=True)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(read_regular(path))
    except (OSError, ValueError, RecursionError):  # a SourceError is a ValueError
        return {}
    return content if isinstance(content, dict) else {}
