"""Every kind of .pcd is read as its header says, or refused with what is wrong and what to do."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.sources.pcd import read_pcd
from storage_schemas.errors import SourceError
from tests.tiny_pcd import encode_pcd

POINT = np.dtype([("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("kind", "i1"), ("id", "<i2"), ("stamp", "<u8"), ("range", "<f8")])
KINDS = ("ascii", "binary", "binary_compressed")


def some_points(count: int = 7) -> np.ndarray:
    rng = np.random.default_rng(3)
    points = np.zeros(count, POINT)
    for name in ("x", "y", "z", "range"):
        points[name] = rng.normal(0, 30, count)
    points["kind"] = rng.integers(-128, 128, count)
    points["id"] = rng.integers(-30_000, 30_000, count)
    points["stamp"] = 2**63 + np.arange(count, dtype=np.uint64)  # does not fit a float64
    return points


def assert_same(columns: dict[str, np.ndarray], points: np.ndarray) -> None:
    assert list(columns) == list(points.dtype.names)
    for name, column in columns.items():
        assert column.dtype == points.dtype[name]
        np.testing.assert_array_equal(column, points[name])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [0, 1, 7, 3000])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_points_when_of_any_kind_then_are_those_that_were_written(kind, count, newline):
    points = some_points(count)
    assert_same(read_pcd(encode_pcd(points, kind=kind, newline=newline), where="x.pcd"), points)


@pytest.mark.parametrize("kind", KINDS)
def test_points_when_padded_between_fields_then_padding_is_skipped_and_counts_are_kept(kind):
    points = np.zeros(
        5, [("x", "<f4"), ("_0", "u1", (4,)), ("y", "<f4"), ("_1", "<f4"), ("descriptor", "<f4", (3,)), ("z", "<f4")]
    )
    for name in ("x", "y", "z"):
        points[name] = np.random.default_rng(0).normal(0, 9, 5)
    points["descriptor"] = np.arange(15).reshape(5, 3)
    points["_0"], points["_1"] = 255, 7
    columns = read_pcd(encode_pcd(points, kind=kind), where="x.pcd")
    assert list(columns) == ["x", "y", "descriptor", "z"]
    for name, column in columns.items():
        np.testing.assert_array_equal(column, points[name])


@pytest.mark.parametrize("kind", ["binary", "binary_compressed"])
def test_points_when_zeros_follow_then_are_the_same(kind):
    points = some_points()
    assert_same(read_pcd(encode_pcd(points, kind=kind) + b"\0" * 3700, where="x.pcd"), points)


def test_header_when_lines_are_left_out_that_may_be_then_is_read():
    points = some_points()
    content = encode_pcd(points)
    for line in (b"COUNT 1 1 1 1 1 1 1\n", b"POINTS 7\n", b"HEIGHT 1\n", b"VIEWPOINT 0 0 0 1 0 0 0\n", b"WIDTH 7\n"):
        assert line in content
        assert_same(read_pcd(content.replace(line, b""), where="x.pcd"), points)
    organised = content.replace(b"WIDTH 7\nHEIGHT 1\n", b"WIDTH 1\nHEIGHT 7\n")
    assert_same(read_pcd(organised, where="x.pcd"), points)


def test_ascii_when_written_by_hand_then_spaces_nan_and_whole_floats_are_read():
    content = encode_pcd(np.zeros(2, [("x", "<f4"), ("id", "<i2")]), kind="ascii").split(b"DATA ascii\n")[0]
    columns = read_pcd(content + b"DATA ascii\n  1.5   3.0\n-nan\t-4 \n\n", where="x.pcd")
    np.testing.assert_array_equal(columns["x"], np.array([1.5, np.nan], np.float32))
    assert columns["id"].tolist() == [3, -4]


@pytest.mark.parametrize("kind", KINDS)
def test_points_when_pypcd4_reads_or_writes_them_then_are_the_same(kind):
    pypcd4 = pytest.importorskip("pypcd4")
    points = some_points(500)
    theirs = pypcd4.PointCloud.from_fileobj(io.BytesIO(encode_pcd(points, kind=kind)))
    for name in POINT.names:
        np.testing.assert_array_equal(theirs.pc_data[name], points[name])
    points["kind"] = 3  # compresses well
    written = io.BytesIO()
    cloud = pypcd4.PointCloud.from_points([points[name] for name in POINT.names], POINT.names, [POINT[n] for n in POINT.names])
    cloud.save(written, pypcd4.Encoding(kind))
    columns = read_pcd(written.getvalue(), where="x.pcd")
    for name in POINT.names:  # their ascii has ten digits
        np.testing.assert_allclose(columns[name].astype(float), points[name].astype(float), rtol=1e-6 if kind == "ascii" else 0)


HEADER = {
    b"WIDTH 7": [
        (b"WIDTH -7", "WIDTH is -7, expected 0 or more"),
        (b"WIDTH many", "WIDTH is 'many', expected a whole number"),
        (b"WIDTH 6", "WIDTH x HEIGHT is 6, but POINTS is 7"),
    ],
    b"POINTS 7": [(b"POINTS 9", "WIDTH x HEIGHT is 7, but POINTS is 9")],
    b"TYPE F F F I I U F": [
        (b"TYPE F F X I I U F", "field 'z' has TYPE X and SIZE 4, expected F of 4 or 8, I or U of 1, 2, 4 or 8"),
        (b"TYPE F F F I I U", "TYPE has 6 values, expected 7, one for each of FIELDS"),
        (b"KIND F F F I I U F", "the line TYPE is missing or empty"),
    ],
    b"SIZE 4 4 4 1 2 8 8": [(b"SIZE 4 4 2 1 2 8 8", "field 'z' has TYPE F and SIZE 2")],
    b"COUNT 1 1 1 1 1 1 1": [
        (b"COUNT 1 0 1 1 1 1 1", "field 'y' has COUNT 0, expected a whole number from 1"),
        (b"COUNT 1 1 1", "COUNT has 3 values, expected 7"),
    ],
    b"FIELDS x y z kind id stamp range": [
        (b"FIELDS x y x kind id stamp range", "FIELDS names 'x' twice"),
        (b"FIELDS", "the line FIELDS is missing or empty"),
    ],
    b"DATA binary": [(b"DATA zipped", "has DATA 'zipped', expected ascii, binary or binary_compressed")],
}


@pytest.mark.parametrize(("line", "other", "said"), [(line, *case) for line, cases in HEADER.items() for case in cases])
def test_header_when_wrong_then_says_what_and_never_to_copy_the_file_again(line, other, said):
    content = encode_pcd(some_points())
    assert content.count(line) == 1
    with pytest.raises(SourceError) as error:
        read_pcd(content.replace(line, other), where="radar/one.pcd")
    assert said in str(error.value)
    assert "radar/one.pcd" in str(error.value)
    assert "copy it again" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"<!DOCTYPE html><title>404</title>", "is no PCD file: it begins with b'<!DOCTYPE html><title>40'"),
        (np.ones(50, "<f4").tobytes(), "a file of plain float32 must have a name that ends with .bin"),
        (encode_pcd(some_points())[:60], "has a PCD header without its last line, DATA. It is cut short"),
        (encode_pcd(some_points())[:-1], "holds 216 bytes of points, expected 217 for 7 points. It is cut short"),
        (
            encode_pcd(some_points()).replace(b"WIDTH 7", b"WIDTH 70000000000000").replace(b"POINTS 7", b"POINTS 70000000000000"),
            "expected 2170000000000000 for 70000000000000 points",
        ),
    ],
)
def test_file_when_no_pcd_or_cut_then_says_what(content, said):
    with pytest.raises(SourceError) as error:
        read_pcd(content, where="x.pcd")
    assert said in str(error.value)


def ascii_of(*lines: str) -> bytes:
    header = encode_pcd(np.zeros(2, [("x", "<f4"), ("id", "i1")]), kind="ascii").split(b"DATA ascii\n")[0]
    return header + b"DATA ascii\n" + "\n".join(lines).encode()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (ascii_of("1 2", "3,5 4"), "line 2 of the points: field 'x' is '3,5', expected a number of the type float32"),
        (ascii_of("1 2", "3 4.5"), "field 'id' is '4.5', expected a number of the type int8"),
        (ascii_of("1 2", "3 300"), "field 'id' is '300', expected a number of the type int8"),
        (ascii_of("1 2", "3 nan"), "field 'id' is 'nan', expected a number of the type int8"),
        (ascii_of("1 2", "3 4 5"), "line 2 of the points has 3 values, expected 2, as FIELDS and COUNT say"),
        (ascii_of("1 2"), "has 1 lines of points, expected 2 as its header says. It is cut short"),
        (ascii_of("1 2", "3 4", "5 6"), "has 3 lines of points, expected 2 as its header says. Correct WIDTH and POINTS"),
    ],
)
def test_ascii_when_its_body_is_wrong_then_says_where(content, said):
    with pytest.raises(SourceError) as error:
        read_pcd(content, where="x.pcd")
    assert said in str(error.value)


def test_compressed_when_its_lengths_lie_then_says_so_before_memory_is_taken():
    points = some_points(300)
    content = encode_pcd(points, kind="binary_compressed")
    body = content.index(b"DATA binary_compressed\n") + len(b"DATA binary_compressed\n")
    packed, unpacked = struct.unpack_from("<II", content, body)

    def refused(packed: int, unpacked: int) -> str:
        with pytest.raises(SourceError) as error:
            read_pcd(content[:body] + struct.pack("<II", packed, unpacked) + content[body + 8 :], where="x.pcd")
        assert "copy it again" not in str(error.value).lower()
        return str(error.value)

    assert "do not decode to" in refused(packed - 5, unpacked)
    assert f"that decode to {unpacked} for 300 points" in refused(packed, unpacked + 1)
    assert "The file is cut short; fetch it from" in refused(packed + 1, unpacked)
    assert "4294967295 bytes that decode to 4294967295" in refused(2**32 - 1, 2**32 - 1)
    huge = content.replace(b"WIDTH 300", b"WIDTH 138000000").replace(b"POINTS 300", b"POINTS 138000000")
    body += 2 * 6
    huge = huge[:body] + struct.pack("<II", packed, 138_000_000 * POINT.itemsize % 2**32) + huge[body + 8 :]
    with pytest.raises(SourceError):
        read_pcd(huge, where="x.pcd")


def test_compressed_when_the_body_is_plain_binary_then_says_what_its_header_must_say():
    content = encode_pcd(some_points()).replace(b"DATA binary\n", b"DATA binary_compressed\n")
    with pytest.raises(SourceError, match="long enough to be plain binary: if it is, its header must say DATA binary"):
        read_pcd(content, where="x.pcd")


@settings(max_examples=300, deadline=None, derandomize=True)
@given(data=st.data(), kind=st.sampled_from(KINDS))
def test_file_when_bytes_are_changed_then_columns_or_a_source_error(data, kind):
    content = bytearray(encode_pcd(some_points(), kind=kind))
    for _ in range(data.draw(st.integers(1, 5))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.integers(0, len(content)))] if data.draw(st.booleans()) else content
    try:
        columns = read_pcd(bytes(content), where="fuzzed.pcd")
    except SourceError as error:
        assert "fuzzed.pcd" in str(error)
    else:
        assert len({len(column) for column in columns.values()}) <= 1
