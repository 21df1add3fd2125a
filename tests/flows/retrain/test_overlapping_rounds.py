from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from flows.retrain.champion import read_champion
from flows.retrain.line import Line
from flows.retrain.record import history_folder
from flows.retrain.round import retrain
from flows.run.bare_loop import BareLoop
from flows.run.opening import open_recipe
from flows.run.runs import Runs
from flows.settings import Settings
from pipeline.recipe import load_recipe
from storage_schemas.folder_lock import LOCK_FILE, FolderBusyError, holder_of, locked_folder
from storage_schemas.run_history import read_history
from tests.conftest import REPOSITORY

SMALL = {
    "network": {"base_channels": 8},
    "max_steps": 1,
    "data": {"batch_size": 1},
    "evaluation": {"num_strips": 0, "without_radar": False},
}


LINE = Line("recipe", "semodepth")

pytestmark = pytest.mark.usefixtures("one_process")


@pytest.fixture
def recipe(tiny_root, copied_store, write_recipe):
    return write_recipe(tiny_root, train=SMALL)


def one_round(recipe: Path, *overrides: str, orchestrator: BareLoop | None = None):
    opened = open_recipe(load_recipe(recipe, overrides=overrides), Settings(workers=1))
    return retrain(opened, orchestrator or BareLoop(), where=str(recipe)).row


def runs_of(folder: Path) -> Runs:
    return Runs(str(folder), folder)


def outcomes(runs: Path) -> list[str]:
    return [row.outcome for row in read_history(history_folder(runs_of(runs)))]


def test_round_when_another_is_going_on_then_refused_with_who_and_nothing_is_written(recipe, tmp_path):
    runs = tmp_path / "store/runs"

    class AskAgain(BareLoop):
        def train(self, training, on_progress):
            text = rf"'{runs / LINE.lock_key}' is in use: depthmill retrain {recipe}, process {os.getpid()} on .*; then run the same command"
            with pytest.raises(FolderBusyError, match=text):
                one_round(recipe)
            super().train(training, on_progress)

    assert one_round(recipe, orchestrator=AskAgain()).outcome == "promoted"
    assert outcomes(runs) == ["promoted"]
    assert one_round(recipe).outcome == "nothing to do"


def test_round_when_a_training_works_in_its_folder_then_says_who_and_the_next_round_goes_on(recipe, tmp_path):
    first = one_round(recipe)
    (tmp_path / "store/runs" / LINE.champion_key).unlink()
    held = locked_folder(Path(first.training), doing="depthmill train x.yaml", if_denied="-")
    with held, pytest.raises(FolderBusyError, match="in use: depthmill train x.yaml"):
        one_round(recipe)
    assert outcomes(tmp_path / "store/runs") == ["promoted", "failed"]
    assert one_round(recipe).outcome == "promoted"


CHILD = """
import os, sys, signal
from pathlib import Path
import flows.retrain.round as round_module
from flows.retrain.record import RoundProgress

number, count = int(sys.argv[2]), 0
armed = sys.argv[3] == "train"

def maybe_kill(event, arguments):
    global count
    if not armed or event not in ("open", "os.rename", "os.remove", "os.truncate", "os.mkdir", "os.utime"):
        return
    if event == "open" and not (isinstance(arguments[0], str) and "runs" in arguments[0]):
        return
    if count == number:
        os.kill(os.getpid(), signal.SIGKILL)
    count += 1

sys.addaudithook(maybe_kill)
write_champion = round_module.write_champion

def armed_write(*args, **kwargs):
    global armed
    armed = True
    write_champion(*args, **kwargs)

round_module.write_champion = armed_write
from flows.cli import main
sys.argv = ["depthmill", "retrain", sys.argv[1], "--no-prefect", "--workers", "1", *sys.argv[4:]]
main()
"""


def run_child(recipe: Path, number: int, when: str, *options: str) -> int:
    command = [sys.executable, "-c", CHILD, str(recipe), str(number), when, *options]
    return subprocess.run(command, cwd=REPOSITORY, check=False, capture_output=True).returncode


