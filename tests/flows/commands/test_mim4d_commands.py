"""evaluate, compare and ablate with the family that pre-trains; predict says why not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
import yaml

from flows.ablation.ablation import read_ablation
from flows.ablation.columns import columns_of
from flows.ablation.table import results_of, table_text
from flows.run.opening import open_recipe
from flows.settings import Settings
from model.families import family_of, parse_train_config
from model.mim4d.evaluation import RenderEvaluation, read_rendering, write_render_folder
from model.mim4d.probes.depth_probe import DepthRow
from model.mim4d.probes.occupancy_probe import OccupancyRow
from model.mim4d.probes.probe_files import ProbeAbout, ProbeResults, write_probes
from model.mim4d.ray_errors import VOLUMES, RenderRow
from model.train.checkpoint import Checkpoint, save_checkpoint
from pipeline.recipe import load_recipe
from storage_schemas.errors import RecipeError
from tests.flows.reports.monoddle.made_up_detection_folder import write_detection_training
from tests.model.mim4d.made_up_clips import small_network

TRAIN = {
    "family": "mim4d",
    "network": small_network(num_frames=2).model_dump(mode="json"),
    "data": {"held_out_share": 0.3},
    "evaluation": {"rays_per_camera": 8, "num_pictures": 0},
    "max_steps": 2,
    "probe": {"steps": 2},
}


@pytest.fixture(autouse=True)
def _one_process(monkeypatch):
    monkeypatch.setenv("DEPTHMILL_LOADER_WORKERS", "0")
    monkeypatch.setenv("DEPTHMILL_DEVICE", "cpu")
    monkeypatch.setenv("DEPTHMILL_WORKERS", "1")


@pytest.fixture(scope="module")
def recipe(tiny_root, tmp_path_factory) -> Path:
    """The tiny database with clips of two frames, and a pre-training of it; its store is made."""
    from flows.run.bare_loop import BareLoop
    from flows.run.making import make_units

    folder = tmp_path_factory.mktemp("tiny-windows")
    content = {
        "source": {"kind": "nuscenes", "root": str(tiny_root), "version": "v1.0-mini"},
        "store": str(folder / "store"),
        "stages": {"index_windows": {"enabled": True, "num_frames": 2}, "build_manifest": {"drop_last_keyframe": False}},
        "train": TRAIN,
    }
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(content))
    opened = open_recipe(load_recipe(path), Settings(workers=1, cache_dir=folder / "cache"))
    made = make_units(opened, BareLoop(), report=False)
    assert made.num_failed == 0
    return path


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory) -> list[Path]:
    """Two networks that differ in their random weights."""
    folder = tmp_path_factory.mktemp("checkpoints")
    config = parse_train_config(TRAIN, where="r.yaml")
    paths = []
    for seed, name in enumerate(("a", "b")):
        torch.manual_seed(seed)
        state = family_of(config).network(config).state_dict()
        paths.append(folder / f"{name}.pt")
        save_checkpoint(Checkpoint(config, "0" * 16, 1, state, {}, {}, None, torch.get_rng_state(), {}), paths[-1])
    return paths


# --- evaluate and compare ---


def test_evaluate_and_compare_when_of_pretrainings_then_tables_by_volume_and_clip_by_clip(
    recipe, checkpoints, depthmill, tmp_path
):
    a, b = tmp_path / "a", tmp_path / "b"
    code, text = depthmill("evaluate", checkpoints[0], recipe, "--out", a)
    assert code == 0, text
    assert "a on val of manifest" in text and "| copied_warped | all | all |" in text and f"wrote {a}: 2 clips" in text
    code, text = depthmill("evaluate", checkpoints[1], recipe, "--out", b, "--json")
    assert code == 0, text
    found = json.loads(text)  # a mean of nothing is null, so that it is JSON
    assert found["num_clips"] == 2 and {row["volume"] for row in found["rows"]} == set(VOLUMES)
    rows = read_rendering(b)
    assert [row["num_rays"] for row in found["rows"]] == [row.num_rays for row in rows]
    code, text = depthmill("compare", a, b)
    assert code == 0, text
    assert f"a = {a}" in text and "reconstruct    AbsRel" in text and "warning" not in text
    code, text = depthmill("compare", a, b, "--json")
    told = {(one["volume"], one["measure"]): one for one in json.loads(text)}
    assert told["direct", "abs_rel"]["num_clips"] == 2
    assert told["direct", "abs_rel"]["mean_difference"] != 0 and told["direct", "abs_rel"]["num_other_rays"] == 0


def test_evaluations_when_of_different_clips_or_kinds_then_not_compared(recipe, checkpoints, depthmill, tmp_path):
    for name, split in (("a", "val"), ("b", "train")):
        code, text = depthmill("evaluate", checkpoints[0], recipe, "--out", tmp_path / name, "--split", split)
        assert code == 0, text
    code, text = depthmill("compare", tmp_path / "a", tmp_path / "b")
    assert code == 1
    assert "the evaluations are of different clips: a has 2, b has 2; 2 are only in a, e.g. 'scene-" in text
    detector = write_detection_training(tmp_path / "detector")
    code, text = depthmill("compare", tmp_path / "a", detector)
    assert code == 1
    assert f"'{tmp_path / 'a'}' is an evaluation of a pre-training and '{detector}' one of a detector, which have no" in text
    (tmp_path / "a/clips.csv").unlink()
    code, text = depthmill("compare", tmp_path / "a", tmp_path / "b")
    assert (code, "clips.csv' is missing, so clips cannot be paired. Run depthmill evaluate" in text) == (1, True)


@pytest.mark.parametrize(
    ("option", "value"), [("--target", "depth_single"), ("--max-depth", "80"), ("--plug-in", None)], ids=lambda one: str(one)
)
def test_evaluate_when_an_option_is_of_depth_only_then_named(recipe, checkpoints, depthmill, option, value):
    code, text = depthmill("evaluate", checkpoints[0], recipe, option, *([] if value is None else [value]))
    assert code == 2
    assert f"{option} is of depth networks, and a pre-training has none: checkpoint '{checkpoints[0]}' is one. Leave it" in text


def test_compare_when_an_option_is_of_depth_only_then_named(depthmill, tmp_path):
    (tmp_path / "rendering.csv").touch()
    code, text = depthmill("compare", tmp_path, tmp_path, "--metric", "rmse_mm")
    assert code == 2
    assert "--metric is of depth networks, and a pre-training has none: these are evaluations of pre-trainings" in text


def test_evaluate_when_it_cannot_be_then_said(recipe, checkpoints, tiny_store, depthmill, tmp_path):
    code, text = depthmill("evaluate", checkpoints[0], recipe, "--split", "all")
    assert (code, "--split is 'all': Input should be 'train', 'val' or 'test'" in text) == (2, True)
    code, text = depthmill("evaluate", checkpoints[0], recipe, "--reference")
    assert (code, "is of depthmill and says itself what it is; --reference is for those of the public code" in text) == (2, True)
    code, text = depthmill("evaluate", checkpoints[0], tiny_store, "--out", tmp_path / "out")
    assert code == 1
    assert "windows" in text and "index_windows" in text
    assert not (tmp_path / "out").exists()


def test_predict_when_the_checkpoint_is_a_pretraining_then_said_what_to_do(recipe, checkpoints, depthmill, tmp_path):
    code, text = depthmill("predict", checkpoints[0], recipe, "--out", tmp_path / "out")
    assert code == 2
    assert "is of family mim4d, which predicts neither depth maps nor objects by itself" in text
    assert "hand its backbone to another family (train.backbone_from)" in text


def test_retrain_when_a_rule_is_of_depth_only_then_named_with_those_that_fit(recipe, depthmill):
    code, text = depthmill("retrain", recipe, "--no-prefect", "--cap", 50)
    assert code == 2
    assert "retrain.cap_m is 50.0, which means nothing for a pre-training (train.family 'mim4d'). Leave it out; rules" in text


# --- ablate ---


def ablation_of(recipe: Path, folder: Path, variants: dict, **choices):
    """Read an ablation whose trainings lie in a folder of their own."""
    data = {**yaml.safe_load(recipe.read_text()), "ablation": {"variants": variants, **choices}}
    store = folder / "store"
    if not store.exists():
        shutil.copytree(data["store"], store)
    path = folder / "ablation.yaml"
    path.write_text(yaml.safe_dump({**data, "store": str(store)}, sort_keys=False))
    return read_ablation(open_recipe(load_recipe(path), Settings(workers=1)), where="r.yaml", manifest=None, out=None)


def made_up(run, *, abs_rel: float, hidden: float, with_probes: bool = True) -> None:
    """Make a training's folder what it is when complete: its volumes alike, but for the copied one, which is twice as bad."""
    rows = []
    for volume in ("direct", "reconstruct", "copied_warped"):
        worse = 2.0 if volume == "copied_warped" else 1.0
        rows += [
            RenderRow(volume, "all", "all", "all", 100, worse * abs_rel, 3.0, 0.7, 120, 0.5),
            RenderRow(volume, "all", "masked", "all", 30, 0.9, 3.0, 0.7, 40, worse * hidden),
            RenderRow(volume, "all", "all", "0-10", 30, 0.99, 3.0, 0.7, 0, float("nan")),
            RenderRow(volume, "key", "all", "all", 0, float("nan"), float("nan"), float("nan"), 10, 0.4),
        ]
    write_render_folder(run.folder / "evaluation", RenderEvaluation(rows, 2), title="made up")
    if with_probes:
        about = ProbeAbout("train", "val", 2, 9, 2, 8, run.seed, run.config.probe.model_dump(mode="json"))
        depth = [DepthRow(name, "all", 9, value, 1.0, 0.5) for name, value in (("trained", abs_rel / 2), ("random", 0.9))]
        write_probes(run.folder, ProbeResults(about, depth, [OccupancyRow("trained", 9, 3, 0.5, 0.4, 0.6)]))
    record = {"num_steps": 2, "train_frames": 2, "val_frames": 2, "seconds": 1.0, "commit": "c0ffee", "is_dirty": "false"}
    (run.folder / "training.json").write_text(json.dumps(record))


