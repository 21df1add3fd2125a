"""Champion, history, trainings and locks live with the store, on a server that speaks S3."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from flows.retrain.champion import read_champion
from flows.retrain.round import retrain
from flows.run.bare_loop import BareLoop
from flows.run.opening import open_recipe
from flows.settings import Settings
from model.train.judging import Rules
from pipeline.recipe import load_recipe
from storage_schemas.files import StoreFiles

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


def one_round(machine: Path, recipe: Path, *overrides: str, rules: Rules | None = None):
    return retrain(opened_on(machine, recipe, *overrides), BareLoop(), where=str(recipe), rules=rules or Rules()).row


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
    third = one_round(tmp_path / "second", recipe, "train.learning_rate=1e-5", rules=Rules(margin=1e9))
    assert third.outcome == "kept"
    assert third.champion_before == first.training == f"{url}/runs/trainings/{Path(first.training).name}"
    runs = opened_on(tmp_path / "second", recipe).runs
    champion = read_champion(runs)
    assert champion.training == f"trainings/{Path(first.training).name}"
    assert json.loads((champion.folder(runs) / "training.json").read_text())["name"] == Path(first.training).name
    files = StoreFiles(f"{url}/runs")
    assert len(files.names("history")) == 3
    assert len(files.names("reports")) == 2
    assert not [key for key in files.keys("") if ".depthmill-lock" in key]
