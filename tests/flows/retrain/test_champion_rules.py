from __future__ import annotations

import json
import math
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from flows.retrain.champion import ChampionError, read_champion
from flows.retrain.comparison import is_better
from flows.retrain.line import Line
from flows.retrain.record import changed_rules, history_folder
from flows.retrain.round import RoundError, retrain
from flows.retrain.rules import overrides_of
from flows.retrain.seen_scenes import seen_scenes
from flows.run.bare_loop import BareLoop
from flows.run.opening import open_recipe
from flows.run.runs import Runs
from flows.settings import Settings
from model.semodepth import family as semodepth_family
from model.semodepth import judging as semodepth_judging
from model.semodepth.comparison import Comparison, compare_runs
from model.train import loop
from model.train.judging import Rules
from pipeline.recipe import load_recipe
from storage_schemas.errors import RecipeError
from storage_schemas.evaluation import read_evaluation
from storage_schemas.run_history import read_history
from tests.tiny_nuscenes import write_tiny_nuscenes

SMALL = {
    "network": {"base_channels": 8},
    "max_steps": 1,
    "data": {"batch_size": 1},
    "evaluation": {"num_strips": 0, "without_radar": False},
}
LINE = Line("recipe", "semodepth")
SCENES = ("drive a", "drive b", "drive c", "drive d")
SPLITS = {"train": ["drive a"], "val": ["drive b", "drive c", "drive d"]}


pytestmark = pytest.mark.usefixtures("one_process")


@pytest.fixture
def write(write_recipe, tmp_path):
    root = write_tiny_nuscenes(tmp_path / "data", SCENES, version="v1.0-own")

    def recipe(**splits: list[str]) -> Path:
        return write_recipe(
            root, source={"kind": "nuscenes", "root": str(root), "version": "v1.0-own", "splits": splits}, train=SMALL
        )

    return recipe


def one_round(recipe: Path, *overrides: str, **rules: object):
    opened = open_recipe(load_recipe(recipe, overrides=(*overrides, *overrides_of(**rules))), Settings(workers=1))
    return retrain(opened, BareLoop(), where=str(recipe))


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"margin": 7.0}, "margin 0.0 -> 7.0"),
        ({"metric": "rmse_mm"}, "metric mae_mm -> rmse_mm"),
        ({"cap_m": 50.0}, "cap_m 80.0 -> 50.0"),
        ({"cap_m": None, "radar": None}, "cap_m 80.0 -> None, radar on -> None"),
        ({"radar": "off"}, "radar on -> off"),
        ({"needs_interval": True}, "needs_interval False -> True"),
        ({"least_share": 0.9}, "least_share 0.5 -> 0.9"),
    ],
)
def test_rules_when_one_changes_then_said(changed, text):
    assert changed_rules(SimpleNamespace(**asdict(Rules())), replace(Rules(), **changed)) == text
    former = SimpleNamespace(**{**asdict(Rules()), "needs_interval": None, "least_share": None})  # of a former version
    assert changed_rules(former, Rules()) == ""


def test_round_when_a_rule_of_the_recipe_changed_then_the_former_round_does_not_answer(write):
    row = one_round(write(**SPLITS)).row
    assert one_round(write(**SPLITS)).row.outcome == "nothing to do"
    again = one_round(write(**SPLITS), "retrain.margin=7").row
    assert (again.outcome, again.reason) == ("kept", f"the rules changed since round {row.name}: margin 0.0 -> 7.0")
    assert again.training == row.training
    assert "its training was complete already" in again.note
    assert one_round(write(**SPLITS), margin=7.0).row.outcome == "nothing to do"


@pytest.mark.slow
def test_challenger_when_judged_by_another_margin_then_promoted_without_training_again(write, tmp_path):
    recipe = write(**SPLITS)
    one_round(recipe)
    other = ("train.seed=1", "train.learning_rate=0.01")
    first = one_round(recipe, *other, margin=1e9).row
    assert first.outcome == "kept"
    better = first.difference < 0
    second = one_round(recipe, *other).row
    assert (second.outcome, second.training) == ("promoted" if better else "kept", first.training)
    assert second.reason == f"the rules changed since round {first.name}: margin {1e9} -> 0.0"


def comparison(difference: float, **changes) -> Comparison:
    values = ("all", "mae_mm", 80.0, "on", 9, 100.0, 100.0 + difference, difference, difference - 1, difference + 1, 0.5, 0, 0, 0)
    return Comparison(*values)._replace(**changes)


