"""Runs of a remote store without a server: what is fetched, what is kept, and who holds it. A training is a few small files."""

from __future__ import annotations

import json
import threading
import uuid
from pathlib import Path

import pytest

from flows.run import keeping
from flows.run.keeping import kept_in_store
from flows.run.run_log import RunLog, last_summary, seconds_per_unit
from flows.run.runs import Runs, local_path
from flows.settings import Settings
from pipeline.types import ItemResult
from storage_schemas import folder_copy, folder_lock, remote_lock
from storage_schemas.errors import RecipeError, StoreAccessError, StoreError
from storage_schemas.folder_copy import WRITER_FILE, FolderCopy
from storage_schemas.folder_lock import LOCK_FILE, FolderBusyError, locked_folder
from storage_schemas.remote_lock import locked_key
from tests.process_tree import wait_until

FILES = {"best.pt": b"best", "last.pt": b"last", "steps.csv": b"step\n1\n", "tensorboard/events": b"e"}


@pytest.fixture
def root() -> str:
    return f"memory://runs-{uuid.uuid4().hex}/store/runs"


@pytest.fixture
def machine(root, tmp_path):
    """Return the runs as a machine of a name sees them; a machine has a cache of its own."""
    return lambda name: Runs(root, tmp_path / name)


def write(folder: Path, files: dict[str, bytes] = FILES) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def read(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files if not path.name.startswith(".")}


def test_runs_when_the_store_is_local_then_everything_is_where_it_was(tmp_path):
    settings = Settings(workers=1, cache_dir=tmp_path / "cache")
    runs = Runs(settings.runs_root(str(tmp_path / "store")), settings.cache_dir)
    assert (runs.root, runs.work) == (str(tmp_path / "store/runs"), tmp_path / "store/runs")
    folder = write(runs.training("a"))
    assert folder == tmp_path / "store/runs/trainings/a"
    assert (runs.keep(folder), runs.has_news(folder), runs.address(folder)) == (0, False, str(folder))
    before = read(tmp_path)
    with runs.held("trainings/a", doing="depthmill train"), runs.held("", doing="depthmill retrain"):
        pass
    assert read(tmp_path) == before


def test_work_folder_when_asked_twice_then_the_same_below_the_cache_and_another_for_another_store(tmp_path):
    first, again, other = (Runs(f"memory://bucket/{name}/runs", tmp_path) for name in ("a", "a", "b"))
    assert first.work == again.work != other.work
    assert first.work.parent == tmp_path / "runs"
    elsewhere = Settings(runs_dir="s3://logs/runs", cache_dir=tmp_path)
    assert Runs(elsewhere.runs_root("s3://bucket/store"), tmp_path).root == "s3://logs/runs"


def test_training_when_kept_then_another_machine_has_it_and_unchanged_files_are_not_put_again(machine):
    here, there = machine("here"), machine("there")
    folder = write(here.training("a"))
    assert not there.training("a").exists()
    assert (here.has_news(folder), here.keep(folder), here.keep(folder)) == (True, 4, 0)
    assert read(there.training("a")) == FILES
    assert not there.has_news(there.training("a"))
    (folder / "last.pt").write_bytes(b"later")
    assert (here.has_news(folder), here.keep(folder)) == (True, 1)
    assert (there.training("a") / "last.pt").read_bytes() == b"later"


def test_kept_checkpoint_when_deleted_here_then_the_store_forgets_it_and_nothing_else(machine, monkeypatch):
    here, there = machine("here"), machine("there")
    kept = {f"checkpoints/step_000000{step}.pt": b"c" for step in (2, 4, 6)}
    folder = write(here.training("a"), FILES | kept)
    here.keep(folder)
    for name in ("checkpoints/step_0000002.pt", "steps.csv"):
        (folder / name).unlink()
    assert here.has_news(folder)
    with monkeypatch.context() as patched, pytest.raises(StoreError):  # killed, or the store is gone
        patched.setattr(here.files.__class__, "remove", lambda *_: (_ for _ in ()).throw(StoreError("gone")))
        here.keep(folder)
    assert here.has_news(folder)
    here.keep_as_it_is_now(folder)
    assert not here.has_news(folder) and read(there.training("a")) == FILES | dict.fromkeys(list(kept)[1:], b"c")
    assert here.keep(folder) == 0


