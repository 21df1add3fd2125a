"""Commands under Prefect that are ended from outside: what they say, how they exit, and that no process of them is left."""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.flows.prefect.test_deploy import SMALL
from tests.process_tree import descendants, loader_workers, wait_until, wait_until_gone
from tests.tiny_nuscenes import write_tiny_nuscenes

pytestmark = pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="looks for processes in /proc")

LONG = {**SMALL, "max_steps": 1_000_000, "epochs": 1_000_000, "evaluate_every_epochs": 1_000_000}
PREFECT, BARE = ("--prefect",), ("--no-prefect",)


class Started:
    """A command in a process group of its own, as a terminal starts it; what it prints goes to a file."""

    def __init__(self, folder: Path, *arguments: object) -> None:
        env = {**os.environ, "DEPTHMILL_LOADER_WORKERS": "2", "DEPTHMILL_DEVICE": "cpu", "PREFECT_HOME": str(folder / "prefect")}
        env.pop("PREFECT_API_URL", None)
        self.log = folder / "said.txt"
        command = [sys.executable, "-c", "from flows.cli import main; main()", *map(str, arguments)]
        with open(self.log, "w") as log:
            self.process = subprocess.Popen(command, env=env, cwd=REPOSITORY, stdout=log, stderr=log, start_new_session=True)
        self.below: dict[int, str] = {}

    def wait_until(self, condition, what: str) -> None:
        def reached() -> bool:
            assert self.process.poll() is None, self.log.read_text()
            return bool(condition())

        wait_until(reached, what)
        self.below = descendants(self.process.pid)

    def interrupt(self) -> None:
        os.killpg(self.process.pid, signal.SIGINT)

    def end(self) -> tuple[int, list[str]]:
        """Wait for the end of the process and of all below it; return its exit code and what it said after its last lines of work."""
        code = self.process.wait(timeout=120)
        wait_until_gone(self.below)
        lines = self.log.read_text().splitlines()
        return code, [
            line
            for line in lines
            if not re.match(r"training |curves: |going on with |step |\s*\d+/\d+ |warning: |.* \.\.\.$", line)
        ]


@pytest.fixture
def training(tiny_root, tiny_store, write_recipe, tmp_path):
    """Start an endless training; wait until its steps are written."""
    started: list[Started] = []
    shutil.copytree(tiny_store, tmp_path / "store")
    recipe = write_recipe(tiny_root, train=LONG)

    def begin(*arguments: object) -> Started:
        out = tmp_path / f"training-{len(started)}"
        started.append(Started(tmp_path, "train", recipe, "--out", out, *arguments))
        steps = out / "steps.csv"
        started[-1].wait_until(lambda: steps.is_file() and len(steps.read_text().splitlines()) > 2, "the first steps")
        return started[-1]

    yield begin
    for one in started:
        one.process.kill()
        one.process.wait()


def has_server(below: dict[int, str]) -> bool:
    return any("tied_process" in command and "uvicorn" in command for command in below.values())


@pytest.mark.slow
def test_training_under_prefect_when_killed_then_its_server_and_workers_end(training):
    started = training(*PREFECT)
    assert has_server(started.below) and len(loader_workers(started.process.pid)) == 2
    started.process.kill()
    assert started.end() == (-signal.SIGKILL, [])


@pytest.mark.slow
@pytest.mark.parametrize("way", [pytest.param(PREFECT, marks=pytest.mark.slow), BARE])
def test_training_when_terminated_then_says_so_in_one_line(training, way):
    started = training(*way)
    started.process.terminate()
    code, (said,) = started.end()
    assert code == 143
    assert re.fullmatch(r"ended by SIGTERM: step \d+ is saved in .*last.pt; the same command goes on from there", said)


