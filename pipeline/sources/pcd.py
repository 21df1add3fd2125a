"""Read point files of the PCD format: ascii, binary and binary_compressed, with any fields.

Why    Radar and LiDAR files of drives are written by many programs. A reader that skips what it does not know (COUNT, POINTS,
       the DATA kind) gives shifted numbers without a word. So everything in the header counts, and a contradiction is an error
Source docs/method/formats.md#pcd. pypcd4 is the judge in the tests and not the reader: it takes two to three times as long for a
       binary radar file, and refuses ascii with two spaces and headers without COUNT
"""

from __future__ import annotations

import re
import struct
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from storage_schemas.errors import SourceError

LONGEST_HEADER = 1 << 16
"""Bytes in which the line DATA must stand: a file of another format is not searched to its end."""

FIRST_WORDS = (b"# .PCD", b"VERSION", b"FIELDS")
"""What a .pcd begins with."""

_DATA_LINE = re.compile(rb"(?:^|\n)[ \t]*DATA[ \t]+([^\r\n]*?)[ \t]*\r?\n")
_TYPES = {("F", "4"), ("F", "8")} | {(kind, size) for kind in "IU" for size in "1248"}
_PADDING = "_"


class _Layout(NamedTuple):
    """How the fields of a point lie in the file.

    Attributes:
        dtype: of one point; field k is named ``str(k)``, since several fields may be called ``_``.
        names: name of each field in the file.
        counts: values of each field.
    """

    dtype: np.dtype[np.void]
    names: tuple[str, ...]
    counts: tuple[int, ...]


def is_pcd(content: bytes) -> bool:
    """Say whether a file begins as a .pcd does, whatever its name is."""
    return content.startswith(FIRST_WORDS)


def read_pcd(content: bytes, *, where: str) -> dict[str, NDArray[Any]]:
    """Return the fields of a .pcd by name, in the order of the file; padding fields (``_``) are left out.

    Args:
        content: the whole file. Bytes after the last point are ignored: radar files of nuScenes end with zeros.
        where: the file's path, for errors.

    Returns:
        (n,) for a field of COUNT 1, else (n, COUNT), in the type of the file.

    Raises:
        SourceError: it is no .pcd, its header is incomplete or contradicts itself, or points are missing.
    """
    found = _DATA_LINE.search(content, max(content.find(b"\nDATA", 0, LONGEST_HEADER), 0), LONGEST_HEADER)
    if found is None:
        raise _no_header(content, where)
    header = _header_of(content[: found.start()])
    kind, body_at = found.group(1), found.end()
    try:
        layout = _layout_of(*(header.get(key, "") for key in ("FIELDS", "SIZE", "TYPE")), header.get("COUNT"))
        count = _num_points(header)
    except ValueError as error:
        raise SourceError(
            f"point file '{where}' has a header that cannot be read: {error}. Correct the header, or write the file again with a "
            "program that keeps to the PCD format"
        ) from error
    if kind == b"binary":
        points = _binary(content, body_at, layout, count, where)
    elif kind == b"binary_compressed":
        return _named(layout, _compressed(content, body_at, layout, count, where))
    elif kind == b"ascii":
        points = _ascii(content[body_at:], layout, count, where)
    else:
        raise SourceError(
            f"point file '{where}' has DATA {kind.decode('ascii', 'replace')!r}, expected ascii, binary or binary_compressed. "
            "Write the file again in one of these"
        )
    return _named(layout, [points[str(k)] for k in range(len(layout.names))])


def _no_header(content: bytes, where: str) -> SourceError:
    if is_pcd(content):
        return SourceError(f"point file '{where}' has a PCD header without its last line, DATA. It is cut short; copy it again")
    return SourceError(
        f"point file '{where}' is no PCD file: it begins with {content[:24]!r}, expected '# .PCD'. Fetch the file again from "
        "where the data set comes from; a file of plain float32 must have a name that ends with .bin"
    )


def _header_of(head: bytes) -> dict[str, str]:
    pairs = (line.strip().partition(" ") for line in head.decode("ascii", "replace").replace("\t", " ").split("\n"))
    return {key: value.strip() for key, _, value in pairs if not key.startswith("#")}


