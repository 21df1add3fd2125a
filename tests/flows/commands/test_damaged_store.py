"""Damaged, cut and left-behind files of a store, as commands meet them: named, repaired, counted and never spread."""

from __future__ import annotations

import datetime
import json
import os
import platform
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path

import numpy as np
import pytest

from model.semodepth.config import DataConfig
from model.semodepth.data import FrameLoader
from storage_schemas import files as store_files
from storage_schemas.errors import StoreError
from storage_schemas.jobs import FOLDER, Note, noted_run
from storage_schemas.manifest import open_manifest
from storage_schemas.store import Store
from tests.conftest import REPOSITORY
from tests.flows.test_cli import BARE, digests
from tests.units_without_checksums import take_checksums

SHARD = "depth_m/c/0/0/0"


@pytest.fixture
def made(tiny_root, write_recipe, copied_store):
    return write_recipe(tiny_root), Store(copied_store)


def flip(store, path, name=SHARD, at=40):
    file = Path(store.files.path(f"{path.key}/{name}"))
    content = bytearray(file.read_bytes())
    content[at] ^= 4
    file.write_bytes(content)


def unit_of(store, layout, scene="scene-0061"):
    return next(path for path in sorted(store.units(layout)) if path.scene == scene)


@pytest.mark.parametrize(("layout", "name"), [("depth_clean", SHARD), ("depth_single", SHARD), ("images", "encoded/c/0/0")])
def test_loader_when_a_stored_bit_is_flipped_then_names_unit_frame_and_repair(made, layout, name):
    recipe, store = made
    whole = list(FrameLoader(open_manifest(store), DataConfig(batch_size=2)))
    path = unit_of(store, layout, scene=whole[0].frame_keys[0].split("/")[0])
    flip(store, path, name)
    with pytest.raises(StoreError) as error:
        list(FrameLoader(open_manifest(store), DataConfig(batch_size=2)))
    assert path.key in str(error.value)
    assert "Run depthmill verify --all --delete-damaged with the recipe" in str(error.value)


def test_reclean_when_its_input_is_damaged_then_it_fails_by_name_and_the_named_commands_repair(made, depthmill):
    recipe, store = made
    assert depthmill("run", recipe, *BARE, "--set", "stages.clean_horizon.near_m=25")[0] == 0
    right = digests(Path(store.root), but=(".unfinished",))
    for path in store.units("depth_clean"):
        store.files.remove_tree(path.key)
    path = unit_of(store, "depth_accumulated")
    flip(store, path)
    code, text = depthmill("run", recipe, *BARE, "--set", "stages.clean_horizon.near_m=25")
    assert code == 1
    assert f"array 'depth_m' of unit '{path.key}' cannot be read" in text
    assert "Run depthmill verify --all --delete-damaged with the recipe" in text
    code, text = depthmill("verify", recipe, "--all", "--delete-damaged")
    assert code == 1
    assert f"deleted {path.key}\nNext: depthmill run makes them again, with the same bytes" in text
    for change in ((), ("--set", "stages.clean_horizon.near_m=25")):
        assert depthmill("run", recipe, *BARE, *change)[0] == 0
    assert depthmill("verify", recipe, "--all")[0] == 0
    without_marks = {name: digest for name, digest in right.items() if not name.endswith("lineage.json")}
    found = digests(Path(store.root), but=(".unfinished",))
    assert {name: digest for name, digest in found.items() if not name.endswith("lineage.json")} == without_marks


def test_store_of_an_older_depthmill_when_read_then_it_is_up_to_date_counted_and_a_whole_read_is_checked(made, depthmill):
    recipe, store = made
    for layout in ("frames", "depth_accumulated", "depth_clean", "depth_single", "images", "radar_points", "manifest"):
        for path in store.units(layout):
            take_checksums(store, path)
    assert depthmill("plan", recipe, "--check")[0] == 0
    code, text = depthmill("verify", recipe, "--all")
    assert code == 0
    assert "13 units of an older depthmill without checksums: whole now, but a loader would not notice damage to come" in text
    assert "13 units, " in text and ": all whole" in text
    assert json.loads(depthmill("verify", recipe, "--json")[1])["without_checksums"] == 13
    assert sum(len(batch.frame_keys) for batch in FrameLoader(open_manifest(store), DataConfig(batch_size=1))) == 2
    path = unit_of(store, "depth_accumulated")
    flip(store, path)
    code, text = depthmill("run", recipe, *BARE, "--set", "stages.clean_horizon.near_m=25")
    assert code == 1
    assert f"file '{SHARD}' of unit '{path.key}' is not what was written (SHA-256)" in text


