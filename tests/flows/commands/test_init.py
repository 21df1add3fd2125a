from __future__ import annotations

import json
import shutil

import pytest
import yaml
from PIL import Image

from pipeline.recipe import load_recipe
from tests.tiny_nuscenes import write_tiny_nuscenes
from tests.tiny_zju import write_tiny_zju


def test_init_when_root_is_nuscenes_then_recipe_names_what_is_there_and_plans_at_once(tiny_root, depthmill, tmp_path):
    out = tmp_path / "recipe.yaml"
    code, text = depthmill("init", tiny_root, "--out", out)
    assert code == 0, text
    assert text == (
        "nuScenes format, v1.0-mini: 2 scenes (1 train, 1 val), 6 key frames, 2 cameras, 1 radar\n"
        f"wrote {out}, and depthmill.schema.json beside it for editors\nNext: depthmill plan {out}\n"
    )
    recipe = load_recipe(out)
    assert (recipe.source.root, recipe.source.version) == (str(tiny_root), "v1.0-mini")
    assert (recipe.store, recipe.cameras) == (str(tmp_path / "store"), ("CAM_FRONT",))
    assert recipe.train["data"] == {"batch_size": 2}  # 3 key frames of the train scene without its last
    written = out.read_text()
    assert "2 scenes (1 train, 1 val; 1 at night), 6 key frames" in written
    assert "with images here: CAM_BACK (6), CAM_FRONT (6); CAM_FRONT is 64x36" in written
    assert "with files here: RADAR_FRONT (6)" in written
    assert "4 annotated objects here" in written
    assert "published; leaves 4 of 6 key frames" in written
    assert max(map(len, written.splitlines())) <= 130 + len(str(tmp_path))
    code, text = depthmill("plan", out)
    assert code == 0
    assert "13 units to do" in text


def test_init_when_recipe_was_written_then_training_reads_it_too(tiny_root, depthmill, tmp_path):
    from model.families import parse_train_config

    depthmill("init", tiny_root, "--out", tmp_path / "recipe.yaml")
    config = parse_train_config(load_recipe(tmp_path / "recipe.yaml").train, where="test")
    assert (config.epochs, config.evaluation.split, config.evaluation.target) == (50, "val", "depth_single")


def test_init_when_recipe_is_there_then_refuses_and_leaves_it(tiny_root, depthmill, tmp_path):
    out = tmp_path / "recipe.yaml"
    out.write_text("mine")
    code, text = depthmill("init", tiny_root, "--out", out)
    assert (code, text) == (
        2,
        f"error: recipe '{out}' is there already and is not overwritten. Choose another --out, or move it away\n",
    )
    assert out.read_text() == "mine"


def test_init_when_root_is_a_folder_too_deep_then_names_the_right_one(tiny_root, depthmill, tmp_path):
    for inner in ("v1.0-mini", "samples", "samples/CAM_FRONT"):
        code, text = depthmill("init", tiny_root / inner, "--out", tmp_path / "recipe.yaml")
        assert (code, text) == (
            2,
            f"error: '{tiny_root / inner}' is not the root of a data set, '{tiny_root}' is. Run: depthmill init {tiny_root}\n",
        )


def test_init_when_root_is_a_folder_too_high_then_names_the_right_one(depthmill, tmp_path):
    write_tiny_nuscenes(tmp_path / "disk/nuscenes", ("scene-0061",))
    for outer in (tmp_path / "disk", tmp_path):
        code, text = depthmill("init", outer, "--out", tmp_path / "recipe.yaml")
        assert code == 2
        assert f"'{outer}' is not the root of a data set, '{tmp_path / 'disk/nuscenes'}' is." in text


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ((), "The folder is empty"),
        (("v1.0-mini.tgz", "a.txt"), "There are archives (v1.0-mini.tgz): unpack them here, then run the same command"),
        (("training/x.bin", "a.txt"), "Found instead: a.txt, training/"),
    ],
)
def test_init_when_folder_is_no_known_data_set_then_says_what_was_looked_for_and_found(depthmill, tmp_path, files, words):
    root = tmp_path / "data"
    root.mkdir()
    for name in files:
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text("")
    code, text = depthmill("init", root, "--out", tmp_path / "recipe.yaml")
    assert code == 2
    assert f"error: '{root}' is no data set that depthmill knows. Looked for nuScenes format (samples/, sweeps/" in text
    assert text.strip().endswith(words)
    assert not (tmp_path / "recipe.yaml").exists()


