from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from depthmill import load_model
from model.semodepth.config import DataConfig
from model.semodepth.data import FrameLoader
from model.semodepth.dense import dense_batch
from model.semodepth.net import SemoDepth
from model.semodepth.network_config import SemoDepthConfig
from pipeline.recipe import load_recipe
from storage_schemas.dataset import open_dataset
from storage_schemas.manifest import open_manifest
from storage_schemas.store import Store
from tests.conftest import REPOSITORY
from tests.tiny_zju import read_map, write_tiny_zju

BARE = ("--no-prefect", "--workers", 1)
MADE = {"index_frames", "pack_images", "pack_radar", "pack_depth", "pack_interpolated", "build_manifest"}
ROWS = (24, 54)
TRAIN = {
    "network": {"base_channels": 8, "max_depth_m": 80},
    "data": {"rows": list(ROWS), "dense_target": "depth_interpolated", "batch_size": 1},
    "evaluation": {"num_strips": 1},
    "learning_rate": 0.001,
    "max_steps": 3,
}


pytestmark = pytest.mark.usefixtures("one_process")


@pytest.fixture(scope="module")
def zju(tmp_path_factory):
    """A tiny set with every stage run; tests must not change it."""
    from flows.run.bare_loop import BareLoop
    from flows.run.making import make_units
    from flows.run.opening import open_recipe
    from flows.settings import Settings

    folder = tmp_path_factory.mktemp("zju")
    write_tiny_zju(folder / "data")
    source = {"kind": "zju_4dradarcam", "root": str(folder / "data"), "frames_per_scene": 3}
    (folder / "recipe.yaml").write_text(yaml.safe_dump({"source": source, "store": str(folder / "store"), "train": TRAIN}))
    opened = open_recipe(load_recipe(folder / "recipe.yaml"), Settings(workers=1, cache_dir=folder / "cache"))
    made = make_units(opened, BareLoop(), report=False)
    assert made.num_failed == 0
    return folder


@pytest.fixture
def own(zju, tmp_path):
    """A copy that a test may change."""
    shutil.copytree(zju, tmp_path / "zju")
    text = (tmp_path / "zju" / "recipe.yaml").read_text().replace(str(zju), str(tmp_path / "zju"))
    (tmp_path / "zju" / "recipe.yaml").write_text(text)
    return tmp_path / "zju"


def _named(folder):
    return open_manifest(Store(folder / "store")).named_units()


def test_recipe_when_run_then_only_the_stages_that_the_set_has_data_for_and_no_frame_is_lost(tmp_path, depthmill):
    write_tiny_zju(tmp_path / "data", height=24, width=32)
    recipe = tmp_path / "recipe.yaml"
    source = {"kind": "zju_4dradarcam", "root": str(tmp_path / "data"), "frames_per_scene": 3}
    recipe.write_text(yaml.safe_dump({"source": source, "store": str(tmp_path / "store")}))
    code, text = depthmill("plan", recipe, "--json")
    assert code == 0
    assert {item["stage"] for item in json.loads(text)["to_do"]} == MADE
    code, text = depthmill("run", recipe, *BARE)
    assert code == 0, text
    assert "8 samples of 4 scenes: 5 train, 2 val, 1 test" in text
    code, text = depthmill("plan", recipe)
    assert "nothing to do: all 21 units are up to date" in text


def test_recipe_when_it_asks_for_its_own_interpolation_then_that_is_made_and_the_given_one_is_not(own, depthmill):
    changes = ("--set", "stages.interpolate_depth.of=depth_single")
    code, text = depthmill("run", own / "recipe.yaml", *BARE, *changes)
    assert code == 0, text
    found = {path.layout: Store(own / "store").lineage(path).identity.stage for path in _named(own)}
    assert (found["depth_interpolated"], found["depth_single"]) == ("interpolate_depth", "pack_depth")


def test_nuscenes_recipe_when_planned_then_has_no_stage_of_given_maps(tiny_root, write_recipe, depthmill):
    code, text = depthmill("plan", write_recipe(tiny_root), "--json")
    assert code == 0
    stages = {item["stage"] for item in json.loads(text)["to_do"]}
    assert {"accumulate_lidar", "project_radar"} <= stages
    assert not stages & {"pack_radar", "pack_depth", "pack_interpolated"}


