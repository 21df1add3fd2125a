"""What nuScenes-format tables say of an annotated object besides its box: attribute, visibility, counts of returns.

Why    These facts came later than the index of scenes, whose digest must stay; so they are a table beside it, with its own digest
How    Converters leave much of it out. What is not said is kept as such: a detector's metric must know it from 0. What cannot be
       read counts as not said, and the stage that asks for objects says how often: it matters to nobody else
Source docs/method/formats.md#objects
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from pipeline.sources.nuscenes.json_tables import Lookup, Record
from pipeline.sources.nuscenes.schema import is_whole
from storage_schemas.layout import ColumnSpec, TableSpec
from storage_schemas.remote_path import DataPath

OBJECT_FACTS = TableSpec(
    "object_facts",
    description="one row per row of frames.boxes",
    columns=(
        ColumnSpec("annotation_token", "string", "", "sample_annotation"),
        ColumnSpec("attribute", "string", "", "names of its attributes, joined by a comma; empty = none"),
        ColumnSpec("visibility", "string", "", "level of visibility, e.g. v40-60; empty = not said"),
        ColumnSpec("num_lidar_points", "int32", "1", "-1 = not said"),
        ColumnSpec("num_radar_points", "int32", "1", "-1 = not said"),
        ColumnSpec(
            "unreadable", "string", "", "names of these columns that say something that cannot be read, joined by a comma"
        ),
    ),
)
"""A table of the cached index."""

NOT_SAID = -1
_MOST_POINTS = 2**31


class Facts(NamedTuple):
    """Fields kept of a sample_annotation record for this table, as they stand in it; None = the record lacks the field."""

    attribute_tokens: object
    visibility_token: object
    num_lidar_points: object
    num_radar_points: object


NOTHING_SAID = Facts(None, None, None, None)


def facts_of(record: Record) -> Facts:
    """Return the fields of a sample_annotation record."""
    return Facts(
        record.get("attribute_tokens"),
        record.get("visibility_token"),
        record.get("num_lidar_pts"),
        record.get("num_radar_pts"),
    )


class ObjectFacts:
    """Makes the rows of a release; knows its tables of attributes and visibility, which a release may lack.

    Args:
        folder: version folder.

    Raises:
        SourceError: one of the two tables is broken.
    """

    def __init__(self, folder: DataPath) -> None:
        self._folder = folder
        self._attributes = _names(folder, "attribute", "name")
        self._levels = _names(folder, "visibility", "level")

    def rows(self, facts: Iterable[tuple[str, Facts]]) -> list[Record]:
        """Return one row for each annotation, from its token and what its record says."""
        return [{"annotation_token": token, **self._row(of_one)} for token, of_one in facts]

    def _row(self, facts: Facts) -> Record:
        read: dict[str, str | int | None] = {
            "attribute": self._attribute(facts.attribute_tokens),
            "visibility": self._visibility(facts.visibility_token),
            "num_lidar_points": _count(facts.num_lidar_points),
            "num_radar_points": _count(facts.num_radar_points),
        }
        unreadable = [name for name, value in read.items() if value is None]
        instead = {name: NOT_SAID if name.startswith("num_") else "" for name in unreadable}
        return {**read, **instead, "unreadable": ",".join(unreadable)}

    def _attribute(self, tokens: object) -> str | None:
        """Return the names of attributes; None if one of them is not in the table."""
        if tokens is None or tokens == "":
            return ""
        if not isinstance(tokens, list) or not all(isinstance(token, str) and token in self._attributes for token in tokens):
            return None
        return ",".join(self._attributes[token] for token in tokens)

    def _visibility(self, token: object) -> str | None:
        """Return a level of visibility; None if it is not in the table."""
        if token is None or token == "":
            return ""
        return self._levels.get(str(token)) if isinstance(token, str | int) else None


def _count(value: object) -> int | None:
    """Return a number of points; None if it is none."""
    if value is None:
        return NOT_SAID
    if isinstance(value, int | float) and is_whole(value) and 0 <= value < _MOST_POINTS:
        return int(value)
    return None


def _names(folder: DataPath, table: str, column: str) -> dict[str, str]:
    """Return token -> name of a small table; without what has no name, and empty where the release lacks the table."""
    if not (folder / f"{table}.json").is_file():
        return {}
    names = {token: record.get(column) for token, record in Lookup(folder, table).by_token.items()}
    return {str(token): name for token, name in names.items() if isinstance(name, str) and name}
