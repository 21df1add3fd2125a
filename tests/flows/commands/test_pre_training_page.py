"""docs/pre-training.md: its recipes are recipes, its backbones fit where it says they do, its commands run and print what it shows."""

from __future__ import annotations

import re
import shlex
from typing import Any

import pytest
import torch
import yaml

from flows.ablation.ablation import laid_over
from flows.ablation.columns import columns_of
from model.families import family_of, parse_train_config
from pipeline.recipe import load_recipe, parse_recipe
from tests.conftest import REPOSITORY
from tests.flows.commands.test_tutorial import is_due, pattern

PAGE = (REPOSITORY / "docs/pre-training.md").read_text(encoding="utf-8")
BLOCKS = [yaml.safe_load(text) for text in re.findall(r"^```yaml\n(.*?)^```", PAGE, re.S | re.M)]
RECIPE, ABLATION, DEPTH, DETECTOR = BLOCKS
SMALLER = {"train.max_steps=30": "train.max_steps=1"}


@pytest.fixture
def checkpoints(tmp_path, monkeypatch):
    """Files where the page's recipes look for a pre-trained backbone."""
    monkeypatch.chdir(tmp_path)
    for name in ("pretrained", "pretrained50"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "best.pt").touch()


def trained(train: dict[str, Any]):
    """Return the training of a recipe that has the page's first groups and this ``train:``."""
    recipe = parse_recipe({**RECIPE, **train}, where="page")
    return parse_train_config(recipe.train, where="page")


def shapes(config) -> dict[str, tuple[int, ...]]:
    family = family_of(config)
    with torch.device("meta"):  # no weights are drawn
        return {key: tuple(value.shape) for key, value in family.backbone(family.network(config)).state_dict().items()}


def test_recipes_when_read_then_the_backbones_fit_and_nothing_is_made_again(checkpoints):
    pretraining, depth, detector = (trained(one) for one in ({}, DEPTH, DETECTOR))
    assert shapes(pretraining) == shapes(depth)
    (words,) = [words for words, _ in steps() if "train.network.backbone.name=resnet50" in words]
    changes = dict(word.split("=") for word in words if word.startswith("train."))
    changed = laid_over(RECIPE["train"], {key.removeprefix("train."): yaml.safe_load(v) for key, v in changes.items()}, where="p")
    assert shapes(trained({"train": changed})) == shapes(detector)
    assert set(DEPTH) == set(DETECTOR) == {"train"}  # so that source, store, cameras and stages are those of the first


def test_ablation_and_columns_when_read_then_are_of_this_family():
    pretraining = trained({})
    configs = [
        trained({"train": laid_over(RECIPE["train"], changes, where="p")})
        for changes in ABLATION["ablation"]["variants"].values()
    ]
    assert [one.name for one in columns_of(configs, None, where="p").headline] == [
        "direct/abs_rel/key", "direct/rgb_l1/key", "probe/abs_rel",
    ]  # fmt: skip
    named = re.findall(r"`((?:reconstruct|direct|probe)/[\w/]+)`", PAGE)
    assert named and set(named) <= set(family_of(pretraining).measures(pretraining))


def test_keys_when_named_then_there_are_such_keys(checkpoints):
    options, data = trained({}).model_dump(), parse_recipe(RECIPE, where="page")
    for key in ("network.backbone.name", "data.held_out_share", "network.mask.hidden_ratio"):
        found: Any = options
        for part in key.split("."):
            found = found[part]
    assert data.stages.index_windows.frames == "key" and data.stages.index_windows.num_frames == 3
    assert trained({}).probe.steps > 0 and trained({}).data.held_out_share == 0.1
    assert trained(DEPTH).data.share == 0.1


def test_ready_recipe_when_read_then_is_the_published_pretraining_with_a_backbone_for_others(tmp_path):
    path = REPOSITORY / "flows" / "recipes" / "nuscenes_pretrain.yaml"
    weights = tmp_path / "resnet34.pth"
    weights.touch()
    recipe = load_recipe(path, overrides=[f"train.imagenet_weights={weights}"])
    config = parse_train_config(recipe.train, where="r")
    assert recipe.stages.index_windows.frames == "sweep" and recipe.stages.index_windows.cameras == recipe.cameras
    assert (config.network.backbone.name, config.epochs, config.data.batch_size * config.accumulate) == ("resnet34", 12, 8)
    assert (config.network.input_px, config.network.num_frames, config.learning_rate) == ((480, 800), 3, 4e-4)


def steps() -> list[tuple[list[str], list[str]]]:
    """Return the words of every command with the lines that the page shows after it, in the page's order."""
    found: list[tuple[list[str], list[str]]] = []
    for line in "".join(re.findall(r"^```console\n(.*?)^```", PAGE, re.S | re.M)).splitlines():
        if line.startswith("$ "):
            found.append((shlex.split(line.removeprefix("$ ")), []))
        else:
            found[-1][1].append(line)
    return found


@pytest.mark.slow
def test_page_when_its_commands_are_run_then_each_works_and_prints_what_the_page_shows(depthmill, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, value in (("WORKERS", "1"), ("LOADER_WORKERS", "0"), ("DEVICE", "cpu")):
        monkeypatch.setenv(f"DEPTHMILL_{name}", value)
    small = {**RECIPE["source"], "scenes": 2, "seconds": 3, "lidar_azimuth_steps": 100}
    for name, train in (("pretrain", RECIPE), ("depth", DEPTH), ("detector", DETECTOR)):
        content = {**RECIPE, "source": small, "train": {**train["train"], "max_steps": 2}}
        if name == "pretrain":
            content["train"] |= {"probe": {"steps": 2}, "evaluation": {"rays_per_camera": 8, "num_pictures": 0}}
        if name == "depth":
            content["train"]["data"] = {
                **content["train"]["data"],
                "share": 1.0,
            }  # of ten frames a tenth is not enough for a batch
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(content))
    wrong = []
    for words, shown in steps():
        asked = [SMALLER.get(word, word) for word in words[1:]]
        code, text = depthmill(*asked, *(["--no-prefect"] if words[1] == "train" else []))
        assert code == 0, f"{shlex.join(asked)}\n{text}"
        printed = {pattern(line) for line in text.splitlines()}
        for line in filter(is_due, shown):
            start = pattern(line.removesuffix("..."))
            if not any(one.startswith(start) for one in printed):
                wrong.append(f"{shlex.join(words)}: the page shows {line!r}")
    assert wrong == []
    for name in ("pretrained", "short", "depth", "scratch", "detector"):
        assert (tmp_path / name / "report.html").is_file(), name
