"""The fields that depthmill reads of nuScenes-format tables, and which record has one that cannot be used.

Why    The tables are read without a look at each value, since there are millions. Where reading fails, this names the record
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

from pipeline.sources.nuscenes.json_tables import Record, iterate_table
from storage_schemas.errors import SourceError
from storage_schemas.remote_path import DataPath

Check = tuple[str, Callable[[Any], bool]]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _numbers(count: int) -> Check:
    def check(value: Any) -> bool:
        return isinstance(value, list) and len(value) == count and all(map(_is_number, value))

    return f"a list of {count} numbers", check


def is_whole(value: Any) -> bool:
    """Say whether a value is a whole number that fits 64 bits; 3.0 is one, true is none."""
    return _is_number(value) and value == int(value) and -(2**63) <= value < 2**63


def microseconds(value: Any) -> int:
    """Return a time in whole microseconds; what is less is dropped, as Lyft level 5 has it. ValueError for what is no number."""
    if type(value) is int:
        return value
    if not _is_time(value):
        raise ValueError(f"{value!r} is no time in microseconds")
    return int(value)


def _is_time(value: Any) -> bool:
    return _is_number(value) and -(2**63) <= value < 2**63


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and not any("\ud800" <= letter <= "\udfff" for letter in value)  # halves of a character


def _is_side(value: Any) -> bool:
    return is_whole(value) and -(2**31) <= value < 2**31


_TEXT: Check = ("a text that is not empty", lambda value: _is_text(value) and bool(value))
_ANY_TEXT: Check = ("a text", _is_text)
_SIDE: Check = ("a whole number of pixels", _is_side)
_LINK: Check = ("a token, or an empty text", lambda value: value is None or isinstance(value, str))
_MICROSECONDS: Check = ("a number of microseconds", _is_time)
_BOOL: Check = ("true or false", lambda value: isinstance(value, bool))

FIELDS: dict[str, dict[str, Check]] = {
    "sensor": {"token": _TEXT, "channel": _TEXT, "modality": _TEXT},
    "calibrated_sensor": {"token": _TEXT, "sensor_token": _TEXT, "translation": _numbers(3), "rotation": _numbers(4)},
    "scene": {"token": _TEXT, "name": _TEXT, "description": _ANY_TEXT},
    "sample": {"token": _TEXT, "timestamp": _MICROSECONDS, "scene_token": _TEXT},
    "category": {"token": _TEXT, "name": _TEXT},
    "instance": {"token": _TEXT, "category_token": _TEXT},
    "sample_annotation": {
        "token": _TEXT,
        "sample_token": _TEXT,
        "instance_token": _TEXT,
        "translation": _numbers(3),
        "size": _numbers(3),
        "rotation": _numbers(4),
        "prev": _LINK,
        "next": _LINK,
    },
    "ego_pose": {"token": _TEXT, "translation": _numbers(3), "rotation": _numbers(4)},
    "sample_data": {
        "token": _TEXT,
        "sample_token": _TEXT,
        "ego_pose_token": _TEXT,
        "calibrated_sensor_token": _TEXT,
        "timestamp": _MICROSECONDS,
        "filename": _TEXT,
        "is_key_frame": _BOOL,
        "height": _SIDE,
        "width": _SIDE,
        "prev": _LINK,
    },
}
"""Table -> field that is read -> what it must be, in words and as a test."""

OPTIONAL = frozenset({"prev", "next"})
"""Fields that a record may lack: links are then made from time."""


def fault_in_tables(folder: DataPath) -> SourceError | None:
    """Return the error for the first record of a version folder whose fields cannot be used; None if there is none."""
    for table, fields in FIELDS.items():
        path = folder / f"{table}.json"
        if not path.is_file():
            continue
        for number, record in enumerate(iterate_table(folder, table)):
            if fault := _fault(record, fields):
                return SourceError(
                    f"table '{path}': record {number} ({_name(record)}) {fault}. Correct the table, or "
                    "unpack the metadata archive again"
                )
    return None


def _name(record: Any) -> str:
    return f"token {record.get('token')!r}" if isinstance(record, dict) else "no record"


def _shown(value: Any) -> str:
    """Return a value as JSON would, cut short: a number without quotes, a text in them."""
    return repr(value) if isinstance(value, str) and len(value) <= 80 else json.dumps(value, ensure_ascii=False, default=str)[:80]


def _fault(record: Record | Any, fields: dict[str, Check]) -> str:
    if not isinstance(record, dict):
        return f"is {str(record)[:80]!r}, expected an object with the fields {', '.join(fields)}"
    for field, (expected, check) in fields.items():
        if field not in record:
            if field in OPTIONAL:
                continue
            return f"lacks the field '{field}'; expected the nuScenes v1.0 schema, where it is {expected}"
        if not check(record[field]):
            return f"has the {field} {_shown(record[field])}, expected {expected}"
    return ""
