"""The text files of the KITTI object benchmark: labels and calibration, read strictly.

Why    A label that is read wrongly trains a detector wrongly, and no error says so. Public code reads calibration by line
       number and so accepts any file
Source docs/method/formats.md#kitti-labels, #kitti-calibration. A label line: type truncation occlusion alpha left top right
       bottom height width length x y z rotation_y; pixels, metres, radians; (x, y, z) is the centre of the bottom face. A
       calibration line: key: numbers, or as in the tracking benchmark: key numbers
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator, Mapping
from types import MappingProxyType
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
NOT_SAID_M, NOT_SAID_PLACE_M, NOT_SAID_RAD = -1.0, -1000.0, -10.0
"""What KITTI's files write for a size, a place and an angle that nobody annotated."""

_NO_TYPES: Mapping[str, str] = MappingProxyType({})
_TYPE_OF = {name.lower(): name for name in OBJECT_TYPES}
_SHAPES = {"P0": (3, 4), "P1": (3, 4), "P2": (3, 4), "P3": (3, 4), "R0_rect": (3, 3), "Tr_velo_to_cam": (3, 4)}
_OTHER_NAMES = {"R0_rect": ("R_rect",), "Tr_velo_to_cam": ("Tr_velo_cam",)}
"""Names of the same matrices in the tracking benchmark."""

_LARGEST = {"P": 1e7, "R": 2.0, "T": 1e3}
"""By the first letter of a matrix: the largest number of a projection, a rotation and a pose on a car."""

_LARGEST_LABEL = 1e6
"""Neither metres nor pixels nor radians of an object are as many."""

_LARGEST_ERROR = 1e-6  # of numbers that a projection has by definition; the benchmark's own files have none


def parse_labels(content: bytes, *, where: str, types: Mapping[str, str] = _NO_TYPES) -> list[dict[str, Any]]:
    """Return the objects of a label file as rows of ``boxes`` without frame, in the order of the lines; DontCare is kept.

    An observation angle that is not said is computed, where the object's turn and place are said. An object without sizes or
    without a place stays one of the image only.

    Args:
        content: the file; it may hold no line, for an image without objects.
        where: its name, for the error text.
        types: types of this data set -> KITTI's. For them and for KITTI's own, upper and lower case are one.

    Raises:
        SourceError: a line has another number of columns, an unknown type, a text in place of a number, a negative size, an
            occlusion or truncation that does not exist, or a box whose sides are swapped; names file, line and value.
    """
    lines = _text(content, where).splitlines()
    return [_label(line.split(), types, where=f"'{where}' line {number}") for number, line in enumerate(lines, 1) if line.strip()]


def count_objects(content: bytes) -> tuple[int, int]:
    """Count the objects of a label file, without DontCare, and those whose observation angle ``parse_labels`` computes.

    Lines that ``parse_labels`` refuses count as objects; it says what is wrong with them.
    """
    num_objects = num_computed = 0
    for line in content.splitlines():
        words = line.split()
        if not words or words[0].lower() == b"dontcare":
            continue
        num_objects += 1
        if len(words) == 1 + len(LABEL_COLUMNS) and words[3].startswith(b"-1"):
            try:
                row = dict(zip(LABEL_COLUMNS, map(float, words[1:]), strict=True))
            except ValueError:
                continue
            num_computed += _lacks_alpha(row)
    return num_objects, num_computed


def parse_matrix(content: bytes, key: str, *, where: str) -> NDArray[np.float64]:
    """Return one matrix of a calibration file, float64: (3, 4), or (3, 3) for R0_rect.

    Args:
        content: the file.
        key: P0 to P3, R0_rect or Tr_velo_to_cam.
        where: its name, for the error text.

    Raises:
        SourceError: the key is missing or occurs twice, its numbers are too few, too many or not finite, or a projection is not
            K [I | t]; names file, line and value.
    """
    entries = list(_entries(_text(content, where)))
    matches = [(number, rest) for number, name, rest in entries if name == key or name in _OTHER_NAMES.get(key, ())]
    if len(matches) != 1:
        keys = ", ".join(dict.fromkeys(name for _, name, _ in entries))
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
    largest = _LARGEST[key[:1]]
    if np.abs(matrix).max() > largest:
        raise SourceError(
            f"{spot}: a number is {matrix.flat[np.abs(matrix).argmax()]:g}, expected at most {largest:g}: pixels or "
            "metres. Copy the file of the data set again"
        )
    if key.startswith("P"):
        _check_projection(matrix, spot)
    return matrix


def check_centre(projection: NDArray[np.float64], *, width: int, height: int, where: str) -> None:
    """Raise SourceError if a projection (3, 4) cannot be of an image of this size: its principal point is far outside.

    An image that is cut out of another may have it outside, though no farther than the image is large.
    """
    for name, centre, side in (("cx", projection[0, 2], width), ("cy", projection[1, 2], height)):
        if not -side <= centre <= 2 * side:
            raise SourceError(
                f"'{where}': {name} of the projection is {centre:g}, and its image is {width}x{height} pixels. Expected the "
                "principal point of an image of this size. Copy the files of the data set again, or scale the projection"
            )


def _entries(text: str) -> Iterator[tuple[int, str, str]]:
    """Yield number, key and the rest of each line of a calibration file."""
    for number, line in enumerate(text.splitlines(), 1):
        name, colon, rest = line.partition(":")
        if not colon or len(name.split()) > 1:  # the tracking benchmark writes some keys without a colon
            name, rest = (*line.split(None, 1), "", "")[:2]
        if name.strip():
            yield number, name.strip(), rest