def test_order_of_puts_when_a_training_is_complete_then_the_mark_is_last_and_the_checkpoint_before_it(machine, monkeypatch):
    runs, order = machine("here"), []
    upload = FolderCopy._upload
    monkeypatch.setattr(FolderCopy, "_upload", lambda self, name, path: (upload(self, name, path), order.append(name)))
    runs.keep(write(runs.training("a"), {**FILES, "training.json": b"{}", "evaluation/table.md": b"|"}))
    assert set(order[:-2]) == {"best.pt", "steps.csv", "tensorboard/events", "evaluation/table.md"}
    assert order[-2:] == ["last.pt", "training.json"]


@pytest.mark.parametrize("number", range(6))
def test_keep_when_it_stops_anywhere_then_no_machine_sees_a_half_and_the_next_call_goes_on(machine, monkeypatch, number):
    here, there = machine("here"), machine("there")
    folder = write(here.training("a"))
    here.keep(folder)
    later = {name: content + b" later" for name, content in FILES.items()} | {"training.json": b"{}"}
    write(folder, later)
    upload, count = FolderCopy._upload, []

    def stops(self, name, path):
        if len(count) >= number:
            raise KeyboardInterrupt
        count.append(name)
        upload(self, name, path)

    monkeypatch.setattr(folder_copy, "AT_ONCE", 1)
    monkeypatch.setattr(FolderCopy, "_upload", stops)
    if number < 5:
        with pytest.raises(KeyboardInterrupt):
            here.keep(folder)
    else:
        here.keep(folder)
    monkeypatch.setattr(FolderCopy, "_upload", upload)
    found = read(there.training("a"))
    assert ("training.json" in found) == (number == 5)
    if found.get("last.pt") == later["last.pt"]:
        assert all(found[name] == later[name] for name in FILES)
    assert read(here.training("a")) == later  # what is here is newer: it is not replaced by the half
    with here.held("trainings/a", doing="depthmill train"):
        pass
    assert {**read(there.training("a")), "last.pt": later["last.pt"]} == later


def test_training_when_two_machines_went_on_then_the_store_stands(machine):
    here, there = machine("here"), machine("there")
    folder = write(here.training("a"))
    here.keep(folder)
    other = there.training("a")
    write(other, {"last.pt": b"of there", "evaluation/table.md": b"|"})
    write(folder, {"last.pt": b"of here", "training.json": b"{}"})
    there.keep(other)
    assert read(here.training("a")) == {**FILES, "last.pt": b"of there", "evaluation/table.md": b"|"}
    assert not here.has_news(folder)


def test_checkpoint_when_the_training_is_complete_then_the_last_one_is_not_fetched(machine):
    here, there = machine("here"), machine("there")
    here.keep(write(here.training("a"), {**FILES, "training.json": b"{}"}))
    assert set(read(there.training("a"))) == {*FILES, "training.json"} - {"last.pt"}
    assert not there.has_news(there.training("a"))


def test_work_folder_when_deleted_then_fetched_and_when_its_record_is_lost_then_the_store_stands(machine, tmp_path):
    import shutil

    runs = machine("here")
    runs.keep(write(runs.training("a")))
    shutil.rmtree(runs.work / "trainings")
    assert read(runs.training("a")) == FILES
    shutil.rmtree(runs.work / ".kept")
    write(runs.work / "trainings/a", {"last.pt": b"nobody knows whose"})
    assert read(runs.training("a")) == FILES


def test_training_when_begun_anew_then_the_store_forgets_the_former_one(machine):
    here, there = machine("here"), machine("there")
    folder = write(here.training("a"), {**FILES, "training.json": b"{}"})
    here.keep(folder)
    there.training("a")
    for path in (folder / "training.json", folder / "last.pt", folder / "best.pt"):
        path.unlink()
    here.discard(folder)
    assert set(here.files.names("trainings/a")) == {"steps.csv", "tensorboard", WRITER_FILE}
    assert set(read(there.training("a"))) == {"steps.csv", "tensorboard/events"}


def test_name_in_the_store_when_it_leads_out_of_the_folder_then_refused(machine, root):
    runs = machine("here")
    runs.files.filesystem.pipe_file(f"{root}/trainings/a/../../../out", b"x")
    with pytest.raises(StoreError, match="which would be written outside of its folder"):
        runs.training("a")


def test_fetch_when_a_training_goes_on_here_then_its_own_files_are_read_and_none_is_replaced(machine):
    here, there = machine("here"), machine("there")
    folder = write(here.training("a"))
    here.keep(folder)
    with locked_folder(folder, doing="depthmill train", if_denied="-"):
        other = there.training("a")
        write(other, {"last.pt": b"of there"})
        there.keep(other)
        assert read(here.training("a")) == FILES


