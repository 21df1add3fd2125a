"""``init --from-monoddle``: a public YAML becomes a recipe that plans without an edit."""

from __future__ import annotations

import json

import numpy as np
import pytest
import yaml

from model.families import parse_train_config
from pipeline.recipe import load_recipe
from tests.model.monoddle.public_configurations import KITTI_DA3_UNCERTAINTY, KITTI_NO_DA3, MONODLE, changed
from tests.tiny_kitti import write_tiny_kitti


@pytest.fixture(autouse=True)
def _no_downloads_of_others(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))


def write_maps(root, names, shape):
    """Maps in the form that the public script writes."""
    (root / "DA3_depth_results").mkdir()
    for name in names:
        np.savez_compressed(
            root / "DA3_depth_results" / f"{name}.npz",
            depth=np.full(shape, 20.0, np.float32),
            intrinsics=np.eye(3, dtype=np.float32),
            extrinsics=np.eye(3, 4, dtype=np.float32),
        )


def write_config(folder, data, name="kitti.yaml"):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(yaml.safe_dump(data, sort_keys=False))
    return folder / name


@pytest.mark.real_data
@pytest.mark.parametrize(("data", "stages"), [(KITTI_DA3_UNCERTAINTY, True), (KITTI_NO_DA3, False)])
def test_published_experiments_when_translated_for_real_data_then_plan_without_an_edit(data, stages, shared, depthmill, tmp_path):
    real, root = shared / "data" / "kitti-object", tmp_path / "MonoDDLE" / "data" / "KITTI"
    root.mkdir(parents=True)
    for name in ("training", "ImageSets"):
        (root / name).symlink_to(real / name)
    write_maps(root, [file.stem for file in (real / "training" / "image_2").iterdir()], (154, 504))
    config = write_config(tmp_path / "MonoDDLE" / "experiments" / "configs" / "monodle", data)
    out = tmp_path / "recipe.yaml"
    code, text = depthmill("init", "--from-monoddle", config, "--out", out)
    assert code == 0, text
    assert load_recipe(out).source.root == str(root)  # a folder above the file holds data/KITTI
    code, text = depthmill("plan", out)
    assert code == 0, text
    assert ("predict_mono_depth" in text, "align_mono_depth" in text) == (stages, stages)


def test_recipe_when_translated_then_holds_what_was_translated_and_says_every_key(depthmill, tmp_path):
    root = write_tiny_kitti(tmp_path / "KITTI", frames={"train": 4, "val": 2, "test": 2})
    config = write_config(tmp_path, changed(model__backbone="yolo11", dataset__colour=1, dataset__class_merging=True))
    out = tmp_path / "recipe.yaml"
    code, text = depthmill("init", root, "--from-monoddle", config, "--out", out)
    assert code == 0, text
    assert f"{config}: 47 keys\n" in text
    assert "  dataset.random_crop: 0.5 " in text and " train.data.augment.crop_probability: 0.5" in text
    assert "warning: not taken over: dataset.colour: 1 (unknown key: the public code reads no such key)\n" in text
    assert "warning: not taken over: model.backbone: yolo11 (networks of the package ultralytics are not here." in text
    assert f"warning: '{root / 'DA3_depth_results'}' does not exist; the training learns from its depth maps. Set " in text
    assert "warning: the public code starts from ImageNet weights" not in text  # of a network that is not here
    recipe = load_recipe(out)
    train = parse_train_config(recipe.train, where="test")
    assert recipe.source.splits == ("train", "val")
    assert train.targets.heat_of == {"Van": "Car", "Truck": "Car"}
    assert recipe.stages.predict_mono_depth.maps == str(root / "DA3_depth_results")
    written = out.read_text()
    assert "# Not taken over: dataset.colour: 1 (unknown key" in written
    assert max(map(len, written.splitlines())) <= 130 + len(str(tmp_path))


def test_recipe_when_a_text_has_line_breaks_then_adds_no_key(depthmill, tmp_path):
    root = write_tiny_kitti(tmp_path / "KITTI")
    config = write_config(tmp_path, changed(KITTI_NO_DA3, model__backbone="dla\nstore: /elsewhere\x1b"))
    code, text = depthmill("init", root, "--from-monoddle", config, "--out", tmp_path / "recipe.yaml")
    assert code == 0, text
    assert "warning: not taken over: model.backbone: 'dla\\nstore: /elsewhere\\x1b' (no network of the public code" in text
    assert load_recipe(tmp_path / "recipe.yaml").store == str(tmp_path / "store")


