"""The text files of the KITTI object benchmark: labels and calibration, read strictly.

Why    A label that is read wrongly trains a detector wrongly, and no error says so. Public code reads calibration by line
       number and so accepts any file
Source docs/method/formats.md#kitti-labels, #kitti-calibration. A label line: type truncation occlusion alpha left top right
       bottom height width length x y z rotation_y; pixels, metres, radians; (x, y, z) is the centre of the bottom face. A
       calibration line: key: numbers
"""

from __future__ import annotations

import difflib
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from storage_schemas.catalog import OBJECT_TYPES
from storage_schemas.errors import SourceError

LABEL_COLUMNS = (
    "truncation",
    "occlusion",
    "alpha_rad",
    "left_px",
    "top_px",
    "right_px",
    "bottom_px",
    "height_m",
    "width_m",
    "length_m",
    "x_m",
    "y_m",
    "z_m",
    "rotation_y_rad",
)
"""Columns after the type, in the order of a line, by their names in the BOXES layout."""

_SIZES = ("height_m", "width_m", "length_m")
_OCCLUSIONS = (-1, 0, 1, 2, 3)
_SHAPES = {"P0": (3, 4), "P1": (3, 4), "P2": (3, 4), "P3": (3, 4), "R0_rect": (3, 3), "Tr_velo_to_cam": (3, 4)}


def parse_labels(content: bytes, *, where: str) -> list[dict[str, Any]]:
    """Return the objects of a label file as rows of ``boxes`` without frame, in the order of the lines; DontCare is kept.

    Args:
        content: the file; it may hold no line, for an image without objects.
        where: its name, for the error text.

    Raises:
        SourceError: a line has another number of columns, an unknown type, a text in place of a number, a negative size, an
            occlusion or truncation that does not exist, or a box whose sides are swapped; names file, line and value.
    """
    lines = _text(content, where).splitlines()
    return [_label(line.split(), where=f"'{where}' line {number}") for number, line in enumerate(lines, 1) if line.strip()]


def parse_matrix(content: bytes, key: str, *, where: str) -> NDArray[np.float64]:
    """Return one matrix of a calibration file, float64: (3, 4), or (3, 3) for R0_rect.

    Args:
        content: the file.
        key: P0 to P3, R0_rect or Tr_velo_to_cam.
        where: its name, for the error text.

    Raises:
        SourceError: the key is missing or occurs twice, its numbers are too few, too many or not finite, or a projection has a
            focal length of 0 or less; names file, line and value.
    """
    lines = [(number, line) for number, line in enumerate(_text(content, where).splitlines(), 1) if line.strip()]
    matches = [(number, rest) for number, line in lines for name, _, rest in [line.partition(":")] if name.strip() == key]
    if len(matches) != 1:
        keys = ", ".join(dict.fromkeys(line.partition(":")[0].strip() for _, line in lines if ":" in line))
        fault = f"has no line '{key}:'" if not matches else f"has the key '{key}' in lines {matches[0][0]} and {matches[1][0]}"
        raise SourceError(
            f"calibration '{where}' {fault}; expected one, keys there: {keys or 'none'}. Copy the file of the data set again"
        )
    (number, rest), shape = matches[0], _SHAPES[key]
    spot = f"'{where}' line {number}, key {key}"
    numbers = rest.split()
    if len(numbers) != shape[0] * shape[1]:
        raise SourceError(
            f"{spot}: {len(numbers)} numbers, expected {shape[0] * shape[1]}, a {shape[0]}x{shape[1]} matrix row by row. "
            "Copy the file of the data set again"
        )
    matrix = np.array([_number(word, column=key, where=spot) for word in numbers]).reshape(shape)
    if key.startswith("P") and (matrix[0, 0] <= 0 or matrix[1, 1] <= 0):
        raise SourceError(
            f"{spot}: focal lengths are {matrix[0, 0]:g} and {matrix[1, 1]:g} pixels, expected more than 0. "
            "Copy the file of the data set again"
        )
    return matrix


def _text(content: bytes, where: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SourceError(f"'{where}' is no text: {error}. Copy it again, then run the same command") from error


def _label(columns: list[str], *, where: str) -> dict[str, Any]:
    if len(columns) != 1 + len(LABEL_COLUMNS):
        hint = " (16 with a score: a result file is no label file)" if len(columns) == 2 + len(LABEL_COLUMNS) else ""
        raise SourceError(
            f"{where} has {len(columns)} columns, expected {1 + len(LABEL_COLUMNS)}: type, {', '.join(LABEL_COLUMNS)}{hint}. "
            "Correct the line"
        )
    if columns[0] not in OBJECT_TYPES:
        near = difflib.get_close_matches(columns[0], OBJECT_TYPES, n=1, cutoff=0.5)
        hint = f"did you mean '{near[0]}'?" if near else f"expected one of: {', '.join(OBJECT_TYPES)}"
        raise SourceError(f"{where}: type '{columns[0]}' is unknown; {hint} Correct the line")
    row: dict[str, Any] = {"category": columns[0], "source_category": columns[0], "instance_token": None}
    row |= {name: _number(word, column=name, where=where) for name, word in zip(LABEL_COLUMNS, columns[1:], strict=True)}
    _check_values(row, where)
    return {**row, "occlusion": int(row["occlusion"])}


def _check_values(row: dict[str, Any], where: str) -> None:
    if not (0.0 <= row["truncation"] <= 1.0 or row["truncation"] == -1.0):
        raise SourceError(f"{where}: truncation is {row['truncation']:g}, expected 0 to 1, or -1 = not known. Correct the line")
    if row["occlusion"] not in _OCCLUSIONS:
        raise SourceError(f"{where}: occlusion is {row['occlusion']:g}, expected 0, 1, 2, 3, or -1 = not said. Correct the line")
    for name in _SIZES if row["category"] != "DontCare" else ():
        if row[name] < 0:
            raise SourceError(f"{where}: {name} of a {row['category']} is {row[name]:g}, expected 0 or more. Correct the line")
    for low, high in (("left_px", "right_px"), ("top_px", "bottom_px")):
        if row[high] < row[low]:
            raise SourceError(
                f"{where}: {high} {row[high]:g} is smaller than {low} {row[low]:g}; expected left, top, right, bottom in this "
                "order. Correct the line"
            )


def _number(word: str, *, column: str, where: str) -> float:
    try:
        value = float(word)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise SourceError(f"{where}: {column} is '{word}', expected a finite number. Correct the line")
    return value