def test_manifest_when_read_by_the_loader_then_frames_and_maps_are_those_of_the_files(zju):
    manifest = open_manifest(Store(zju / "store"))
    rows = manifest.rows()
    assert [row["sample_token"] for row in rows] == [f"{number:06d}" for number in range(100, 108)]
    assert [row["split"] for row in rows] == ["train"] * 5 + ["val"] * 2 + ["test"]
    assert len({row["frame_key"] for row in rows}) == 8
    assert rows[3]["frame_key"] == "train-0001/CAM_FRONT/103"
    for band in (None, ROWS):
        config = DataConfig(rows=band, dense_target="depth_interpolated", batch_size=2, order="manifest", split="train")
        cut = slice(*(band or (0, 72)))
        for batch in FrameLoader(manifest, config):
            dense = dense_batch(batch, max_depth_m=1000.0)
            for k, key in enumerate(batch.frame_keys):
                name = f"{int(key.rsplit('/')[-1]):06d}"
                np.testing.assert_array_equal(
                    dense.image_u8[k], np.asarray(Image.open(zju / "data" / "image" / f"{name}.png"))[cut]
                )
                for folder, found in (("radar_png", dense.radar_m), ("gt", dense.sparse_m), ("gt_interp", dense.target_m)):
                    steps = read_map(zju / "data", folder, name)[cut]
                    np.testing.assert_array_equal(found[k], steps / np.float32(256), err_msg=f"{folder} {name}")


@pytest.mark.slow
def test_training_when_it_reads_a_band_then_evaluation_and_prediction_read_it_too(own, depthmill, monkeypatch):
    monkeypatch.chdir(own)
    code, text = depthmill("train", "recipe.yaml", "--no-prefect", "--out", "training")
    assert code == 0, text
    assert "truth depth_single, rows 24 to 54" in text
    table = (own / "training" / "evaluation" / "table.md").read_text().splitlines()[2:]
    assert [line.split("|")[2:5] for line in table if "| on | all |" in line] == [
        [" all ", f" {cap} ", " 2 "] for cap in (50, 70, 80)
    ]
    strips = np.load(own / "training" / "evaluation" / "strips.npz")
    assert strips["image_u8"].shape == (1, 30, 128, 3)
    code, text = depthmill("evaluate", "training", "recipe.yaml", "--out", "again")
    assert code == 0, text
    assert (own / "again" / "table.md").read_text().splitlines()[2:] == table
    code, text = depthmill("predict", "training", "recipe.yaml", "--out", "depth", "--split", "test")
    assert code == 0, text
    (depth,) = (own / "depth" / "depth").rglob("*.png")
    assert np.asarray(Image.open(depth)).shape == (30, 128)


@pytest.mark.slow
def test_training_when_gone_on_with_another_band_then_is_refused(own, depthmill, monkeypatch):
    monkeypatch.chdir(own)
    (own / "recipe.yaml").write_text((own / "recipe.yaml").read_text().replace("max_steps: 3", "max_steps: 1"))
    assert depthmill("train", "recipe.yaml", "--no-prefect", "--out", "training")[0] == 0
    (own / "training" / "training.json").unlink()  # as if it had been stopped before its evaluation
    for rows, words in (("[24,50]", "the recipe says [24, 50]"), ("null", "the recipe says None")):
        code, text = depthmill("train", "recipe.yaml", "--no-prefect", "--out", "training", "--set", f"train.data.rows={rows}")
        assert code != 0
        assert f"was trained with train.data.rows = [24, 54], {words}" in text
    assert depthmill("train", "recipe.yaml", "--no-prefect", "--out", "training")[0] == 0


@pytest.mark.slow
def test_champion_when_the_band_has_changed_then_is_measured_again_on_the_new_rows(own):
    from flows.retrain.round import retrain
    from flows.run.bare_loop import BareLoop
    from flows.run.opening import open_recipe
    from flows.settings import Settings

    def one_round(*overrides):
        opened = open_recipe(load_recipe(own / "recipe.yaml", overrides=("train.max_steps=1", *overrides)), Settings(workers=1))
        return retrain(opened, BareLoop(), where="recipe.yaml").row

    assert one_round().outcome == "promoted"
    second = one_round("train.data.rows=[30,62]")
    assert "was measured again on the new frames and targets (rows changed)" in second.note


def test_checkpoint_of_the_public_code_when_opened_then_the_recipe_says_which_rows_it_sees(zju, tmp_path, monkeypatch):
    torch.save({"head.0.weight": torch.zeros(1)}, tmp_path / "zju.pth")
    network = SemoDepth(SemoDepthConfig(base_channels=8))
    monkeypatch.setattr("model.semodepth.family.load_reference", lambda path, **options: network)
    options = {"reference": True, "max_depth_m": 80.0}
    opened = load_model(tmp_path / "zju.pth", used_on=zju / "recipe.yaml", **options).opened
    assert (opened.network, opened.name, opened.config.data.rows) == (network, "zju", (24, 54))
    assert load_model(tmp_path / "zju.pth", used_on=zju / "store", **options).opened.config.data.rows is None


