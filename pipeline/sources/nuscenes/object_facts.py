"""What nuScenes-format tables say of an annotated object besides its box: attribute, visibility, counts of returns.

Why    These facts came later than the index of scenes, whose digest must stay; so they are a table beside it, with its own digest
How    Converters leave much of it out. What is not said is kept as such: a detector's metric must know it from 0
Source docs/method/formats.md#objects
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from pipeline.sources.nuscenes.checks import SceneFindings
from pipeline.sources.nuscenes.json_tables import Lookup, Record
from pipeline.sources.nuscenes.schema import is_whole
from storage_schemas.errors import SourceError
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

    def rows(self, facts: Iterable[tuple[str, Facts]], found: SceneFindings) -> list[Record]:
        """Return one row for each annotation, and note what is not said or cannot be read.

        Args:
            facts: token of each annotation, and what its record says.
            found: of the scene.
        """
        self._lacking: Counter[str] = Counter()
        rows = [
            {
                "annotation_token": token,
                "attribute": self._attribute(of_one.attribute_tokens),
                "visibility": self._visibility(of_one.visibility_token),
                "num_lidar_points": self._count(of_one.num_lidar_points, "num_lidar_pts"),
                "num_radar_points": self._count(of_one.num_radar_points, "num_radar_pts"),
            }
            for token, of_one in facts
        ]
        for what, count in sorted(self._lacking.items()):
            found.missing(what, count, advice="It matters to detectors of objects only, and counts as not said")
        return rows

    def _attribute(self, tokens: object) -> str:
        if tokens is None or tokens == "":
            return ""
        names = [self._attributes.get(token) for token in tokens] if isinstance(tokens, list) and _are_texts(tokens) else [None]
        known = [name for name in names if name is not None]
        if len(known) < len(names):
            self._lacking["boxes have an attribute that is not in attribute.json"] += 1
        if len(known) > 1:
            self._lacking["boxes have more than one attribute"] += 1
        return ",".join(known)

    def _visibility(self, token: object) -> str:
        if token is None or token == "":
            return ""
        level = self._levels.get(str(token)) if isinstance(token, str | int) else None
        if level is None:
            self._lacking["boxes have a visibility that is not in visibility.json"] += 1
        return level or ""

    def _count(self, value: object, name: str) -> int:
        if value is None:
            return NOT_SAID
        if is_whole(value) and isinstance(value, int | float) and 0 <= value < _MOST_POINTS:
            return int(value)
        self._lacking[f"boxes have a {name} that is no number of points"] += 1
        return NOT_SAID


def _are_texts(tokens: list[object]) -> bool:
    return all(isinstance(token, str) for token in tokens)


def _names(folder: DataPath, table: str, column: str) -> dict[str, str]:
    """Return token -> name of a small table; empty where the release lacks it."""
    if not (folder / f"{table}.json").is_file():
        return {}
    names = {str(token): record.get(column) for token, record in Lookup(folder, table).by_token.items()}
    for token, name in names.items():
        if not isinstance(name, str) or not name or "," in name:
            raise SourceError(
                f"table '{folder / f'{table}.json'}': record with token {token!r} has the {column} {name!r}, expected a text "
                "without a comma. Correct the table, or unpack the metadata archive again"
            )
    return {token: name for token, name in names.items() if isinstance(name, str)}