def test_answer_when_json_is_asked_for_then_has_every_key_with_its_fate(depthmill, tmp_path):
    root = tmp_path / "monodle/data/KITTI"
    write_tiny_kitti(root, level="object")
    config = write_config(tmp_path / "monodle/experiments/example", MONODLE)  # names no root
    (tmp_path / "torch/hub/checkpoints").mkdir(parents=True)
    (weights := tmp_path / "torch/hub/checkpoints/dla34-ba72cf86.pth").write_bytes(b"weights")
    code, text = depthmill("init", "--from-monoddle", config, "--out", tmp_path / "recipe.yaml", "--json")
    assert code == 0, text
    answer = json.loads(text[text.index("{") :])
    assert {"key": "trainer.max_epoch", "value": 140, "fate": "taken", "here": "train.epochs: 140", "why": ""} in answer["keys"]
    assert answer["warnings"] == []
    recipe = load_recipe(tmp_path / "recipe.yaml")
    assert (recipe.source.root, recipe.train["imagenet_weights"]) == (str(root), str(weights))


@pytest.mark.parametrize(
    ("config", "arguments", "message"),
    [
        ("lacks.yaml", (), "'{}' does not exist. Give a .yaml file of MonoDLE's or MonoDDLE's experiments/"),
        ("", (), "'{}' is a folder. Give a .yaml file"),
        ("kitti.yaml", (), "'{}' names the data root 'data/KITTI', and there is no folder '"),
        ("kitti.yaml", ("--version", "v1.0-mini"), "--version is of nuScenes-format data, and --from-monoddle of KITTI object"),
        ("torn.yaml", (), "'{}' is not valid YAML: while parsing"),
        ("unsafe.yaml", (), "'{}' is not valid YAML: could not determine a constructor for the tag"),
        ("list.yaml", (), "'{}' is no configuration of MonoDLE or MonoDDLE: expected the groups dataset, model"),
    ],
)
def test_init_when_the_public_file_cannot_be_used_then_says_why_and_writes_nothing(
    config, arguments, message, depthmill, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "configs"
    write_config(folder, KITTI_DA3_UNCERTAINTY)
    (folder / "torn.yaml").write_text("dataset: {type: [")
    (folder / "unsafe.yaml").write_text("dataset: !!python/object/apply:os.getcwd []\nmodel: {}\n")
    (folder / "list.yaml").write_text("- dataset\n")
    code, text = depthmill("init", "--from-monoddle", folder / config, "--out", tmp_path / "recipe.yaml", *arguments)
    assert code == 2
    assert message.format(folder / config) in text
    assert not (tmp_path / "recipe.yaml").exists()


def test_init_when_a_value_is_out_of_bounds_then_the_error_names_both_keys(depthmill, tmp_path):
    root = write_tiny_kitti(tmp_path / "KITTI")
    config = write_config(tmp_path, changed(KITTI_NO_DA3, dataset__random_flip=3))
    code, text = depthmill("init", root, "--from-monoddle", config, "--out", tmp_path / "recipe.yaml")
    assert code == 2
    assert "train.data.augment.flip_probability is 3: Input should be less than or equal to 1" in text
    assert "train.data.augment.flip_probability is dataset.random_flip in the public file" in text
    assert not (tmp_path / "recipe.yaml").exists()


def test_init_when_neither_data_nor_file_is_named_then_says_so(depthmill, tmp_path):
    code, text = depthmill("init", "--out", tmp_path / "recipe.yaml")
    assert (code, text) == (
        2,
        "error: no data root is named. Name the folder or URL of your data: depthmill init DATA_ROOT\n",
    )


def test_init_when_data_are_of_another_kind_then_refuses(tiny_root, depthmill, tmp_path):
    config = write_config(tmp_path, KITTI_NO_DA3)
    code, text = depthmill("init", tiny_root, "--from-monoddle", config, "--out", tmp_path / "recipe.yaml")
    assert code == 2
    assert f"'{tiny_root}' is nuscenes, expected data of kind kitti_object. Name another data root" in text