def test_band_when_it_does_not_fit_then_the_command_says_so(own, depthmill):
    code, text = depthmill("train", own / "recipe.yaml", "--no-prefect", "--set", "train.data.rows=[240,540]")
    assert code != 0
    assert "data.rows is [240, 540], but images of split 'train'" in text
    assert "have 72 rows" in text
    code, text = depthmill("train", own / "recipe.yaml", "--no-prefect", "--set", "train.data.rows=[54,24]")
    assert code == 2
    assert "train.data.rows is [54, 24]: expected [first, stop] with 0 <= first < stop, e.g. [240, 540]" in text


def test_commands_when_the_store_has_no_poses_and_no_sweeps_then_none_fails(zju, depthmill, tmp_path):
    recipe = zju / "recipe.yaml"
    code, text = depthmill("verify", recipe)
    assert (code, "21 units" in text, "all whole" in text) == (0, True, True)
    code, text = depthmill("report", recipe, "--out", tmp_path / "report.html")
    assert code == 0, text
    page = (tmp_path / "report.html").read_text()
    assert "pack_interpolated" in page and "train-0001 CAM_FRONT" in page
    code, text = depthmill("inspect", zju / "store", "train-0001/CAM_FRONT/103", "--json")
    assert code == 0
    sample = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert (sample["file"], sample["intrinsic_px"]) == ("image/000103.png", [None] * 9)
    radar = next(path for path in _named(zju) if path.layout == "radar_points")
    code, text = depthmill("inspect", zju / "store", radar.key, "--json")
    assert code == 0
    assert json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))["arrays"]["rcs_dbsm"]["range"] == []
    code, text = depthmill("export", recipe, "--out", tmp_path / "export")
    assert code != 0
    assert "scene train-0000, camera CAM_FRONT has no depth_accumulated in manifest" in text
    assert not (tmp_path / "export").exists()


def test_store_when_opened_with_xarray_then_the_interpolated_map_is_there(zju):
    frames = open_dataset(open_manifest(Store(zju / "store")))
    steps = read_map(zju / "data", "gt_interp", "000103")
    found = frames["depth_interpolated_m"][3].values
    np.testing.assert_array_equal(np.isnan(found), steps == 0)
    np.testing.assert_array_equal(np.nan_to_num(found), steps / np.float32(256))


def test_run_when_a_map_is_missing_then_only_its_scene_fails_and_the_next_run_ends_it(tmp_path, depthmill):
    root = write_tiny_zju(tmp_path / "data", height=24, width=32)
    recipe = tmp_path / "recipe.yaml"
    source = {"kind": "zju_4dradarcam", "root": str(root), "frames_per_scene": 3}
    recipe.write_text(yaml.safe_dump({"source": source, "store": str(tmp_path / "store")}))
    (root / "gt" / "000104.png").rename(tmp_path / "kept.png")
    code, text = depthmill("run", recipe, *BARE)
    assert code == 1
    assert f"file missing: {root}/gt/000104.png. Unpack the archive that holds it" in text
    assert "done: 19 ok, 1 error, 1 skipped" in text
    (tmp_path / "kept.png").rename(root / "gt" / "000104.png")
    code, text = depthmill("run", recipe, *BARE)
    assert code == 0
    assert "done: 2 ok" in text


def test_run_when_images_are_referred_to_then_training_reads_them_from_the_root(own, depthmill):
    changes = ("--set", "stages.pack_images.mode=reference", "--set", "train.max_steps=1", "--out", own / "training")
    code, text = depthmill("train", own / "recipe.yaml", *BARE, *changes)
    assert code == 0, text
    assert "rows 24 to 54" in text


def test_ready_recipe_when_read_then_is_the_published_training_of_this_set():
    from model.families import parse_train_config
    from model.semodepth.metrics import CAPS_M

    recipe = load_recipe(REPOSITORY / "flows" / "recipes" / "zju.yaml")
    config = parse_train_config(recipe.train, where="zju.yaml")
    assert recipe.stages.build_manifest.drop_last_keyframe is False
    assert (config.network.min_depth_m, config.network.max_depth_m) == (0.5, 80.0)
    assert (config.data.rows, config.data.dense_target, config.data.sparse_target) == ((240, 540), "depth_interpolated", True)
    assert (config.data.batch_size, config.epochs, config.learning_rate) == (12, 100, 1e-4)
    assert config.evaluation.target == "depth_single"
    assert tuple(CAPS_M) == (50.0, 70.0, 80.0)