def test_init_when_root_does_not_exist_or_is_a_file_then_says_so(depthmill, tmp_path):
    assert depthmill("init", tmp_path / "no")[1] == (
        f"error: data root '{tmp_path / 'no'}' does not exist. Give the folder that holds the data set\n"
    )
    (tmp_path / "file").write_text("")
    assert "is a file. Give the folder that holds the unpacked data set" in depthmill("init", tmp_path / "file")[1]


def test_init_when_there_are_several_versions_then_takes_the_largest_or_the_one_asked_for(depthmill, tmp_path):
    root = write_tiny_nuscenes(tmp_path / "data", ("scene-0001",), version="v1.0-trainval")
    write_tiny_nuscenes(root, ("scene-0061", "scene-0103"))
    assert "v1.0-trainval: 1 scene" in depthmill("init", root, "--out", tmp_path / "a.yaml")[1]
    assert "also here: v1.0-mini" in (tmp_path / "a.yaml").read_text()
    assert "v1.0-mini: 2 scenes" in depthmill("init", root, "--out", tmp_path / "b.yaml", "--version", "v1.0-mini")[1]
    code, text = depthmill("init", root, "--out", tmp_path / "c.yaml", "--version", "v1.0-test")
    assert (code, text) == (
        2,
        f"error: version 'v1.0-test' is not in '{root}'; versions there: v1.0-trainval, v1.0-mini. Choose one of them\n",
    )


def test_init_when_there_is_no_radar_then_the_recipe_says_so_and_still_plans(depthmill, tmp_path):
    root = write_tiny_nuscenes(tmp_path / "data", with_radar=False)
    depthmill("init", root, "--out", tmp_path / "recipe.yaml")
    text = (tmp_path / "recipe.yaml").read_text()
    assert yaml.safe_load(text)["train"]["data"] == {"batch_size": 2, "radar": False}
    assert "project_radar" not in yaml.safe_load(text)["stages"]
    assert "no radar file is here: frames get no radar" in text
    assert "no radar file is here: a network of the camera alone" in text
    assert depthmill("plan", tmp_path / "recipe.yaml")[0] == 0


def test_init_when_images_are_missing_then_says_how_many_and_what_to_do(depthmill, tmp_path):
    root = write_tiny_nuscenes(tmp_path / "data")
    next((root / "samples/CAM_FRONT").iterdir()).unlink()
    depthmill("init", root, "--out", tmp_path / "recipe.yaml")
    assert "only 5 of 6 CAM_FRONT images are on the disk: complete scenes are used" in (tmp_path / "recipe.yaml").read_text()
    shutil.rmtree(root / "samples")
    code, text = depthmill("init", root, "--out", tmp_path / "other.yaml")
    assert code == 2
    assert "has images of no camera of v1.0-mini" in text


def test_init_when_scenes_have_one_key_frame_then_it_is_kept(depthmill, tmp_path):
    root = write_tiny_nuscenes(tmp_path / "data", ("scene-0061",), keyframes=1)
    depthmill("init", root, "--out", tmp_path / "recipe.yaml")
    assert load_recipe(tmp_path / "recipe.yaml").stages.build_manifest.drop_last_keyframe is False


def test_init_when_paths_are_odd_then_the_recipe_still_names_them(depthmill, tmp_path):
    root = write_tiny_nuscenes(tmp_path / "a: b # c 'd' ü")
    out = tmp_path / "recipe.yaml"
    assert depthmill("init", root, "--out", out, "--store", "s3://bucket/a b")[0] == 0
    recipe = load_recipe(out)
    assert (recipe.source.root, recipe.store) == (str(root), "s3://bucket/a b")


def test_init_when_out_cannot_be_written_then_says_why(tiny_root, depthmill, tmp_path):
    assert "its name must end in .yaml" in depthmill("init", tiny_root, "--out", tmp_path / "recipe")[1]
    assert (
        "does not exist. Create it (mkdir -p) or choose another --out"
        in depthmill("init", tiny_root, "--out", tmp_path / "no/x.yaml")[1]
    )


def test_init_when_json_is_asked_for_then_answers_as_data(tiny_root, depthmill, tmp_path):
    answer = json.loads(depthmill("init", tiny_root, "--out", tmp_path / "recipe.yaml", "--json")[1])
    assert answer["recipe"] == str(tmp_path / "recipe.yaml")
    assert answer["found"].startswith("nuScenes format, v1.0-mini: 2 scenes")


