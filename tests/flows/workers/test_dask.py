"""Dask: the same bytes, whatever dies. Quick tests break things at a chosen place, the slow one at 20 random moments."""

from __future__ import annotations

import dataclasses
import json
import os
import random
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from flows.run.opening import open_recipe
from flows.settings import Settings
from flows.workers import dask_cluster, dask_pool
from flows.workers.dask_task import ForeignWorkerError, packages_here, run_scene_on_worker
from flows.workers.slurm_profile import cluster_arguments, load_profile
from pipeline.recipe import load_recipe
from pipeline.run import SceneRequest, scene_requests
from pipeline.sources.nuscenes.files import NuScenesFiles
from pipeline.types import ItemResult
from storage_schemas.errors import RecipeError
from storage_schemas.store import Store, UnitPath
from tests.conftest import REPOSITORY
from tests.flows.test_cli import BARE, digests
from tests.tiny_nuscenes import write_tiny_nuscenes

psutil = pytest.importorskip("psutil")
pytest.importorskip("distributed", reason="needs the extra dask: pip install 'depthmill[dask]'")

KILL_POINTS = 20
WITH_PREFECT = 4
"""Of the kill points; the others run bare, which is three times as fast and shares every line of the Dask way."""


def content(store: Path) -> dict[str, str]:
    """Digests of what must be equal: all but times and hosts in lineage.json, and left-over temporary files (dot files)."""
    return {key: value for key, value in digests(store).items() if not key.endswith("lineage.json") and "/." not in key}


def committed(store: Path) -> list[Path]:
    return list(store.glob("*/*/*/*/lineage.json"))


@pytest.fixture
def bare_content(tiny_root: Path, tiny_store: Path) -> dict[str, str]:
    return content(tiny_store)


# --- values and errors -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    ["", "local", "local:", "local:0", "local:two", "local:-1", "local:2:", "tcp:", "tcp://", "tcp://host", "tcp://host:x", "tcp://host:99999",
     "slurm", "slurm:", "host:8786", "kubernetes:4"],
)  # fmt: skip
def test_dask_when_value_is_unknown_then_exit_code_2_and_what_is_expected(value, tiny_root, write_recipe, depthmill):
    code, text = depthmill("run", write_recipe(tiny_root), "--dask", value)
    assert code == 2
    assert (
        f"--dask (or DEPTHMILL_DASK) is '{value}', expected local:<workers>, local:<workers>:<memory each>, tcp://<host>:<port>"
        in text
    )


def test_dask_when_memory_is_wrong_then_exit_code_2(tiny_root, write_recipe, depthmill):
    recipe = write_recipe(tiny_root)
    code, text = depthmill("run", recipe, "--dask", "local:2:lots")
    assert (code, "'lots' is no size of memory; write e.g. 2GiB" in text) == (2, True)
    code, text = depthmill("run", recipe, "--dask", "local:2:900TiB")
    assert code == 2
    assert "2 workers of 900.00 TiB do not fit into the" in text
    for value in ("local:1000", "local:2:10MiB", "local:2:-1GiB"):
        code, text = depthmill("run", recipe, "--dask", value)
        assert code == 2
        assert "for a worker is too little; a 20 s scene needs about 1 GB, at least 512.00 MiB is expected" in text


