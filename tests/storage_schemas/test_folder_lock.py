from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import time

import pytest

from storage_schemas import folder_lock
from storage_schemas.errors import StoreError
from storage_schemas.folder_lock import LOCK_FILE, FolderBusyError, holder_of, locked_folder
from tests.conftest import REPOSITORY

HOLD = (
    "import sys, time; from pathlib import Path; from storage_schemas.folder_lock import locked_folder\n"
    "with locked_folder(Path(sys.argv[1]), doing='depthmill train a.yaml', if_denied='-') as held:\n"
    "    held.say({'round': 'r1'}); print('held', flush=True); time.sleep(600)"
)


def locked(folder):
    return locked_folder(folder, doing="depthmill train b.yaml", if_denied="Choose another folder with --out")


@pytest.fixture
def other_holder(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True, cwd=REPOSITORY)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_folder_when_held_by_another_process_then_refused_with_who_and_taken_over_after_its_death(tmp_path, other_holder):
    text = rf"in use: depthmill train a.yaml, process {other_holder.pid} on .* since 20\d\d-.* UTC. Wait until that has ended"
    with pytest.raises(FolderBusyError, match=text), locked(tmp_path):
        pytest.fail("both hold it")
    assert holder_of(tmp_path).pid == other_holder.pid
    os.kill(other_holder.pid, signal.SIGKILL)
    other_holder.wait()
    assert (tmp_path / LOCK_FILE).is_file()
    with locked(tmp_path) as held:
        assert (held.former.pid, held.former.about) == (other_holder.pid, {"round": "r1"})
        assert holder_of(tmp_path).pid == os.getpid()
    assert not list(tmp_path.iterdir())
    with locked(tmp_path) as held:
        assert held.former is None


def test_folder_when_held_by_another_thread_then_refused(tmp_path):
    with locked(tmp_path), pytest.raises(FolderBusyError, match=f"process {os.getpid()} on"), locked(tmp_path):
        pytest.fail("both hold it")


@pytest.mark.parametrize("has_locks", [True, False])
@pytest.mark.parametrize(
    ("kernel", "pid", "silent_s", "lives"),
    [
        ("another", 7, 0, True),
        ("another", 7, folder_lock.SILENT_S + 1, False),
        (folder_lock.this_kernel(), os.getppid(), 0, None),
        (folder_lock.this_kernel(), 4_000_000, 0, False),
    ],
)
def test_folder_when_held_from_another_machine_or_without_locks_then_signs_of_life_decide(
    tmp_path, monkeypatch, has_locks, kernel, pid, silent_s, lives
):
    def without_locks(*_):
        raise OSError(37, "No locks available")

    if not has_locks:
        monkeypatch.setattr(fcntl, "flock", without_locks)
    note = {"doing": "depthmill train", "host": "h", "pid": pid, "kernel": kernel, "started_utc": "2026-01-01T00:00:00"}
    path = tmp_path / LOCK_FILE
    path.write_text(json.dumps(note))
    os.utime(path, (time.time() - silent_s,) * 2)
    if lives is None:
        lives = not has_locks  # the kernel's lock says that the holder is dead; without one its number says that it lives
    if lives:
        with pytest.raises(FolderBusyError, match="in use: depthmill train, process"), locked(tmp_path):
            pytest.fail("both hold it")
        assert [entry.name for entry in tmp_path.iterdir()] == [LOCK_FILE]
    else:
        with locked(tmp_path) as held:
            assert held.former.pid == pid


def test_holder_when_at_work_then_shows_that_it_lives(tmp_path, monkeypatch):
    monkeypatch.setattr(folder_lock, "BEAT_S", 0.01)
    with locked(tmp_path):
        os.utime(tmp_path / LOCK_FILE, (1, 1))
        until = time.monotonic() + 600
        while (tmp_path / LOCK_FILE).stat().st_mtime < 2:
            assert time.monotonic() < until
            time.sleep(0.01)


def test_lock_when_half_written_or_foreign_then_taken_over(tmp_path):
    (tmp_path / LOCK_FILE).write_text('{"doing": "x", "ho')
    with locked(tmp_path) as held:
        assert held.former is None
    (tmp_path / "file").write_text("x")
    with (
        pytest.raises(StoreError, match="cannot write .*Choose another folder with --out|Check the disk"),
        locked(tmp_path / "file" / "below"),
    ):
        pytest.fail("a file is no folder")


def test_lock_when_a_link_to_a_users_file_or_no_file_then_refused_and_nothing_is_written(tmp_path):
    mine = tmp_path / "mine"
    mine.write_text("precious")
    folder = tmp_path / "folder"
    folder.mkdir()
    lock = folder / LOCK_FILE
    for make in (lambda: lock.symlink_to(mine), lambda: lock.symlink_to("/nowhere"), lock.mkdir, lambda: os.mkfifo(lock)):
        make()
        with pytest.raises(StoreError, match="is a link, a folder or a pipe.*Move it away"), locked(folder):
            pytest.fail("this is no lock")
        assert mine.read_text() == "precious"
        if lock.is_dir() and not lock.is_symlink():
            lock.rmdir()
        else:
            lock.unlink()


@pytest.mark.parametrize(
    "content", ["[" * 100_000, '{"doing": 5, "host": [], "pid": "x", "kernel": 7, "started_utc": 3}', "[]", "\0\0"]
)
def test_lock_when_its_content_is_no_holder_then_taken_over(tmp_path, content):
    (tmp_path / LOCK_FILE).write_text(content)
    assert holder_of(tmp_path) is None
    with locked(tmp_path) as held:
        assert held.former is None
