"""Say which data set a folder is for ``depthmill init``; where it is none, say which folder near it is, and what is in it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from pipeline.sources import source_specs
from pipeline.sources.spec import SourceSpec
from storage_schemas.errors import SourceError
from storage_schemas.remote_path import DataPath, RemotePath, folder_names

MAX_LOOKED_AT = 200
"""Entries of a folder that are looked into; a home folder on a network drive shall not hold the answer up."""

NAMED_ENTRIES = 8


def kind_of(folder: DataPath) -> SourceSpec[Any] | None:
    """Return which kind of data set a folder is the root of, None if of no known data set."""
    specs = [spec for spec in source_specs().values() if spec.takes_urls or isinstance(folder, Path)]
    return next((spec for spec in specs if spec.recognise(folder)), None) if folder.is_dir() else None


def recognise(folder: DataPath) -> SourceSpec[Any]:
    """Return which kind of data set a folder is the root of.

    Raises:
        SourceError: the folder is no known data set; names the folder near it that is one, or what was found instead.
    """
    if not folder.exists():
        raise SourceError(f"data root '{folder}' does not exist. Give the folder that holds the data set")
    if not folder.is_dir():
        raise SourceError(f"data root '{folder}' is a file. Give the folder that holds the unpacked data set")
    if (spec := kind_of(folder)) is not None:
        return spec
    near = [*_above(folder), *_below(folder)]
    if near:
        others = f" (also: {', '.join(map(str, near[1:4]))})" if near[1:] else ""
        raise SourceError(f"'{folder}' is not the root of a data set, '{near[0]}' is{others}. Run: depthmill init {near[0]}")
    *first, last = [spec.looked_for for spec in source_specs().values() if spec.looked_for]
    looked_for = f"{', '.join(first)} or {last}"
    raise SourceError(f"'{folder}' is no data set that depthmill knows. Looked for {looked_for}. {_instead(folder)}")


def _above(folder: DataPath) -> list[DataPath]:
    if isinstance(folder, RemotePath):  # a bucket may hold millions of files beside the folder, and listing them takes hours
        return []
    parents: list[DataPath] = [parent for parent in list(folder.absolute().parents)[:3] if kind_of(parent)]
    return parents[:1]


def _below(folder: DataPath) -> list[DataPath]:
    """Return data sets one or two folders down."""
    data_sets: list[DataPath] = []
    for inner in _folders(folder):
        if kind_of(inner):
            data_sets.append(inner)
        else:
            data_sets += [innermost for innermost in _folders(inner) if kind_of(innermost)]
    return data_sets


def _folders(folder: DataPath) -> list[DataPath]:
    if isinstance(folder, RemotePath):
        return [folder / name for name, entry in list(folder.data.listing(folder.key).items())[:MAX_LOOKED_AT] if entry.is_folder]
    try:
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry, _ in zip(entries, range(MAX_LOOKED_AT), strict=False) if entry.is_dir())
    except OSError:
        return []
    return [folder / name for name in names if not name.startswith(".")]


def _instead(folder: DataPath) -> str:
    inner = {path.name for path in _folders(folder)}
    names = sorted(f"{name}/" if name in inner else name for name in folder_names(folder))
    if not names:
        return "The folder is empty"
    archives = [name for name in names if name.endswith((".tgz", ".tar", ".tar.gz", ".zip", ".tar.bz2"))]
    if archives:
        return f"There are archives ({', '.join(archives[:3])}): unpack them here, then run the same command"
    more = f" and {len(names) - NAMED_ENTRIES:,} more" if len(names) > NAMED_ENTRIES else ""
    return f"Found instead: {', '.join(names[:NAMED_ENTRIES])}{more}"
