"""Processes that srun or torchrun started: who they are, that they train as one would, and that they end together."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from model.families import FAMILIES, load_checkpoint, parse_train_config, train
from model.train.config import Machine
from model.train.launch import Launch, launch_here
from storage_schemas.errors import RecipeError
from storage_schemas.manifest import open_manifest
from storage_schemas.store import Store
from tests.conftest import REPOSITORY
from tests.model.mim4d.made_up_clips import small_network
from tests.model.monoddle.made_up_detection_training import small_detection_config
from tests.model.train.launched_training import compute_smoothly
from tests.model.train.made_up_training import small_config
from tests.srun import write_slurm

TOLERANCE, RELATIVE = 1e-6, 1e-3
"""Largest difference of a weight, as such and of how far any of them moves in two steps: sums are added in another order."""

TORCHRUN = {"TORCHELASTIC_RUN_ID": "x", "RANK": "5", "WORLD_SIZE": "8", "LOCAL_WORLD_SIZE": "4"}
SRUN = {"SLURM_STEP_ID": "0", "SLURM_PROCID": "5", "SLURM_STEP_NUM_TASKS": "8", "SLURM_STEP_NUM_NODES": "2"}


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, None),
        (TORCHRUN, Launch("torchrun", 5, 8, 2)),
        (SRUN, Launch("srun", 5, 8, 2)),
        ({**TORCHRUN, "RANK": "0", "WORLD_SIZE": "1", "LOCAL_WORLD_SIZE": "1"}, None),
        ({**SRUN, "SLURM_STEP_NUM_TASKS": "1", "SLURM_STEP_NUM_NODES": "1"}, None),
        ({"SLURM_JOB_ID": "1", "SLURM_PROCID": "0", "SLURM_NTASKS": "8", "SLURM_NNODES": "2"}, None),  # a batch script itself
    ],
)
def test_launch_when_srun_torchrun_or_nobody_started_the_process_then_known(environ, expected):
    assert launch_here(environ) == expected


def test_launch_when_the_environment_is_not_whole_then_said():
    with pytest.raises(RecipeError, match="srun started 7 processes on 2 nodes, expected the same number on each node"):
        launch_here({**SRUN, "SLURM_STEP_NUM_TASKS": "7"})
    with pytest.raises(RecipeError, match="environment of srun or torchrun is not whole: 'WORLD_SIZE'"):
        launch_here({"TORCHELASTIC_RUN_ID": "x", "RANK": "0", "LOCAL_WORLD_SIZE": "1"})


# --- the same weights --------------------------------------------------------------------------------------------------------


def groups() -> dict[str, dict[str, Any]]:
    """A small training of each family, of one sample a step and process."""
    paces = {"max_steps": 2, "epochs": 2, "evaluate_every_epochs": 100.0}
    semodepth = small_config(**paces).model_dump(mode="json")
    monoddle = small_detection_config(data={"batch_size": 1}, **paces).model_dump(mode="json")
    mim4d = {
        "family": "mim4d",
        "network": small_network(num_frames=2).model_dump(mode="json"),
        "data": {"held_out_share": 0.3, "batch_size": 1},
        "learning_rate": 1e-3,
        **paces,
    }
    return {"semodepth": semodepth, "monoddle": monoddle, "mim4d": mim4d}


@pytest.fixture(scope="module")
def clip_store(tiny_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from flows.run.bare_loop import BareLoop
    from flows.run.making import make_units
    from flows.run.opening import open_recipe
    from flows.settings import Settings
    from pipeline.recipe import parse_recipe

    folder = tmp_path_factory.mktemp("clips")
    recipe = {
        "source": {"kind": "nuscenes", "root": str(tiny_root), "version": "v1.0-mini"},
        "store": str(folder / "store"),
        "stages": {"index_windows": {"enabled": True, "num_frames": 2}, "build_manifest": {"drop_last_keyframe": False}},
    }
    opened = open_recipe(parse_recipe(recipe, where="test"), Settings(workers=1, cache_dir=folder / "cache"))
    assert make_units(opened, BareLoop(), report=False).num_failed == 0
    return folder / "store"


def launched(by: str, folder: Path, *arguments: str) -> list[str]:
    """Return the command that starts two processes."""
    program = [sys.executable, "-m", "tests.model.train.launched_training", *arguments]
    if by == "srun":
        return [str(write_slurm(folder / "bin") / "srun"), "--ntasks=2", *program]
    return [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--no-python", *program]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(REPOSITORY), "SLURM_JOB_ID": str(os.getpid())}


@pytest.mark.slow
@pytest.mark.parametrize("by", ["torchrun", "srun"])
def test_two_launched_processes_when_they_train_then_the_weights_are_those_of_one_with_twice_the_batch(
    by, tiny_store, tiny_kitti_store, clip_store, tmp_path, monkeypatch
):
    stores = {"semodepth": tiny_store, "monoddle": tiny_kitti_store, "mim4d": clip_store}
    trainings = [{"group": group, "store": str(stores[name]), "folder": str(tmp_path / name)} for name, group in groups().items()]
    (tmp_path / "trainings.json").write_text(json.dumps(trainings))
    command = launched(by, tmp_path, str(tmp_path / "trainings.json"))
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY, env=environment(), timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines() == ["step 1", "step 2"] * 3  # of rank 0 alone
    compute_smoothly(monkeypatch)
    for name, group in groups().items():
        config = parse_train_config({**group, "data": {**group["data"], "batch_size": 2}}, where="test")
        train(config, open_manifest(Store(str(stores[name]))), tmp_path / f"{name} alone", machine=Machine("cpu"))
        together, alone = (load_checkpoint(tmp_path / folder / "last.pt").model for folder in (name, f"{name} alone"))
        assert together.keys() == alone.keys()
        floats = [key for key in alone if alone[key].is_floating_point()]  # not how many batches were counted
        differences = {key: float((together[key] - alone[key]).abs().max()) for key in floats}
        torch.manual_seed(config.seed)
        begun = FAMILIES.of(config).network(config).state_dict()
        moved = {key: float((begun[key] - alone[key]).abs().max()) for key in floats}
        (key, difference), distance = max(differences.items(), key=lambda item: item[1]), max(moved.values())
        print(f"{name}: weights move by up to {distance:.1e}, and differ by up to {difference:.1e} ({key})")
        assert difference < TOLERANCE
        assert difference < RELATIVE * distance
