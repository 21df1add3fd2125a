"""What a server says of files of a remote root besides their content: sizes, times, and tags that change with the content."""

from __future__ import annotations

import datetime
import inspect
from collections.abc import Mapping
from typing import Any

from storage_schemas.files import StoreFiles

Facts = Mapping[str, Any]
"""What fsspec calls the details of a file: name, size, type, and what the server gives besides."""


_TAGS = ("ETag", "etag", "md5Hash", "content_md5", "checksum")
_TIMES = ("LastModified", "updated", "last_modified", "mtime", "created")


def time_of(facts: Facts) -> float | None:
    """Return when a file was written by the server's clock, seconds since 1970; None if it does not say."""
    time = next((facts[name] for name in _TIMES if facts.get(name) is not None), None)
    if isinstance(time, datetime.datetime) and time.tzinfo is not None:
        return time.timestamp()
    return float(time) if isinstance(time, int | float) else None


def tag_of(facts: Facts) -> str:
    """Return what changes with a file's content: the server's digest, or else the time; "" if it says neither."""
    tag = next((facts[name] for name in _TAGS if facts.get(name)), None) or time_of(facts) or facts.get("LastModified") or ""
    return str(tag).strip('"')


def facts_of(files: StoreFiles, key: str) -> Facts | None:
    """Return what is said of one file; None if there is no such file."""
    try:
        facts: Facts = files.persist("look up", key, lambda: files.info(key))
    except FileNotFoundError:
        return None
    return facts if facts["type"] == "file" else None


def facts_in_folder(files: StoreFiles, key: str) -> dict[str, Facts]:
    """Return name -> what is said of it, of all that lies directly in a folder; empty if there is none."""
    try:
        listed = files.persist("list", key, files.call("ls", key, detail=True, refresh=True))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    itself = _stripped(files, key)  # a listing of a file's key gives that file, and one of a folder perhaps its placeholder
    return {_name(facts).rsplit("/", 1)[-1]: facts for facts in listed if _name(facts) != itself}


def facts_of_prefix(files: StoreFiles, prefix: str) -> dict[str, Facts]:
    """Return key -> what is said of it, of all files whose key begins so; a server that can do it lists no others."""
    folder, _, start = prefix.rpartition("/")
    options = {"prefix": start} if start and _lists_prefixes(files.filesystem) else {}
    found = files.persist("list", prefix, files.call("find", folder, detail=True, **options))
    base = _stripped(files, "")
    keys = ((name[len(base) :].lstrip("/"), facts) for name, facts in found.items())
    return {key: facts for key, facts in keys if key.startswith(prefix)}


def _name(facts: Facts) -> str:
    return str(facts["name"]).rstrip("/")


def _stripped(files: StoreFiles, key: str) -> str:
    return str(files.filesystem._strip_protocol(files.path(key))).rstrip("/")


def _lists_prefixes(filesystem: Any) -> bool:
    return "prefix" in inspect.signature(getattr(filesystem, "_find", filesystem.find)).parameters
