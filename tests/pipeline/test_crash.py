"""Breaking a run on purpose: killed processes, dying workers, two runs at once. Nothing half-written, nothing lost."""

from __future__ import annotations

import logging
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from pipeline.plan import make_plan
from pipeline.processes import ProcessPool
from pipeline.recipe import load_recipe
from pipeline.run import scene_requests
from pipeline.sources import open_source
from pipeline.sources.nuscenes.files import NuScenesFiles
from pipeline.workers import ScenePool
from storage_schemas.store import Store
from tests.conftest import REPOSITORY
from tests.flows.test_cli import BARE, digests


class KillingFiles(NuScenesFiles):
    """A reader that kills its whole process when it meets a LiDAR file of scene-0061."""

    def __reduce__(self):
        return (KillingFiles, (str(self.root), str(self.index_folder)))

    def read_points(self, file):
        if "scene-0061" in file:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().read_points(file)


def test_pool_when_a_scene_kills_its_worker_then_only_that_scene_fails(tiny_root, write_recipe, tmp_path):
    recipe = load_recipe(write_recipe(tiny_root))
    source, store = open_source(recipe.source, tmp_path / "cache"), Store(recipe.store)
    plan = make_plan(recipe, source, store)
    raw = source.reader()
    requests = scene_requests(plan, recipe, store, KillingFiles(str(raw.root), str(raw.index_folder)))
    with ScenePool(2) as pool:
        results = {request.scene: pool.run(request) for request in requests}
    assert {one.status for one in results["scene-0103"]} == {"OK"}
    assert results["scene-0061"][0].status == "ERROR"
    assert results["scene-0061"][0].message.endswith(
        "probably killed for lack of memory. Run with fewer workers, then run the same command again"
    )
    assert {one.status for one in results["scene-0061"][1:]} == {"SKIP"}


def _stop_oneself() -> str:
    os.kill(os.getpid(), signal.SIGSTOP)
    return "went on"


def test_pool_when_a_worker_is_stopped_then_says_so_once_and_waits_until_it_goes_on(monkeypatch):
    monkeypatch.setattr("storage_schemas.processes.LOOK_S", 0.02)
    said: list[str] = []

    class LetGoOn(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(record.getMessage())
            threading.Timer(0.2, os.kill, (int(re.findall(r"process (\d+)", said[-1])[0]), signal.SIGCONT)).start()

    logger, handler = logging.getLogger("storage_schemas.processes"), LetGoOn()
    logger.addHandler(handler)
    try:
        with ProcessPool(1) as pool:
            assert pool.run(_stop_oneself) == "went on"
    finally:
        logger.removeHandler(handler)
    (line,) = said
    pid = re.findall(r"\d+", line)[0]
    assert line == (
        f"worker process {pid} is stopped, and its answer is waited for. Let it go on: kill -CONT {pid}. Or end it, as if it had "
        f"died: kill -KILL {pid}"
    )


def _start(recipe: Path) -> subprocess.Popen[bytes]:
    code = "from flows.cli import main; main()"
    command = [sys.executable, "-c", code, "run", str(recipe), *map(str, BARE)]
    return subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def test_run_when_killed_then_rerun_finishes_with_the_bytes_of_an_unbroken_run(
    tiny_root, tiny_store, write_recipe, depthmill, tmp_path
):
    recipe = write_recipe(tiny_root)
    store = tmp_path / "store"
    process = _start(recipe)
    deadline = time.monotonic() + 60
    while not list(store.glob("images/*/*/*/lineage.json")) and time.monotonic() < deadline:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    committed = {key: value for key, value in digests(store).items() if key.endswith("lineage.json")}
    assert 0 < len(committed) < 13
    code, text = depthmill("run", recipe, *BARE)
    assert code == 0, text
    after = digests(store)
    assert {key: after[key] for key in committed} == committed  # what was committed before the kill was not made again
    assert depthmill("verify", recipe)[0] == 0
    finished = {key: value for key, value in after.items() if not key.endswith("lineage.json") and "/." not in key}
    assert {key: value for key, value in digests(tiny_store).items() if not key.endswith("lineage.json")} == finished


def test_two_runs_when_at_once_on_one_store_then_store_is_whole(tiny_root, write_recipe, depthmill, tmp_path):
    recipe = write_recipe(tiny_root)
    processes = [_start(recipe), _start(recipe)]
    assert [process.wait(timeout=120) for process in processes] == [0, 0]
    assert depthmill("verify", recipe)[0] == 0
    assert depthmill("plan", recipe, "--check")[0] == 0


def test_run_when_interrupted_then_says_so_and_ends_within_seconds(tiny_root, write_recipe, tmp_path):
    recipe = write_recipe(tiny_root)
    command = [sys.executable, "-c", "from flows.cli import main; main()", "run", str(recipe), "--no-prefect", "--workers", "2"]
    process = subprocess.Popen(
        command, cwd=REPOSITORY, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, start_new_session=True
    )
    deadline = time.monotonic() + 60
    while not list((tmp_path / "store").glob("runs/*")) and time.monotonic() < deadline:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=300)
    assert process.returncode == 130
    assert "interrupted: finished units are kept; the same command does what is left" in said


def test_workers_when_the_run_is_killed_then_end_too(tiny_root, write_recipe, tmp_path):
    recipe = write_recipe(tiny_root)
    command = [sys.executable, "-c", "from flows.cli import main; main()", "run", str(recipe), "--no-prefect", "--workers", "2"]
    process = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)
    deadline = time.monotonic() + 60
    while not list((tmp_path / "store").glob("images/*/*/*/lineage.json")) and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=300)  # returns when the last process that holds the pipe has ended