@lru_cache(maxsize=64)
def _layout_of(fields: str, size: str, kind: str, count: str | None) -> _Layout:
    """Return the layout that the lines FIELDS, SIZE, TYPE and COUNT describe; ValueError says what is wrong with them."""
    names, sizes, kinds = fields.split(), size.split(), kind.split()
    counts = ["1"] * len(names) if count is None else count.split()  # COUNT came with version 0.7 and may be left out
    for key, values in (("FIELDS", names), ("SIZE", sizes), ("TYPE", kinds), ("COUNT", counts)):
        if not values:
            raise ValueError(f"the line {key} is missing or empty")
        if len(values) != len(names):
            raise ValueError(f"{key} has {len(values)} values, expected {len(names)}, one for each of FIELDS")
    named = [name for name in names if name != _PADDING]
    if len(set(named)) < len(named):
        raise ValueError(f"FIELDS names '{next(name for name in named if named.count(name) > 1)}' twice")
    for name, size_of, kind_of, count_of in zip(names, sizes, kinds, counts, strict=True):
        if (kind_of, size_of) not in _TYPES:
            raise ValueError(
                f"field '{name}' has TYPE {kind_of} and SIZE {size_of}, expected F of 4 or 8, I or U of 1, 2, 4 or 8"
            )
        if not (count_of.isascii() and count_of.isdigit() and 1 <= int(count_of[:9]) <= LONGEST_HEADER):
            raise ValueError(f"field '{name}' has COUNT {count_of}, expected a whole number from 1")
    numbers = tuple(int(value) for value in counts)
    columns = [
        (str(k), f"<{kinds[k].lower()}{sizes[k]}", (numbers[k],))
        if numbers[k] > 1
        else (str(k), f"<{kinds[k].lower()}{sizes[k]}")
        for k in range(len(names))
    ]
    return _Layout(np.dtype(columns), tuple(names), numbers)


def _num_points(header: dict[str, str]) -> int:
    """Return the number of points; ValueError if WIDTH, HEIGHT and POINTS are missing, negative or contradict each other."""
    numbers = {}
    for key in ("WIDTH", "HEIGHT", "POINTS"):
        if key in header:
            try:
                numbers[key] = int(header[key])
            except ValueError:
                raise ValueError(f"{key} is {header[key][:40]!r}, expected a whole number") from None
            if numbers[key] < 0:
                raise ValueError(f"{key} is {numbers[key]}, expected 0 or more")
    if "WIDTH" not in numbers and "POINTS" not in numbers:
        raise ValueError("the lines WIDTH and POINTS are missing")
    count = numbers["WIDTH"] * numbers.get("HEIGHT", 1) if "WIDTH" in numbers else numbers["POINTS"]
    if numbers.get("POINTS", count) != count:
        raise ValueError(f"WIDTH x HEIGHT is {count}, but POINTS is {numbers['POINTS']}")
    return count


def _binary(content: bytes, body_at: int, layout: _Layout, count: int, where: str) -> NDArray[Any]:
    expected = count * layout.dtype.itemsize
    if len(content) - body_at < expected:
        raise _cut(where, len(content) - body_at, expected, count)
    return np.frombuffer(content, layout.dtype, count, body_at) if count else np.empty(0, layout.dtype)


def _cut(where: str, num_bytes: int, expected: int, count: int) -> SourceError:
    return SourceError(
        f"point file '{where}' holds {num_bytes} bytes of points, expected {expected} for {count} points. It is cut short, or "
        "its header is not its own; copy it again"
    )