@pytest.mark.parametrize(
    ("means", "rules", "text"),
    [
        (comparison(math.nan), Rules(), "one of the two is not a number, so nothing is compared"),
        (comparison(-math.inf), Rules(), "one of the two is not a number, so nothing is compared"),
        (comparison(-5.0, low=math.nan, high=math.nan), Rules(needs_interval=True), "does not exclude 0"),
        (
            comparison(-5.0, num_frames=1, share_of_frames=1 / 5869),
            Rules(),
            "only 0.0% of the frames and 100.0% of the pixels are",
        ),
        (comparison(-5.0, share_of_pixels=0.49), Rules(), "49.0% of the pixels are common to both, least_share is 0.5"),
        (comparison(-5.0, share_of_pixels=0.8), Rules(least_share=0.9), "least_share is 0.9"),
    ],
)
def test_challenger_when_it_cannot_be_compared_then_not_promoted(means, rules, text):
    is_promoted, words = is_better(means, rules)
    assert not is_promoted
    assert text in words


def test_share_when_frames_or_pixels_are_missing_then_counted():
    def columns(keys, pixels):
        rows = len(keys)
        names = {"mae_mm": [5.0] * rows, "num_pixels": pixels, "frame_key": keys, "is_night": [False] * rows}
        return {**names, "radar": ["on"] * rows, "cap_m": [80.0] * rows}

    (every, *_) = compare_runs(columns(["s/c/1", "s/c/2"], [10, 20]), columns(["s/c/2", "s/c/3", "s/c/4"], [10, 30, 30]))
    assert every.share_of_frames == pytest.approx(1 / 4)
    assert every.share_of_pixels == pytest.approx(10 / (20 + 10 + 60))


@pytest.mark.parametrize(
    ("share", "text"), [("0.0", "greater than 0"), ("1.5", "less than or equal to 1"), (".nan", "a finite number")]
)
def test_least_share_when_it_is_no_share_then_refused_before_any_work(write, share, text):
    with pytest.raises(RecipeError, match=rf"retrain.least_share is \S+: Input should be {text}"):
        one_round(write(**SPLITS), f"retrain.least_share={share}")


def test_champion_when_it_was_trained_on_frames_that_are_measured_now_then_left_out_or_refused(write, tmp_path):
    first = one_round(write(**SPLITS)).row
    moved = write(train=["drive d"], val=["drive a", "drive b", "drive c"])
    second = one_round(moved, margin=1e9).row
    assert "1 scenes that one of the two was trained on are left out, e.g. 'drive a'" in second.note
    of_split = set(read_evaluation(str(Path(second.training) / "evaluation"))[0]["frame_key"])
    assert second.num_frames == len([key for key in of_split if not key.startswith("drive a/")])
    assert second.num_frames < len(of_split)
    runs = Runs(str(tmp_path / "store/runs"), tmp_path)
    assert read_champion(runs, LINE).folder(runs) == Path(first.training)
    with pytest.raises(ChampionError, match=r"was trained on 1 scene that split 'val' now measures on.* less than the share 0.9"):
        one_round(moved, margin=1e9, least_share=0.9)


@pytest.mark.slow
def test_champion_when_it_measured_its_own_training_frames_then_they_are_left_out_too(write):
    """The same manifest, so that nothing is measured again: the champion trained on val, the challenger on train."""
    recipe = write(**SPLITS)
    one_round(recipe, "train.data.split=val")
    with pytest.raises(ChampionError, match=r"the champion '.*' was trained on 3 scenes that split 'val' now measures on"):
        one_round(recipe)


@pytest.mark.slow
def test_scenes_when_a_training_began_with_another_then_those_of_both_are_seen(write):
    recipe = write(**SPLITS)
    first = one_round(recipe).row
    moved = write(train=["drive b"], val=["drive c", "drive d"])
    tuned = one_round(moved, fine_tune=True).row
    store = open_recipe(load_recipe(recipe), Settings(workers=1)).store
    assert seen_scenes(Path(first.training), store) == ({"drive a"}, ())
    assert seen_scenes(Path(tuned.training), store) == ({"drive a", "drive b"}, ())


