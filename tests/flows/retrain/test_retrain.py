from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
import yaml

from flows.retrain.champion import ChampionError, read_champion
from flows.retrain.comparison import is_better, opponent_of
from flows.retrain.line import Line
from flows.retrain.record import history_folder
from flows.retrain.round import retrain
from flows.retrain.rules import overrides_of
from flows.run.bare_loop import BareLoop
from flows.run.listener import Listener
from flows.run.opening import open_recipe
from flows.run.runs import Runs
from flows.settings import Settings
from model.families import parse_train_config
from model.semodepth.comparison import Comparison
from model.semodepth.config import SemoDepthTrainConfig
from model.train.judging import Rules
from pipeline.recipe import load_recipe
from storage_schemas.errors import DepthmillError, RecipeError
from storage_schemas.run_history import read_history
from tests.tiny_nuscenes import write_tiny_nuscenes

SMALL = {
    "network": {"base_channels": 8},
    "max_steps": 2,
    "data": {"batch_size": 1},
    "evaluation": {"num_strips": 0, "without_radar": False},
}


LINE = Line("recipe", "semodepth")

pytestmark = pytest.mark.usefixtures("one_process")


@pytest.fixture
def recipe(tiny_root, copied_store, write_recipe):
    return write_recipe(tiny_root, train=SMALL)


def runs_of(folder: Path) -> Runs:
    return Runs(str(folder / "store/runs"), folder)


def one_round(recipe: Path, *overrides: str, **rules: object):
    opened = open_recipe(load_recipe(recipe, overrides=(*overrides, *overrides_of(**rules))), Settings(workers=1))
    return retrain(opened, BareLoop(), Listener(print), where=str(recipe)).row


def test_rounds_when_repeated_then_work_nothing_and_after_a_changed_rule_only_cleaning_and_training(recipe, tmp_path, capsys):
    folder, runs = tmp_path / "store" / "runs", runs_of(tmp_path)
    first = one_round(recipe)
    assert (first.outcome, first.num_units, first.is_promoted) == ("promoted", 0, True)
    assert first.reason == "there is no champion yet"
    champion = read_champion(runs, LINE)
    assert champion.training == f"trainings/{Path(first.training).name}"
    assert champion.value == first.challenger_value

    capsys.readouterr()
    second = one_round(recipe)
    assert second.outcome == "nothing to do"
    assert second.reason == f"all 13 units are up to date, and their training met the champion in round {first.name}"
    assert capsys.readouterr().out == f"nothing to do: {second.reason}\n"
    assert [path.name for path in (folder / "trainings").iterdir()] == [Path(first.training).name]

    third = one_round(recipe, "stages.clean_horizon.near_m=12.5", margin=1e9)
    assert third.outcome == "kept"
    assert third.num_units == 3
    assert third.reason == "clean_horizon: params near_m: 20.0 -> 12.5 (scene-0061, scene-0103)"
    assert third.manifest != first.manifest
    assert f"was measured again on the new frames and targets (manifest {first.manifest} -> {third.manifest})" in third.note
    assert (Path(third.training) / "champion" / "frames.parquet").is_file()
    assert third.champion_before == first.training
    assert third.num_frames == 2
    assert third.champion_value == pytest.approx(first.challenger_value, rel=1e-6)  # its targets are the single sweep: unchanged
    assert third.difference == pytest.approx(third.challenger_value - third.champion_value)
    assert third.low is third.high is None  # the frames are of too few scenes for an interval
    assert read_champion(runs, LINE) == champion
    assert one_round(recipe, "stages.clean_horizon.near_m=12.5", margin=1e9).outcome == "nothing to do"
    assert one_round(recipe).outcome == "nothing to do"  # back to the former rule: judged already
    assert [row.outcome for row in read_history(history_folder(runs))] == [
        "promoted", "nothing to do", "kept", "nothing to do", "nothing to do",
    ]  # fmt: skip
    text = (folder / "reports" / f"{third.name}.md").read_text()
    assert "# kept" in text
    assert "MAE [mm] up to 80 m, radar on: smaller is better" in text


