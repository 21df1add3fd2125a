from __future__ import annotations

import importlib.util
import json
import shutil

import numpy as np
import pytest
import yaml
from PIL import Image

from flows.run.training import refuse_without_torch
from storage_schemas.errors import RecipeError
from storage_schemas.manifest import open_manifest
from storage_schemas.store import Store
from tests.hostile.attacks import command
from tests.tiny_nuscenes import write_tiny_nuscenes

SMALL = (
    "--set", "train.network.base_channels=8", "--set", "train.max_steps=3", "--set", "train.data.batch_size=1",
    "--set", "train.evaluation.num_strips=1",
)  # fmt: skip


pytestmark = pytest.mark.usefixtures("one_process")


@pytest.fixture
def recipe(tiny_root, copied_store, write_recipe):
    return write_recipe(tiny_root)


@pytest.fixture(scope="module")
def trained(tiny_root, tiny_store, tmp_path_factory):
    """A recipe whose store is made, and the folder of a training on it; tests must not change them."""
    folder = tmp_path_factory.mktemp("trained")
    shutil.copytree(tiny_store, folder / "store")
    source = {"kind": "nuscenes", "root": str(tiny_root), "version": "v1.0-mini"}
    (folder / "recipe.yaml").write_text(yaml.safe_dump({"source": source, "store": str(folder / "store")}))
    settings = {"DEPTHMILL_CACHE_DIR": str(folder / "cache"), "DEPTHMILL_LOADER_WORKERS": "0", "DEPTHMILL_DEVICE": "cpu"}
    with pytest.MonkeyPatch.context() as patch:  # what is set for each test begins after this
        for name, value in settings.items():
            patch.setenv(name, value)
        code, text = command("train", folder / "recipe.yaml", "--no-prefect", "--out", folder / "training", *SMALL)
    assert code == 0, text
    return folder / "recipe.yaml", folder / "training"


def test_train_when_nothing_is_there_yet_then_from_raw_files_to_the_table(tiny_root, write_recipe, depthmill, tmp_path):
    recipe = write_recipe(tiny_root)
    code, text = depthmill("train", recipe, "--no-prefect", "--workers", 1, *SMALL)
    assert code == 0, text
    manifest = open_manifest(Store(tmp_path / "store")).path.fingerprint
    assert f"on val of manifest {manifest}, truth depth_single" in text
    assert "| on | all | 80 | 2 |" in text
    folder = next((tmp_path / "store" / "runs" / "trainings").iterdir())
    assert (folder / "report.html").is_file()
    code, text = depthmill("train", recipe, "--no-prefect", *SMALL)
    assert code == 0, text
    assert f"nothing to do: training {folder.name} is complete (--restart trains it again)" in text
    code, text = depthmill("train", recipe, "--no-prefect", "--json", *SMALL)
    assert json.loads(text)["manifest"] == manifest


def test_train_when_the_drives_have_no_radar_then_the_camera_alone_is_measured_and_reported(depthmill, write_recipe, tmp_path):
    root = write_tiny_nuscenes(tmp_path / "raw", with_radar=False)
    code, text = depthmill("train", write_recipe(root), "--no-prefect", "--workers", 1, *SMALL, "--set", "train.data.radar=false")
    assert code == 0, text
    assert "| off | all | 80 | 2 |" in text
    assert "| on |" not in text
    folder = next((tmp_path / "store" / "runs" / "trainings").iterdir())
    assert "a network of the camera alone" in (folder / "report.html").read_text()
    code, text = depthmill("evaluate", folder, tmp_path / "store", "--out", tmp_path / "again")
    assert code == 0, text
    assert "no radar in the split" in text


@pytest.mark.slow
def test_train_when_run_by_prefect_then_the_same_table(recipe, depthmill, tmp_path):
    bare, orchestrated = tmp_path / "bare", tmp_path / "orchestrated"
    assert depthmill("train", recipe, "--no-prefect", "--out", bare, *SMALL)[0] == 0
    code, text = depthmill("train", recipe, "--prefect", "--out", orchestrated, *SMALL)
    assert code == 0, text
    tables = [(folder / "evaluation" / "table.md").read_text().replace(folder.name, "") for folder in (bare, orchestrated)]
    assert tables[0] == tables[1]


