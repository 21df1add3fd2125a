"""A made-up Lyft level 5 set, from init to a row of a training's table, without an edit by hand."""

from __future__ import annotations

import pytest
import yaml

from pipeline.recipe import load_recipe
from storage_schemas.store import Store
from tests.flows.commands.test_train import SMALL
from tests.tiny_lyft import SCENES, write_tiny_lyft

BARE = ("--no-prefect", "--workers", 1)


pytestmark = pytest.mark.usefixtures("one_process")


def points_of(folder) -> list:
    """Return LiDAR points in each window, scene by scene."""
    store = Store(str(folder))
    return [store.open_unit(path).array("num_points") for path in sorted(store.units("depth_accumulated"))]


def test_lyft_set_when_init_has_written_the_recipe_then_it_runs_trains_and_is_measured(depthmill, tmp_path):
    root = write_tiny_lyft(tmp_path / "lyft")
    recipe = tmp_path / "recipe.yaml"
    code, text = depthmill("init", root, "--out", recipe)
    assert code == 0, text
    assert text.startswith("nuScenes format, data: 3 scenes (2 train, 1 val), 15 key frames, 3 cameras, 0 radars")
    written = yaml.safe_load(recipe.read_text())
    assert written["scenes"] == [*SCENES[:3]]  # the fourth car has images of another size
    assert written["stages"]["accumulate_lidar"]["neighbors"] == "keyframes"
    assert "lidar" not in written["stages"]["accumulate_lidar"]  # these three have LIDAR_TOP only
    code, text = depthmill("run", recipe, *BARE, "--no-report")
    assert code == 0, text
    assert "12 samples of 3 scenes: 8 train, 4 val" in text
    code, text = depthmill("train", recipe, *BARE, *SMALL)
    assert code == 0, text
    assert "truth depth_single" in text
    assert "| off | all | 80 | 4 |" in text


def test_lyft_set_when_only_the_large_cars_are_there_then_their_front_lidars_are_used(depthmill, tmp_path):
    names = (
        "host-a101-lidar0-1241893239199111666-1241893264098084346",
        "host-a102-lidar0-1242662270298972894-1242662295198395706",
    )
    root = write_tiny_lyft(tmp_path / "lyft", names, version="v1.02-train")
    recipe = tmp_path / "recipe.yaml"
    assert depthmill("init", root, "--out", recipe)[0] == 0
    stages = load_recipe(recipe).stages
    lidars = ("LIDAR_TOP", "LIDAR_FRONT_LEFT", "LIDAR_FRONT_RIGHT")
    assert (stages.accumulate_lidar.lidar, stages.project_lidar.lidar, stages.accumulate_lidar.neighbors) == (
        lidars,
        lidars,
        "keyframes",
    )
    code, text = depthmill("run", recipe, *BARE, "--no-report")
    assert code == 0, text
    alone = ("--set", f"store={tmp_path / 'top'}", "--set", "stages.accumulate_lidar.lidar=LIDAR_TOP")
    code, text = depthmill("run", recipe, *BARE, "--no-report", *alone)
    assert code == 0, text
    for all_three, top in zip(points_of(tmp_path / "store"), points_of(tmp_path / "top"), strict=True):
        assert (all_three > top).all()


def test_lyft_set_when_cars_differ_then_scenes_without_front_lidars_say_so_and_moving_cars_are_dropped(depthmill, tmp_path):
    root = write_tiny_lyft(tmp_path / "lyft")
    recipe = tmp_path / "recipe.yaml"
    stages = {"accumulate_lidar": {"lidar": ["LIDAR_TOP", "LIDAR_FRONT_LEFT"], "num_sweeps": 5}}
    source = {"kind": "nuscenes", "root": str(root), "version": "data"}
    recipe.write_text(yaml.safe_dump({"source": source, "store": str(tmp_path / "store"), "stages": stages}))
    code, text = depthmill("run", recipe, *BARE, "--no-report")
    assert code == 0, text
    assert text.count("LIDAR_FRONT_LEFT is not in this scene") == 3
    keep = ("--set", "stages.accumulate_lidar.moving=keep", "--set", f"store={tmp_path / 'keep'}")
    assert depthmill("run", recipe, *BARE, "--no-report", *keep)[0] == 0
    windows = [3, 4, 5, 4, 3]  # sweeps of each window; each has 80 returns of what Lyft calls car
    for few, many in zip(points_of(tmp_path / "store"), points_of(tmp_path / "keep"), strict=True):
        assert (many - few >= [80 * count for count in windows]).all()


def test_lyft_set_when_some_cars_lack_the_only_lidar_asked_for_then_the_others_have_a_manifest(depthmill, tmp_path):
    root = write_tiny_lyft(tmp_path / "lyft")
    recipe = tmp_path / "recipe.yaml"
    stages = {"accumulate_lidar": {"lidar": "LIDAR_FRONT_LEFT"}, "project_lidar": {"lidar": "LIDAR_FRONT_LEFT"}}
    source = {"kind": "nuscenes", "root": str(root), "version": "data"}
    recipe.write_text(yaml.safe_dump({"source": source, "store": str(tmp_path / "store"), "stages": stages}))
    code, text = depthmill("run", recipe, *BARE, "--no-report")
    assert code == 0, text
    assert "3 of 4 scenes left out" in text
    assert (
        "no file of LIDAR_FRONT_LEFT, which stages.project_lidar.lidar names; a list of LiDARs takes those that there are" in text
    )
    assert "4 samples of 1 scene" in text
    code, text = depthmill("run", recipe, *BARE, "--no-report", "--set", "stages.accumulate_lidar.lidar=LIDAR_TOPP")
    assert code == 2
    there = "LIDAR_FRONT_LEFT, LIDAR_FRONT_RIGHT, LIDAR_TOP"
    assert f"stages.accumulate_lidar.lidar: no scene has files of LIDAR_TOPP; LiDARs there: {there}. Choose one" in text