@pytest.mark.slow
def test_promotion_when_killed_at_any_file_operation_then_the_former_or_the_new_champion_is_whole_and_rounds_go_on(
    recipe, tmp_path
):
    runs = tmp_path / "store/runs"
    former = one_round(recipe)
    options = ("train.max_steps=8", "train.learning_rate=0.001")
    row = one_round(recipe, *options, "retrain.margin=1e9")  # trained and kept: what is left is the promotion
    assert row.difference < 0
    kept = tmp_path / "kept"
    shutil.copytree(runs, kept)
    rules = ("--set", options[0], "--set", options[1])
    num_kills, found = 0, set()
    for number in range(200):
        shutil.rmtree(runs)
        shutil.copytree(kept, runs)
        code = run_child(recipe, number, "promotion", *rules)
        if code == 0:
            break
        assert code == -signal.SIGKILL, (number, code)
        num_kills += 1
        champion = read_champion(runs_of(runs), LINE)
        found.add(champion.folder(runs_of(runs)))
        after = one_round(recipe, *options)
        assert after.outcome in ("promoted", "kept", "nothing to do"), (number, after.note)
        assert read_champion(runs_of(runs), LINE).folder(runs_of(runs)) == Path(row.training)
        rows = read_history(history_folder(runs_of(runs)))
        assert [row for row in rows[2:] if row.note.startswith("killed: ") or row.outcome in ("promoted", "nothing to do")]
        assert not (runs / LINE.lock_key / LOCK_FILE).exists()
    print(f"{num_kills} kills")
    assert num_kills >= 8
    assert found == {Path(former.training), Path(row.training)}


def test_round_when_killed_then_the_next_one_leaves_its_row(recipe, depthmill, tmp_path):
    runs = tmp_path / "store/runs"
    reached = tmp_path / "reached"

    class Dies(BareLoop):
        def train(self, training, on_progress):
            reached.touch()
            os.kill(os.getpid(), signal.SIGKILL)

    child = os.fork()
    if not child:
        one_round(recipe, orchestrator=Dies())
        os._exit(1)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    assert reached.exists()
    name = holder_of(runs / LINE.lock_key).about["name"]
    code, text = depthmill("runs", recipe)
    assert code == 0
    assert f"round {name} has not ended: depthmill retrain {recipe}, process {child} on " in text
    assert one_round(recipe).outcome == "promoted"
    killed, promoted = read_history(history_folder(runs_of(runs)))
    assert (killed.name, killed.outcome, promoted.outcome) == (name, "failed", "promoted")
    assert killed.note.startswith(f"killed: depthmill retrain {recipe}, process {child} on ")
    assert killed.training == promoted.training
    assert killed.reason == "there is no champion yet"
    assert "has not ended" not in depthmill("runs", recipe)[1]
    assert asdict(killed)["margin"] == 0.0


@pytest.mark.slow
def test_rounds_when_two_equal_ones_start_at_once_then_one_works_the_other_says_who_and_there_is_a_champion(recipe, tmp_path):
    command = [
        sys.executable,
        "-c",
        "from flows.cli import main; main()",
        "retrain",
        str(recipe),
        "--no-prefect",
        "--workers",
        "1",
    ]
    for _ in range(3):
        shutil.rmtree(tmp_path / "store/runs", ignore_errors=True)
        rounds = [
            subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=REPOSITORY)
            for _ in range(2)
        ]
        texts = [process.communicate()[0] for process in rounds]
        codes = [process.returncode for process in rounds]
        assert "Traceback" not in "".join(texts)
        assert 0 in codes, texts
        for code, text in zip(codes, texts, strict=True):
            assert code == 0 or "is in use: depthmill retrain" in text, text
        runs = runs_of(tmp_path / "store/runs")
        rows = (read_champion(runs, LINE).folder(runs) / "steps.csv").read_text().splitlines()
        assert len(rows) == 2
        assert "failed" not in outcomes(tmp_path / "store/runs")
