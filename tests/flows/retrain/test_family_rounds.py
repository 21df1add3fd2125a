"""Three rounds of each other family on one simulated store: promoted, nothing to do, re-cleaned and retrained. And an ablation."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from flows.retrain.champion import read_champions
from flows.retrain.record import history_folder
from flows.retrain.round import retrain
from flows.retrain.rules import overrides_of, rules_of
from flows.run.bare_loop import BareLoop
from flows.run.making import make_units
from flows.run.opening import open_recipe
from flows.run.runs import Runs
from flows.settings import Settings
from model.families import family_of, parse_train_config
from pipeline.recipe import load_recipe
from pipeline.retrain_choices import RetrainChoices
from storage_schemas.detection_evaluation import DETECTION_FILES
from storage_schemas.errors import RecipeError
from storage_schemas.run_history import read_history
from tests.model.mim4d.made_up_clips import small_network
from tests.model.uvtr.small_training import NETWORK

DETECTOR: dict[str, Any] = {
    "family": "monoddle",
    "network": {"dla_widths": [8, 8, 16, 16, 24, 32], "head_width": 16, "input_px": [64, 96], "max_objects": 10},
    "targets": {"min_height_px": 2.0},
    "data": {"batch_size": 1},
    "evaluation": {"height_scale": 0.1, "score_threshold": 0.01, "num_pictures": 0, "metric": "2d"},
    "max_steps": 1,
    "warm_up_epochs": 0,
}
PRETRAINING: dict[str, Any] = {
    "family": "mim4d",
    "network": small_network(num_frames=2).model_dump(mode="json"),
    "data": {"held_out_share": 0.3},
    "evaluation": {"rays_per_camera": 8, "num_pictures": 0, "flight_frames": 0},
    "max_steps": 1,
    "probe": {"steps": 2},
}
ALL_CAMERAS: dict[str, Any] = {
    "family": "uvtr",
    "network": NETWORK,
    "evaluation": {"official": False, "num_pictures": 0},
    "max_steps": 1,
    "warm_up_epochs": 0,
}
WORLD = {"kind": "synthetic", "scenes": 2, "seconds": 1.5, "seed": 3, "image_size": [96, 64], "lidar_azimuth_steps": 120}
STAGES = {
    "project_boxes": {"enabled": True},
    "index_windows": {"enabled": True, "num_frames": 2},
    "index_objects": {"enabled": True},
    "build_manifest": {"drop_last_keyframe": False},
}

pytestmark = pytest.mark.usefixtures("one_process")


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A folder with a simulated world and its store, every unit made."""
    folder = tmp_path_factory.mktemp("families")
    opened = open_recipe(load_recipe(_write(folder, "made", folder, {})), Settings(workers=1, cache_dir=folder / "cache"))
    assert make_units(opened, BareLoop(), report=False).num_failed == 0
    return folder


def _write(folder: Path, name: str, world: Path, train: dict[str, Any], **groups: Any) -> Path:
    content = {"source": {**WORLD, "root": str(world / "raw")}, "store": str(folder / "store"), "stages": STAGES, "train": train}
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump({**content, **groups}))
    return path


@pytest.fixture
def write(made, tmp_path) -> Callable[..., Path]:
    """Write a recipe over a copy of the store."""
    shutil.copytree(made / "store", tmp_path / "store")
    return lambda name, train, **groups: _write(tmp_path, name, made, train, **groups)


def one_round(recipe: Path, *overrides: str, **rules: Any):
    opened = open_recipe(load_recipe(recipe, overrides=(*overrides, *overrides_of(**rules))), Settings(workers=1))
    return retrain(opened, BareLoop(), where=str(recipe)).row


