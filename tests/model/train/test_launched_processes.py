"""Processes that srun or torchrun started: who they are, that they train as one would, and that they end together."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
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
from tests.process_tree import descendants, wait_until_gone
from tests.srun import write_slurm

TOLERANCES = {"semodepth": 1e-6, "monoddle": 1e-6, "mim4d": 5e-5}
"""Largest difference of a weight by family: sums are added in another order, which mim4d's second derivatives magnify."""

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
        commands = folder / "bin"
        return [str((commands if commands.is_dir() else write_slurm(commands)) / "srun"), "--ntasks=2", *program]
    if by == "spawn":  # by depthmill itself
        return program
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
        assert difference < TOLERANCES[name]
        assert distance > 10 * TOLERANCES[name]


# --- the same end ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def endless(tiny_store, tmp_path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start two processes that train without end, and wait for some steps; what is left of them is killed afterwards."""
    group = small_config(max_steps=100_000, epochs=100_000, evaluate_every_epochs=100_000).model_dump(mode="json")
    one = {"group": group, "store": str(tiny_store), "folder": str(tmp_path / "training")}
    (tmp_path / "trainings.json").write_text(json.dumps([one]))
    started: list[subprocess.Popen[str]] = []

    def start(by: str, *arguments: str) -> subprocess.Popen[str]:
        command = launched(by, tmp_path, str(tmp_path / "trainings.json"), *arguments)
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=REPOSITORY, env=environment(),
            start_new_session=True,
        )  # fmt: skip
        started.append(process)
        return process

    yield start
    for process in started:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def await_steps(process: subprocess.Popen[str], folder: Path, *, by: str) -> None:
    if by == "spawn":  # whose processes print nothing
        path = folder / "training" / "steps.csv"
        while not path.is_file() or len(path.read_text().splitlines()) < 4:
            assert process.poll() is None, process.communicate()[0]
            time.sleep(0.05)
        return
    while (line := process.stdout.readline()) != "step 3\n":
        assert line, "the training ended by itself"


def said_at_the_end(process: subprocess.Popen[str]) -> list[str]:
    """Return what is said after the last step, within three minutes; a process that hangs fails the test."""
    text, _ = process.communicate(timeout=180)
    return [line for line in text.splitlines() if not line.startswith("step ")]


def process_of_rank(process: subprocess.Popen[str], rank: int) -> int:
    """Return the number of the process that is a rank, by its environment."""
    wanted = f"SLURM_PROCID={rank}".encode()
    for pid in descendants(process.pid):
        with suppress(OSError):
            if wanted in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                return pid
    raise AssertionError(f"no process is rank {rank}")


in_linux = pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="looks for processes in /proc")


@pytest.mark.slow
@in_linux
@pytest.mark.parametrize("by", ["torchrun", "srun"])
def test_process_when_another_one_fails_then_it_ends_too_and_rank_0_says_why(endless, by):
    process = endless(by, "fail")
    lines = [line for line in said_at_the_end(process) if "rank" in line and "torch" not in line]
    assert process.returncode == 1
    own = [
        line
        for line in lines
        if re.fullmatch(r"error: rank 1 \(process \d+ on \S+\) failed: the loss is nan on frames of rank 1", line)
    ]
    assert len(own) == 1, lines
    assert by == "torchrun" or own == lines  # torchrun has a report of its own


@pytest.mark.slow
@in_linux
def test_process_when_another_one_is_killed_then_it_ends_too_and_says_which(endless, tmp_path):
    process = endless("srun")
    await_steps(process, tmp_path, by="srun")
    below = descendants(process.pid)
    os.kill(victim := process_of_rank(process, 1), signal.SIGKILL)
    lines = said_at_the_end(process)
    assert [line for line in lines if line.startswith("error: ")] == lines, lines
    assert re.match(rf"error: rank 1 \(process {victim} on \S+\) is gone: it was killed, or its node was lost. ", lines[0])
    wait_until_gone(below)

    process = endless("srun")
    await_steps(process, tmp_path, by="srun")
    below = descendants(process.pid)
    os.kill(process_of_rank(process, 0), signal.SIGKILL)
    assert said_at_the_end(process) == ["rank 1: rank 0 is gone, so this process ends. Look at the output of rank 0"]
    wait_until_gone(below)


@pytest.mark.slow
@in_linux
@pytest.mark.parametrize("by", ["torchrun", "srun", "spawn"])
def test_processes_when_told_to_stop_then_all_stop_after_the_same_step_which_is_saved(endless, tmp_path, by):
    process = endless(by)
    await_steps(process, tmp_path, by=by)
    below = descendants(process.pid)
    process.terminate()
    lines = said_at_the_end(process)
    said = [line for line in lines if line.startswith("ended by SIGTERM: step ")]
    assert len(said) == 1, lines
    step = int(said[0].split()[4])
    assert load_checkpoint(tmp_path / "training" / "last.pt").step == step > 3
    assert process.returncode != 0
    wait_until_gone(below)


@pytest.mark.slow
@in_linux
def test_processes_that_we_start_when_one_is_killed_then_the_others_end_and_it_is_named(endless, tmp_path):
    process = endless("spawn")
    await_steps(process, tmp_path, by="spawn")
    below = descendants(process.pid)
    command = "from multiprocessing.spawn import spawn_main"
    ranks = [pid for pid in below if command.encode() in Path(f"/proc/{pid}/cmdline").read_bytes()]
    os.kill(max(ranks), signal.SIGKILL)
    lines = said_at_the_end(process)
    assert process.returncode == 1
    assert re.match(r"error: rank \d \(process \d+\) was ended by SIGKILL. The system kills a process like this", lines[-1]), (
        lines
    )
    wait_until_gone(below)