def test_ablation_when_of_pretrainings_then_depth_rebuilt_direct_copied_and_hidden_colour(recipe, tmp_path):
    variants = {"baseline": {}, "+ hidden pixels only": {"network.loss.loss_pixels": "masked"}}
    ablation = ablation_of(recipe, tmp_path, variants, seeds=[0, 1])
    for (name, seed), value in {("baseline", 0): 0.2, ("baseline", 1): 0.3}.items():
        made_up(ablation.runs[name][seed], abs_rel=value, hidden=0.1)
    for seed, value in enumerate((0.1, 0.3)):
        made_up(ablation.runs["+ hidden pixels only"][seed], abs_rel=value, hidden=0.05)
    text = table_text(ablation, results_of(ablation, {}), is_whole=True)
    rows = {tuple(cell.strip() for cell in line.split("|")[1:-1]) for line in text.splitlines() if line.startswith("|")}
    heads = ("reconstruct AbsRel", "direct AbsRel", "copied_warped AbsRel", "reconstruct colour L1, hidden", "depth probe AbsRel")
    assert ("variant", *heads, "trained") in rows
    first = ("0.2500 ± 0.0707", "0.2500 ± 0.0707", "0.5000 ± 0.1414", "0.1000 ± 0.0000", "0.1250 ± 0.0354")
    assert ("baseline", *first, "2 of 2") in rows
    better = "-0.0500 ± 0.0707 (1 of 2)"
    hidden = "-0.0500 ± 0.0000 (2 of 2)"
    other = ("-0.1000 ± 0.1414 (1 of 2)", hidden, "-0.0250 ± 0.0354 (1 of 2)")
    assert ("+ hidden pixels only", better, better, *other) in rows
    assert ("baseline", "0.1250 ± 0.0354", "0.6000 ± 0.0000", "0.4000 ± 0.0000") in rows  # both probes
    assert "## Controls" in text and "## Key frames" in text
    chosen = ablation_of(recipe, tmp_path, variants, seeds=[0, 1], metrics=["direct/abs_rel/key", "direct/delta1/hidden"])
    text = table_text(chosen, results_of(chosen, {}), is_whole=False)
    assert "nothing to measure direct/abs_rel/key on: baseline, seed 0; baseline, seed 1" in text  # a mean of no rays
    assert "0.7000 ± 0.0000 |" in text and chosen.columns.headline[1].is_higher_better


