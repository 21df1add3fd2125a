"""Read the JSON tables of a nuScenes release, the large ones in pieces.

sample_data.json of trainval has 2.6 million records in 1.3 GB. Parsed at once they are 4 GB of dictionaries, of which most are
thrown away. Its records are flat, so the file can be cut behind any closing brace and parsed piece by piece.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Protocol, TypeVar

import orjson

from pipeline.sources.raw_files import LFS_POINTER, lfs_pointer
from storage_schemas.errors import SourceError
from storage_schemas.regular_files import MAX_TABLE_BYTES, open_regular, read_regular
from storage_schemas.remote_path import DataPath

TABLE_NAMES = (
    "category",
    "attribute",
    "visibility",
    "instance",
    "sensor",
    "calibrated_sensor",
    "ego_pose",
    "log",
    "scene",
    "sample",
    "sample_data",
    "sample_annotation",
    "map",
)
"""Tables that make a release complete for the devkit."""

REQUIRED_TABLES = ("sensor", "calibrated_sensor", "ego_pose", "scene", "sample", "sample_data")
"""Tables that say where sensors were and what they recorded; nothing can be made without one of them."""

ANNOTATION_TABLES = ("category", "instance", "sample_annotation")
"""Tables of boxes. A release whose sample_annotation.json is absent has no boxes."""

PIECE_BYTES = 32 << 20
"""Bytes of a table that are parsed at a time."""

MOST_RECORD_BYTES = 256 << 20
"""A table is refused that has no record within so many bytes: it would be taken into memory as a whole."""

Record = dict[str, Any]


def read_table(folder: DataPath, name: str) -> list[Record]:
    """Read one JSON table at once.

    Raises:
        SourceError: the file is missing, is not JSON, or is not a list of records with tokens.
    """
    path = folder / f"{name}.json"
    try:
        content = read_regular(path, most_bytes=MAX_TABLE_BYTES)
    except FileNotFoundError as error:
        raise SourceError(f"table '{path}' is missing. {_needed(name)}; unpack the metadata archive again") from error
    except OSError as error:
        remedy = "Give this user read permission" if isinstance(error, PermissionError) else "Put the file in its place"
        raise SourceError(f"table '{path}' cannot be read: {error.strerror}. {remedy}") from error
    if content.startswith(LFS_POINTER):
        raise lfs_pointer(str(path))
    if b"\0" in content[:64]:  # a hole, which the slow parser would go through
        raise SourceError(f"table '{path}' is not valid JSON: it holds zeros. Unpack the metadata archive again")
    try:
        records = _parsed(content)
    except orjson.JSONDecodeError as error:
        raise SourceError(
            f"table '{path}' is not valid JSON: {error.msg} at line {error.lineno}, column {error.colno}. "
            "The file is probably cut short; unpack the metadata archive again"
        ) from error
    if not isinstance(records, list):
        raise SourceError(f"table '{path}' is not a list of records with a 'token'; unpack the metadata archive again")
    if wrong := next((record for record in records if not isinstance(record, dict) or "token" not in record), None):
        raise SourceError(
            f"table '{path}' is not a list of records with a 'token': one is {str(wrong)[:80]}. Unpack the metadata archive again"
        )
    return records


def _needed(name: str) -> str:
    if name in ANNOTATION_TABLES:
        return f"sample_annotation.json is there, and boxes need {', '.join(ANNOTATION_TABLES)}"
    return f"Every release has {', '.join(REQUIRED_TABLES)}"


def _parsed(content: bytes | memoryview) -> Any:
    """Parse JSON as orjson does; NaN, Infinity and a byte-order mark, which it refuses, are taken as Python's json takes them."""
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError:
        try:
            return json.loads(bytes(content))
        except (ValueError, RecursionError):
            pass
        raise


def iterate_table(folder: DataPath, name: str) -> Iterator[Record]:
    """Yield the records of a table of flat records without holding all of them.

    Raises:
        SourceError: as ``read_table``.
    """
    path = folder / f"{name}.json"
    num_yielded = 0
    try:
        for piece in _pieces(path):
            records = _parsed(piece)
            yield from records
            num_yielded += len(records)
    except (OSError, orjson.JSONDecodeError):
        # The table is not flat, no list, cut short or missing: parsing it at once tells which, and where.
        yield from read_table(folder, name)[num_yielded:]


def _pieces(path: DataPath) -> Iterator[memoryview]:
    """Yield JSON lists that together hold the records of a file with one list of flat records; each piece is copied once only."""
    with open_regular(path, most_bytes=MAX_TABLE_BYTES) as stream:
        rest, opening = bytearray(), b"["
        while piece := stream.read(PIECE_BYTES):
            data = rest + piece
            end = data.rfind(b"}") + 1
            if end == 0:
                if len(data) > MOST_RECORD_BYTES or data.lstrip()[:1] not in (b"", opening):
                    raise orjson.JSONDecodeError("not a list of records", "", 0)
                rest = data
                continue
            rest = data[end:]
            start = end - len(data[:end].lstrip()) if data[:1].isspace() else 0
            if data[start : start + 1] != opening:
                raise orjson.JSONDecodeError("not a list of records", "", 0)
            data[start] = ord("[")
            data[end:] = b"]"
            yield memoryview(data)[start:]
            opening = b","
        closing = bytes(rest).strip()
        if closing not in (b"]", b"[]") or (closing == b"[]") != (opening == b"["):
            raise orjson.JSONDecodeError("the list is not closed", "", 0)


class Lookup:
    """Records of one table by token, with an error that says which record refers to a missing token.

    Raises:
        SourceError: as ``read_table``, or two different records have one token.
    """

    def __init__(self, folder: DataPath, name: str) -> None:
        self.name = name
        records = read_table(folder, name)
        self.by_token = {record["token"]: record for record in records}
        self.num_repeated = len(records) - len(self.by_token)
        if self.num_repeated:
            self._refuse_contradictions(records)

    def _refuse_contradictions(self, records: list[Record]) -> None:
        for record in records:
            if record != self.by_token[record["token"]]:
                raise two_records(self.name, record["token"])

    def get(self, token: str, table: str, asked_by: str) -> Record:
        """Return a record; SourceError names who refers to it: a record of a table, by its token."""
        try:
            return self.by_token[token]
        except KeyError as error:
            raise missing_token(self.name, token, asked_by=f"{table} '{asked_by}'") from error


class HasToken(Protocol):
    """A kept record."""

    @property
    def token(self) -> str:
        """Its token in the table."""
        ...


KeptT = TypeVar("KeptT", bound=HasToken)


def each_once(records: list[KeptT], table: str) -> list[KeptT]:
    """Return the records without those that are in the table twice; SourceError if two different ones have the same token."""
    different = {record.token: record for record in records}
    if len(different) == len(records):
        return records
    for record in records:
        if record != different[record.token]:
            raise two_records(table, record.token)
    return list(different.values())


def two_records(table: str, token: str) -> SourceError:
    """Return the error for two different records of one token."""
    return SourceError(
        f"{table}.json has two different records with the token {token!r}; expected a token for each. "
        "Correct the tables: the two records must have tokens of their own"
    )


def missing_token(name: str, token: str, *, asked_by: str) -> SourceError:
    """Return the error for a token that no record has."""
    return SourceError(
        f"{asked_by} refers to {name} '{token}', which is not in {name}.json. "
        "The tables do not belong together; unpack the metadata archive again"
    )