def test_lock_when_held_then_another_machine_is_told_who_and_it_is_gone_afterwards(machine):
    here, there = machine("here"), machine("there")
    with here.held("", doing="depthmill retrain a.yaml") as held:
        held.say({"name": "r1"})
        assert (there.holder().doing, there.holder().about) == ("depthmill retrain a.yaml", {"name": "r1"})
        text = r"in use: depthmill retrain a.yaml, process \d+ on .* since 20\d\d-.* UTC. Wait until that has ended, or end it"
        with pytest.raises(FolderBusyError, match=text), there.held("", doing="depthmill retrain b.yaml"):
            pass
    assert there.holder() is None
    assert [key for key in here.files.keys("") if LOCK_FILE in key] == []


def lock_of_another_machine(runs: Runs) -> None:
    content = {
        "doing": "depthmill retrain a.yaml",
        "host": "elsewhere",
        "pid": 1,
        "kernel": "k",
        "started_utc": "2026-11-30T03:00:00",
    }
    runs.files.put(LOCK_FILE, json.dumps({**content, "about": {"name": "r1"}}).encode())


def test_lock_when_its_holder_on_another_machine_is_silent_then_taken_over_with_what_it_had_said(machine, monkeypatch):
    runs = machine("here")
    lock_of_another_machine(runs)
    with (
        pytest.raises(
            FolderBusyError, match=r"process 1 on elsewhere since 2026-11-30 03:00:00 UTC.*for 120 s at most on another"
        ),
        runs.held("", doing="depthmill retrain b.yaml"),
    ):
        pass
    monkeypatch.setattr(folder_lock, "SILENT_S", 0.0)
    with runs.held("", doing="depthmill retrain b.yaml") as held:
        assert (held.former.host, held.former.about) == ("elsewhere", {"name": "r1"})
        assert runs.holder().about == {"name": "r1"}  # until this one has something to say
    assert runs.holder() is None


def test_lock_when_its_holder_was_a_process_of_this_machine_that_is_gone_then_taken_over_at_once(machine, monkeypatch):
    runs = machine("here")
    monkeypatch.setattr(remote_lock.os, "getpid", lambda: 2**22 + 1)  # no process has this number
    lock = locked_key(runs.files, "", doing="depthmill retrain a.yaml")
    lock.__enter__().say({"name": "r1"})
    monkeypatch.undo()
    with runs.held("", doing="depthmill retrain b.yaml") as held:
        assert held.former.about == {"name": "r1"}
    lock.__exit__(None, None, None)


def test_holder_when_it_was_taken_over_then_puts_nothing_more_and_says_who_has_it(machine, monkeypatch):
    here, there = machine("here"), machine("there")
    with here.held("trainings/a", doing="depthmill train a.yaml") as held:
        folder = write(here.work / "trainings/a")
        monkeypatch.setattr(folder_lock, "SILENT_S", 0.0)
        monkeypatch.setattr(remote_lock, "_is_gone", lambda holder: False)
        with there.held("trainings/a", doing="depthmill train b.yaml"):
            held.beat()
            text = r"trainings/a' was taken over by depthmill train b.yaml, process \d+ on .* Nothing more was put there"
            for action in (held.refuse_lost, lambda: here.keep(folder), lambda: held.say({})):
                with pytest.raises(FolderBusyError, match=text):
                    action()
            assert there.files.keys("trainings/a") == [f"trainings/a/{LOCK_FILE}"]
    assert there.holder("trainings/a") is None


def test_lock_when_many_ask_at_once_then_one_has_it(machine):
    runs, start, ended, had = machine("here"), threading.Barrier(8), threading.Barrier(8), []

    def ask() -> None:
        start.wait()
        try:
            with locked_key(runs.files, "", doing="depthmill retrain"):
                had.append(1)
                ended.wait()
        except FolderBusyError:
            had.append(0)
            ended.wait()

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(had) == [0] * 7 + [1]


def test_checkpoints_when_written_then_in_the_store_while_the_training_goes_on(machine, monkeypatch):
    monkeypatch.setattr(keeping, "LOOK_S", 0.01)
    here, there = machine("here"), machine("there")
    folder = write(here.training("a"), {})
    folder.mkdir(parents=True)
    with kept_in_store(here, folder):
        write(folder)
        wait_until(lambda: there.files.exists("trainings/a/last.pt"), "the checkpoint is in the store")
        assert read(there.training("a")) == FILES
        (folder / "last.pt").unlink()
        write(folder, {"last.pt": b"later"})
        wait_until(lambda: there.files.get("trainings/a/last.pt") == b"later", "the next one is there")
        write(folder, {"training.json": b"{}"})
    assert there.files.exists("trainings/a/training.json")
    assert not list((here.work / ".uploads").rglob("*.pt"))


