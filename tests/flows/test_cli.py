from __future__ import annotations

import hashlib
import json
import os
import shutil
import sqlite3
from pathlib import Path

import pytest

from flows import cli
from storage_schemas.manifest import open_manifest
from storage_schemas.store import Store
from tests.hostile.attacks import command
from tests.tiny_nuscenes import write_tiny_nuscenes

BARE = ("--no-prefect", "--workers", 1, "--no-report")


def digests(store: Path, *, but: tuple[str, ...] = ()) -> dict[str, str]:
    return {
        str(path.relative_to(store)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(store.rglob("*"))
        if path.is_file() and path.relative_to(store).parts[0] not in ("runs", *but)
    }


def test_plan_when_store_is_empty_then_lists_every_unit_as_new_and_writes_nothing(tiny_root, write_recipe, depthmill, tmp_path):
    recipe = write_recipe(tiny_root)
    code, text = depthmill("plan", recipe)
    assert code == 0
    assert "accumulate_lidar           0      2  new (scene-0061, scene-0103)" in text
    assert "build_manifest             0      1  new" in text
    assert "13 units to do" in text
    assert not (tmp_path / "store").exists()
    assert depthmill("plan", recipe, "--check")[0] == 3


def test_run_when_repeated_then_nothing_is_left_to_do(tiny_root, write_recipe, depthmill, tmp_path):
    recipe = write_recipe(tiny_root)
    code, text = depthmill("run", recipe, *BARE)
    assert code == 0, text
    assert "done: 13 ok in" in text
    assert "events.jsonl" in text
    before = digests(tmp_path / "store")
    code, text = depthmill("run", recipe, *BARE)
    assert (code, text.strip()) == (0, "nothing to do: all 13 units are up to date")
    assert depthmill("plan", recipe, "--check")[0] == 0
    assert digests(tmp_path / "store") == before
    events = [json.loads(line) for line in next((tmp_path / "store/runs").glob("*/events.jsonl")).read_text().splitlines()]
    assert len(events) == 13
    assert {event["status"] for event in events} == {"OK"}


def test_reclean_when_near_m_changes_then_only_cleaning_and_manifest_are_redone(
    tiny_root, copied_store, write_recipe, depthmill, tmp_path
):
    recipe = write_recipe(tiny_root)
    store = tmp_path / "store"
    before = digests(store)
    old = open_manifest(Store(store))
    change = ("--set", "stages.clean_horizon.near_m=12.5")
    code, text = depthmill("plan", recipe, *change)
    assert "clean_horizon              0      2  params near_m: 20.0 -> 12.5 (scene-0061, scene-0103)" in text
    assert "build_manifest             0      1  input depth_clean changed (2 units)" in text
    assert "3 units to do, about" in text
    code, text = depthmill("run", recipe, *BARE, *change)
    assert code == 0
    assert "done: 3 ok in" in text
    after = digests(store)
    assert {key: after[key] for key in before} == before  # nothing that was there has changed
    assert {key.split("/")[0] for key in after.keys() - before.keys()} == {"depth_clean", "manifest"}
    new = open_manifest(Store(store))
    assert new.path != old.path
    again = open_manifest(Store(store), old.path.fingerprint)  # the former manifest still reads the former units
    assert again.samples == old.samples
    for row in again.rows():
        assert Store(store).damage(again.unit_of(row, "depth_clean")) == []
    assert open_manifest(Store(store)).rows()[0]["unit_depth_accumulated"] == old.rows()[0]["unit_depth_accumulated"]


def test_going_back_when_old_rule_returns_then_only_its_manifest_is_named_again(tiny_root, copied_store, write_recipe, depthmill):
    recipe = write_recipe(tiny_root)
    depthmill("run", recipe, *BARE, "--set", "stages.clean_horizon.near_m=5")
    code, text = depthmill("run", recipe, *BARE)
    assert (code, text.strip()) == (0, "nothing to do: all 13 units are up to date")


def test_adding_a_scene_when_source_grows_then_only_that_scene_is_done(write_recipe, depthmill, tmp_path):
    root = write_tiny_nuscenes(tmp_path / "data", ("scene-0061",))
    recipe = write_recipe(root)
    depthmill("run", recipe, *BARE)
    write_tiny_nuscenes(root, ("scene-0061", "scene-0103"))
    code, text = depthmill("plan", recipe)
    assert code == 0
    assert "accumulate_lidar           1      1  new (scene-0103)" in text
    assert "build_manifest             0      1  scene-0103 added" in text
    assert "7 units to do" in text


def test_run_when_a_point_file_is_empty_then_other_scenes_finish_and_rerun_does_the_rest(write_recipe, depthmill, tmp_path):
    root = write_tiny_nuscenes(tmp_path / "data")
    recipe = write_recipe(root)
    victim = sorted((root / "sweeps/LIDAR_TOP").glob("tiny-scene-0103*"))[2]
    aside = victim.with_suffix(".aside")
    victim.rename(aside)
    victim.touch()
    code, text = depthmill("run", recipe, "--no-prefect", "--workers", 1)
    assert code == 1
    assert "/report.html\nNext: fix what the ERROR lines name" in text
    assert f"ERROR          file '{victim}' is empty (0 bytes). Copy it again, then run the same command" in text
    assert "clean_horizon    scene-0103 CAM_FRONT  SKIP           accumulate_lidar failed" in text
    assert "build_manifest   all                   SKIP" in text
    assert "done: 10 ok, 1 error, 2 skipped" in text
    assert "run the same command; only scene-0103 and the manifest are left." in text
    aside.rename(victim)
    code, text = depthmill("run", recipe, *BARE)
    assert code == 0
    assert "done: 3 ok in" in text


def test_run_when_workers_differ_then_units_are_byte_identical(tiny_root, tiny_store, write_recipe, depthmill, tmp_path):
    alone = {key: value for key, value in digests(tiny_store).items() if not key.endswith("lineage.json")}
    code, text = depthmill("run", write_recipe(tiny_root), "--no-prefect", "--workers", 2, "--no-report")
    assert code == 0, text
    assert {key: value for key, value in digests(tmp_path / "store").items() if not key.endswith("lineage.json")} == alone


@pytest.mark.slow
def test_run_with_prefect_then_units_are_those_of_the_bare_loop_and_failure_gives_exit_code_1(
    write_recipe, depthmill_process, depthmill, tmp_path
):
    root = write_tiny_nuscenes(tmp_path / "data")
    recipe = write_recipe(root)
    victim = sorted((root / "samples/RADAR_FRONT").glob("tiny-scene-0103*"))[0]
    content = victim.read_bytes()
    victim.write_bytes(content[:-60])
    done = depthmill_process("run", recipe, "--prefect", "--workers", 2)
    assert done.returncode == 1, done.stderr
    assert "It is cut short" in done.stdout
    assert "done: 11 ok, 1 error, 1 skipped" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    victim.write_bytes(content)
    done = depthmill_process("run", recipe, "--prefect", "--workers", 1)
    assert done.returncode == 0, done.stderr
    assert "done: 2 ok in" in done.stdout
    with sqlite3.connect(Path(os.environ["PREFECT_HOME"]) / "prefect.db") as database:
        runs = database.execute(
            "select r.id, f.name, r.state_type from flow_run r join flow f on f.id = r.flow_id order by r.created desc limit 2"
        ).fetchall()
        of_runs = f"where flow_run_id in {tuple(run for run, *_ in runs)}"
        tasks = database.execute(f"select name, state_type from task_run {of_runs}").fetchall()
        artifacts = {key for (key,) in database.execute(f"select key from artifact {of_runs}")}
    assert [state for _, *state in runs] == [["materialize", "COMPLETED"], ["materialize", "FAILED"]]
    assert sorted(tasks) == [("scene-0061", "COMPLETED"), ("scene-0103", "COMPLETED"), ("scene-0103", "FAILED")]
    assert artifacts >= {"materialize-summary", "materialize-report"}
    store = tmp_path / "store"
    with_prefect = {key: value for key, value in digests(store).items() if not key.endswith("lineage.json")}
    shutil.rmtree(store)
    depthmill("run", recipe, *BARE)
    assert {key: value for key, value in digests(store).items() if not key.endswith("lineage.json")} == with_prefect


def test_run_when_two_cameras_of_different_sizes_then_each_has_its_units(tiny_root, write_recipe, depthmill, tmp_path):
    recipe = write_recipe(tiny_root, cameras=["CAM_FRONT", "CAM_BACK"])
    code, text = depthmill("run", recipe, *BARE)
    assert code == 0, text
    assert "done: 23 ok" in text
    sizes = {(row["camera"], row["width"], row["height"]) for row in open_manifest(Store(tmp_path / "store")).rows()}
    assert sizes == {("CAM_FRONT", 64, 36), ("CAM_BACK", 48, 30)}


def test_run_when_source_has_no_radar_then_radar_is_absent_and_not_empty(write_recipe, depthmill, tmp_path):
    recipe = write_recipe(write_tiny_nuscenes(tmp_path / "data", with_radar=False))
    code, text = depthmill("run", recipe, *BARE)
    assert code == 0, text
    assert "project_radar  " not in text
    assert "warning: all 2 scenes: no radar file, so project_radar makes nothing\n" in text
    row = open_manifest(Store(tmp_path / "store")).rows()[0]
    assert row["unit_radar_points"] is None
    assert row["num_radar_points"] is None


def test_status_inspect_verify_when_all_is_well_then_say_so(tiny_root, write_recipe, depthmill, tmp_path):
    recipe = write_recipe(tiny_root)
    depthmill("run", recipe, *BARE)
    code, text = depthmill("status", recipe)
    assert code == 0
    assert "13 of 13 up to date" in text
    assert "last run  13 ok, 0 errors, 0 skipped" in text
    code, text = depthmill("verify", recipe)
    assert code == 0
    assert "13 units" in text
    assert "all whole" in text
    code, text = depthmill("inspect", recipe)
    assert "depth_accumulated       2 units" in text
    manifest = open_manifest(Store(tmp_path / "store"))
    code, text = depthmill("inspect", recipe, manifest.path.key)
    assert "made by build_manifest v1" in text
    code, text = depthmill("inspect", tmp_path / "store", manifest.rows()[0]["frame_key"], "--json")
    assert json.loads(text)["scene"] == "scene-0061"
    code, text = depthmill("inspect", recipe, "scene-0061/CAM_FRONT/1")
    assert code == 1
    assert "sample 'scene-0061/CAM_FRONT/1' is not in manifest" in text


def test_verify_when_a_byte_flips_then_names_the_file(tiny_root, copied_store, write_recipe, depthmill, tmp_path):
    recipe = write_recipe(tiny_root)
    shard = next((tmp_path / "store/depth_clean/scene-0061").rglob("depth_m/c/0/0/0"))
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    code, text = depthmill("verify", recipe)
    assert code == 1
    assert "depth_m/c/0/0/0: content differs from what was written (sha256)" in text
    assert "FAULT depth_clean/scene-0061/CAM_FRONT/" in text


def test_prune_when_a_rule_changed_then_only_unnamed_units_go(tiny_root, copied_store, write_recipe, depthmill, tmp_path):
    recipe = write_recipe(tiny_root)
    depthmill("run", recipe, *BARE, "--set", "stages.clean_horizon.near_m=5")
    code, text = depthmill("prune", recipe)
    assert text.strip() == "0 units no manifest names; --delete removes them"
    shutil.rmtree(
        next(
            path
            for path in (tmp_path / "store/manifest/all/all").iterdir()
            if path.name == open_manifest(Store(tmp_path / "store")).path.fingerprint
        )
    )
    code, text = depthmill("prune", recipe, "--delete")
    assert "0 units no manifest names, deleted\nkept 2 units younger than 24h (--older-than)" in text
    code, text = depthmill("prune", recipe, "--delete", "--older-than", "0")
    assert "2 units no manifest names, deleted" in text
    assert depthmill("verify", recipe)[0] == 0
    assert depthmill("plan", recipe, "--check")[0] == 0


def test_help_when_asked_then_needs_no_heavy_module(depthmill_process):
    code = "import sys; from flows import cli; print(sorted({'numpy','numba','prefect','zarr','pyarrow','torch','pydantic'} & set(sys.modules)))"
    import subprocess
    import sys

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr
    assert "materialise" not in depthmill_process("--help").stderr


@pytest.mark.parametrize("command", ["plan", "run", "status", "verify", "report", "assess"])
def test_any_command_when_recipe_is_missing_then_exit_code_2_and_a_next_step(command, depthmill, tmp_path):
    code, text = depthmill(command, tmp_path / "nowhere.yaml")
    assert code == 2
    assert f"recipe '{tmp_path / 'nowhere.yaml'}' does not exist. Write one with depthmill init, or run depthmill demo" in text


def test_export_when_given_recipe_or_store_then_writes_the_layout_and_import_reads_it(
    tiny_root, write_recipe, depthmill, tmp_path
):
    recipe = write_recipe(tiny_root)
    code, text = depthmill("export", recipe, "--out", tmp_path / "out")
    assert code == 2
    assert "the manifest of this recipe is not there yet (new). Run depthmill run first" in text
    depthmill("run", recipe, *BARE)
    code, text = depthmill("export", recipe, "--out", tmp_path / "out", "--layout", "semodepth")
    assert (code, text.strip()) == (0, f"wrote {tmp_path / 'out'}: 2 train samples, 2 val samples")
    lines = (tmp_path / "out/training/nuscenes/nuscenes_train_D_acc_160clean.txt").read_text().splitlines()
    assert len(lines) == 2
    assert all(Path(line).is_file() for line in lines)
    code, text = depthmill("import", tmp_path / "out", "--store", tmp_path / "imported")
    assert code == 0, text
    assert "imported 4 samples as manifest" in text
    code, text = depthmill("export", tmp_path / "imported", "--out", tmp_path / "again")
    assert code == 0, text
    first, again = digests(tmp_path / "out/data"), digests(tmp_path / "again/data")
    assert first == again
    assert len(first) == 4 * 3 + 2 * 2
    assert depthmill("export", recipe, "--out", tmp_path / "x", "--layout", "kitti")[0] == 2


def test_json_when_asked_then_every_command_answers_with_json(tiny_root, write_recipe, depthmill, tmp_path):
    recipe = write_recipe(tiny_root)
    calls = [
        ("plan", recipe), ("run", recipe, *BARE), ("run", recipe, *BARE), ("status", recipe), ("verify", recipe), ("inspect", recipe),
        ("report", recipe, "--out", tmp_path / "r.html"), ("assess", recipe), ("export", recipe, "--out", tmp_path / "out"),
        ("import", tmp_path / "out", "--store", tmp_path / "imported"), ("prune", recipe),
    ]  # fmt: skip
    for call in calls:
        code, text = depthmill(*call, "--json")
        assert code == 0, text
        assert isinstance(json.loads(text), dict), call


def test_plan_when_other_recipes_wrote_since_then_compares_with_the_likest_unit(tiny_root, copied_store, write_recipe, depthmill):
    recipe = write_recipe(tiny_root)
    depthmill("run", recipe, *BARE, "--set", "stages.accumulate_lidar.moving=keep", "--set", "stages.clean_horizon.near_m=5")
    code, text = depthmill("plan", recipe, "--set", "stages.clean_horizon.near_m=7")
    assert "params near_m: 20.0 -> 7.0 (scene-0061, scene-0103)" in text
    assert "build_manifest             0      1  input depth_clean changed (2 units)\n" in text
    code, text = depthmill("plan", recipe, "--set", "stages.project_lidar.lidar=[LIDAR_TOP, LIDAR_X]")
    assert "units to do, about" in text  # although the last run did not time this stage


class OutOfMemoryError(RuntimeError):
    """As torch names what it raises when a GPU is full."""


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MemoryError("Unable to allocate 74.5 GiB"), "error: memory is full: Unable to allocate 74.5 GiB. Let fewer processes work"),
        (MemoryError(), "error: memory is full: the system gave no more. Let fewer processes work (--workers, DEPTHMILL_LOADER_WORKERS)"),
        (OutOfMemoryError("CUDA out of memory. Tried\nmore"), "error: memory is full: CUDA out of memory. Tried. Let fewer"),
    ],
)  # fmt: skip
def test_command_when_memory_is_full_then_one_line_that_says_what_to_lower(error, said, monkeypatch):
    def full(**_: object) -> None:
        raise error

    monkeypatch.setattr(cli, "app", full)
    code, text = command("plan", "recipe.yaml")
    assert code == 1
    assert text.startswith(said) and len(text.splitlines()) == 1 and "batch_size" in text


def test_command_when_it_has_a_defect_then_it_is_not_taken_for_a_full_memory(monkeypatch):
    def broken(**_: object) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr(cli, "app", broken)
    with pytest.raises(RuntimeError, match="a defect"):
        command("plan", "recipe.yaml")