@pytest.mark.parametrize(
    ("train", "metric", "kept"),
    [
        (DETECTOR, "Car/2d@0.7/moderate", "measured_frames.parquet"),
        (ALL_CAMERAS, "present/ap_at_2_and_4_m", "matches.npz"),
        pytest.param(PRETRAINING, "reconstruct/abs_rel", "clips.csv", marks=pytest.mark.slow),
    ],
    ids=["monoddle", "uvtr", "mim4d"],
)
def test_rounds_when_of_another_family_then_promoted_nothing_to_do_and_retrained_after_a_changed_rule(
    write, train, metric, kept, tmp_path
):
    recipe = write("night", train)
    first = one_round(recipe)
    assert (first.outcome, first.metric, first.cap_m, first.radar) == ("promoted", metric, None, None)
    assert first.line == f"night.{train['family']}"
    assert one_round(recipe).outcome == "nothing to do"
    third = one_round(recipe, "stages.clean_horizon.near_m=12.5", margin=1000.0)
    assert (third.outcome, third.num_units) == ("kept", 3)
    assert third.reason == "clean_horizon: params near_m: 20.0 -> 12.5 (scene-0061, scene-0103)"
    assert f"was measured again on the new frames and targets (manifest {first.manifest} -> {third.manifest})" in third.note
    assert third.champion_value == pytest.approx(first.challenger_value)  # cleaning changes no box and no held-out point
    assert third.num_frames and third.difference == pytest.approx(third.challenger_value - third.champion_value)
    assert (Path(third.training) / "champion" / kept).is_file()
    again = one_round(recipe, "stages.clean_horizon.near_m=12.5", "train.seed=1", margin=1000.0)
    assert (again.outcome, again.champion_before) == ("kept", first.training)
    (champion,) = read_champions(Runs(str(tmp_path / "store/runs"), tmp_path)).values()
    assert (champion.metric, champion.cap_m, champion.value) == (metric, None, first.challenger_value)
    text = (tmp_path / "store/runs/reports" / f"{third.name}.md").read_text()
    aim = "smaller" if train is PRETRAINING else "larger"
    assert f"- rule: {metric}: {aim} is better, the margin is 1000" in text
    assert "no interval: whole scenes are resampled" in text


def test_detector_of_all_cameras_when_ablated_then_the_table_has_starts_and_shares_of_labels(made, write, depthmill, tmp_path):
    lift = {**PRETRAINING["network"]["lift"], **NETWORK["lift"]}
    same_encoder = {**PRETRAINING["network"], "input_px": NETWORK["input_px"], "backbone": NETWORK["backbone"], "lift": lift}
    first = one_round(write("clips", {**PRETRAINING, "network": same_encoder, "probe": {"steps": 0}}))
    start = {"backbone_from": f"{first.training}/best.pt"}
    variants = {"from scratch": {}, "half the labels": {"data.share": 0.5}, "from clips": start}
    recipe = _write(tmp_path, "starts", made, ALL_CAMERAS, ablation={"seeds": [0], "variants": variants})
    code, text = depthmill("ablate", recipe, "--no-prefect", "--workers", 1)
    assert code == 0, text
    assert "AP@2, 4 m of present classes" in text
    assert all(f"| {name} " in text for name in variants) and text.count("|  1 of 1 |") == 3, text
    assert (tmp_path / "store/runs/ablations").is_dir()


def test_lines_when_of_two_families_on_one_store_then_each_has_its_champion_and_runs_shows_them(write, depthmill, tmp_path):
    detector, pretraining = write("cars", DETECTOR), write("clips", PRETRAINING)
    first, second = one_round(detector), one_round(pretraining)
    assert second.reason == "there is no champion yet"
    assert "there was no champion of this line; there are champions of cars.monoddle" in second.note
    folder = tmp_path / "store/runs"
    assert sorted(path.name for path in (folder / "champions").iterdir()) == ["cars.monoddle.json", "clips.mim4d.json"]
    code, text = depthmill("runs", tmp_path / "store")
    assert (code, "champion of cars.monoddle" in text, "champion of clips.mim4d" in text) == (0, True, True)
    for wanted in ("cars.monoddle", "cars"):
        code, text = depthmill("runs", tmp_path / "store", "--line", wanted, "--json")
        told = json.loads(text)
        assert [row["name"] for row in told["rounds"]] == [first.name]
        assert list(told["champions"]) == ["cars.monoddle"]
    code, text = depthmill("runs", tmp_path / "store", "--line", "car")
    assert code == 2
    assert f"--line is 'car', and '{folder}' has no rounds of it; lines there: cars.monoddle, clips.mim4d" in text