@pytest.mark.slow
def test_fine_tuning_when_asked_for_then_starts_from_the_champion_and_is_not_repeated(recipe, tmp_path):
    first = one_round(recipe)
    tuned = one_round(recipe, "train.learning_rate=1e-5", metric="rmse_mm", cap_m=50.0, fine_tune=True)
    record = json.loads((Path(tuned.training) / "training.json").read_text())
    assert record["config"]["start_from"] == str(Path(first.training) / "best.pt")
    assert tuned.reason == f"the training options changed since round {first.name}"
    assert "measured again" not in tuned.note
    assert tuned.metric == "rmse_mm"
    assert one_round(recipe, "train.learning_rate=1e-5", metric="rmse_mm", cap_m=50.0, fine_tune=True).outcome == "nothing to do"
    again = one_round(recipe, "train.learning_rate=1e-5", fine_tune=True)
    assert again.reason == f"the rules changed since round {tuned.name}: metric rmse_mm -> mae_mm, cap_m 50.0 -> 80.0"
    assert (again.training, "complete already" in again.note) == (tuned.training, True)  # judged, and not trained, again
    if tuned.is_promoted:
        assert read_champion(runs_of(tmp_path), LINE).folder(runs_of(tmp_path)) == Path(tuned.training)
    with pytest.raises(DepthmillError, match=r"it has train.network.base_channels = 8, the recipe says 16. Make them equal, or"):
        one_round(recipe, "train.network.base_channels=16", fine_tune=True)


@pytest.mark.slow
def test_new_drive_when_it_arrives_then_the_champion_is_measured_on_it_too(write_recipe, tmp_path):
    scenes = ("scene-0061", "scene-0103")
    root = write_tiny_nuscenes(tmp_path / "data", scenes)
    recipe = write_recipe(root, train=SMALL)
    first = one_round(recipe)
    assert first.num_units == 13
    stages = "index_frames, pack_images, project_radar, project_lidar, accumulate_lidar, clean_horizon"
    assert first.reason == f"{stages}: new (scene-0061, scene-0103)"
    write_tiny_nuscenes(root, (*scenes, "scene-0553"))
    second = one_round(recipe)
    assert second.num_units == 7
    assert second.reason == f"{stages}: new (scene-0553)"
    assert second.outcome in ("kept", "promoted")


def test_round_when_it_fails_then_history_says_so_and_the_next_one_goes_on(write_recipe, tmp_path):
    root = write_tiny_nuscenes(tmp_path / "data")
    recipe = write_recipe(root, train=SMALL)
    victim = sorted((root / "sweeps/LIDAR_TOP").glob("tiny-scene-0103*"))[2]
    aside = victim.with_suffix(".aside")
    victim.rename(aside)
    victim.touch()  # a file that is there and empty fails; a missing one would be left out
    with pytest.raises(DepthmillError, match="1 units failed, 3 are left to do; nothing was trained"):
        one_round(recipe)
    aside.rename(victim)
    second = one_round(recipe)
    assert (second.outcome, second.num_units) == ("promoted", 3)
    failed, _ = read_history(history_folder(runs_of(tmp_path)))
    assert (failed.outcome, failed.num_units, failed.training) == ("failed", 10, None)
    assert "Fix what its events.jsonl names, then run the same command" in failed.note


def test_round_when_the_training_is_cut_off_then_the_next_one_goes_on_with_it(recipe, tmp_path):
    opened = open_recipe(load_recipe(recipe), Settings(workers=1))

    class CutOff(BareLoop):
        def train(self, training, on_progress):
            training.run(None)
            raise MemoryError("of the device")

    class EvaluateOnly(BareLoop):
        def train(self, training, on_progress):
            training.evaluate()

    with pytest.raises(MemoryError):
        retrain(opened, CutOff(), where=str(recipe))
    row = retrain(opened, EvaluateOnly(), where=str(recipe)).row  # nothing is left to train
    failed, promoted = read_history(history_folder(opened.runs))
    assert (failed.outcome, failed.note, promoted.outcome) == ("failed", "of the device", "promoted")
    assert row.training == failed.training