def test_training_when_its_probes_are_missing_then_it_is_begun_and_what_is_there_is_shown(recipe, tmp_path):
    ablation = ablation_of(recipe, tmp_path, {"baseline": {}}, seeds=[0, 1])
    for seed in (0, 1):
        made_up(ablation.runs["baseline"][seed], abs_rel=0.2, hidden=0.1, with_probes=seed == 1)
    assert [run.state for run in ablation.trainings] == ["begun", "complete"]
    text = table_text(ablation, results_of(ablation, {}), is_whole=False)
    assert "nothing to measure probe/abs_rel on: baseline, seed 0" in text and " 0.1000 |  2 of 2 |" in text
    without = ablation_of(recipe, tmp_path, {"baseline": {"probe.steps": 0}}, seeds=[0])
    assert [run.state for run in without.trainings] == ["complete"]
    assert not [one.name for one in without.columns.all if one.name.startswith("probe")]


def test_ablation_when_variants_are_measured_otherwise_then_noted(recipe, tmp_path):
    variants = {"baseline": {}, "more hidden": {"network.mask.hidden_ratio": 0.5}, "few rays": {"evaluation.rays_per_camera": 4}}
    text = table_text(ablation := ablation_of(recipe, tmp_path, variants, seeds=[0]), results_of(ablation, {}), is_whole=False)
    assert "not measured alike, network.mask.hidden_ratio differs: baseline 0.3, more hidden 0.5, few rays 0.3" in text
    assert "not measured alike, evaluation.rays_per_camera differs: baseline 8, more hidden 8, few rays 4" in text
    assert text.count("not measured alike") == 2


