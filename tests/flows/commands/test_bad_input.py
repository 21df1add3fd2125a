"""Every mistake a user can make: the text names the thing, the value, what was expected and what to do; exit code not 0."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest
import yaml

from storage_schemas.lineage import LINEAGE_FILE
from storage_schemas.store import Store
from tests.tiny_nuscenes import write_tiny_nuscenes

BARE = ("--no-prefect", "--workers", 1, "--no-report")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_tiny_nuscenes(tmp_path / "data")


def first(root: Path, pattern: str) -> Path:
    return sorted(root.glob(pattern))[0]


def test_root_when_missing(write_recipe, depthmill, tmp_path):
    code, text = depthmill("plan", write_recipe(tmp_path / "none"))
    assert code == 2
    assert f"source root '{tmp_path / 'none'}' does not exist. Set source.root in the recipe" in text


def test_version_when_wrong_then_lists_those_there(root, write_recipe, depthmill):
    recipe = write_recipe(root, source={"kind": "nuscenes", "root": str(root), "version": "v1.0-trainval"})
    code, text = depthmill("run", recipe, *BARE)
    assert code == 2
    assert "source version 'v1.0-trainval' is not in" in text
    assert "versions there: v1.0-mini. Set source.version" in text


def test_table_when_missing(root, write_recipe, depthmill):
    (root / "v1.0-mini/ego_pose.json").unlink()
    code, text = depthmill("plan", write_recipe(root))
    assert code == 2
    assert (
        f"table '{root / 'v1.0-mini/ego_pose.json'}' is missing. Every release has sensor, calibrated_sensor, ego_pose, scene, "
        in text
    )


def test_table_when_json_is_broken_then_says_where(root, write_recipe, depthmill):
    path = root / "v1.0-mini/sample_data.json"
    path.write_text(path.read_text()[:-200])
    code, text = depthmill("plan", write_recipe(root))
    assert code == 2
    assert f"table '{path}' is not valid JSON" in text
    assert "line 1, column" in text
    assert "unpack the metadata archive again" in text


def test_table_when_a_sample_token_leads_nowhere(root, write_recipe, depthmill):
    path = root / "v1.0-mini/sample_data.json"
    records = json.loads(path.read_text())
    records[3]["sample_token"] = "feedbeef"
    path.write_text(json.dumps(records))
    code, text = depthmill("plan", write_recipe(root))
    assert code == 2
    assert f"sample_data '{records[3]['token']}' refers to sample 'feedbeef', which is not in sample.json" in text


def test_table_when_a_field_is_missing(root, write_recipe, depthmill):
    path = root / "v1.0-mini/ego_pose.json"
    records = json.loads(path.read_text())
    del records[0]["rotation"]
    path.write_text(json.dumps(records))
    code, text = depthmill("plan", write_recipe(root))
    assert code == 2
    assert f"record 0 (token '{records[0]['token']}') lacks the field 'rotation'; expected the nuScenes v1.0 schema" in text


def test_point_file_when_size_is_no_multiple_of_a_point(root, write_recipe, depthmill):
    path = first(root, "sweeps/LIDAR_TOP/*")
    path.write_bytes(path.read_bytes()[:-7])
    code, text = depthmill("run", write_recipe(root), *BARE)
    assert code == 1
    assert f"point file '{path}' has {path.stat().st_size} bytes, expected a multiple of 20 (5 float32 a point)" in text


def test_point_file_when_empty(root, write_recipe, depthmill):
    path = first(root, "samples/LIDAR_TOP/*")
    path.write_bytes(b"")
    code, text = depthmill("run", write_recipe(root), *BARE)
    assert code == 1
    assert f"file '{path}' is empty (0 bytes). Copy it again" in text


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda content: content[:-100], "is cut short: it has no end-of-image mark. Copy it again"),
        (lambda content: b"not an image at all", "cannot be read"),
    ],
)
def test_image_when_unreadable(damage, said, root, write_recipe, depthmill):
    path = first(root, "samples/CAM_FRONT/*")
    path.write_bytes(damage(path.read_bytes()))
    code, text = depthmill("run", write_recipe(root), *BARE)
    assert code == 1
    assert f"image '{path.relative_to(root)}' " in text
    assert said in text


def test_image_when_size_differs_from_table(root, write_recipe, depthmill):
    path = first(root, "samples/CAM_FRONT/*")
    path.write_bytes(first(root, "samples/CAM_BACK/*").read_bytes())
    code, text = depthmill("run", write_recipe(root), *BARE)
    assert code == 1
    assert f"image '{path.relative_to(root)}' is 48x30, sample_data.json says 64x36" in text


def test_camera_when_it_does_not_exist(root, write_recipe, depthmill):
    code, text = depthmill("plan", write_recipe(root, cameras=["CAM_FRNT"]))
    assert code == 2
    assert "cameras: 'CAM_FRNT' does not exist in scene-0061; cameras there: CAM_BACK, CAM_FRONT" in text


def test_scene_when_it_does_not_exist(root, write_recipe, depthmill):
    code, text = depthmill("plan", write_recipe(root, scenes=["scene-9999"]))
    assert code == 2
    assert "scenes: 'scene-9999' is not in the source; it has 2 scenes, e.g. scene-0061, scene-0103" in text


def test_lidar_when_channel_does_not_exist(root, write_recipe, depthmill):
    code, text = depthmill("run", write_recipe(root, stages={"accumulate_lidar": {"lidar": "LIDAR_TOPP"}}), *BARE)
    assert code == 2
    assert "stages.accumulate_lidar.lidar: no scene has files of LIDAR_TOPP; LiDARs there: LIDAR_TOP. Choose one of them" in text


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"stages": {"clean_horizn": {}}}, "unknown key 'stages.clean_horizn'; did you mean 'clean_horizon'?"),
        ({"stages": {"clean_horizon": {"near": 3}}}, "unknown key 'stages.clean_horizon.near'; did you mean 'near_m'?"),
        ({"stoer": "x"}, "unknown key 'stoer'; did you mean 'store'?"),
        ({"source": {"kind": "nuscenes", "rot": "x"}}, "unknown key 'source.rot'; did you mean 'root'?"),
        ({"source": {"kind": "nuscens"}}, "source.kind is 'nuscens', expected one of: nuscenes, synthetic"),
        (
            {"stages": {"accumulate_lidar": {"num_sweeps": 0}}},
            "stages.accumulate_lidar.num_sweeps is 0: Input should be greater than",
        ),
        (
            {"stages": {"accumulate_lidar": {"moving": "dorp"}}},
            "stages.accumulate_lidar.moving is 'dorp': Input should be 'keep', 'drop'",
        ),
        ({"stages": {"clean_horizon": {"window_px": 4}}}, "window_px must be odd"),
        (
            {"stages": {"project_radar": {"channels": ["RADAR_TOP"]}}},
            "unknown radar channel 'RADAR_TOP'; expected some of RADAR_FRONT",
        ),
        ({"cameras": []}, "cameras is []"),
    ],
)
def test_recipe_when_mistyped(change, said, root, write_recipe, depthmill):
    code, text = depthmill("plan", write_recipe(root, **change))
    assert code == 2
    assert said in text


def test_recipe_when_not_yaml_or_empty(depthmill, tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text("source: {kind: nuscenes")
    code, text = depthmill("plan", path)
    assert code == 2
    assert f"recipe '{path}' is not valid YAML" in text
    assert "line 1" in text
    path.write_text("")
    assert "is empty or not a mapping; expected the keys source and store" in depthmill("plan", path)[1]


def test_recipe_when_it_is_a_folder(depthmill, tmp_path):
    code, text = depthmill("plan", tmp_path)
    assert (code, text.strip()) == (
        2,
        f"error: recipe '{tmp_path}' is a folder; expected a YAML file. Give the recipe that it was made with",
    )


def test_recipe_when_store_is_missing(root, depthmill, tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump({"source": {"kind": "nuscenes", "root": str(root)}}))
    assert "key 'store' is missing" in depthmill("plan", path)[1]


def test_override_when_it_has_no_value(root, write_recipe, depthmill):
    code, text = depthmill("plan", write_recipe(root), "--set", "stages.clean_horizon.near_m")
    assert code == 2
    assert "is not of the form key.key=value" in text


def test_store_when_written_by_a_newer_layout(root, write_recipe, depthmill, tmp_path):
    recipe = write_recipe(root)
    depthmill("run", recipe, *BARE)
    path = first(tmp_path / "store", f"depth_clean/*/*/*/{LINEAGE_FILE}")
    record = json.loads(path.read_text())
    record["identity"]["layout_version"] = 99
    path.write_text(json.dumps(record))
    code, text = depthmill("verify", recipe)
    assert code == 1
    assert "has layout depth_clean v99, this depthmill knows v1. Update depthmill to read it" in text


def _fail_on(monkeypatch: pytest.MonkeyPatch, number: int, part: str) -> None:
    real = Path.replace

    def replace(self: Path, target: Path) -> Path:
        if part in str(target):
            raise OSError(number, os.strerror(number))
        return real(self, target)

    monkeypatch.setattr(Path, "replace", replace)


def test_disk_when_full_then_nothing_half_written_is_visible_and_rerun_finishes(
    root, write_recipe, depthmill, tmp_path, monkeypatch
):
    recipe = write_recipe(root)
    with monkeypatch.context() as patch:
        _fail_on(patch, errno.ENOSPC, "depth_accumulated/scene-0061")
        code, text = depthmill("run", recipe, *BARE)
    assert code == 1
    assert "no space left on the device. Nothing half-written is visible; free some space" in text
    store = Store(tmp_path / "store")
    assert {path.scene for path in store.units("depth_accumulated")} == {"scene-0103"}
    assert list((tmp_path / "store/.unfinished").iterdir()) == []  # no temporary file is left
    code, text = depthmill("run", recipe, *BARE)
    assert code == 0
    assert "done: 3 ok in" in text


def test_store_when_not_writable(root, write_recipe, depthmill, monkeypatch):
    with monkeypatch.context() as patch:
        _fail_on(patch, errno.EACCES, "images/scene-0061")
        code, text = depthmill("run", write_recipe(root), *BARE)
    assert code == 1
    assert "permission denied. Give this user write permission on the store, or choose another 'store:' in the recipe" in text


def test_store_when_its_path_is_a_file(root, write_recipe, depthmill, tmp_path):
    (tmp_path / "store").write_text("I am a file")
    code, text = depthmill("run", write_recipe(root), *BARE)
    assert code == 1
    assert "cannot make the run folder" in text
    assert "choose another 'store:' in the recipe" in text


def test_reader_when_commit_mark_is_missing_then_unit_does_not_exist(root, write_recipe, depthmill, tmp_path):
    recipe = write_recipe(root)
    depthmill("run", recipe, *BARE)
    first(tmp_path / "store", f"depth_clean/scene-0061/*/*/{LINEAGE_FILE}").unlink()
    assert {path.scene for path in Store(tmp_path / "store").units("depth_clean")} == {"scene-0103"}
    code, text = depthmill("plan", recipe)
    assert "clean_horizon              1      1  unfinished: a former run was interrupted (scene-0061)" in text


@pytest.mark.parametrize("value", ["0", "many"])
def test_workers_when_not_a_positive_number(value, root, write_recipe, depthmill, monkeypatch):
    monkeypatch.setenv("DEPTHMILL_WORKERS", value)
    code, text = depthmill("plan", write_recipe(root))
    assert code == 2
    assert f"setting DEPTHMILL_WORKERS (or its option) is '{value}'" in text


@pytest.mark.slow
def test_prefect_when_its_server_does_not_answer(root, write_recipe, depthmill_process):
    environment = {**os.environ, "PREFECT_API_URL": "http://127.0.0.1:9/api", "PREFECT_CLIENT_MAX_RETRIES": "0"}
    done = depthmill_process("run", write_recipe(root), "--workers", 1, env=environment)
    assert done.returncode == 1
    assert "error: the Prefect server of PREFECT_API_URL=http://127.0.0.1:9/api does not answer: " in done.stderr
    assert "Start it (prefect server start), correct the address, or unset PREFECT_API_URL" in done.stderr
    assert "needs no server: --no-prefect" in done.stderr


@pytest.mark.parametrize("options", [BARE, ("--workers", 1)], ids=["bare", "prefect"])
def test_simulated_world_when_root_holds_real_data_then_refuses_to_overwrite_it(options, root, write_recipe, depthmill):
    before = (root / "v1.0-mini/scene.json").read_bytes()
    code, text = depthmill(
        "run", write_recipe(root, source={"kind": "synthetic", "scenes": 1, "seconds": 2, "root": str(root)}), *BARE
    )
    assert code == 2
    assert f"source root '{root}' holds a data set that was not simulated; its tables would be overwritten" in text
    assert (root / "v1.0-mini/scene.json").read_bytes() == before


def test_simulated_world_when_trajectories_are_missing(root, write_recipe, depthmill):
    code, text = depthmill("plan", write_recipe(root, source={"kind": "synthetic", "trajectories": "nowhere.json"}))
    assert code == 2
    assert "source.trajectories 'nowhere.json' cannot be read: No such file or directory. Give the path" in text


def test_simulated_world_when_its_folder_cannot_be_written(root, write_recipe, depthmill, tmp_path):
    (tmp_path / "file").write_text("")
    recipe = write_recipe(root, source={"kind": "synthetic", "scenes": 1, "seconds": 2, "root": str(tmp_path / "file" / "world")})
    code, text = depthmill("run", recipe, *BARE)
    assert code == 2
    assert f"cannot write the simulated world to '{tmp_path / 'file' / 'world'}': Not a directory" in text


@pytest.mark.parametrize("command", [("inspect",), ("prune",), ("export", "--out", "x")])
def test_store_when_it_does_not_exist(command, depthmill, tmp_path):
    code, text = depthmill(command[0], tmp_path / "nowhere", *command[1:])
    assert code == 2
    assert f"store '{tmp_path / 'nowhere'}' does not exist or is empty. Give the path or URL of a store, or a recipe file" in text
