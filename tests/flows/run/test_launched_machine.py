"""Settings and launcher: a training runs on what srun or torchrun started, and a setting that says something else is refused."""

from __future__ import annotations

import pytest

from flows.run.training import machine_of_settings
from flows.settings import Settings
from model.families import train
from model.train.config import Machine
from model.train.ranks import RanksError
from storage_schemas.errors import RecipeError
from storage_schemas.manifest import open_manifest
from storage_schemas.store import Store
from tests.flows.retrain.test_retrain import SMALL
from tests.model.train.made_up_training import small_config

SRUN = {"SLURM_STEP_ID": "0", "SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "8", "SLURM_STEP_NUM_NODES": "2"}


@pytest.fixture
def under_srun(monkeypatch):
    for name, value in SRUN.items():
        monkeypatch.setenv(name, value)


def test_machine_when_srun_started_processes_then_it_has_as_many_without_a_setting(under_srun):
    machine = machine_of_settings(Settings(), image_root=None)
    assert (machine.num_devices, machine.num_nodes, machine.num_processes) == (4, 2, 8)
    assert machine_of_settings(Settings(num_devices=4, num_nodes=2), image_root=None) == machine


@pytest.mark.parametrize(("name", "value"), [("NUM_DEVICES", 8), ("NUM_NODES", 1)])
def test_machine_when_a_setting_says_something_else_then_both_are_named(under_srun, name, value, monkeypatch):
    monkeypatch.setenv(f"DEPTHMILL_{name}", str(value))
    said = rf"setting DEPTHMILL_{name} is {value}, and srun started 4 processes on each of 2 nodes. Unset it, or start as many"
    with pytest.raises(RecipeError, match=said):
        machine_of_settings(Settings(), image_root=None)


@pytest.mark.parametrize("command", ["train", "retrain", "ablate"])
def test_command_when_nodes_are_set_and_nobody_started_processes_there_then_said_before_units_are_made(
    tiny_root, write_recipe, depthmill, monkeypatch, tmp_path, command, one_process
):
    monkeypatch.setenv("DEPTHMILL_NUM_NODES", "2")
    recipe = write_recipe(tiny_root, train=SMALL, ablation={"seeds": [0], "variants": {"as it is": {}}})
    code, text = depthmill(command, recipe, "--no-prefect")
    assert code == 2
    assert (
        "setting DEPTHMILL_NUM_NODES is 2, and nothing has started a process for each device there. Start the command by" in text
    )
    assert not (tmp_path / "store" / "frames").exists()


def test_training_when_a_launcher_started_another_program_than_depthmill_then_said(tiny_store, tmp_path, under_srun):
    manifest = open_manifest(Store(str(tiny_store)))
    with pytest.raises(RanksError, match="it is no command of depthmill, so nobody tells the others what to train"):
        train(small_config(), manifest, tmp_path, machine=Machine("cpu", num_devices=4, num_nodes=2))
    with pytest.raises(RanksError, match="srun started 4 processes on each of 2 nodes, and the training is set to 1 devices"):
        train(small_config(), manifest, tmp_path, machine=Machine("cpu"))