def _check_projection(matrix: NDArray[np.float64], spot: str) -> None:
    """Check that a projection (3, 4) is K [I | t]: another one would place and turn every object wrongly, without a word."""
    if matrix[0, 0] <= 0 or matrix[1, 1] <= 0:
        raise SourceError(
            f"{spot}: focal lengths are {matrix[0, 0]:g} and {matrix[1, 1]:g} pixels, expected more than 0. "
            "Copy the file of the data set again"
        )
    wrong, expected = "", ""
    if np.abs(matrix[2, :3] - [0.0, 0.0, 1.0]).max() > _LARGEST_ERROR:
        wrong, expected = f"the third row is {_numbers(matrix[2])}", "0 0 1 t"
    for row, column, focal in ((0, 1, matrix[0, 0]), (1, 0, matrix[1, 1])):
        if not wrong and abs(matrix[row, column]) > _LARGEST_ERROR * focal:
            name = "first" if row == 0 else "second"
            wrong = f"the {name} row is {_numbers(matrix[row])}, with {matrix[row, column]:g} in column {column + 1}"
            expected = "0 there, since a rectified image has no skew"
    if wrong:
        raise SourceError(
            f"{spot}: {wrong}, expected {expected}: a projection K [I | t] of labels in the rectified camera frame. Turn labels "
            "and points into that frame and write the projection of it, with the rotation taken out"
        )


def _numbers(values: NDArray[np.float64]) -> str:
    return " ".join(f"{value:g}" for value in values)


def _text(content: bytes, where: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SourceError(f"'{where}' is no text: {error}. Copy it again, then run the same command") from error


def _label(columns: list[str], types: Mapping[str, str], *, where: str) -> dict[str, Any]:
    if len(columns) != 1 + len(LABEL_COLUMNS):
        hint = " (16 with a score: a result file is no label file)" if len(columns) == 2 + len(LABEL_COLUMNS) else ""
        raise SourceError(
            f"{where} has {len(columns)} columns, expected {1 + len(LABEL_COLUMNS)}: type, {', '.join(LABEL_COLUMNS)}{hint}. "
            "Correct the line"
        )
    category = _category_of(columns[0], types, where)
    row: dict[str, Any] = {"category": category, "source_category": columns[0], "instance_token": None}
    row |= {name: _label_number(word, column=name, where=where) for name, word in zip(LABEL_COLUMNS, columns[1:], strict=True)}
    _check_values(row, where)
    if category != "DontCare" and _lacks_alpha(row):
        alpha = row["rotation_y_rad"] - math.atan2(row["x_m"], row["z_m"])
        row["alpha_rad"] = (alpha + math.pi) % (2 * math.pi) - math.pi
    return {**row, "occlusion": int(row["occlusion"])}


def _category_of(name: str, types: Mapping[str, str], where: str) -> str:
    """Return KITTI's type of a type in a label file."""
    known = _TYPE_OF | {other.lower(): category for other, category in types.items()}
    if (category := known.get(name.lower())) is not None:
        return category
    near = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.5)
    hint = f"did you mean '{known[near[0]]}'?" if near else f"expected one of: {', '.join(OBJECT_TYPES)}."
    raise SourceError(
        f"{where}: type '{name}' is unknown; {hint} Correct the line, or say in the recipe which of KITTI's types it is, e.g. "
        f"source.types: {{{name}: {known[near[0]] if near else 'Car'}}}"
    )


def _lacks_alpha(row: Mapping[str, Any]) -> bool:
    """Say whether an object does not say its observation angle, which follows from its turn and its place."""
    return bool(row["alpha_rad"] == NOT_SAID_RAD != row["rotation_y_rad"] and _is_in_space(row))


def _is_in_space(row: Mapping[str, Any]) -> bool:
    return all(row[name] > 0 for name in _SIZES) and NOT_SAID_PLACE_M not in (row["x_m"], row["y_m"], row["z_m"])


def _check_values(row: dict[str, Any], where: str) -> None:
    if not (0.0 <= row["truncation"] <= 1.0 or row["truncation"] == -1.0):
        raise SourceError(f"{where}: truncation is {row['truncation']:g}, expected 0 to 1, or -1 = not known. Correct the line")
    if row["occlusion"] not in _OCCLUSIONS:
        raise SourceError(f"{where}: occlusion is {row['occlusion']:g}, expected 0, 1, 2, 3, or -1 = not said. Correct the line")
    has_no_size = all(row[name] == NOT_SAID_M for name in _SIZES)
    for name in _SIZES if row["category"] != "DontCare" and not has_no_size else ():
        if row[name] < 0:
            raise SourceError(f"{where}: {name} of a {row['category']} is {row[name]:g}, expected 0 or more. Correct the line")
    for name in ("alpha_rad", "rotation_y_rad"):
        if abs(row[name]) > abs(NOT_SAID_RAD):
            raise SourceError(
                f"{where}: {name} is {row[name]:g}, expected radians from -pi to pi, or {NOT_SAID_RAD:g} = not said. Is it in "
                "degrees? Correct the line"
            )
    for low, high in (("left_px", "right_px"), ("top_px", "bottom_px")):
        if row[high] < row[low]:
            raise SourceError(
                f"{where}: {high} {row[high]:g} is smaller than {low} {row[low]:g}; expected left, top, right, bottom in this "
                "order. Correct the line"
            )


def _label_number(word: str, *, column: str, where: str) -> float:
    value = _number(word, column=column, where=where)
    if abs(value) > _LARGEST_LABEL:
        raise SourceError(f"{where}: {column} is {value:g}, expected at most {_LARGEST_LABEL:g}. Correct the line")
    return value


def _number(word: str, *, column: str, where: str) -> float:
    try:
        value = float(word) if word.isascii() and "_" not in word else math.nan  # Python takes 1_000, and digits of any script
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise SourceError(f"{where}: {column} is '{word}', expected a finite number. Correct the line")
    return value