def _compressed(content: bytes, body_at: int, layout: _Layout, count: int, where: str) -> list[NDArray[Any]]:
    """Return the fields of a binary_compressed body: two lengths, then one LZF block with the points field by field."""
    expected, num_bytes = count * layout.dtype.itemsize, len(content) - body_at - 8
    if count == 0:
        return [np.empty(0, layout.dtype)[str(k)] for k in range(len(layout.counts))]
    packed, unpacked = struct.unpack_from("<II", content, body_at) if num_bytes >= 0 else (0, 0)
    if unpacked != expected or packed > num_bytes:
        raise SourceError(
            f"point file '{where}' has DATA binary_compressed, but the lengths before its points do not fit: {packed} bytes that "
            f"decode to {unpacked}, expected at most {max(num_bytes, 0)} that decode to {expected} for {count} points. "
            + _remedy_of_lengths(unpacked == expected, num_bytes + 8 >= expected)
        )
    damaged = SourceError(
        f"point file '{where}' has DATA binary_compressed, but its {packed} compressed bytes do not decode to the {expected} "
        f"bytes of {count} points. It is damaged; fetch it from where the data set comes from, or write it again from its source"
    )
    from pipeline.kernels.lzf import LARGEST_RATIO, decode_lzf

    if expected > packed * LARGEST_RATIO:
        raise damaged
    out = np.empty(expected, np.uint8)
    if decode_lzf(np.frombuffer(content, np.uint8, packed, body_at + 8), out) != expected:
        raise damaged
    columns, at = [], 0
    for k, number in enumerate(layout.counts):
        base = layout.dtype[str(k)].base
        column = np.frombuffer(out, base, count * number, at)
        columns.append(column if number == 1 else column.reshape(count, number))
        at += count * number * base.itemsize
    return columns


def _remedy_of_lengths(is_cut: bool, is_plain: bool) -> str:
    if is_cut:
        return "The file is cut short; fetch it from where the data set comes from"
    if is_plain:
        return "The body is long enough to be plain binary: if it is, its header must say DATA binary; else write the file again"
    return "Write the file again from its source, or fetch it from where the data set comes from"


def _ascii(body: bytes, layout: _Layout, count: int, where: str) -> NDArray[Any]:
    lines = [words for line in body.replace(b"\0", b"").split(b"\n") if (words := line.split())]
    width = sum(layout.counts)
    if len(lines) != count:
        raise SourceError(
            f"point file '{where}' has {len(lines)} lines of points, expected {count} as its header says. "
            + ("It is cut short; copy it again" if len(lines) < count else "Correct WIDTH and POINTS in its header")
        )
    for number, words in enumerate(lines, start=1):
        if len(words) != width:
            raise SourceError(
                f"point file '{where}', line {number} of the points has {len(words)} values, expected {width}, as FIELDS and "
                "COUNT say. Correct the line or the header, or write the file again"
            )
    points, at = np.empty(count, layout.dtype), 0
    for k, (name, number) in enumerate(zip(layout.names, layout.counts, strict=True)):
        kind = layout.dtype[str(k)].base
        for column in range(number):
            words_of_field = [words[at] for words in lines]
            at += 1
            if name != _PADDING:
                out = points[str(k)] if number == 1 else points[str(k)][:, column]
                _fill(out, words_of_field, kind, name, where)
    return points


def _fill(out: NDArray[Any], words: list[bytes], kind: np.dtype[Any], name: str, where: str) -> None:
    """Write the values of one column; integers keep all their digits, and may be written as 3.0."""
    limits = None if kind.kind == "f" else np.iinfo(kind)
    try:
        values: list[Any] = list(map(float if limits is None else int, words))
        if b"_" not in b"".join(words) and (limits is None or limits.min <= min(values) <= max(values) <= limits.max):
            out[...] = np.array(values, kind)
            return
    except ValueError:
        pass
    for row, word in enumerate(words):  # one by one, to take what int refuses, or to name the value that is none
        try:
            value: Any = None if b"_" in word else float(word) if limits is None else _whole(word)
        except ValueError:
            value = None
        if value is None or (limits is not None and not limits.min <= value <= limits.max):
            text = word.decode("ascii", "replace")[:40]
            raise SourceError(
                f"point file '{where}', line {row + 1} of the points: field '{name}' is {text!r}, expected a number of the type "
                f"{kind.name}. Correct the value, or write the file again"
            )
        out[row] = value


def _whole(word: bytes) -> int:
    try:
        return int(word)
    except ValueError:
        number = float(word)
        if not number.is_integer():  # False for nan and inf, too
            raise
        return int(number)


def _named(layout: _Layout, columns: list[NDArray[Any]]) -> dict[str, NDArray[Any]]:
    return {name: column for name, column in zip(layout.names, columns, strict=True) if name != _PADDING}