def test_champion_when_its_file_or_training_is_damaged_then_says_what_to_do(recipe, tmp_path):
    first = one_round(recipe)
    pointer = tmp_path / "store/runs/champions/recipe.semodepth.json"
    content = pointer.read_text()
    pointer.write_text(content[:-20])
    with pytest.raises(DepthmillError, match="is damaged: .* Delete it: the next round's training becomes the champion"):
        one_round(recipe)
    pointer.write_text(content)
    Path(first.training).rename(tmp_path / "moved")
    with pytest.raises(
        DepthmillError,
        match="recipe.semodepth.json' names a champion whose .*best.pt' does not exist. Bring that folder back, or delete the file",
    ):
        one_round(recipe)
    Path(tmp_path / "moved").rename(first.training)
    pointer.unlink()
    again = one_round(recipe)
    assert (again.outcome, again.note) == ("promoted", "its training was complete already; there was no champion")
    assert read_champion(runs_of(tmp_path), LINE).training == json.loads(content)["training"]


def test_store_when_moved_then_its_champion_is_found(recipe, tmp_path):
    one_round(recipe)
    shutil.move(tmp_path / "store", tmp_path / "elsewhere")
    data = yaml.safe_load(recipe.read_text())
    recipe.write_text(yaml.safe_dump({**data, "store": str(tmp_path / "elsewhere")}))
    assert one_round(recipe).outcome == "nothing to do"


@pytest.mark.parametrize(
    ("rules", "text"),
    [
        ({"metric": "mae"}, "retrain.metric is 'mae', expected one of: mae_mm, rmse_mm, .*; did you mean 'mae_mm'?"),
        ({"cap_m": 60}, "retrain.cap_m is 60.0, expected one of: 50.0, 70.0, 80.0"),
        ({"radar": "off"}, r"retrain.radar is 'off' \(train.evaluation.without_radar is false\), expected one of: on"),
        ({"margin": -1.0}, "retrain.margin is -1.0: Input should be greater than or equal to 0"),
        ({"metrik": "mae_mm"}, "unknown key 'retrain.metrik'; did you mean 'metric'?"),
    ],
)
def test_rules_when_wrong_then_told_before_any_work(recipe, rules, text, tmp_path):
    with pytest.raises(RecipeError, match=text):
        one_round(recipe, **rules)
    assert not (tmp_path / "store/runs/trainings").exists()


def comparison(difference: float, low: float | None, high: float | None, metric: str = "mae_mm") -> Comparison:
    return Comparison("all", metric, 80.0, "on", 9, 100.0, 100.0 + difference, difference, low, high, 0.5, 0, 0, 0)


@pytest.mark.parametrize(
    ("found", "rules", "expected", "text"),
    [
        (comparison(-5.0, -9.0, 1.0), Rules(), True, "mae_mm 100 -> 95: better by 5, the margin is 0"),
        (comparison(-5.0, -9.0, 1.0), Rules(margin=5.0), True, "the margin is 5"),
        (comparison(-5.0, -9.0, 1.0), Rules(margin=5.1), False, "better by 5, less than the margin 5.1"),
        (comparison(-5.0, -9.0, 1.0), Rules(needs_interval=True), False, "its interval [-9, +1] does not exclude 0"),
        (comparison(-5.0, -9.0, -1.0), Rules(needs_interval=True), True, "better by 5"),
        (comparison(-5.0, None, None), Rules(needs_interval=True), False, "too few scenes for the interval that is asked for"),
        (comparison(-5.0, None, None), Rules(), True, "better by 5"),
        (comparison(0.0, 0.0, 0.0), Rules(), False, "not better"),
        (comparison(5.0, 1.0, 9.0), Rules(), False, "not better"),
        (comparison(0.1, 0.05, 0.2), Rules(needs_interval=True, is_higher_better=True), True, "better by 0.1"),
        (comparison(-0.1, -0.2, 0.0), Rules(is_higher_better=True), False, "not better"),
    ],
)
def test_promotion_when_judged_by_the_rules_then_says_why(found, rules, expected, text):
    is_promoted, words = is_better(found, rules)
    assert is_promoted == expected
    assert text in words


