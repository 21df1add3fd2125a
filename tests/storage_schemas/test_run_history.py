from __future__ import annotations

import dataclasses
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pyarrow.parquet as pq
import pytest

from storage_schemas.errors import LayoutError, StoreError
from storage_schemas.run_history import ROUNDS, Round, new_round_name, read_history, write_round

ROW = Round(
    name="2026-11-21T03-00-00-000-aaaaaa", recipe="/r.yaml", started_utc="2026-11-21T03:00:00.000+00:00",
    finished_utc="2026-11-21T03:10:00.000+00:00", outcome="kept", reason="near_m: 20 -> 25", note="not better", request="ab", num_units=3,
    manifest="0123", training="/runs/trainings/1", champion_before="/runs/trainings/0", metric="mae_mm", cap_m=80.0, radar="on", margin=5.0,
    num_frames=6019, champion_value=2000.0, challenger_value=2001.0, difference=1.0, low=-3.0, high=5.0, is_promoted=False, seconds=600.0,
    commit="c0ffee", is_dirty="false",
)  # fmt: skip


def test_rounds_when_written_then_read_as_one_table_in_the_order_of_time(tmp_path):
    empty = dict.fromkeys(("manifest", "training", "champion_before", "num_frames", "champion_value", "low"))
    names = [f"2026-11-2{day}T03-00-00-000-aaaaaa" for day in (2, 1, 3)]
    for name in names:
        write_round(str(tmp_path), dataclasses.replace(ROW, name=name, **(empty if name == names[0] else {})))
    rows = read_history(str(tmp_path))
    assert [row.name for row in rows] == sorted(names)
    assert rows[0] == dataclasses.replace(ROW, name=names[1])
    assert rows[1].num_frames is None
    assert [row.name for row in read_history(str(tmp_path), last=2)] == sorted(names)[1:]
    assert read_history(str(tmp_path / "nowhere")) == []
    assert pq.read_table(tmp_path).column("num_units").to_pylist() == [3, 3, 3]  # any reader takes the folder for one table
    assert {column.name for column in ROUNDS.columns} == {field.name for field in dataclasses.fields(Round)}


def test_rounds_when_many_write_at_once_then_none_is_lost(tmp_path):
    now = datetime(2026, 11, 21, tzinfo=UTC)
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda _: write_round(str(tmp_path), dataclasses.replace(ROW, name=new_round_name(now))), range(40)))
    assert len(read_history(str(tmp_path))) == 40
    assert new_round_name(now).startswith("2026-11-21T00-00-00-000-")


def test_round_when_written_twice_or_wrong_then_refused(tmp_path):
    write_round(str(tmp_path), ROW)
    with pytest.raises(StoreError, match="is there already and is never written twice"):
        write_round(str(tmp_path), ROW)
    with pytest.raises(LayoutError, match="outcome is 'lost', expected one of: promoted, kept, nothing to do, failed"):
        write_round(str(tmp_path), dataclasses.replace(ROW, name="b", outcome="lost"))
    with pytest.raises(LayoutError, match="the name must be letters"):
        write_round(str(tmp_path), dataclasses.replace(ROW, name="../b"))
    with pytest.raises(LayoutError, match="column 'num_units' of table 'rounds' does not fit int64"):
        write_round(str(tmp_path), dataclasses.replace(ROW, name="b", num_units="three"))
    assert len(read_history(str(tmp_path))) == 1


def test_history_when_a_file_is_damaged_then_named(tmp_path):
    write_round(str(tmp_path), ROW)
    (tmp_path / "2026-11-22.parquet").write_bytes(b"PAR1 no more")
    with pytest.raises(StoreError, match=r"2026-11-22.parquet' cannot be read: .* Move it away; the other rounds stay"):
        read_history(str(tmp_path))
    (tmp_path / "2026-11-22.parquet").unlink()
    assert read_history(str(tmp_path)) == [ROW]
