"""Flipped bits in records that decide which training is better: an error, or the very same record."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict, replace

import numpy as np
import pyarrow.parquet as pq
import pytest

from flows.retrain.champion import Champion, ChampionError, read_champion, write_champion
from flows.retrain.line import Line
from flows.run.runs import Runs
from storage_schemas.errors import DepthmillError, StoreError
from storage_schemas.evaluation import read_evaluation, write_evaluation
from storage_schemas.run_history import Round, read_history, write_round
from storage_schemas.seals import SEAL_KEY, BrokenSealError, read_sealed_json, sealed_json
from tests.storage_schemas.test_evaluation import tables

LINE = Line("recipe", "semodepth")
CHAMPION = Champion("trainings/a", "f" * 16, "mae_mm", 80.0, "on", 1234.5, "2026-11-30T00:00:00+00:00", "round")
ROUND = Round(
    "2026-11-30", "r.yaml", "2026", "2026", "kept", "new", "not better", "d" * 16, 3, "f" * 16, "t", "c", "mae_mm", 80.0, "on", 0.0,
    4, 2.0, 3.0, 1.0, None, None, False, 1.0, "commit", "false",
)  # fmt: skip


def champion_folder(folder):
    (folder / "trainings/a").mkdir(parents=True)
    for name in ("best.pt", "training.json"):
        (folder / "trainings/a" / name).touch()
    runs = Runs(str(folder), folder)
    write_champion(runs, LINE, replace(CHAMPION, training=str(folder / CHAMPION.training)), instead_of=None)
    return folder / LINE.champion_key, lambda: read_champion(runs, LINE)


def history_folder(folder):
    write_round(str(folder), ROUND)
    return folder / "2026-11-30.parquet", lambda: read_history(str(folder))


def evaluation_folder(folder):
    write_evaluation(str(folder), *tables(2))
    return folder / "frames.parquet", lambda: read_evaluation(str(folder))


@pytest.mark.parametrize("made", [champion_folder, history_folder, evaluation_folder])
def test_record_when_a_bit_is_flipped_then_an_error_or_the_same(made, tmp_path):
    file, read = made(tmp_path)
    content, before = file.read_bytes(), repr(read())
    rng = np.random.default_rng(0)
    num_refused = 0
    for _ in range(200):
        damaged = bytearray(content)
        damaged[rng.integers(len(content))] ^= 1 << int(rng.integers(8))
        file.write_bytes(damaged)
        try:
            assert repr(read()) == before
        except DepthmillError as error:
            assert file.name in str(error)
            num_refused += 1
    assert num_refused > 100
    file.write_bytes(content[: len(content) // 2])
    with pytest.raises(DepthmillError, match=file.name):
        read()


def test_table_when_sealed_then_any_reader_of_parquet_opens_it(tmp_path):
    file, _ = history_folder(tmp_path)
    assert b"depthmill-sha256:" in file.read_bytes()
    assert pq.read_table(file).column("note").to_pylist() == ["not better"]


def test_json_when_its_seal_is_taken_out_then_read_as_one_of_a_former_version():
    record = {"a": [1, 2.5, None], "b": {"1": "ü"}}
    content = json.loads(sealed_json(record))
    assert read_sealed_json(sealed_json(record)) == record
    content["a"][0] = 7
    with pytest.raises(BrokenSealError, match=f"take its key {SEAL_KEY} out"):
        read_sealed_json(json.dumps(content).encode())
    del content[SEAL_KEY]
    assert read_sealed_json(json.dumps(content).encode())["a"][0] == 7


@pytest.mark.parametrize("content", [b"[" * 100_000, b"[1]", b"\xff", b"", b"5"])
def test_json_when_it_is_no_object_then_an_error(content):
    with pytest.raises(ValueError):  # each reader adds its own words
        read_sealed_json(content)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("training", 5, "training is 5, expected a text"),
        ("training", None, "training is None"),
        ("value", "x", "expected a number"),
    ],
)
def test_champion_when_a_value_is_of_another_kind_then_an_error_with_what_to_do(key, value, said, tmp_path):
    file, read = champion_folder(tmp_path)
    file.write_text(json.dumps({**asdict(CHAMPION), key: value}))
    with pytest.raises(ChampionError, match=f"{said}.*Delete it"):
        read()


def test_table_when_of_a_former_version_and_damaged_text_then_an_error_and_no_traceback(tmp_path):
    file, read = history_folder(tmp_path)
    content = file.read_bytes()
    start = content.index(b"depthmill-sha256:")
    unsealed = content[:start] + content[start + len(b"depthmill-sha256:") + 64 :]
    file.write_bytes(unsealed)
    assert read() == [ROUND]
    rng = np.random.default_rng(1)
    for _ in range(300):
        damaged = bytearray(unsealed)
        damaged[rng.integers(len(unsealed))] ^= 1 << int(rng.integers(8))
        file.write_bytes(damaged)
        with suppress(StoreError):
            read()
