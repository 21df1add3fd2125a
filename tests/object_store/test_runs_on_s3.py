"""Champion, history, trainings and locks live with the store, on a server that speaks S3."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from flows.retrain.champion import read_champion
from flows.retrain.line import Line
from flows.retrain.round import retrain
from flows.run.bare_loop import BareLoop
from flows.run.opening import open_recipe
from flows.run.train import train_recipe
from flows.settings import Settings
from model.families import load_checkpoint
from pipeline.recipe import load_recipe
from storage_schemas.errors import StoreAccessError
from storage_schemas.files import StoreFiles
from storage_schemas.folder_lock import FolderBusyError
from storage_schemas.remote_lock import holder_of_key, locked_key
from storage_schemas.run_history import read_history
from tests.conftest import REPOSITORY

SMALL = {
    "network": {"base_channels": 8},
    "max_steps": 2,
    "data": {"batch_size": 1},
    "evaluation": {"num_strips": 0, "without_radar": False},
}

pytestmark = pytest.mark.usefixtures("one_process")


@pytest.fixture
def url(tiny_store: Path, bucket: str) -> str:
    """A store in the bucket with every unit made."""
    root = f"s3://{bucket}/store"
    files = StoreFiles(root)
    for path in tiny_store.rglob("*"):
        if path.is_file() and "runs" not in path.relative_to(tiny_store).parts:
            files.put(path.relative_to(tiny_store).as_posix(), path.read_bytes())
    return root


@pytest.fixture
def recipe(tiny_root, url, write_recipe) -> Path:
    return write_recipe(tiny_root, store=url, train=SMALL)


def opened_on(machine: Path, recipe: Path, *overrides: str):
    """Open the recipe as a machine of its own would, whose cache is below a folder."""
    return open_recipe(load_recipe(recipe, overrides=overrides), Settings(workers=1, cache_dir=machine / "cache"))


def one_round(machine: Path, recipe: Path, *overrides: str):
    return retrain(opened_on(machine, recipe, *overrides), BareLoop(), where=str(recipe)).row


@pytest.mark.slow
def test_rounds_when_of_two_machines_and_the_first_is_gone_then_the_champion_is_found_and_nothing_is_done_again(
    recipe, url, tmp_path, monkeypatch
):
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "first")
    first = one_round(tmp_path / "first", recipe)
    assert (first.outcome, first.reason) == ("promoted", "there is no champion yet")
    monkeypatch.chdir(tmp_path / "second")
    shutil.rmtree(tmp_path / "first")
    second = one_round(tmp_path / "second", recipe)
    assert second.outcome == "nothing to do"
    assert not (tmp_path / "second/cache/runs").exists()  # nothing was needed of the training itself
    third = one_round(tmp_path / "second", recipe, "train.learning_rate=1e-5", "retrain.margin=1e9")
    assert third.outcome == "kept"
    assert third.champion_before == first.training == f"{url}/runs/trainings/{Path(first.training).name}"
    runs = opened_on(tmp_path / "second", recipe).runs
    champion = read_champion(runs, Line("recipe", "semodepth"))
    assert champion.training == f"trainings/{Path(first.training).name}"
    assert json.loads((champion.folder(runs) / "training.json").read_text())["name"] == Path(first.training).name
    files = StoreFiles(f"{url}/runs")
    assert len(files.names("history")) == 3
    assert len(files.names("reports")) == 2
    assert not [key for key in files.keys("") if ".depthmill-lock" in key]


STEPS = ("train.max_steps=4", "train.evaluate_every_epochs=1", "train.data.batch_size=1")


class CutOff(BareLoop):
    """Stop a training after its third step."""

    def train(self, training, on_progress):
        def cut(progress):
            if progress.step == 3:
                raise MemoryError("of the device")

        super().train(training, cut)


def train(machine: Path, recipe: Path, orchestrator=None, *overrides: str):
    opened = opened_on(machine, recipe, *STEPS, *overrides)
    return train_recipe(opened, orchestrator or BareLoop(), where=str(recipe)).training


@pytest.mark.slow
def test_training_when_cut_off_and_its_machine_is_gone_then_another_ends_with_the_same_bits(
    recipe, url, tiny_root, tiny_store, tmp_path
):
    with pytest.raises(MemoryError):
        train(tmp_path / "first", recipe, CutOff())
    files = StoreFiles(f"{url}/runs")
    (name,) = files.names("trainings")
    assert {"last.pt", "best.pt", "steps.csv", "evaluations.csv"} <= set(files.names(f"trainings/{name}"))
    assert not files.exists(f"trainings/{name}/training.json")
    shutil.rmtree(tmp_path / "first")
    second = train(tmp_path / "second", recipe)
    whole = train(tmp_path / "whole", recipe, None, f"store={tiny_store}")
    try:
        assert second.folder.name == whole.folder.name == name
        for file in ("last.pt", "best.pt"):
            resumed, at_once = (load_checkpoint(training.folder / file) for training in (second, whole))
            assert resumed.step == at_once.step
            assert all(torch.equal(resumed.model[key], value) for key, value in at_once.model.items())
        assert (second.folder / "steps.csv").read_text().count("\n") == 5
        tables = [(training.folder / "evaluation/table.md").read_text().splitlines()[2:] for training in (second, whole)]
        assert tables[0] == tables[1]
    finally:
        shutil.rmtree(tiny_store / "runs/trainings")
    assert second.address == f"{url}/runs/trainings/{name}"
    assert files.exists(f"trainings/{name}/training.json")
    assert not [key for key in files.keys("trainings") if ".depthmill-lock" in key]


@pytest.mark.slow
def test_commands_when_on_another_machine_then_they_read_trainings_and_evaluations_from_the_store(
    recipe, url, depthmill, tmp_path, monkeypatch
):
    rows = [one_round(tmp_path / "first", recipe, f"train.seed={seed}", "retrain.margin=1e9") for seed in (0, 1)]
    shutil.rmtree(tmp_path / "first")
    monkeypatch.setenv("DEPTHMILL_CACHE_DIR", str(tmp_path / "second"))
    code, text = depthmill("runs", recipe)
    assert (code, "promoted" in text, f"champion of recipe.semodepth {rows[0].training}: mae_mm" in text) == (0, True, True), text
    a, b = (row.training for row in rows)
    code, text = depthmill("compare", a, b, "--json")
    assert code == 0, text
    assert json.loads(text)
    code, text = depthmill("evaluate", b, recipe, "--out", tmp_path / "evaluation")
    assert code == 0, text
    assert depthmill("compare", f"{b}/evaluation", tmp_path / "evaluation")[0] == 0
    code, text = depthmill("predict", f"{a}/best.pt", recipe, "--out", tmp_path / "predicted", "--no-pictures")
    assert code == 0, text
    code, text = depthmill("assess", recipe, "--frames", 1)
    assert code == 0, text
    assert len(StoreFiles(f"{url}/runs").names("assessments")) == 1
    monkeypatch.setenv("DEPTHMILL_CACHE_DIR", str(tmp_path / "third"))
    assert depthmill("report", recipe, "--out", tmp_path / "report.html")[0] == 0
    assert "not assessed yet" not in (tmp_path / "report.html").read_text()
    code, text = depthmill("evaluate", f"{url}/runs/trainings/none", recipe)
    assert (code, f"error: there is no training '{url}/runs/trainings/none'. The rounds name theirs: depthmill runs {url}" in text) == (
        2, True,
    ), text  # fmt: skip


@pytest.mark.slow
def test_store_when_away_while_a_training_goes_on_then_nothing_is_lost_and_the_same_command_puts_it_there(
    recipe, url, proxy, tmp_path, monkeypatch
):
    monkeypatch.setenv("DEPTHMILL_STORE_ATTEMPTS", "2")
    files = StoreFiles(f"{url}/runs")

    class Away(BareLoop):
        def train(self, training, on_progress):
            def away(progress):
                if progress.step == 3:
                    proxy.rule = lambda method, path: "503" if method in ("PUT", "POST") else None

            super().train(training, away)

    with pytest.raises(StoreAccessError, match="cannot write .* Nothing is lost: '.*' has what the store lacks"):
        train(tmp_path / "first", recipe, Away())
    (folder,) = (tmp_path / "first/cache/runs").glob("*/trainings/*")
    assert load_checkpoint(folder / "last.pt").step == 4
    proxy.rule = lambda method, path: None
    training = train(tmp_path / "first", recipe)
    assert files.exists(f"trainings/{training.folder.name}/training.json")
    assert files.get(f"trainings/{training.folder.name}/last.pt") == (folder / "last.pt").read_bytes()


def test_lock_when_on_s3_then_only_one_makes_it_and_a_silent_one_is_taken_over_by_the_clock_of_the_store(url, monkeypatch):
    files = StoreFiles(f"{url}/runs")
    with locked_key(files, "", doing="depthmill retrain a.yaml") as held:
        with pytest.raises(FolderBusyError, match="in use: depthmill retrain a.yaml"), locked_key(files, "", doing="b"):
            pass
        monkeypatch.setattr("storage_schemas.folder_lock.SILENT_S", -1.0)
        with locked_key(files, "", doing="depthmill retrain b.yaml") as other:
            assert other.former.doing == "depthmill retrain a.yaml"
            held.beat()
            with pytest.raises(FolderBusyError, match="was taken over by depthmill retrain b.yaml"):
                held.refuse_lost()
            other.beat()
            other.refuse_lost()
            assert holder_of_key(files, "").doing == "depthmill retrain b.yaml"
    assert files.names("") == []


KILLED = """
import os, signal, sys
from storage_schemas.folder_copy import FolderCopy