def test_training_when_the_store_does_not_answer_then_goes_on_says_so_once_and_loses_nothing(machine, monkeypatch, capsys):
    monkeypatch.setattr(keeping, "LOOK_S", 0.01)
    here, there, tried = machine("here"), machine("there"), []
    folder = write(here.training("a"), {})
    folder.mkdir(parents=True)
    keep = FolderCopy.keep

    def unreachable(self, snapshot=None):
        tried.append(1)
        raise StoreAccessError("cannot write 'x': tried 7 times")

    monkeypatch.setattr(FolderCopy, "keep", unreachable)
    text = (
        r"cannot write 'x': tried 7 times. Nothing is lost: '.*trainings/a' has what the store lacks. When the store answers, run"
    )
    with pytest.raises(StoreAccessError, match=text), kept_in_store(here, folder):
        write(folder)
        wait_until(lambda: len(tried) > 3, "it was tried several times")
    said = capsys.readouterr().err
    assert said.count("warning: the newest checkpoint of a is not in the store yet: cannot write 'x'") == 1
    with pytest.raises(MemoryError, match="of the device"), kept_in_store(here, folder):
        raise MemoryError("of the device")  # the training's own error is the one that counts
    assert "Nothing is lost" in capsys.readouterr().err
    monkeypatch.setattr(FolderCopy, "keep", keep)
    with here.held("trainings/a", doing="depthmill train"):
        pass
    assert read(there.training("a")) == FILES


def test_run_log_when_the_store_is_remote_then_any_machine_reads_its_summary(machine, root):
    result = ItemResult("clean_horizon", "scene-0001", "CAM_FRONT", "ab", "OK", 1.0, "fine", {"frames": 2.0})
    for machine_name, num_ok in (("here", 3), ("there", 5)):
        log = RunLog(machine(machine_name))
        log.add(result)
        log.finish({"num_ok": num_ok, "seconds_per_unit": {"clean_horizon": 2.0}})
    summary = last_summary(machine("third").files)
    assert (summary["num_ok"], summary["folder"]) == (5, f"{root}/{log.folder.name}")
    assert json.loads(machine("third").files.get(f"{log.folder.name}/events.jsonl"))["unit"] == "ab"
    assert seconds_per_unit(machine("third").files, {"clean_horizon"}) == {"clean_horizon": 2.0}


def test_run_log_when_the_store_does_not_answer_then_warns_once_and_goes_on(machine, monkeypatch, capsys):
    log = RunLog(machine("here"))

    def unreachable(self, snapshot=None):
        raise StoreAccessError("cannot write 'x': tried 7 times")

    monkeypatch.setattr(FolderCopy, "keep", unreachable)
    log.finish({"num_ok": 1})
    log.finish({"num_ok": 1})
    assert capsys.readouterr().err.count("warning: the run log is not in the store: cannot write 'x'") == 1
    assert (log.folder / "summary.json").is_file()


def test_url_of_a_training_when_given_then_fetched_and_a_path_stays(machine, root, tmp_path):
    here = machine("here")
    here.keep(write(here.training("a"), {"evaluation/table.md": b"|", "training.json": b"{}"}))
    folder = local_path(f"{root}/trainings/a", tmp_path / "third")
    assert read(folder) == {"evaluation/table.md": b"|", "training.json": b"{}"}
    assert local_path(f"{root}/trainings/a/evaluation/", tmp_path / "third") == folder / "evaluation"
    assert local_path(tmp_path / "x", tmp_path) == local_path(f"file://{tmp_path / 'x'}", tmp_path) == tmp_path / "x"
    store = root.removesuffix("/runs")
    with pytest.raises(RecipeError, match=f"no training '{root}/trainings/b'. The rounds name theirs: depthmill runs {store}"):
        local_path(f"{root}/trainings/b", tmp_path / "third")
    with pytest.raises(RecipeError, match="'s3://bucket/best.pt' is no training of a store. Write <store>/runs/trainings/<name>"):
        local_path("s3://bucket/best.pt", tmp_path)


def test_runs_of_a_former_version_when_in_this_folder_then_named_with_what_to_do(machine, root, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert machine("here").former_text() == ""
    (tmp_path / "runs/trainings").mkdir(parents=True)
    assert f"They are not looked at: runs are in '{root}' now. Copy them" in machine("here").former_text()
    assert Runs("runs", tmp_path).former_text() == ""