def test_trained_network_when_evaluated_compared_and_predicted_with_then_files(trained, depthmill, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recipe, training = trained
    code, text = depthmill("evaluate", training, recipe, "--out", tmp_path / "again", "--split", "val")
    assert code == 0, text
    again, before = (
        (folder / "table.md").read_text().splitlines()[2:] for folder in (tmp_path / "again", training / "evaluation")
    )
    assert again == before
    code, text = depthmill("compare", training, tmp_path / "again")
    assert code == 0
    assert "2" in text and "0" in text
    code, text = depthmill("evaluate", training / "best.pt", recipe.parent / "store", "--split", "train", "--json")
    assert code == 0, text
    assert {row["group"] for row in json.loads(text)["rows"]} <= {"all", "day", "night"}
    code, text = depthmill("predict", training, recipe, "--out", tmp_path / "depth")
    assert code == 0, text
    maps = sorted((tmp_path / "depth" / "depth").rglob("*.png"))
    assert len(maps) == 2
    assert np.asarray(Image.open(maps[0])).shape == (36, 64)


def test_recipe_when_the_train_group_is_wrong_then_each_mistake_is_named(recipe, depthmill):
    code, text = depthmill("train", recipe, "--no-prefect", "--set", "train.netwrok.base_channels=8")
    assert code == 2
    assert "unknown key 'train.netwrok'; did you mean 'network'?" in text
    code, text = depthmill("train", recipe, "--no-prefect", "--set", "train.data.batch_sise=8")
    assert "unknown key 'train.data.batch_sise'; did you mean 'batch_size'?" in text
    code, text = depthmill("train", recipe, "--no-prefect", "--set", "train.epochs=0")
    assert code == 2
    assert "train.epochs is 0: Input should be greater than or equal to 1" in text
    code, text = depthmill("train", recipe, "--no-prefect", "--set", "train.imagenet_weights=/nowhere/resnet34.pth")
    assert "train.imagenet_weights is '/nowhere/resnet34.pth', and there is no such file" in text


def test_train_when_it_cannot_begin_then_says_why(recipe, depthmill, tmp_path):
    code, text = depthmill("train", recipe, "--no-prefect", "--manifest", "ffff", *SMALL)
    assert code != 0
    assert "manifest 'ffff' does not exist in store" in text
    (tmp_path / "busy").mkdir()
    (tmp_path / "busy" / "thesis.tex").write_text("words")
    code, text = depthmill("train", recipe, "--no-prefect", "--out", tmp_path / "busy", *SMALL)
    assert code != 0
    assert "holds something that is not a training. Choose another with --out" in text
    assert (tmp_path / "busy" / "thesis.tex").is_file()
    code, text = depthmill("train", recipe, "--no-prefect", "--set", "train.data.split=test", *SMALL)
    assert code != 0
    assert "test" in text
    code, text = depthmill("train", recipe, "--no-prefect", *SMALL, "--set", "train.data.batch_size=5")
    assert code != 0
    assert "split 'train' has 2 frames, one training step of 1 ranks with batch_size 5 takes 5" in text


def test_evaluate_when_arguments_are_wrong_then_says_what_is_expected(trained, depthmill, tmp_path):
    recipe, training = trained
    code, text = depthmill("evaluate", tmp_path / "none.pt", recipe)
    assert code != 0
    assert "none.pt' does not exist. Give the folder or URL of a training, a checkpoint file, or a folder of result files" in text
    code, text = depthmill("evaluate", training, recipe, "--split", "validation")
    assert code == 2
    assert "--split is 'validation': Input should be 'train', 'val' or 'test'" in text
    code, text = depthmill("compare", training, tmp_path)
    assert code != 0
    assert "depthmill evaluate" in text


def test_unit_when_pruned_then_training_names_it(recipe, depthmill, tmp_path):
    manifest = open_manifest(Store(tmp_path / "store"))
    path = manifest.unit_of(manifest.rows()[0], "images")
    shutil.rmtree(tmp_path / "store" / path.key)
    code, text = depthmill("train", recipe, "--no-prefect", "--manifest", manifest.path.fingerprint, *SMALL)
    assert code != 0
    assert path.key in text


def test_training_extra_when_missing_then_says_how_to_install_it(monkeypatch):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "simplejpeg" else find_spec(name, *rest))
    with pytest.raises(
        RecipeError, match=r"training needs simplejpeg, which is not installed here. Run: pip install 'depthmill\[train\]'"
    ):
        refuse_without_torch()


@pytest.mark.slow
@pytest.mark.real_data
def test_real_drive_when_trained_on_then_from_plan_to_table_with_one_command(shared, write_recipe, depthmill):
    root = shared / "data/kitti0001-as-nuscenes"
    stages = {"pack_images": {"mode": "reference"}, "accumulate_lidar": {"num_sweeps": 30, "moving": "keep"}}
    data = {"augment": {"crop_px": [128, 256]}}
    recipe = write_recipe(root, stages=stages, train={"evaluation": {"split": "train", "without_radar": False}, "data": data})
    code, text = depthmill("train", recipe, "--no-prefect", "--workers", 1, *SMALL)
    assert code == 0, text
    assert "| on | all | 80 | 10 |" in text
