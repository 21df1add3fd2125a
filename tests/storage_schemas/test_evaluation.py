from __future__ import annotations

import math

import numpy as np
import pyarrow.parquet as pq
import pytest

from storage_schemas.errors import LayoutError, StoreError
from storage_schemas.evaluation import FRAME_METRICS, METRIC_COLUMNS, RANGE_ERRORS, read_evaluation, write_evaluation
from storage_schemas.layout import Columns

METRICS = [column.name for column in METRIC_COLUMNS]


def tables(num_frames: int = 3) -> tuple[Columns, Columns]:
    """Two tables of frames with radar on and off; the last frame has no pixels."""
    keys = [f"scene-0001/CAM_FRONT/{i}" for i in range(num_frames)] * 2
    night = [i % 2 == 1 for i in range(num_frames)] * 2
    radar = ["on"] * num_frames + ["off"] * num_frames
    pixels = [*range(num_frames, 1, -1), 0] * 2
    frames = {"frame_key": keys, "is_night": night, "radar": radar, "cap_m": [80.0] * len(keys), "num_pixels": pixels}
    frames |= {name: [math.nan if not count else 0.1 * k + i for i, count in enumerate(pixels)] for k, name in enumerate(METRICS)}
    ranges = {"frame_key": keys, "is_night": night, "radar": radar, "low_m": [0.0] * len(keys), "high_m": [10.0] * len(keys)}
    return frames, ranges | {"num_pixels": pixels, "sum_error_m": [1.5 * count for count in pixels]}


def test_evaluation_when_written_and_read_then_equal_and_nan_is_null(tmp_path):
    frames, ranges = tables()
    write_evaluation(str(tmp_path / "run" / "evaluation"), frames, ranges)
    found_frames, found_ranges = read_evaluation(str(tmp_path / "run" / "evaluation"))
    assert found_ranges == ranges
    assert found_frames == frames | {name: [None if math.isnan(v) else v for v in frames[name]] for name in METRICS}
    assert sorted(path.name for path in (tmp_path / "run" / "evaluation").iterdir()) == ["frames.parquet", "ranges.parquet"]
    assert pq.read_table(tmp_path / "run" / "evaluation" / "frames.parquet")["mae_mm"].null_count == 2


def test_evaluation_when_columns_are_arrays_then_the_same(tmp_path):
    frames, ranges = tables()
    write_evaluation(str(tmp_path / "lists"), frames, ranges)
    write_evaluation(str(tmp_path / "arrays"), *({name: np.array(v) for name, v in table.items()} for table in (frames, ranges)))
    assert read_evaluation(str(tmp_path / "lists")) == read_evaluation(str(tmp_path / "arrays"))


def test_evaluation_when_folder_is_a_url_then_the_same():
    frames, ranges = tables()
    write_evaluation("memory://evaluation-test/e", frames, ranges)
    assert read_evaluation("memory://evaluation-test/e")[1] == ranges
    with pytest.raises(StoreError, match=r"'memory://evaluation-test/none/frames.parquet' is missing"):
        read_evaluation("memory://evaluation-test/none")


def test_evaluation_when_written_again_then_replaced(tmp_path):
    write_evaluation(str(tmp_path), *tables(5))
    write_evaluation(str(tmp_path), *tables(2))
    assert len(read_evaluation(str(tmp_path))[0]["frame_key"]) == 4


def test_evaluation_when_a_file_is_missing_then_the_error_names_it_and_the_next_step(tmp_path):
    with pytest.raises(StoreError, match=r"frames.parquet' is missing. Check the folder, or run depthmill evaluate"):
        read_evaluation(str(tmp_path / "nothing"))
    write_evaluation(str(tmp_path), *tables())
    (tmp_path / "ranges.parquet").unlink()
    with pytest.raises(StoreError, match=r"ranges.parquet' is missing"):
        read_evaluation(str(tmp_path))


@pytest.mark.parametrize(
    "damage", [lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b"not Parquet at all" * 9, lambda b: b[:-40] + bytes(40)]
)
def test_evaluation_when_a_file_is_damaged_then_the_error_names_it_and_the_next_step(tmp_path, damage):
    write_evaluation(str(tmp_path), *tables())
    path = tmp_path / "frames.parquet"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(StoreError, match=r"frames.parquet' is damaged: .*Run depthmill evaluate to write it again") as caught:
        read_evaluation(str(tmp_path))
    assert "depthmill verify" not in str(caught.value)  # what is right for a unit of a store is not for this


def test_evaluation_when_it_is_another_table_then_the_error_names_the_column(tmp_path):
    write_evaluation(str(tmp_path), *tables())
    (tmp_path / "frames.parquet").write_bytes((tmp_path / "ranges.parquet").read_bytes())
    with pytest.raises(StoreError, match=r"frames.parquet: table 'frames' lacks column 'cap_m'.*Run depthmill evaluate"):
        read_evaluation(str(tmp_path))


def test_evaluation_when_columns_are_wrong_then_refused_and_nothing_written(tmp_path):
    def refused(text: str, *, table: int = 0, **changes) -> None:
        both = list(tables())
        both[table] = {name: values for name, values in {**both[table], **changes}.items() if values is not None}
        with pytest.raises(LayoutError, match=text):
            write_evaluation(str(tmp_path / "e"), *both)
        assert not (tmp_path / "e").exists()

    refused("lacks column 'delta1'", delta1=None)
    refused("unknown column 'extra'", extra=[0] * 6)
    refused("differ in length", mae_mm=[1.0])
    refused("radar is 'none', expected one of: on, off", radar=["none"] * 6)
    refused("table 'frames': frame 'k' with radar on and cap_m 80 is there 3 times, expected once", frame_key=["k"] * 6)
    refused("table 'ranges': frame 'k' with radar on and low_m 0 is there 3 times", table=1, frame_key=["k"] * 6)
    refused("column 'num_pixels' of table 'ranges'", table=1, num_pixels=["many"] * 6)
    refused("has 6 nulls", table=1, sum_error_m=[None] * 6)


def test_evaluation_when_opened_elsewhere_then_units_are_in_the_file(tmp_path):
    write_evaluation(str(tmp_path), *tables())
    for spec in (FRAME_METRICS, RANGE_ERRORS):
        schema = pq.read_schema(tmp_path / f"{spec.name}.parquet")
        assert {field.name: field.metadata[b"units"].decode() for field in schema} == {c.name: c.unit for c in spec.columns}