def test_evaluation_when_of_a_former_version_then_made_again_before_it_is_compared(write, tmp_path):
    recipe = write("night", DETECTOR)
    first = one_round(recipe)
    for name in DETECTION_FILES:
        (Path(first.training) / "evaluation" / name).unlink()
    second = one_round(recipe, "train.seed=1", margin=1000.0)
    assert "was measured again on the new frames and targets (its evaluation is of a former version)" in second.note
    for name in DETECTION_FILES:
        (Path(second.training) / "evaluation" / name).unlink()
    third = one_round(recipe, "train.seed=1", margin=999.0)
    assert "its training was complete already; its evaluation, of a former version, was made again" in third.note
    assert third.difference == second.difference


@pytest.mark.parametrize(
    ("train", "choices", "text"),
    [
        (DETECTOR, {"cap_m": 80}, r"retrain.cap_m is 80.0, which means nothing for a detector \(train.family 'monoddle'\). Leave "
         "it out; rules that fit: metric, margin, needs_interval, least_share, fine_tune"),
        (DETECTOR, {"radar": "on"}, "retrain.radar is 'on', which means nothing for a detector"),
        (PRETRAINING, {"radar": False}, "retrain.radar is 'off', which means nothing for a pre-training"),
        (DETECTOR, {"metric": "mae_mm"}, "retrain.metric is 'mae_mm', expected one of: Car/2d@0.7/moderate, Car/3d@0.7/easy, .* and"),
        (DETECTOR, {"metric": "Car/3d@0.7/moderat"}, "did you mean 'Car/3d@0.7/moderate'?"),
        (PRETRAINING, {"metric": "abs_rel"}, "expected one of: reconstruct/abs_rel, .*; did you mean 'direct/abs_rel'?"),
        ({"data": {"radar": False}}, {"radar": "on"}, r"radar is 'on' \(train.data.radar is false\), expected one of: off"),
    ],
)  # fmt: skip
def test_rules_when_they_do_not_fit_the_family_then_refused_with_those_that_do(train, choices, text):
    config = parse_train_config(train, where="r.yaml")
    with pytest.raises(RecipeError, match=text):
        rules_of(RetrainChoices(**choices), family_of(config), config, where="r.yaml")


def test_direction_when_the_family_says_so_then_larger_is_better():
    for train, choices, is_higher in (
        (DETECTOR, {}, True),
        (PRETRAINING, {}, False),
        (PRETRAINING, {"metric": "direct/delta1"}, True),
        ({}, {}, False),
        ({}, {"metric": "delta1"}, True),
    ):
        config = parse_train_config(train, where="r.yaml")
        assert rules_of(RetrainChoices(**choices), family_of(config), config, where="r").is_higher_better == is_higher


def test_names_when_the_recipe_says_rules_then_no_unit_and_no_training_is_named_otherwise(write):
    plain, ruled = write("plain", DETECTOR), write("ruled", DETECTOR, retrain={"margin": 1.5, "needs_interval": True})
    opened = [open_recipe(load_recipe(path), Settings(workers=1)) for path in (plain, ruled)]
    assert opened[0].plan().manifest == opened[1].plan().manifest
    assert not opened[1].plan().to_do
    rows = [one_round(path) for path in (plain, ruled)]
    assert rows[0].training == rows[1].training
    assert (rows[1].margin, rows[1].needs_interval) == (1.5, True)
    history = read_history(history_folder(opened[0].runs))
    assert [row.line for row in history] == ["plain.monoddle", "ruled.monoddle"]