@pytest.mark.slow
def test_scenes_when_the_manifest_of_a_start_is_in_no_known_store_then_said_in_the_note(write, monkeypatch):
    recipe = write(**SPLITS)
    one_round(recipe)
    read = loop.read_training
    begun = {"start_file": "/nowhere/at/all/best.pt", "start_manifest": "f" * 16}
    monkeypatch.setattr(loop, "read_training", lambda folder: {**read(folder), **begun})
    note = one_round(recipe, "train.seed=1").row.note
    assert f"what manifest {'f' * 16} taught cannot be looked up, because no known store has it" in note


@pytest.mark.slow
def test_scenes_when_a_chain_of_starts_comes_from_another_store_then_all_are_seen(write, tmp_path):
    """c began with b, b with a; a and b were trained on a store of their own."""
    elsewhere = f"store={tmp_path / 'elsewhere'}"
    a = one_round(write(train=["drive a"], val=["drive c", "drive d"]), elsewhere).row
    start = f"train.start_from={Path(a.training) / 'best.pt'}"
    b = one_round(write(train=["drive b"], val=["drive c", "drive d"]), elsewhere, start).row
    recipe = write(train=["drive d"], val=["drive a", "drive b", "drive c"])
    c = one_round(recipe, f"train.start_from={Path(b.training) / 'best.pt'}").row
    store = open_recipe(load_recipe(recipe), Settings(workers=1)).store
    assert seen_scenes(Path(c.training), store) == ({"drive a", "drive b", "drive d"}, ())
    with pytest.raises(ChampionError, match=r"was trained on 2 scenes that split 'val' now measures on, e.g. 'drive a'"):
        one_round(recipe, "train.seed=1")


@pytest.mark.slow
def test_network_when_its_answers_are_not_numbers_then_never_the_best_and_never_the_champion(write, monkeypatch, tmp_path):
    recipe, summarise = write(**SPLITS), semodepth_family.summarise
    count = {"calls": 0, "nan": {1}}

    def with_nan(frames):
        count["calls"] += 1
        rows = summarise(frames)
        return [row._replace(mae_mm=math.nan) for row in rows] if count["calls"] in count["nan"] else rows

    for module in (semodepth_family, semodepth_judging):
        monkeypatch.setattr(module, "summarise", with_nan)
    options = ("train.max_steps=2", "train.evaluate_every_epochs=0.4")
    first = one_round(recipe, *options).row
    record = json.loads((Path(first.training) / "training.json").read_text())
    assert record["best"]["step"] == 2  # the first evaluation was not a number
    count |= {"calls": 0, "nan": {2}}
    second = one_round(recipe, *options, "train.seed=1").row
    assert json.loads((Path(second.training) / "training.json").read_text())["best"]["step"] == 1
    count |= {"calls": 0, "nan": {1, 2}}
    with pytest.raises(Exception, match="no evaluation on split 'val' gave a number: the network answers NaN there"):
        one_round(recipe, *options, "train.seed=2")
    count |= {"calls": 0, "nan": {3}}
    with pytest.raises(RoundError, match="gives mae_mm = NaN on its split, so it can be no champion"):
        one_round(recipe, *options, "train.seed=3")
    assert [row.outcome for row in read_history(history_folder(Runs(str(tmp_path / "store/runs"), tmp_path)))][-2:] == [
        "failed",
        "failed",
    ]


@pytest.mark.slow
def test_recipe_when_it_names_a_split_for_choosing_then_it_is_used_and_said(write, tmp_path):
    recipe = write(train=["drive a"], val=["drive b"], test=["drive c", "drive d"])
    same = one_round(recipe)
    assert "- checkpoint: chosen and measured on the same split, val" in same.text
    ended = one_round(recipe, "train.evaluation.split=test", "train.evaluation.choose_split=val")
    assert "- checkpoint: chosen on val, measured on test" in ended.text
    folder = Path(ended.row.training)
    assert {key.split("/")[0] for key in read_evaluation(str(folder / "evaluation"))[0]["frame_key"]} == {"drive c", "drive d"}
    assert json.loads((folder / "training.json").read_text())["choice"] == "chosen on val, measured on test"
    assert "chosen on val, measured on test" in (folder / "report.html").read_text()
    chosen = (folder / "evaluations.csv").read_text().splitlines()[1].split(",")
    assert "2" in chosen  # frames of val
    with pytest.raises(Exception, match="split 'train'|has no samples|is empty"):
        one_round(write(**SPLITS), "train.evaluation.choose_split=test")