upload, left = FolderCopy._upload, [int(sys.argv[1])]

def killed(self, name, path):
    if left[0] == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    left[0] -= 1
    upload(self, name, path)

FolderCopy._upload = killed
from flows.cli import main
sys.argv = ["depthmill", *sys.argv[2:]]
main()
"""


def process(cache: Path, code: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    env = {**os.environ, "DEPTHMILL_CACHE_DIR": str(cache), "PYTHONPATH": str(REPOSITORY)}
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@pytest.mark.slow
@pytest.mark.parametrize("number", [0, 3, 6])
def test_round_when_killed_in_the_middle_of_an_upload_then_another_machine_ends_it_and_its_row_is_left(
    recipe, url, tmp_path, number
):
    killed = process(tmp_path / "first", KILLED, number, "retrain", recipe, "--no-prefect")
    text = killed.communicate()[0]
    assert killed.returncode == -signal.SIGKILL, text
    row = one_round(tmp_path / "second", recipe)
    assert row.outcome == "promoted"
    former, promoted = read_history(f"{url}/runs/history")
    assert (former.outcome, former.note.startswith("killed: depthmill retrain"), promoted.name) == ("failed", True, row.name)
    assert former.training == promoted.training
    assert one_round(tmp_path / "first", recipe).outcome == "nothing to do"
    files = StoreFiles(f"{url}/runs")
    assert not [key for key in files.keys("") if ".depthmill-lock" in key]


@pytest.mark.slow
def test_rounds_when_two_machines_begin_at_once_then_one_works_and_the_other_says_who(recipe, url, tmp_path):
    main = "from flows.cli import main; main()"
    rounds = [process(tmp_path / name, main, "retrain", recipe, "--no-prefect") for name in ("first", "second")]
    texts = [one.communicate()[0] for one in rounds]
    codes = [one.returncode for one in rounds]
    assert "Traceback" not in "".join(texts)
    assert 0 in codes, texts
    for code, text in zip(codes, texts, strict=True):
        assert code == 0 or "is in use: depthmill retrain" in text, text
    rows = read_history(f"{url}/runs/history")
    assert "failed" not in [row.outcome for row in rows]
    assert len({row.training for row in rows if row.training}) == 1