@pytest.mark.real_data
@pytest.mark.parametrize(("name", "words"), [("kitti0001-as-nuscenes", "13 units to do"), ("nuscenes-keyframe", "6 units to do")])
def test_init_when_data_is_real_then_recipe_plans_at_once(shared, depthmill, tmp_path, name, words):
    code, text = depthmill("init", shared / "data" / name, "--out", tmp_path / "recipe.yaml")
    assert code == 0, text
    code, text = depthmill("plan", tmp_path / "recipe.yaml")
    assert code == 0
    assert words in text


def test_init_when_root_is_zju_then_recipe_names_what_is_there_and_plans_at_once(depthmill, tmp_path):
    from model.families import parse_train_config

    root = write_tiny_zju(tmp_path / "data")
    code, text = depthmill("init", root, "--out", tmp_path / "recipe.yaml")
    assert code == 0, text
    assert text.startswith("ZJU-4DRadarCam: 8 frames (5 train, 2 val, 1 test) in image, radar_png, gt, gt_interp\n")
    written = (tmp_path / "recipe.yaml").read_text()
    assert "train.txt names 5, val.txt names 2, test.txt names 1" in written
    assert "images are 128x72; the published rows 240 to 540 are of 1280x720: all rows are taken" in written
    config = parse_train_config(load_recipe(tmp_path / "recipe.yaml").train, where="test")
    assert (config.network.max_depth_m, config.data.dense_target, config.data.batch_size) == (80, "depth_interpolated", 5)
    code, text = depthmill("plan", tmp_path / "recipe.yaml")
    assert code == 0, text
    assert "units to do" in text


def test_init_when_zju_images_are_as_published_then_the_published_rows_are_taken(depthmill, tmp_path):
    root = write_tiny_zju(tmp_path / "data", frames={"train": 1}, height=72, width=128)
    for path in (root / "image").iterdir():
        Image.new("RGB", (1280, 720)).save(path)
    depthmill("init", root, "--out", tmp_path / "recipe.yaml")
    assert load_recipe(tmp_path / "recipe.yaml").train["data"]["rows"] == [240, 540]


def test_init_when_folder_lies_in_a_zju_set_then_names_the_right_one(depthmill, tmp_path):
    root = write_tiny_zju(tmp_path / "data", frames={"train": 1})
    assert f"'{root}' is. Run: depthmill init {root}" in depthmill("init", root / "image", "--out", tmp_path / "r.yaml")[1]
    assert "Leave it out" in depthmill("init", root, "--out", tmp_path / "r.yaml", "--version", "v1.0-mini")[1]


def test_init_when_a_field_of_a_sensor_is_missing_then_is_named(depthmill, tmp_path):
    root = write_tiny_nuscenes(tmp_path / "data")
    path = root / "v1.0-mini/sensor.json"
    sensors = json.loads(path.read_text())
    del sensors[0]["modality"]
    path.write_text(json.dumps(sensors))
    code, text = depthmill("init", root, "--out", tmp_path / "recipe.yaml")
    assert code == 2
    assert f"table '{path}': record 0 (token '{sensors[0]['token']}') lacks the field 'modality'" in text


def test_init_when_sensors_have_names_of_their_own_then_takes_the_front_camera_and_every_lidar(depthmill, tmp_path):
    root = write_tiny_nuscenes(tmp_path / "data")
    path = root / "v1.0-mini/sensor.json"
    names = {"CAM_FRONT": "cam_front_wide", "CAM_BACK": "cam_back", "LIDAR_TOP": "velodyne", "RADAR_FRONT": "ars430"}
    path.write_text(json.dumps([{**one, "channel": names[one["channel"]]} for one in json.loads(path.read_text())]))
    code, text = depthmill("init", root, "--out", tmp_path / "recipe.yaml", "--store", tmp_path / "store")
    assert code == 0, text
    recipe = (tmp_path / "recipe.yaml").read_text()
    for line in ("cameras: [cam_front_wide]", "project_radar: {channels: [ars430]}", "lidar: [velodyne]"):
        assert line in recipe
    code, text = depthmill("run", tmp_path / "recipe.yaml", "--no-prefect", "--no-report", "--workers", 1)
    assert code == 0, text
    assert "3 frames, 20.0 % of pixels measured" in text
