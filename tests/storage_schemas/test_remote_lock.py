"""Locks on servers that heed no condition, and answers that are lost. What holds everywhere is in test_runs_in_store.py."""

from __future__ import annotations

import threading
import uuid

import pytest

from storage_schemas import remote_lock
from storage_schemas.files import StoreFiles
from storage_schemas.folder_lock import LOCK_FILE, FolderBusyError
from storage_schemas.remote_lock import locked_key


@pytest.fixture
def files():
    return StoreFiles(f"memory://lock-{uuid.uuid4().hex}/runs")


@pytest.fixture
def heedless(files, monkeypatch):
    """Let the server take every condition and heed none."""
    put = type(files.filesystem).pipe_file
    monkeypatch.setattr(type(files.filesystem), "pipe_file", lambda self, path, value, mode="overwrite": put(self, path, value))
    monkeypatch.setattr(remote_lock, "SETTLE_S", 0.2)


def test_server_when_it_heeds_no_condition_then_a_holder_is_not_replaced(files, heedless):
    with locked_key(files, "", doing="depthmill retrain a.yaml") as held:
        with pytest.raises(FolderBusyError, match=r"in use: depthmill retrain a.yaml"), locked_key(files, "", doing="b"):
            pass
        held.beat()
        held.refuse_lost()
    assert not files.exists(LOCK_FILE)


def test_server_when_it_heeds_no_condition_and_two_ask_at_once_then_who_stands_in_the_file_has_it(files, heedless, monkeypatch):
    """Both look before either writes: the worst case."""
    have_looked, has, lock_file = threading.Barrier(2), [], remote_lock._LockFile
    look = lock_file._facts

    def look_together(self):
        found = look(self)
        if found is None and threading.current_thread() is not threading.main_thread():
            have_looked.wait()
        return found

    monkeypatch.setattr(lock_file, "_facts", look_together)
    ended = threading.Barrier(2)

    def ask(name: str) -> None:
        try:
            with locked_key(files, "", doing=name):
                has.append(name)
                ended.wait()
        except FolderBusyError:
            ended.wait()

    threads = [threading.Thread(target=ask, args=(name,)) for name in ("a", "b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(has) == 1


def test_lock_when_the_answer_to_its_making_is_lost_then_it_is_held_all_the_same(files, monkeypatch):
    put, lost = type(files.filesystem).pipe_file, []

    def loses(self, path, value, **conditions):
        put(self, path, value, **conditions)
        if not lost:
            lost.append(path)
            raise ConnectionResetError("by peer")

    monkeypatch.setattr(type(files.filesystem), "pipe_file", loses)
    monkeypatch.setenv("DEPTHMILL_STORE_FIRST_WAIT_S", "0.001")
    with locked_key(files, "", doing="depthmill retrain") as held:
        held.refuse_lost()
    assert lost
