"""The files of docs/operations that are handed to sbatch, run by bash as they are; Slurm's commands are stand-ins."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from model.train.loop import read_training
from tests.conftest import REPOSITORY
from tests.flows.retrain.test_retrain import SMALL
from tests.srun import write_slurm

psutil = pytest.importorskip("psutil")
FILES = REPOSITORY / "docs" / "operations"
STEPS = 60


class Slurm:
    """Submits files, waits for their jobs, and ends what is left of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = write_slurm(folder / "bin")
        self._working = folder
        (folder / "bin" / "depthmill").write_text(
            f"#!/usr/bin/env bash\nexec {sys.executable} -c 'from flows.cli import main; main()' \"$@\"\n"
        )
        (folder / "bin" / "depthmill").chmod(0o755)
        self._jobs: list[int] = []

    def submit(self, *arguments: object, **environment: str) -> int:
        """Submit a file and return the number of its job."""
        variables = {"PATH": f"{self.folder}:{os.environ['PATH']}", "PYTHONPATH": str(REPOSITORY), **environment}
        command = ["sbatch", *map(str, arguments)]
        done = subprocess.run(command, env={**os.environ, **variables}, cwd=self._working, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        self._jobs.append(int(done.stdout.split()[-1]))
        return self._jobs[-1]

    def output(self, job: int) -> str:
        """Return what a job has printed."""
        for path in self.folder.glob("job-*.pid"):
            if path.read_text().strip() == str(job):
                return path.with_suffix(".out").read_text()
        return ""

    def wait(self, job: int, condition: Callable[[str], bool] | None = None) -> str:
        """Wait until a job has ended, or its output is so; return the output."""
        deadline = time.monotonic() + 600
        while time.monotonic() < deadline:
            text = self.output(job)
            if condition is not None and condition(text):
                return text
            if not psutil.pid_exists(job) or psutil.Process(job).status() == psutil.STATUS_ZOMBIE:
                assert condition is None, self.output(job)
                return self.output(job)
            time.sleep(0.1)
        pytest.fail(self.output(job))

    def end(self) -> None:
        """Kill what is left."""
        for job in self._jobs:
            try:
                os.killpg(job, signal.SIGKILL)
            except ProcessLookupError:
                continue


@pytest.fixture
def slurm(tmp_path) -> Iterator[Slurm]:
    slurm = Slurm(tmp_path)
    yield slurm
    slurm.end()


@pytest.mark.slow
def test_make_units_when_submitted_then_jobs_of_the_profile_make_them(slurm, tiny_root, tiny_store, write_recipe, tmp_path):
    pytest.importorskip("dask_jobqueue")
    profile = tmp_path / "config" / "depthmill" / "slurm" / "cpu.yaml"
    profile.parent.mkdir(parents=True)
    profile.write_text("jobs: 1\nmemory_per_worker: 1GiB\n")
    job = slurm.submit(FILES / "make-units.sbatch", write_recipe(tiny_root), XDG_CONFIG_HOME=str(tmp_path / "config"))
    text = slurm.wait(job)
    assert "waiting for SLURM to start the first of 1 workers" in text
    assert re.search(r"done: 13 ok in", text), text
    assert len(list((tmp_path / "store").glob("*/*/*/*/lineage.json"))) == len(list(tiny_store.glob("*/*/*/*/lineage.json")))
    assert len(list(slurm.folder.glob("job-*.sh"))) == 2  # this one, and the profile's


@pytest.mark.slow
def test_train_when_the_time_limit_is_near_then_saved_requeued_and_the_same_file_goes_on(
    slurm, tiny_root, copied_store, write_recipe, one_process
):
    training = {**SMALL, "max_steps": STEPS, "epochs": STEPS, "evaluate_every_epochs": STEPS}
    recipe = write_recipe(tiny_root, train=training)
    file = ("--nodes=2", "--ntasks-per-node=1", FILES / "train.sbatch", recipe)
    job = slurm.submit(*file)
    slurm.wait(job, lambda text: f"1/{STEPS} loss" in text)
    os.kill(job, signal.SIGUSR1)  # exec: the batch job is srun, which sends it to both processes
    text = slurm.wait(job)
    step = int(re.search(r"^ended by SIGUSR1: step (\d+) is saved in \S+/last.pt; the same command goes on", text, re.M)[1])
    assert 1 < step < STEPS
    assert (slurm.folder / "scontrol.txt").read_text() == f"requeue {job}\n"
    assert text.count("put back into the queue") == text.count("ended by") == 1
    text = slurm.wait(slurm.submit(*file))
    assert "going on with" in text
    folder = next((copied_store / "runs" / "trainings").iterdir())
    assert read_training(folder)["num_steps"] == STEPS
    rows = (folder / "steps.csv").read_text().splitlines()[1:]
    assert [int(row.split(",")[0]) for row in rows] == list(range(1, STEPS + 1))
    assert {row.split(",")[2] for row in rows} == {"2"}  # samples a step: one of each process
