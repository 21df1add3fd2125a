"""Lines of trainings: a champion and a lock each, the champion of a former version, and a look at a round beforehand."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from flows.retrain.champion import ChampionError, read_champion, read_champions, take_over_former
from flows.retrain.line import Line
from flows.retrain.record import history_folder
from flows.retrain.round import retrain
from flows.retrain.rules import overrides_of
from flows.run.bare_loop import BareLoop
from flows.run.listener import Listener
from flows.run.opening import open_recipe
from flows.run.runs import Runs
from flows.settings import Settings
from pipeline.recipe import load_recipe
from storage_schemas.folder_lock import FolderBusyError, locked_folder
from storage_schemas.run_history import read_history, write_round
from tests.flows.retrain.test_retrain import LINE, SMALL

OTHER = Line("other", "semodepth")

pytestmark = pytest.mark.usefixtures("one_process")


@pytest.fixture
def recipe(tiny_root, copied_store, write_recipe):
    return write_recipe(tiny_root, train={**SMALL, "max_steps": 1})


@pytest.fixture
def runs(tmp_path) -> Runs:
    return Runs(str(tmp_path / "store/runs"), tmp_path)


def one_round(
    recipe: Path, *overrides: str, orchestrator: BareLoop | None = None, told: list[str] | None = None, **rules: object
):
    opened = open_recipe(load_recipe(recipe, overrides=(*overrides, *overrides_of(**rules))), Settings(workers=1))
    listener = Listener(lambda text: None, warn=(told if told is not None else []).append)
    return retrain(opened, orchestrator or BareLoop(), listener, where=str(recipe)).row


def renamed(recipe: Path, name: str) -> Path:
    path = recipe.with_name(name)
    path.write_text(recipe.read_text())
    return path


def as_former(runs: Runs, row, **changes) -> Path:
    """Leave champion and history as a former version did: one file a store, and rows without a line."""
    folder = Path(runs.root)
    former = folder / "champion.json"
    (folder / LINE.champion_key).rename(former)
    (folder / "champions").rmdir()
    for path in (folder / "history").iterdir():
        path.unlink()
    if row is not None:
        write_round(history_folder(runs), replace(row, line=None, **changes))
    return former


@pytest.mark.parametrize("name", ["night", "night é.v2", ".hidden", "a/b", "100%", "a_b", "a b"])
def test_line_when_named_by_any_file_then_its_own_name_and_never_hidden(name):
    line = Line(name, "semodepth")
    file = line.champion_key.removeprefix("champions/").removesuffix(".json")
    assert Line.named(file) == line
    assert not file.startswith(".") and "/" not in file and " " not in file


@pytest.mark.slow
def test_lines_when_of_two_recipes_then_neither_meets_nor_replaces_the_others_champion(recipe, runs):
    first = one_round(recipe)
    other = renamed(recipe, "other.yaml")
    second = one_round(other, "train.seed=1")
    assert second.reason == "there is no champion yet"
    assert (second.outcome, second.champion_before) == ("promoted", None)
    assert "there was no champion of this line; there are champions of recipe.semodepth" in second.note
    assert {line.name: Path(champion.training).name for line, champion in read_champions(runs).items()} == {
        "other.semodepth": Path(second.training).name, "recipe.semodepth": Path(first.training).name,
    }  # fmt: skip
    assert one_round(recipe).outcome == "nothing to do"
    again = one_round(other)  # the training of the other line is complete; in this one it has met nobody
    assert again.training == first.training
    assert again.champion_before == second.training
    assert "its training was complete already" in again.note


@pytest.mark.slow
def test_rounds_when_of_two_lines_at_once_then_neither_waits_and_the_same_line_is_refused(recipe, runs):
    other = renamed(recipe, "other.yaml")
    found = []

    class Meanwhile(BareLoop):
        def train(self, training, on_progress):
            found.append(one_round(other, "train.seed=1").outcome)
            with pytest.raises(FolderBusyError, match=rf"rounds/recipe.semodepth' is in use: depthmill retrain {recipe}"):
                one_round(recipe)
            super().train(training, on_progress)

    assert one_round(recipe, orchestrator=Meanwhile()).outcome == "promoted"
    assert found == ["promoted"]
    assert [row.outcome for row in read_history(history_folder(runs))] == ["promoted", "promoted"]


@pytest.mark.slow
def test_champion_when_of_a_former_version_then_its_line_takes_it_over_byte_for_byte(recipe, runs, depthmill):
    first = one_round(recipe)
    before = read_champion(runs, LINE)
    former = as_former(runs, first)
    content = former.read_bytes()
    assert read_champion(runs, LINE) == before and read_champion(runs, OTHER) is None
    code, text = depthmill("runs", recipe)
    assert (code, "champion of recipe.semodepth" in text) == (0, True)  # looking changes nothing
    assert former.read_bytes() == content
    second = one_round(renamed(recipe, "other.yaml"), "train.seed=1")  # another line finds it, and it is not its own
    assert second.champion_before is None
    assert not former.exists()
    assert (Path(runs.root) / LINE.champion_key).read_bytes() == content
    assert one_round(recipe).outcome == "nothing to do"  # the rows of former versions count for the recipe they name


@pytest.mark.slow
def test_champion_when_its_round_is_not_in_the_history_then_the_first_line_of_its_family_takes_it(recipe, runs):
    one_round(recipe)
    former = as_former(runs, None)
    assert take_over_former(runs, Line("cars", "monoddle")) == ""
    assert former.exists()
    assert [line.name for line in read_champions(runs)] == ["champion.semodepth"]
    third = one_round(renamed(recipe, "other.yaml"), "train.seed=1", margin=1e9)
    assert third.outcome == "kept" and third.champion_before is not None
    assert not former.exists() and read_champion(runs, OTHER) is not None


def test_champion_when_a_former_depthmill_writes_another_one_later_then_said_and_not_used(recipe, runs):
    one_round(recipe)
    own = read_champion(runs, LINE)
    content = json.loads((Path(runs.root) / LINE.champion_key).read_text())
    del content["record_sha256"]
    former = Path(runs.root) / "champion.json"
    former.write_text(json.dumps({**content, "value": 1.0}))
    told: list[str] = []
    row = one_round(recipe, told=told)
    assert row.outcome == "nothing to do" and read_champion(runs, LINE) == own
    text = f"'{former}', which a former depthmill wrote, is not used: line recipe.semodepth has its champion in"
    assert any(text in line for line in told) and text in row.note
    assert former.exists()


def test_champion_when_the_former_file_is_damaged_then_only_a_line_without_a_champion_fails(recipe, runs):
    one_round(recipe)
    (Path(runs.root) / "champion.json").write_text("{")
    assert one_round(recipe).outcome == "nothing to do"
    with pytest.raises(ChampionError, match="champion.json' is damaged: .* Delete it: the next round's training becomes"):
        one_round(renamed(recipe, "other.yaml"))


def test_round_when_one_of_a_former_version_goes_on_then_refused_and_a_killed_one_is_closed(recipe, runs):
    with (
        locked_folder(Path(runs.root), doing="depthmill retrain old.yaml", if_denied="-"),
        pytest.raises(FolderBusyError, match=r"runs' is in use: depthmill retrain old.yaml"),
    ):
        one_round(recipe)
    child = os.fork()
    if not child:
        with locked_folder(Path(runs.root), doing="depthmill retrain old.yaml", if_denied="-") as held:
            first = one_round_record()
            held.say(first)
            os._exit(0)
    os.waitpid(child, 0)
    assert one_round(recipe).outcome == "promoted"
    killed, promoted = read_history(history_folder(runs))
    assert (killed.outcome, promoted.outcome) == ("failed", "promoted")
    assert killed.note.startswith("killed: depthmill retrain old.yaml")


def one_round_record() -> dict[str, object]:
    """What a round of a former version had noted: a row without the columns that were added since."""
    from tests.storage_schemas.test_seals import ROUND

    row = asdict(replace(ROUND, outcome="failed"))
    del row["line"]
    return row


@pytest.mark.slow
def test_dry_run_when_asked_for_then_it_says_what_a_round_does_and_writes_nothing(recipe, depthmill, tmp_path):
    def files() -> dict[str, int]:
        return {str(path): path.stat().st_mtime_ns for path in (tmp_path / "store").rglob("*")}

    before = files()
    code, text = depthmill("retrain", recipe, "--dry-run")
    assert code == 0, text
    assert files() == before
    assert "why        there is no champion yet" in text
    assert "units      none: all 13 are up to date" in text
    assert "would be trained from its first step" in text and "compared   with nothing: there is no champion" in text
    assert "rule       mae_mm up to 80 m, radar on: smaller is better, the margin is 0" in text
    first = one_round(recipe)
    before = files()
    told = json.loads(depthmill("retrain", recipe, "--dry-run", "--json")[1])
    assert (told["nothing_to_do"], told["is_champion"], told["state"], told["training"]) == (
        True,
        True,
        "complete",
        first.training,
    )
    options = (
        "--set",
        "stages.clean_horizon.near_m=12.5",
        "--margin",
        20,
        "--needs-interval",
        "--metric",
        "rmse_mm",
        "--cap",
        50,
    )
    code, text = depthmill("retrain", recipe, "--dry-run", *options)
    assert "units      2 of clean_horizon: params near_m: 20.0 -> 12.5 (scene-0061, scene-0103)" in text
    assert f"compared   with champion trainings/{Path(first.training).name} (mae_mm " in text
    assert "measured again first (manifest " in text
    assert "rule       rmse_mm up to 50 m, radar on: smaller is better, the margin is 20, and the 95 % interval must" in text
    assert files() == before
    third = one_round(recipe, "stages.clean_horizon.near_m=12.5", margin=1e9)
    assert third.training in text  # the training that was foretold


def test_dry_run_when_the_champion_can_never_be_compared_then_fails_as_the_round_would_before_training(recipe, runs, depthmill):
    one_round(recipe, "train.data.radar=false")
    for options in (("--dry-run",), ("--no-prefect",)):
        code, text = depthmill("retrain", recipe, *options)
        assert code == 1
        assert "cannot be compared with this training: it is of the camera alone (train.data.radar is false)" in text
        assert "Save the recipe under another name, which then has a champion of its own, or delete" in text
    assert len(list((Path(runs.root) / "trainings").iterdir())) == 1