def test_columns_when_a_variant_is_of_single_frames_then_what_all_have_by_key_frames():
    clips, single = (parse_train_config({"family": "mim4d", "network": {"num_frames": n}}, where="r") for n in (3, 1))
    names = {
        key: [one.name for one in columns_of(configs, None, where="r").headline]
        for key, configs in {"clips": [clips], "single": [single], "both": [clips, single]}.items()
    }
    assert names == {
        "clips": [
            "reconstruct/abs_rel", "direct/abs_rel", "copied_warped/abs_rel", "reconstruct/rgb_l1/hidden", "probe/abs_rel",
        ],
        "single": ["direct/abs_rel", "direct/rgb_l1/hidden", "probe/abs_rel"],
        "both": ["direct/abs_rel/key", "direct/rgb_l1/key", "probe/abs_rel"],
    }  # fmt: skip
    with pytest.raises(RecipeError, match=r"ablation.metrics has 'reconstruct/abs_rel', by which not every variant is measured"):
        columns_of([clips, single], ["reconstruct/abs_rel"], where="r")


@pytest.mark.slow
def test_ablate_when_run_then_trains_both_variants_and_prints_their_table(recipe, depthmill, tmp_path):
    ablation = ablation_of(recipe, tmp_path, {"baseline": {}, "slower": {"learning_rate": 1e-5}}, seeds=[0])
    code, text = depthmill("ablate", tmp_path / "ablation.yaml", "--no-prefect")
    assert code == 0, text
    assert "| reconstruct AbsRel |" in text and "ablations/ablation-" in text
    trainings = [run.folder for run in ablation.trainings]
    code, text = depthmill("compare", *trainings)
    assert (code, "reconstruct    AbsRel" in text) == (0, True)