def test_repair_when_an_older_depthmill_made_units_of_damage_then_they_are_made_again(made, depthmill):
    recipe, store = made
    made_of = unit_of(store, "depth_clean")
    right = store.read_unit(made_of)
    for layout in ("depth_accumulated", "depth_clean", "manifest"):
        for path in store.units(layout):
            take_checksums(store, path)
    wrong = store.read_unit(made_of)
    wrong.arrays["depth_m"][0, 3, 4] += 7  # as it was made of damaged bytes
    record = store.lineage(made_of)
    store.write_unit(record.identity, wrong, seconds=0, counts={})
    take_checksums(store, made_of)
    damaged = unit_of(store, "depth_accumulated")
    flip(store, damaged)
    sealed, manifest = unit_of(store, "depth_single"), open_manifest(store).path
    answer = json.loads(depthmill("verify", recipe, "--all", "--delete-damaged", "--json")[1])
    assert answer["damaged"] == [damaged.key]
    assert answer["derived"] == sorted([made_of.key, manifest.key])
    assert store.has(sealed)
    assert depthmill("run", recipe, *BARE)[0] == 0
    assert depthmill("verify", recipe, "--all")[0] == 0
    assert np.array_equal(store.read_unit(made_of).arrays["depth_m"], right.arrays["depth_m"])
    assert open_manifest(store).path == manifest


def test_deletion_of_damage_when_unlinking_is_slow_and_a_run_works_beside_it_then_the_unit_is_whole(made, depthmill, monkeypatch):
    recipe, store = made
    path = unit_of(store, "depth_clean")
    flip(store, path)
    slow, unlink = threading.Event(), os.unlink

    def unlink_slowly(*args, **options):
        slow.set()
        time.sleep(0.05)
        unlink(*args, **options)

    monkeypatch.setattr(os, "unlink", unlink_slowly)
    process = None
    deleting = threading.Thread(target=lambda: _delete_damaged(store, path))
    deleting.start()
    slow.wait(60)
    assert not store.has(path)  # gone at once, though its files are not
    command = [sys.executable, "-c", "from flows.cli import main; main()", "run", str(recipe), *map(str, BARE)]
    process = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=300)
    deleting.join()
    monkeypatch.undo()
    assert process.returncode == 0, process.stdout + process.stderr
    assert store.damage(path) == []
    assert depthmill("verify", recipe)[0] == 0


def _delete_damaged(store, path):
    from pipeline.verify import delete_damaged

    delete_damaged(store, [path])


def test_damaged_unit_when_a_run_names_it_then_it_is_kept_and_said(made, depthmill):
    recipe, store = made
    path = unit_of(store, "depth_clean")
    flip(store, path)
    with noted_run(store, [path], relied_on=[]):
        code, text = depthmill("verify", recipe, "--delete-damaged")
    assert code == 1
    assert f"kept {path.key}, which the run of process {os.getpid()} on {platform.node()} since" in text
    assert "Give the same command again when that has ended" in text
    assert store.has(path)


def dead_pid():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


@pytest.mark.parametrize("fault", ["dead", "dead, as older versions write", "another process has the number", "clock ahead"])
@pytest.mark.parametrize("kind", ["prune", "run"])
def test_note_when_its_process_is_gone_or_its_time_is_to_come_then_nobody_waits(made, depthmill, kind, fault):
    recipe, store = made
    now = datetime.datetime.now(datetime.UTC)
    path = unit_of(store, "depth_clean")
    facts = {"kind": kind, "host": platform.node(), "pid": dead_pid(), "started_utc": now, "units": (path.key,)}
    if fault == "another process has the number":
        facts |= {"pid": os.getpid(), "started_utc": now - datetime.timedelta(minutes=59)}
        if kind == "run":
            facts["started_utc"] = now - datetime.timedelta(days=6)
    if fault == "clock ahead":
        facts |= {"host": "another", "started_utc": now + datetime.timedelta(days=400)}
    note = Note(**facts).model_dump(mode="json")
    if fault == "dead, as older versions write":
        del note["machine"]
    name = f"{kind}-{now:%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:8]}.json"
    store.files.put(f"{FOLDER}/{name}", json.dumps(note).encode())
    if kind == "run":
        flip(store, path)
        code, text = depthmill("verify", recipe, "--delete-damaged")
        assert "deleted" in text and "kept" not in text
    else:
        slept = []
        with noted_run(store, [path], relied_on=[path], sleep=slept.append):
            assert slept == []


