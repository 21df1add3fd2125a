"""A pipe or an endless device in a store is an error in a line; no reader waits for it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pipeline.verify import delete_damaged, verify_units
from storage_schemas.errors import StoreError
from storage_schemas.files import StoreFiles
from storage_schemas.jobs import FOLDER, notes
from storage_schemas.lineage import LINEAGE_FILE
from storage_schemas.prune import delete_prunable
from storage_schemas.run_history import read_history
from storage_schemas.store import Store, UnitPath
from tests.storage_schemas.test_damage import READERS
from tests.storage_schemas.test_store import depth_data, identity

SAYS = "is a pipe or a device, expected a file. Delete it, then run the same command again"


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "store")
    store.write_unit(identity(), depth_data(), seconds=0, counts={})
    return store


@pytest.mark.parametrize("kind", ["pipe", "endless"])
@pytest.mark.parametrize("reader", READERS)
def test_unit_when_a_file_is_a_pipe_or_endless_then_an_error_or_the_same_values(store, reader, kind):
    path = UnitPath.of(identity())
    num_refused = 0
    for name in (*store.lineage(path).files, LINEAGE_FILE):
        file = Path(store.files.path(f"{path.key}/{name}"))
        content = file.read_bytes()
        file.unlink()
        if kind == "pipe":
            os.mkfifo(file)
        else:
            file.symlink_to("/dev/zero")
        try:
            READERS[reader](store, path)
        except StoreError as error:
            assert SAYS in str(error)
            num_refused += 1
        file.unlink()
        file.write_bytes(content)
    assert num_refused >= 3


def test_unit_when_a_chunk_is_a_pipe_then_verify_finds_it_and_deletes_the_unit(store):
    path = UnitPath.of(identity())
    chunk = Path(store.files.path(f"{path.key}/depth_m/c/0/0/0"))
    chunk.unlink()
    os.mkfifo(chunk)
    verdict = verify_units(store, [path])
    assert verdict.damaged == (path,)
    assert SAYS in verdict.faults[0]
    assert delete_damaged(store, verdict.damaged).deleted == (path,)
    assert not store.has(path)


def test_commit_mark_when_a_pipe_then_an_error_and_no_wait(store):
    path = UnitPath.of(identity())
    mark = Path(store.files.path(f"{path.key}/{LINEAGE_FILE}"))
    mark.unlink()
    os.mkfifo(mark)
    with pytest.raises(StoreError, match="expected a file"):
        store.has(path)


def test_note_when_a_pipe_then_an_error_that_names_it(store):
    note = Path(store.files.path(f"{FOLDER}/run-1.json"))
    note.parent.mkdir(parents=True)
    os.mkfifo(note)
    for ask in (lambda: notes(store, "run"), lambda: delete_prunable(store)):
        with pytest.raises(StoreError, match=r"run-1\.json' is a pipe"):
            ask()


def test_note_when_its_time_has_no_zone_then_it_is_damaged(store):
    text = '{"kind": "run", "host": "h", "pid": 1, "started_utc": "2026-11-30T00:00:00", "units": []}'
    store.files.put(f"{FOLDER}/run-1.json", text.encode())
    with pytest.raises(StoreError, match=r"run-1\.json' is damaged: Input should have timezone info. Delete it"):
        notes(store, "run")


def test_history_when_a_pipe_then_an_error_that_names_it(tmp_path):
    os.mkfifo(tmp_path / "2027.parquet")
    with pytest.raises(StoreError, match=r"2027\.parquet' cannot be read"):
        read_history(str(tmp_path))
    assert StoreFiles(tmp_path).names("") == ["2027.parquet"]
