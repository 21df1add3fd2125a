"""docs/operations/nightly.md, followed word by word: its blocks are run by bash, in its order, in one shell's environment.

Stand-ins: ``sbatch``, ``srun`` and ``scontrol`` start processes of this machine; ``make cluster`` runs what the Makefile runs.
Changed before they are run: folders, the address of the head node, the data set (a tiny one), the length of the trainings, and
the schedule, which fires every few seconds instead of once a night.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from tests.cluster.running_cluster import TINY, RunningCluster, running_cluster, wait_until
from tests.conftest import REPOSITORY
from tests.process_tree import is_alive
from tests.srun import write_slurm
from tests.tiny_kitti import write_tiny_kitti
from tests.tiny_nuscenes import write_tiny_nuscenes

PAGE = REPOSITORY / "docs/operations/nightly.md"
TINY_DETECTOR = {
    "family": "monoddle",
    "network": {"dla_widths": [8, 8, 16, 16, 24, 32], "head_width": 16, "input_px": [32, 96], "max_objects": 5, "uncertainty": True},
    "data": {"mono": True, "batch_size": 2}, "distill": {"form": "laplace"}, "max_steps": 2, "warm_up_epochs": 0,
    "evaluation": {"height_scale": 0.1, "score_threshold": 0.05, "num_pictures": 1},
}  # fmt: skip
PLANE = "{predict_mono_depth: {teacher: plane_and_boxes}, align_mono_depth: {method: as_is, sky: none}}"
FIRING_S = 60
LONGEST_WAIT_S = 1800.0
"""Of a busy machine; nothing is measured by it."""


def blocks() -> dict[int, list[str]]:
    """Return the blocks of the page that are commands, by the number of their section."""
    found: dict[int, list[str]] = {}
    for number, text in re.findall(r"^## (\d+)\. .*?\n(.*?)(?=^## |\Z)", PAGE.read_text(), re.MULTILINE | re.DOTALL):
        found[int(number)] = re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return found


def test_page_when_read_then_has_the_steps_that_the_test_follows():
    first_words = {number: [block.split()[0] for block in parts] for number, parts in blocks().items()}
    assert first_words == {
        1: ["CLUSTER_DIR=/shared/depthmill/cluster"], 2: ["cd"], 3: ["cp"], 4: ["supervisorctl"], 5: ["depthmill"], 6: ["cat"], 7: ["cat"],
    }  # fmt: skip
    text = PAGE.read_text()
    for script in ("make-units.sbatch", "train.sbatch", "worker.sbatch"):
        assert (PAGE.parent / script).exists()
        assert f"({script})" in text


def test_scripts_when_bash_reads_them_then_understood():
    for script in PAGE.parent.glob("*.sbatch"):
        subprocess.run(["bash", "-n", str(script)], check=True)


class Follower:
    """Somebody who types the page's blocks into one shell of the head node."""

    def __init__(self, cluster: RunningCluster) -> None:
        self.cluster, self.shared = cluster, cluster.folder.parent
        self._state = cluster.work / "shell"
        programs = write_slurm(cluster.work / "bin")
        for name, module in (("depthmill", "flows.cli"), ("prefect", "prefect")):
            run = (
                f"exec {sys.executable} -m prefect"
                if name == "prefect"
                else f"exec {sys.executable} -c 'from {module} import main; main()'"
            )
            (programs / name).write_text(f'#!/usr/bin/env bash\n{run} "$@"\n')
            (programs / name).chmod(0o755)
        here = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("AWS_", "PREFECT_", "DEPTHMILL_", "CLUSTER_"))
        }
        settings = {
            "PATH": f"{programs}:{Path(sys.executable).parent}:{os.environ['PATH']}", "PYTHONPATH": str(REPOSITORY),
            "TMPDIR": str(cluster.temporary), "DEPTHMILL_DEVICE": "cpu", "DEPTHMILL_LOADER_WORKERS": "0", "DEPTHMILL_WORKERS": "1",
            "PREFECT_HOME": str(cluster.work / "prefect"), "DO_NOT_TRACK": "1", "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        }  # fmt: skip
        self._env = here | settings
        (cluster.work / "prefect").mkdir()
        (self.shared / "code").symlink_to(REPOSITORY)
        self.changes = {
            "/shared/depthmill": str(self.shared), "/data/nuscenes": str(write_tiny_nuscenes(cluster.work / "nuscenes")),
            "/data/KITTI": str(write_tiny_kitti(cluster.work / "kitti")), "v1.0-trainval": "v1.0-mini",
            "train: {max_steps: 40000}": f"train: {json.dumps(TINY)}",
            "train: {family: monoddle, max_steps: 40000}": f"train: {json.dumps(TINY_DETECTOR)}\nstages: {PLANE}",
            '--cron "0 3 * * *" --timezone Europe/Berlin': f"--interval {FIRING_S}",
            '--cron "30 4 * * *" --timezone Europe/Berlin': f"--interval {FIRING_S}",
            "sbatch --wait train.sbatch": "sbatch --wait --nodes=1 --ntasks-per-node=1 train.sbatch",
        }  # fmt: skip
        self._used: set[str] = set()

    def type(self, block: str) -> str:
        """Run one block; what it exports and its folder stay for the next."""
        for text, other in self.changes.items():
            if text in block:
                self._used.add(text)
                block = block.replace(text, other)
        keep = f"export -p > {self._state}.env; pwd > {self._state}.pwd"
        former = f'source {self._state}.env; cd "$(cat {self._state}.pwd)"' if Path(f"{self._state}.env").exists() else ""
        script = f"{former}\nset -euo pipefail\n{block}\nset +eu\n{keep}\n"
        done = subprocess.run(
            ["bash", "-c", script], env=self._env, cwd=self.cluster.work, capture_output=True, text=True, timeout=1800
        )
        jobs = "\n".join(path.read_text() for path in (self.cluster.work / "bin").glob("job-*.out"))
        assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}\n{jobs}\n{self.cluster.logs()}"
        return done.stdout + done.stderr

    def cancel_jobs(self) -> None:
        """End the jobs that still run, as scancel does, and wait for them."""
        jobs = [int(path.read_text()) for path in (self.cluster.work / "bin").glob("job-*.pid")]
        for job in filter(is_alive, jobs):
            os.killpg(job, signal.SIGTERM)
        wait_until(lambda: not any(map(is_alive, jobs)), "the jobs end")

    def unused(self) -> set[str]:
        """Return the changes that no block of the page has asked for."""
        return set(self.changes) - self._used

    def told(self, recipe: str) -> dict[str, object]:
        """Return what ``depthmill runs`` says of a recipe, from a new folder."""
        folder = Path(tempfile.mkdtemp(dir=self.cluster.work))
        said = self.type(
            f"here=$PWD; cd {folder}; depthmill runs {self.shared / recipe} --json --last 100 2>/dev/null || echo null; cd $here"
        )
        told = json.loads(said)
        return told or {"rounds": [], "champions": {}}

    def wait(self, recipe: str, condition: Callable[[list[dict[str, object]]], object], what: str) -> list[dict[str, object]]:
        """Wait until the rounds in the store fulfil a condition, and return them."""
        deadline = time.monotonic() + LONGEST_WAIT_S
        while not condition(rounds := self.told(recipe)["rounds"]):
            outputs = "\n".join(path.read_text()[-3000:] for path in (self.cluster.work / "bin").glob("job-*.out"))
            assert time.monotonic() < deadline, f"{what}: {rounds}\n{outputs}\n{self.cluster.logs()}"
            assert not any(row["outcome"] == "failed" for row in rounds), rounds
            time.sleep(2.0)
        return rounds