def test_leftovers_when_runs_were_killed_then_status_counts_and_prune_deletes_the_old_ones(made, depthmill, monkeypatch):
    recipe, store = made
    root, whole = Path(store.root), unit_of(store, "depth_clean")
    before = digests(root)
    half = root / whole.layout / whole.scene / whole.camera / ("0" * 16)
    left = [
        root / ".unfinished" / f"zarr.json.{uuid.uuid4().hex}",
        root / ".unfinished" / f"{whole.fingerprint}.{uuid.uuid4().hex}" / "depth_m" / "zarr.json",
        half / "depth_m" / "zarr.json",
        root / whole.key / f".zarr.json.{uuid.uuid4().hex}",
    ]
    for file in left:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"half")
    foreign = root / whole.key / ".notes-of-mine"
    foreign.write_bytes(b"mine")
    assert "leftovers 3 of killed runs" in depthmill("status", recipe)[1]
    assert json.loads(depthmill("status", recipe, "--json")[1])["leftovers"] == 3
    assert (
        "kept 4 leftovers of killed runs or of runs that go on, younger than a day" in depthmill("prune", recipe, "--delete")[1]
    )
    assert all(file.exists() for file in left)
    monkeypatch.setattr(store_files, "KEPT_S", -1.0)
    monkeypatch.setattr("storage_schemas.leftovers.KEPT_S", -1.0)
    assert "4 leftovers of killed runs, e.g. .unfinished/" in depthmill("prune", recipe)[1]
    assert all(file.exists() for file in left)
    with noted_run(store, [next(iter(store.candidates("depth_clean") - store.units("depth_clean")))], relied_on=[]):
        depthmill("prune", recipe, "--delete")
        assert half.exists()  # a run that goes on may be writing it
    code, text = depthmill("prune", recipe, "--delete")
    assert code == 0, text
    assert not any(file.exists() for file in left) and not half.exists()
    foreign.unlink()
    assert digests(root) == before


def test_writing_when_a_killed_process_left_files_beside_a_target_then_old_ones_go_and_others_stay(tmp_path):
    target, day = tmp_path / "last.pt", 24 * 3600 + 60
    old, young = tmp_path / f".last.pt.{uuid.uuid4().hex}", tmp_path / f".last.pt.{uuid.uuid4().hex}"
    foreign = tmp_path / ".last.pt.backup"
    for file in (old, young, foreign):
        file.write_bytes(b"x")
    for file in (old, foreign):
        os.utime(file, (time.time() - day, time.time() - day))
    with store_files.written_whole(target) as stream:
        stream.write(b"new")
    assert not old.exists() and young.exists() and foreign.exists()
    folder_left = tmp_path / f".export.{uuid.uuid4().hex}"
    (folder_left / "half").mkdir(parents=True)
    os.utime(folder_left, (time.time() - day, time.time() - day))
    with store_files.folder_written_whole(tmp_path / "export"):
        pass
    assert not folder_left.exists()


def test_run_when_the_store_is_deleted_under_it_then_it_says_so_and_a_second_run_makes_everything(made, depthmill, monkeypatch):
    recipe, store = made
    for path in store.units("depth_clean"):
        store.files.remove_tree(path.key)
    write, num_written = Store.write_unit, []

    def delete_store_then_write(self, *args, **options):
        if not num_written:
            import shutil

            shutil.rmtree(store.root)
        num_written.append(1)
        return write(self, *args, **options)

    monkeypatch.setattr(Store, "write_unit", delete_store_then_write)
    code, text = depthmill("run", recipe, *BARE)
    monkeypatch.undo()
    assert code == 1
    assert "Traceback" not in text
    code, text = depthmill("run", recipe, *BARE)
    assert code == 0, text
    assert depthmill("verify", recipe, "--all")[0] == 0
