"""A training whose processes are killed: its loader's workers, the process that they are forked from, the training itself."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from model.families import train
from model.train.config import Machine
from storage_schemas.manifest import open_manifest
from storage_schemas.store import Store
from tests.conftest import REPOSITORY
from tests.model.train.made_up_training import small_config
from tests.process_tree import descendants, forkserver, loader_workers, wait_until_gone

pytestmark = pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="looks for processes in /proc")

CODE = """
import sys
from pathlib import Path
from model.families import train
from model.semodepth.config import SemoDepthTrainConfig
from model.train.config import Machine
from model.train.stopping import TrainingStopped
from storage_schemas.errors import DepthmillError
from storage_schemas.manifest import open_manifest
from storage_schemas.store import Store
config = SemoDepthTrainConfig.model_validate_json(sys.argv[1])
try:
    train(config, open_manifest(Store(sys.argv[2])), Path(sys.argv[3]), machine=Machine("cpu", num_workers=2),
          on_progress=lambda p: print("step", p.step, flush=True))
except DepthmillError as error:
    print("error:", error)
    sys.exit(1)
except TrainingStopped:
    sys.exit(143)
"""


@pytest.fixture
def start(tiny_store, tmp_path):
    """Start an endless training of two loader workers; wait for its first step; end it after the test."""
    started = []

    def begin() -> subprocess.Popen[str]:
        config = small_config(max_steps=100_000, epochs=100_000, evaluate_every_epochs=100_000)
        command = [sys.executable, "-c", CODE, config.model_dump_json(), str(tiny_store), str(tmp_path / "training")]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=REPOSITORY)
        started.append(process)
        while (line := process.stdout.readline()) != "step 2\n":
            assert line, "the training ended by itself"
        return process

    yield begin
    for process in started:
        process.kill()
        process.wait()


def said_at_the_end(process: subprocess.Popen[str]) -> str:
    """Return what it says after its last step, within two minutes; a hang fails the test."""
    text, _ = process.communicate(timeout=120)
    return "\n".join(line for line in text.splitlines() if not line.startswith("step "))


@pytest.mark.parametrize("tries", [1, pytest.param(20, marks=pytest.mark.slow)])
def test_training_when_a_loader_worker_is_killed_then_it_ends_with_an_error_that_names_it(start, tries):
    rng = random.Random()
    for _ in range(tries):
        process = start()
        workers = loader_workers(process.pid)
        assert len(workers) == 2
        below = descendants(process.pid)
        time.sleep(rng.uniform(0, 0.3))  # at any moment: while it reads, answers or waits
        victim = rng.choice(workers)
        os.kill(victim, signal.SIGKILL)
        said = said_at_the_end(process)
        assert process.returncode == 1, said
        assert (
            said.startswith("error: loader worker ")
            and f" of 2 died: process {victim} was ended by signal 9 (SIGKILL), near" in said
        )
        assert "GB of memory are free now. Let fewer processes read (DEPTHMILL_LOADER_WORKERS=1)" in said
        assert "run the same command again: it goes on from the last checkpoint" in said
        assert len(said.splitlines()) == 1
        wait_until_gone(below)


@pytest.mark.slow
def test_training_when_a_worker_was_killed_then_it_goes_on_with_the_same_command(tiny_store, tmp_path, monkeypatch):
    manifest = open_manifest(Store(str(tiny_store)))
    steps = []

    def kill_at_step_4(progress):
        steps.append(progress.step)
        if progress.step == 4 and len(steps) == 4:
            os.kill(loader_workers(os.getpid())[0], signal.SIGKILL)

    machine = Machine("cpu", num_workers=1)
    with pytest.raises(Exception, match="loader worker 1 of 1 died: process [0-9]+ was ended by signal 9"):
        train(small_config(), manifest, tmp_path, machine=machine, on_progress=kill_at_step_4)
    train(small_config(), manifest, tmp_path, machine=machine, on_progress=kill_at_step_4)
    assert steps[-1] == 7


@pytest.mark.slow
def test_training_when_the_process_that_workers_are_forked_from_is_killed_then_it_goes_on(start):
    process = start()
    os.kill(forkserver(process.pid), signal.SIGKILL)
    for _ in range(20):
        assert process.stdout.readline().startswith("step ")


@pytest.mark.slow  # the quick one is of the pipeline's workers, which end in the same way: tests/pipeline/test_crash.py
@pytest.mark.parametrize("tries", [1, 20])
@pytest.mark.parametrize("stop", [signal.SIGKILL, signal.SIGTERM])
def test_training_when_it_is_killed_then_no_process_of_it_is_left(start, tries, stop):
    for _ in range(tries):
        process = start()
        below = descendants(process.pid)
        assert len(below) >= 3
        process.send_signal(stop)
        assert said_at_the_end(process) == ""
        wait_until_gone(below)