def test_retrain_command_when_run_then_prints_the_report_and_runs_prints_the_history(recipe, depthmill, tmp_path):
    code, text = depthmill("runs", recipe)
    assert (code, text.strip()) == (0, f"no rounds yet in '{tmp_path / 'store/runs/history'}'. Run depthmill retrain")
    code, text = depthmill("retrain", recipe, "--no-prefect", "--workers", 1)
    assert code == 0, text
    assert "# promoted" in text
    assert "- why: there is no champion yet" in text
    code, text = depthmill("retrain", recipe, "--no-prefect", "--json")
    assert json.loads(text)["outcome"] == "nothing to do"
    code, text = depthmill("runs", recipe)
    assert code == 0
    lines = text.splitlines()
    assert lines[0].split() == [
        "started",
        "(UTC)",
        "line",
        "outcome",
        "units",
        "manifest",
        "training",
        "champion",
        "challenger",
        "took",
        "why",
    ]
    assert [line.split("  ")[1:3] for line in lines[1:3]] == [
        ["recipe.semodepth", "promoted"],
        ["recipe.semodepth", "nothing to do"],
    ]
    assert lines[-1].startswith(f"champion of recipe.semodepth {tmp_path / 'store/runs/trainings'}")
    code, text = depthmill("runs", tmp_path / "store", "--last", 1, "--json")
    assert [row["outcome"] for row in json.loads(text)["rounds"]] == ["nothing to do"]
    code, text = depthmill("retrain", recipe, "--no-prefect", "--metric", "mea_mm")
    assert (code, "metric is 'mea_mm', expected one of: mae_mm" in text) == (2, True)


def test_start_of_a_training_when_given_then_counts_by_its_bytes(tmp_path):
    files = [tmp_path / name for name in ("a.pt", "b.pt", "c.pt")]
    for file, content in zip(files, (b"weights", b"weights", b"others"), strict=True):
        file.write_bytes(content)
    names = [SemoDepthTrainConfig(start_from=str(file)).fingerprint("m") for file in files]
    assert names[0] == names[1]
    assert len({*names, SemoDepthTrainConfig().fingerprint("m")}) == 3
    assert SemoDepthTrainConfig().fingerprint("m") == SemoDepthTrainConfig.model_validate({"start_from": None}).fingerprint("m")
    with pytest.raises(RecipeError, match=r"recipe 'r': train.start_from is '/nowhere/best.pt', and there is no such file"):
        parse_train_config({"start_from": "/nowhere/best.pt"}, where="r")
    both = {"start_from": str(files[0]), "imagenet_weights": str(files[1])}
    with pytest.raises(RecipeError, match="both say where the weights begin. Leave one of the two out"):
        parse_train_config(both, where="r")


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"family": "monoddle"}, "is of family monoddle, this training of semodepth: no measure is common to them"),
        ({"family": "row_depth"}, "options that this depthmill does not know: train.family is 'row_depth'; this depthmill knows"),
        ({"family": "semodepth", "epoch": 3}, "does not know: unknown key 'train.epoch'; did you mean 'epochs'?"),
    ],
)
def test_champion_when_it_is_not_of_this_family_then_named_with_what_to_do(config, reason):
    record = {"config": config, "manifest": "m"}
    with pytest.raises(ChampionError, match=f"{re.escape(reason)}.* delete 'c.json': the next round's training becomes the"):
        opponent_of(record, SemoDepthTrainConfig(), Rules(), address="trainings/a", file="c.json")