@pytest.mark.slow
def test_training_under_prefect_when_a_loader_worker_is_killed_then_the_error_names_it(training):
    started = training(*PREFECT)
    os.kill(loader_workers(started.process.pid)[0], signal.SIGKILL)
    code, said = started.end()
    assert code == 1 and len(said) == 1, said
    assert re.match(r"error: loader worker \d of 2 died: process \d+ was ended by signal 9 \(SIGKILL\), near frame", said[0])


@pytest.mark.slow  # tests/flows/run/test_stopped_commands.py interrupts a training quickly, tests/pipeline/test_crash.py processes
@pytest.mark.parametrize("way", [PREFECT, BARE])
@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("tries", [1, 8])
def test_training_when_interrupted_then_one_line_and_no_process_is_left(training, way, times, tries):
    rng = random.Random()
    for _ in range(tries):
        started = training(*way)
        for _ in range(times):
            started.interrupt()
            time.sleep(rng.uniform(0, 1))
        assert started.end() == (130, ["interrupted: finished units are kept; the same command does what is left"])


@pytest.mark.parametrize("way", [PREFECT, BARE, ("--no-prefect", "--dask", "local:2")])
@pytest.mark.parametrize(("stop", "code"), [("kill", -signal.SIGKILL), ("interrupt", 130), ("interrupt twice", 130)])
@pytest.mark.slow
def test_run_when_ended_then_no_process_is_left_and_it_is_one_line(tmp_path, write_recipe, way, stop, code):
    recipe = write_recipe(write_tiny_nuscenes(tmp_path / "data"))
    arguments = way if "--dask" in way else (*way, "--workers", 2)
    started = Started(tmp_path, "run", recipe, "--no-report", *arguments)
    try:
        started.wait_until(lambda: list((tmp_path / "store").glob("*/*/*/*/lineage.json")), "the first unit")
        if stop == "kill":
            started.process.kill()
        else:
            for _ in stop.split():
                started.interrupt()
                time.sleep(0.2)
        ended, said = started.end()
    finally:
        started.process.kill()
    assert ended == code
    assert said == ([] if stop == "kill" else ["interrupted: finished units are kept; the same command does what is left"])


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_command_without_units_when_ended_then_one_line_too(tiny_root, tiny_store, write_recipe, tmp_path, times, stop):
    shutil.copytree(tiny_store, tmp_path / "store")
    started = Started(tmp_path, "verify", write_recipe(tiny_root), "--all", "--json")
    try:
        started.wait_until(lambda: "numpy" in Path(f"/proc/{started.process.pid}/maps").read_text(), "it has begun")
        for _ in range(times):
            os.killpg(started.process.pid, stop)
            time.sleep(0.05)
        code, said = started.end()
    finally:
        started.process.kill()
    word, wanted = ("interrupted", 130) if stop == signal.SIGINT else ("ended by SIGTERM", 143)
    assert (code, said) == (wanted, [f"{word}: run the same command again"])


@pytest.mark.slow
def test_home_of_prefect_when_it_cannot_be_written_then_one_line(training, depthmill_process, tiny_root, tmp_path, write_recipe):
    (tmp_path / "closed").write_text("a file")
    env = {**os.environ, "PREFECT_HOME": str(tmp_path / "closed")}
    done = depthmill_process("train", tmp_path / "recipe.yaml", "--prefect", "--out", tmp_path / "none", env=env)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert re.match(r"error: Prefect cannot write in its folder '.*closed': .*Set PREFECT_HOME to a folder .* --no-prefect", line)


def test_prefect_when_its_error_cites_a_part_of_the_url_s_password_then_masked():
    from prefect.settings import PREFECT_API_URL, temporary_settings

    from flows.prefect.guard import OrchestratorError, explained

    with (
        temporary_settings({PREFECT_API_URL: "http://user:s3cr3t/x@host:1/api"}),
        pytest.raises(OrchestratorError) as raised,
        explained("finish the flow", "Correct it"),
    ):
        raise ValueError("Invalid port: 's3cr3t'")
    assert str(raised.value) == "Prefect could not finish the flow: ValueError: Invalid port: '***'. Correct it"