@pytest.fixture(scope="module")
def follower() -> Iterator[Follower]:
    pytest.importorskip("supervisor", reason="pip install 'depthmill[cluster]'")
    if shutil.which("bash") is None:
        pytest.skip("bash")
    with running_cluster(make=blocks()[1][0]) as cluster:
        follower = Follower(cluster)
        try:
            yield follower
        finally:
            follower.cancel_jobs()


def outcomes(rounds: list[dict[str, object]]) -> list[object]:
    return [row["outcome"] for row in rounds]


def reasons(rounds: list[dict[str, object]]) -> list[object]:
    """Return why the rounds that judged a training were done."""
    return [row["reason"] for row in rounds if row["outcome"] in ("kept", "promoted")]


def check_champion(follower: Follower, recipe: str) -> dict[str, object]:
    """Check, from a new folder, that the champion of a recipe is in the store and can be read, and return it."""
    (champion,) = follower.told(recipe)["champions"].values()
    folder = Path(tempfile.mkdtemp(dir=follower.cluster.work))
    store = yaml.safe_load((follower.shared / recipe).read_text())["store"]
    evaluated = follower.type(
        f"here=$PWD; cd {folder}; depthmill evaluate {store}/runs/{champion['training']} {store} --out again; cd $here"
    )
    assert list((folder / "again").iterdir()), evaluated
    return champion


