"""Drives of one's own, which no official list splits: from the complaint to a manifest with train and val."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from flows.run.opening import open_manifest_of
from pipeline.recipe import load_recipe
from pipeline.splits import SplitChoice, best_seed
from storage_schemas.errors import ManifestError
from storage_schemas.manifest import open_manifest
from storage_schemas.store import Store
from tests.flows.commands.test_train import SMALL
from tests.tiny_nuscenes import write_tiny_nuscenes

BARE = ("--no-prefect", "--no-report")
OWN = ("drive a", "drive b", "drive c")


@pytest.fixture
def own(tmp_path) -> Path:
    return write_tiny_nuscenes(tmp_path / "data", OWN, version="v1.0-own")


@pytest.fixture
def recipe(own, write_recipe):
    def write(**splits: object) -> Path:
        return write_recipe(own, source={"kind": "nuscenes", "root": str(own), "version": "v1.0-own", **splits})

    return write


def splits_of(recipe: Path) -> dict[str, str]:
    return {row["scene"]: row["split"] for row in open_manifest_of(str(recipe), None).rows()}


def test_own_drives_when_nobody_split_them_then_training_and_export_say_what_to_write(recipe, depthmill, tmp_path):
    path = recipe()
    code, text = depthmill("run", path, *BARE)
    assert code == 0, text
    assert "6 samples of 3 scenes; 6 in no split" in text
    for command in (("train", path, "--no-prefect"), ("export", path, "--out", tmp_path / "out")):
        code, text = depthmill(*command)
        assert code == 1
        assert "stages.build_manifest.splits in the recipe (nuScenes format: source.splits" in text


def test_own_drives_when_splits_come_then_only_the_manifest_is_made_and_export_works(recipe, depthmill, tmp_path):
    depthmill("run", recipe(), *BARE)
    path = recipe(splits={"train": ["drive a", "drive c"], "val": ["drive b"]})
    code, text = depthmill("plan", path, "--json")
    assert [item["stage"] for item in json.loads(text)["to_do"]] == ["build_manifest"]
    code, text = depthmill("run", path, *BARE)
    assert code == 0, text
    assert "4 train, 2 val" in text
    assert splits_of(path) == {"drive a": "train", "drive b": "val", "drive c": "train"}
    rule = SplitChoice(share={"train": 0.5, "val": 0.5}, seed=best_seed(OWN, {"train": 0.5, "val": 0.5}))
    assert depthmill("run", recipe(splits={"share": dict(rule.share), "seed": rule.seed}), *BARE)[0] == 0
    assert splits_of(path) == {scene: rule.split_of(scene, of_source="") for scene in OWN}
    assert set(splits_of(path).values()) == {"train", "val"}
    code, text = depthmill("export", path, "--out", tmp_path / "out")
    assert code == 0, text


def test_plan_when_a_rule_leaves_val_empty_then_says_so_and_names_a_seed_that_does_not(recipe, depthmill):
    code, text = depthmill("plan", recipe(splits={"share": {"train": 0.9, "val": 0.1}}))
    assert code == 0
    line = next(line for line in text.splitlines() if line.startswith("warning: splits: "))
    assert line.startswith("warning: splits: with seed 0, none of 3 scenes is in val; seed: ")
    seed = int(line.split("seed: ")[1].split()[0])
    assert "splits: " not in depthmill("plan", recipe(splits={"share": {"train": 0.9, "val": 0.1}, "seed": seed}))[1]


@pytest.mark.parametrize(
    ("splits", "words"),
    [
        ({"train": ["drive a"], "val": ["drive B"]}, "source.splits: val names the scene 'drive B', which the source has not; the nearest of its 3 scenes is 'drive b'"),
        ({"train": ["drive a"], "val": ["drive a"]}, "scene 'drive a' is in train and in val"),
        ({"training": ["drive a"]}, "unknown key 'source.splits.training'; did you mean 'train'?"),
        ({"share": {"train": 0.8}}, "these add up to 0.8"),
        ({"share": {"trian": 1}}, "Input should be 'train', 'val' or 'test'"),
        (["drive a"], "source.splits is ['drive a']: expected a group of keys"),
        (None, "source.splits is None: expected a group of keys"),
    ],
)  # fmt: skip
def test_splits_when_they_cannot_be_meant_then_the_recipe_is_refused_once(recipe, depthmill, splits, words):
    code, text = depthmill("plan", recipe(splits=splits))
    assert code == 2
    assert words in text
    assert len(text.strip().splitlines()) == 1


def test_splits_when_given_twice_and_otherwise_then_are_refused_and_same_or_alone_are_taken(own, write_recipe, depthmill):
    def write(of_source: object, of_manifest: object) -> Path:
        source = {"kind": "nuscenes", "root": str(own), "version": "v1.0-own", **({"splits": of_source} if of_source else {})}
        return write_recipe(own, source=source, stages={"build_manifest": {"splits": of_manifest}})

    one, other = {"train": ["drive a"]}, {"val": ["drive a"]}
    code, text = depthmill("plan", write(one, other))
    assert (code, "source.splits and stages.build_manifest.splits are different. Leave one of them out" in text) == (2, True)
    assert load_recipe(write(one, one)).stages.build_manifest.splits.train == ("drive a",)
    assert load_recipe(write(None, one)).stages.build_manifest.splits.train == ("drive a",)
    code, text = depthmill("plan", write(None, {"val": ["x"]}))
    assert "stages.build_manifest.splits: val names the scene 'x'" in text


def test_own_version_when_its_scenes_are_named_as_nuscenes_own_then_is_in_no_official_split(depthmill, tmp_path, write_recipe):
    root = write_tiny_nuscenes(tmp_path / "data", ("scene-0061", "scene-0103"), version="v1.0-own")
    path = write_recipe(root, source={"kind": "nuscenes", "root": str(root), "version": "v1.0-own"})
    assert depthmill("run", path, *BARE)[0] == 0
    assert splits_of(path) == {"scene-0061": "", "scene-0103": ""}


def test_splits_file_when_it_is_beside_the_tables_then_splits_and_scenes_of_others_stay_as_they_were(own, recipe, depthmill):
    path = recipe()
    depthmill("run", path, *BARE)
    file = own / "v1.0-own/splits.json"
    file.write_text(json.dumps({"train": ["drive a"], "val": ["drive b"], "my_night_drives": ["drive a"]}))
    code, text = depthmill("plan", path)
    assert "drive c" not in text
    assert depthmill("run", path, *BARE)[0] == 0
    assert splits_of(path) == {"drive a": "train", "drive b": "val", "drive c": ""}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "is not valid JSON: "),
        ("[]", "splits.json' is a list; expected {\"train\": [\"scene-a\", ...], \"val\": [\"scene-b\", ...]}"),
        ('{"train": "drive a"}', "'train' is 'drive a', not a list of scene names; expected"),
        ('{"train": ["drive a", 3]}', "'train' has the entry 3, which is no scene name; expected"),
        ('{"train": ["drive a"], "val": ["drive a"]}', "scene 'drive a' is in train and in val. What is trained on"),
        ('{"train": ["drive A"]}', "train names the scene 'drive A', which the source has not; the nearest of its 3 scenes is 'drive a'"),
        ('{"my_train": ["drive a"]}', "has none of the splits train, val and test; splits there: my_train. Name its lists train and val"),
    ],
)  # fmt: skip
def test_splits_file_when_it_is_wrong_then_says_which_file_and_what(own, recipe, depthmill, content, words):
    (own / "v1.0-own/splits.json").write_text(content)
    code, text = depthmill("plan", recipe())
    assert code == 2
    assert words in text
    assert str(own / "v1.0-own/splits.json") in text
    assert len(text.strip().splitlines()) == 1


def test_splits_file_when_an_official_version_has_lists_of_other_names_then_the_official_splits_stay(
    depthmill, tmp_path, write_recipe
):
    """The devkit reads custom names such as mini_custom_train from this file, beside the official lists."""
    root = write_tiny_nuscenes(tmp_path / "data")
    (root / "v1.0-mini/splits.json").write_text(json.dumps({"mini_custom_train": ["scene-0061"]}))
    path = write_recipe(root)
    assert depthmill("run", path, *BARE)[0] == 0
    assert splits_of(path) == {"scene-0061": "train", "scene-0103": "val"}


def test_init_when_nobody_split_the_scenes_then_writes_a_rule_that_leaves_both_splits_some(own, depthmill, tmp_path):
    code, text = depthmill("init", own, "--out", tmp_path / "recipe.yaml")
    assert code == 0, text
    written = load_recipe(tmp_path / "recipe.yaml")
    assert dict(written.source.splits.share) == {"train": 0.8, "val": 0.2}
    assert {written.source.splits.split_of(scene, of_source="") for scene in OWN} == {"train", "val"}
    assert yaml.safe_load((tmp_path / "recipe.yaml").read_text())["train"]["evaluation"]["split"] == "val"
    assert "splits: " not in depthmill("plan", tmp_path / "recipe.yaml")[1]


def test_training_when_a_manifest_has_a_scene_in_both_splits_then_is_refused(tiny_store):
    from dataclasses import replace

    from model.train.shared_scenes import refuse_shared_scenes

    manifest = open_manifest(Store(str(tiny_store)))
    refuse_shared_scenes(manifest, trained="train", measured="val")
    mixed = replace(manifest, samples={**manifest.samples, "split": ["train", "val"] * (len(manifest) // 2)})
    with pytest.raises(ManifestError, match="scene 'scene-0061' has samples in split 'train' and in split 'val'"):
        refuse_shared_scenes(mixed, trained="train", measured="val")
    refuse_shared_scenes(mixed, trained="train", measured="train")


@pytest.mark.slow
def test_retrain_when_splits_move_a_trained_scene_to_val_then_the_champion_is_not_compared(
    recipe, depthmill, tmp_path, monkeypatch
):
    monkeypatch.setenv("DEPTHMILL_LOADER_WORKERS", "0")
    monkeypatch.setenv("DEPTHMILL_DEVICE", "cpu")
    path = recipe(splits={"train": ["drive a"], "val": ["drive b"]})
    code, text = depthmill("retrain", path, "--no-prefect", *SMALL)
    assert code == 0, text
    path = recipe(splits={"train": ["drive a", "drive c"], "val": ["drive b"]})
    code, text = depthmill("retrain", path, "--no-prefect", *SMALL)
    assert code == 0, text  # a scene more to train on, the same measured on
    path = recipe(splits={"train": ["drive b", "drive c"], "val": ["drive a"]})
    code, text = depthmill("retrain", path, "--no-prefect", *SMALL)
    assert code == 1
    assert "was trained on 1 scene that split 'val' now measures on, e.g. 'drive a', so the two cannot be compared" in text
    (tmp_path / "store/runs/champions/recipe.semodepth.json").unlink()
    code, text = depthmill("retrain", path, "--no-prefect", *SMALL)
    assert (code, "there was no champion" in text) == (0, True)