def test_dask_when_extra_is_missing_then_says_what_to_install(tiny_root, write_recipe, depthmill, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    code, text = depthmill("run", write_recipe(tiny_root), "--dask", "local:2")
    assert code == 2
    assert "--dask (or DEPTHMILL_DASK) needs distributed, which is not installed here. Run: pip install 'depthmill[dask]'" in text


def test_dask_when_scheduler_is_not_there_then_names_address_and_next_step(tiny_root, write_recipe, depthmill, tmp_path):
    code, text = depthmill("run", write_recipe(tiny_root), "--dask", "tcp://127.0.0.1:9")
    assert code == 1
    assert (
        "the Dask scheduler 'tcp://127.0.0.1:9' does not answer (Connection refused). Start it (dask scheduler --port 9)" in text
    )
    assert "then run the same command: finished units are kept" in text
    assert not (tmp_path / "store").exists()


def test_worker_when_its_packages_or_stages_differ_then_refuses(tiny_root, write_recipe, tmp_path):
    first = requests_of(write_recipe(tiny_root), tmp_path)[0]
    with pytest.raises(ForeignWorkerError, match=r"has numpy .*, the run was started with 0\.1: its units could differ"):
        run_scene_on_worker(first, {**packages_here(), "numpy": "0.1"})
    item = first.items[0]
    newer = dataclasses.replace(item, identity=item.identity.model_copy(update={"stage_version": 99}))
    with pytest.raises(ForeignWorkerError, match=r"has stage index_frames .*, the run was started with 99 "):
        run_scene_on_worker(dataclasses.replace(first, items=(newer,)), packages_here())
    foreign = dataclasses.replace(item, stage="halve_depth")  # of a package that is installed where the run was started only
    with pytest.raises(ForeignWorkerError, match=r"has stage halve_depth not installed, the run was started with 1:"):
        run_scene_on_worker(dataclasses.replace(first, items=(foreign,)), packages_here())
    assert not (tmp_path / "store").exists()


def test_store_when_worker_writes_where_we_cannot_see_then_says_to_share_it(tiny_root, write_recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(dask_pool, "VISIBLE_S", 0.0)
    first = requests_of(write_recipe(tiny_root), tmp_path)[0]
    claims = [
        ItemResult(item.stage, item.identity.scene, item.identity.camera, item.path.fingerprint, "OK", 0.1, "")
        for item in first.items
    ]

    class Elsewhere:
        status = "running"

        def submit(self, *args: object, **kwargs: object) -> Elsewhere:
            return self

        def add_done_callback(self, call: Callable[[object], None]) -> None:
            call(self)

        def result(self) -> list[ItemResult]:
            return claims

    scenes = dask_pool.DaskScenes(Elsewhere(), dask_cluster.parse_target("tcp://far:8786"))
    with pytest.raises(
        dask_cluster.DaskError, match=r"made unit 'frames/scene-0061/.* not in the store .* share at the same path"
    ):
        scenes.run(first)
    with pytest.raises(dask_cluster.DaskError):  # and no other scene waits for the same discovery
        scenes.run(first)


# --- bytes and deaths --------------------------------------------------------------------------------------------------------


def requests_of(recipe: Path, folder: Path, reader: type[NuScenesFiles] | None = None) -> list[SceneRequest]:
    opened = open_recipe(load_recipe(recipe), Settings(workers=1, cache_dir=folder / "cache"))
    raw = opened.source.reader()
    if reader is not None:
        raw = reader(str(raw.root), str(raw.index_folder))
    return scene_requests(opened.plan(), opened.recipe, opened.store, raw)


class Deadly(NuScenesFiles):
    """scene-0061 kills its worker the first time, scene-0103 every time, scene-0200 takes more memory than it may."""

    def __reduce__(self):
        return (Deadly, (str(self.root), str(self.index_folder)))

    def read_points(self, file):
        marker = self.index_folder / "has-killed"
        if "scene-0103" in file or ("scene-0061" in file and not marker.exists()):
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if "scene-0200" in file:
            hoard = []
            while True:
                hoard.append(bytearray(os.urandom(1 << 20) * 64))
                time.sleep(0.02)
        return super().read_points(file)


@pytest.mark.slow
def test_workers_when_they_die_then_the_scene_runs_again_and_a_poison_scene_is_named(write_recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(dask_pool, "SUBMISSIONS", 1)
    names = ("scene-0061", "scene-0103", "scene-0200", "scene-0300")
    root = write_tiny_nuscenes(tmp_path / "data", names)
    requests = {one.scene: one for one in requests_of(write_recipe(root), tmp_path, Deadly)}
    with dask_pool.dask_workers("local:2:700MiB").open() as scenes:
        results = {name: scenes.run(requests[name]) for name in names}
    for name in ("scene-0061", "scene-0300"):
        assert {one.status for one in results[name]} == {"OK"}
    for name in ("scene-0103", "scene-0200"):
        first, *others = results[name]
        assert first.status == "ERROR"
        assert "the Dask worker died 2 times in this scene (last on tcp://" in first.message
        assert "Give workers more memory (local:<workers>:<memory each>" in first.message
        assert {one.status for one in others} == {"SKIP"}


def test_run_when_dask_is_bare_then_units_are_those_of_the_bare_loop(tiny_root, write_recipe, depthmill, bare_content, tmp_path):
    code, text = depthmill("run", write_recipe(tiny_root), "--dask", "local:2", "--no-prefect", "--no-report")
    assert code == 0, text
    assert text.splitlines()[-1].startswith("done: 13 ok in")
    assert content(tmp_path / "store") == bare_content


@pytest.mark.slow
def test_run_when_dask_is_under_prefect_then_units_are_those_of_the_bare_loop(
    tiny_root, write_recipe, depthmill_process, bare_content, tmp_path
):
    recipe = write_recipe(tiny_root)
    done = depthmill_process("run", recipe, "--prefect", "--dask", "local:1", "--no-report")
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    assert content(tmp_path / "store") == bare_content
    with sqlite3.connect(Path(os.environ["PREFECT_HOME"]) / "prefect.db") as database:
        tasks = database.execute("select name, state_type from task_run order by created desc limit 2").fetchall()
    assert sorted(tasks) == [("scene-0061", "COMPLETED"), ("scene-0103", "COMPLETED")]


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """A scheduler and a worker as an administrator would start them; yields the address and the scheduler's process."""
    file = tmp_path / "scheduler.json"
    command = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard"]
    quiet = {"cwd": REPOSITORY, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    scheduler = subprocess.Popen([*command, "--scheduler-file", str(file)], **quiet)
    command = [sys.executable, "-m", "distributed.cli.dask_worker", "--nthreads", "1", "--no-dashboard", "--memory-limit", "1GiB"]
    worker = subprocess.Popen([*command, "--scheduler-file", str(file), "--local-directory", str(tmp_path)], **quiet)
    wait_for(lambda: file.is_file() and file.read_text().rstrip().endswith("}"))  # it is written in place

    try:
        yield json.loads(file.read_text())["address"], scheduler
    finally:
        for process in (worker, scheduler):
            process.terminate()
        for process in (worker, scheduler):
            process.wait(timeout=300)


def wait_for(condition: Callable[[], object], seconds: float = 600.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.002)


@pytest.mark.slow
def test_run_when_scheduler_dies_in_the_middle_then_one_clear_error_and_nothing_lost(
    cluster, tiny_root, write_recipe, depthmill, bare_content, tmp_path, monkeypatch
):
    address, scheduler = cluster
    for module in (dask_cluster, dask_pool):
        monkeypatch.setattr(module, "RECONNECT_S", 2.0)
    recipe = write_recipe(tiny_root)

    def kill_after_first_scene(self: object, *args: object) -> None:
        scheduler.kill()
        scheduler.wait()

    monkeypatch.setattr(dask_pool.DaskScenes, "_check_visible", kill_after_first_scene)
    code, text = depthmill("run", recipe, "--dask", address, "--no-prefect", "--no-report")
    assert code == 1, text
    assert f"error: the Dask scheduler '{address}' does not answer any more. Start it (dask scheduler --port" in text
    assert "Traceback" not in text
    assert len(committed(tmp_path / "store")) >= 6
    code, text = depthmill("run", recipe, *BARE)
    assert code == 0, text
    assert content(tmp_path / "store") == bare_content


# --- SLURM -------------------------------------------------------------------------------------------------------------------

PROFILE = (
    "jobs: 2\nworkers_per_job: 1\nmemory_per_worker: 1GiB\nwalltime: '00:10:00'\nqueue: short\ndirectives: ['--constraint=x']\n"
)


def test_profile_when_wrong_then_names_file_key_and_known_keys(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    with pytest.raises(RecipeError, match=r"SLURM profile 'cpu' does not exist: expected .*/depthmill/slurm/cpu.yaml"):
        load_profile("cpu")
    path = tmp_path / "cpu.yaml"
    path.write_text("jobs: 0\n")
    with pytest.raises(
        RecipeError, match=r"cpu.yaml': jobs is 0: Input should be greater than or equal to 1. Known keys: jobs, "
    ):
        load_profile(str(path))
    path.write_text(PROFILE)
    assert cluster_arguments(load_profile(str(path)), environment={"A": "1"})["job_script_prologue"] == ["export A=1"]


def test_slurm_when_there_is_no_sbatch_then_says_where_to_run(tiny_root, write_recipe, depthmill, tmp_path, monkeypatch):
    pytest.importorskip("dask_jobqueue")
    (tmp_path / "cpu.yaml").write_text(PROFILE)
    monkeypatch.setenv("PATH", str(tmp_path))
    code, text = depthmill("run", write_recipe(tiny_root), "--dask", f"slurm:{tmp_path / 'cpu.yaml'}")
    assert code == 2
    assert "there is no command sbatch here. Run this on a login node of the SLURM cluster" in text


def fake_slurm(folder: Path, *, refuses: bool = False) -> None:
    """Write sbatch and scancel: a job is a process of this machine; the script of every job is kept."""
    folder.mkdir()
    refuse = "echo 'allocation failure: Invalid partition name specified' >&2; exit 1"
    accept = f"""[ "$1" = --test-only ] && exit 0
cp "$1" {folder}/job-$$.sh
setsid bash {folder}/job-$$.sh > {folder}/job-$$.log 2>&1 < /dev/null &
echo Submitted batch job $!"""
    for name, body in (("sbatch", refuse if refuses else accept), ("scancel", "kill -- -$1")):
        path = folder / name
        path.write_text(f"#!/usr/bin/env bash\n{body}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)


@pytest.mark.slow
def test_run_on_slurm_when_jobs_start_workers_then_units_are_identical(
    tiny_root, write_recipe, depthmill_process, bare_content, tmp_path
):
    pytest.importorskip("dask_jobqueue")
    fake_slurm(tmp_path / "bin")
    (tmp_path / "cpu.yaml").write_text(PROFILE)
    environment = {**os.environ, "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}
    call = ("run", write_recipe(tiny_root), "--dask", f"slurm:{tmp_path / 'cpu.yaml'}", "--no-prefect", "--no-report")
    done = depthmill_process(*call, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "waiting for SLURM to start the first of 2 workers: squeue --me shows the queue" in done.stderr
    assert content(tmp_path / "store") == bare_content
    script = next((tmp_path / "bin").glob("job-*.sh")).read_text()
    for line in (
        "#SBATCH -p short",
        "#SBATCH --constraint=x",
        "#SBATCH -t 00:10:00",
        "export OMP_NUM_THREADS=1",
        "--memory-limit 1.00GiB",
    ):
        assert line in script, script


def test_run_on_slurm_when_sbatch_refuses_then_says_why(tiny_root, write_recipe, depthmill_process, tmp_path):
    pytest.importorskip("dask_jobqueue")
    fake_slurm(tmp_path / "bin", refuses=True)
    (tmp_path / "cpu.yaml").write_text(PROFILE)
    environment = {**os.environ, "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}
    call = ("run", write_recipe(tiny_root), "--dask", f"slurm:{tmp_path / 'cpu.yaml'}", "--no-prefect", "--no-report")
    done = depthmill_process(*call, env=environment)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "SLURM would not take a job" in done.stderr
    assert "Invalid partition name specified. Fix the profile" in done.stderr
    assert "Traceback" not in done.stderr


# --- 20 random moments -------------------------------------------------------------------------------------------------------


def start(recipe: Path, *way: str) -> subprocess.Popen[bytes]:
    call = [
        sys.executable,
        "-c",
        "from flows.cli import main; main()",
        "run",
        str(recipe),
        "--dask",
        "local:2",
        "--no-report",
        *way,
    ]
    return subprocess.Popen(call, cwd=REPOSITORY, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def processes_below(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def dask_workers(pid: int) -> list[psutil.Process]:
    found = []
    for process in processes_below(pid):
        try:
            if "spawn_main" in " ".join(process.cmdline()):
                found.append(process)
        except psutil.Error:
            continue
    return found


@pytest.mark.slow
def test_run_when_interrupted_then_says_so_in_one_line_and_its_workers_end(tiny_root, write_recipe, tmp_path):
    recipe = write_recipe(tiny_root)
    call = [sys.executable, "-c", "from flows.cli import main; main()", "run", str(recipe), "--dask", "local:2", "--no-prefect"]
    process = subprocess.Popen(
        call, cwd=REPOSITORY, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, start_new_session=True
    )
    wait_for(lambda: committed(tmp_path / "store"))
    workers = dask_workers(process.pid)
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=300)
    assert (process.returncode, said) == (130, "interrupted: finished units are kept; the same command does what is left\n")
    assert len(workers) == 2
    assert not psutil.wait_procs(workers, timeout=120)[1]


@pytest.mark.slow
def test_units_when_workers_or_runs_are_killed_at_random_moments_then_none_lost_torn_or_twice(
    write_recipe, depthmill_process, tmp_path, capsys
):
    """Kills one of two workers (3 of 4 points) or the whole run; then the same command again, and every file is compared."""
    root = write_tiny_nuscenes(tmp_path / "data", tuple(f"scene-{number:04d}" for number in range(60, 72)))
    store, recipe = tmp_path / "store", write_recipe(root)
    process = start(recipe, "--no-prefect")
    wait_for(lambda: committed(store))
    begin = time.monotonic()
    assert process.wait(timeout=300) == 0
    seconds, wanted, num_units = time.monotonic() - begin, content(store), len(committed(store))
    rng = random.Random(20261121)
    tally = {"points": 0, "worker": 0, "run": 0, "too late": 0, "lost": 0, "torn": 0, "twice": 0}
    units_at_kill = []
    while tally["points"] < KILL_POINTS:
        assert tally["too late"] < KILL_POINTS, tally
        shutil.rmtree(store)
        what = "run" if tally["points"] % 4 == 3 else "worker"
        way = ("--prefect",) if tally["points"] % (KILL_POINTS // WITH_PREFECT) == 0 else ("--no-prefect",)
        process = start(recipe, *way)
        wait_for(lambda: committed(store))
        time.sleep(rng.uniform(0.0, seconds))
        family, workers = processes_below(process.pid), dask_workers(process.pid)
        before = len(committed(store))
        if before >= num_units - 1 or not workers:  # only the manifest is left: no worker has anything to lose
            tally["too late"] += 1
            process.wait(timeout=300)
            continue
        victim = process.pid if what == "run" else rng.choice(workers).pid
        os.kill(victim, signal.SIGKILL)
        code = process.wait(timeout=300)
        assert code == (0 if what == "worker" else -signal.SIGKILL), (code, tally)
        again = depthmill_process("run", recipe, "--dask", "local:2", "--no-prefect", "--no-report")
        assert not psutil.wait_procs(family, timeout=120)[1]  # Prefect's server and Dask's workers end with a killed parent
        assert again.returncode == 0, again.stdout + again.stderr
        found, units = content(store), [UnitPath(*path.parent.parts[-4:]) for path in committed(store)]
        tally["points"] += 1
        tally[what] += 1
        tally["lost"] += num_units - len({unit.key for unit in units} & {key.rsplit("/", 1)[0] for key in _unit_keys(wanted)})
        tally["torn"] += sum(bool(Store(store).damage(unit)) for unit in units) + sum(
            found.get(key) != wanted[key] for key in wanted
        )
        tally["twice"] += len(units) - len({unit.key for unit in units}) + len(found.keys() - wanted.keys())
        units_at_kill.append(before)
        (tmp_path / "tally.txt").write_text(f"{tally} {units_at_kill}")
    with capsys.disabled():
        print(f"\n{tally}; {num_units} units, committed at the moment of the kill: {units_at_kill}")
    assert (tally["lost"], tally["torn"], tally["twice"]) == (0, 0, 0), tally


def _unit_keys(wanted: dict[str, str]) -> set[str]:
    """``<layout>/<scene>/<camera>/<fingerprint>/.`` of every unit that has a file."""
    return {"/".join([*key.split("/")[:4], "."]) for key in wanted}