@pytest.mark.slow
def test_page_when_followed_then_three_rounds_promoted_nothing_to_do_and_recleaned(follower):
    page, cluster = blocks(), follower.cluster
    said = follower.type(page[2][0])
    assert "FAIL" not in said, said
    follower.type(page[3][0])
    follower.type(page[4][0])
    rounds = follower.wait("night.yaml", lambda rounds: len(rounds) >= 2, "promoted, then nothing to do")
    assert outcomes(rounds)[:2] == ["promoted", "nothing to do"]
    champion = check_champion(follower, "night.yaml")
    assert "promoted" in follower.type(page[5][0])

    plan = follower.type(page[6][0])
    assert "near_m: 20.0 -> 12.5" in plan
    rounds = follower.wait("night.yaml", lambda rounds: "-> 12.5" in str(reasons(rounds)), "cleaned again and trained again")
    (again,) = (row for row in rounds if "-> 12.5" in row["reason"])
    assert (again["num_units"], again["outcome"] in ("kept", "promoted")) == (3, True)
    assert again["training"] != rounds[0]["training"]
    assert (check_champion(follower, "night.yaml") == champion) == (again["outcome"] == "kept")
    cluster.pause("retrain_and_evaluate", "night")
    wait_until(lambda: not cluster.workspaces(), "the last flow run takes its temporary folder away")


@pytest.mark.slow
def test_page_when_followed_for_a_detector_then_the_same_rounds(follower):
    cluster = follower.cluster
    follower.type(blocks()[7][0])
    rounds = follower.wait("detector.yaml", lambda rounds: len(rounds) >= 2, "promoted, then nothing to do")
    assert outcomes(rounds)[:2] == ["promoted", "nothing to do"]
    check_champion(follower, "detector.yaml")
    recipe = follower.shared / "detector.yaml"
    content = yaml.safe_load(recipe.read_text())
    content["stages"]["align_mono_depth"]["far_m"] = 70.0  # what a detector's dense depth is clipped to
    recipe.write_text(yaml.safe_dump(content))
    rounds = follower.wait("detector.yaml", lambda rounds: "-> 70.0" in str(reasons(rounds)), "aligned again and trained again")
    (again,) = (row for row in rounds if "-> 70.0" in row["reason"])
    assert "align_mono_depth: params far_m: 80.0 -> 70.0" in again["reason"]
    assert again["training"] != rounds[0]["training"]
    check_champion(follower, "detector.yaml")
    cluster.pause("retrain_and_evaluate", "detector")
    wait_until(lambda: not cluster.workspaces(), "the last flow run takes its temporary folder away")
    assert follower.unused() == set()
    assert shlex.split(blocks()[1][0])[-2:] == ["make", "cluster"]
