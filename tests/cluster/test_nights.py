"""Rounds on a schedule through a real work pool, on PostgreSQL, Dask and S3, while services are killed: nothing is lost.

The services are those of ``make cluster``, without containers. A round is tiny; most of the time goes to starting Prefect.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest
import yaml

from tests.cluster.running_cluster import SERVICES, TINY, RunningCluster, running_cluster
from tests.process_tree import descendants, wait_until_gone
from tests.tiny_nuscenes import write_tiny_nuscenes

pytestmark = pytest.mark.slow

pytest.importorskip("supervisor", reason="pip install 'depthmill[cluster]'")

LONGEST_ROUND_S = 1800.0
"""Of a busy machine; nothing is measured by it."""
SEED = int(os.environ.get("DEPTHMILL_KILL_SEED", "21"))


@pytest.fixture(scope="module")
def cluster() -> Iterator[RunningCluster]:
    settings = {"DEPTHMILL_WORKERS": "1", "DEPTHMILL_LOADER_WORKERS": "0", "DEPTHMILL_DEVICE": "cpu"}
    with running_cluster(**settings) as running:
        yield running


class Night:
    """A recipe that is deployed on a schedule, and what became of its rounds."""

    def __init__(self, cluster: RunningCluster, name: str) -> None:
        self.cluster, self.store = cluster, f"s3://depthmill/{name}"
        self.recipe = cluster.work / f"{name}.yaml"
        data = cluster.work / "data"
        if not data.exists():
            write_tiny_nuscenes(data)
        source = {"kind": "nuscenes", "root": str(data), "version": "v1.0-mini"}
        self.write({"source": source, "store": self.store, "train": TINY})

    def write(self, recipe: dict[str, object]) -> None:
        self.recipe.write_text(yaml.safe_dump(recipe))

    def change_rule(self, near_m: float) -> None:
        """Write another cleaning rule into the recipe: two scenes to clean again, a manifest, a training."""
        self.write({**yaml.safe_load(self.recipe.read_text()), "stages": {"clean_horizon": {"near_m": near_m}}})

    def deploy(self, *options: object) -> None:
        done = self.cluster.depthmill("deploy", self.recipe, *options)
        assert done.returncode == 0, done.stdout + done.stderr

    def told(self) -> dict[str, object]:
        """Return what ``depthmill runs`` says, asked from a new folder; nothing while the store is empty or away."""
        done = self.cluster.depthmill("runs", self.recipe, "--json", "--last", 100)
        return json.loads(done.stdout) if done.returncode == 0 else {"rounds": [], "champions": {}}

    def champion(self) -> dict[str, object] | None:
        return self.told()["champions"].get(f"{self.recipe.stem}.semodepth")

    def outcomes(self) -> list[str]:
        return [row["outcome"] for row in self.told()["rounds"]]

    def wait(self, condition: Callable[[list[dict[str, object]]], object], what: str) -> list[dict[str, object]]:
        """Wait until the rounds in the store fulfil a condition, and return them."""
        deadline = time.monotonic() + LONGEST_ROUND_S
        while not condition(rounds := self.told()["rounds"]):
            assert time.monotonic() < deadline, f"{what}: {[row['outcome'] for row in rounds]}\n{self.cluster.logs()}"
            time.sleep(2.0)
        return rounds

    def running(self) -> dict[str, object]:
        """Wait until a round of this recipe runs, and return its flow run."""
        deadline = time.monotonic() + LONGEST_ROUND_S
        while True:
            for run in self.cluster.flow_runs():
                if run["state_type"] == "RUNNING" and run["parameters"].get("recipe") == str(self.recipe):
                    return run
            assert time.monotonic() < deadline, self.cluster.logs()
            time.sleep(0.2)

    def last_end(self) -> str:
        """Return the state and message of the last run of a round that has ended."""
        ended = [run for run in self.rounds_of_prefect() if run["state_type"] in ("COMPLETED", "FAILED", "CRASHED")]
        return f"{ended[-1]['state_name']}: {ended[-1]['state']['message']}" if ended else ""

    def rounds_of_prefect(self) -> list[dict[str, object]]:
        """Return the runs of this recipe's rounds that have begun, the oldest first."""
        runs = self.cluster.flow_runs()
        return [run for run in runs if run["deployment_id"] and run["parameters"].get("recipe") == str(self.recipe)]


def is_at(near_m: float) -> Callable[[list[dict[str, object]]], bool]:
    """Return a condition: a round was done because of this rule, and judged its training."""

    def judged(row: dict[str, object]) -> bool:
        return f"-> {near_m}" in str(row["reason"]) and row["outcome"] in ("kept", "promoted")

    return lambda rounds: any(map(judged, rounds))


def check_whole(night: Night) -> None:
    """Check, from other folders, that every unit is what its checksums say and the champion can be measured again."""
    done = night.cluster.depthmill("verify", night.recipe, "--all")
    assert done.returncode == 0, done.stdout + done.stderr
    champion = night.champion()
    assert champion is not None
    assert "/tmp" not in champion["training"], "a champion in a worker's temporary folder goes with it"
    done = night.cluster.depthmill("retrain", night.recipe, "--no-prefect", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["outcome"] == "nothing to do", done.stdout
    assert night.champion() == champion


def test_rounds_when_a_worker_a_dask_worker_and_s3_go_away_then_promoted_nothing_to_do_and_recleaned(cluster):
    night = Night(cluster, "three-rounds")
    night.deploy("--interval", 60)
    night.running()
    cluster.kill("worker")  # and the round with it
    rounds = night.wait(lambda rounds: "nothing to do" in [row["outcome"] for row in rounds], "promoted, then nothing to do")
    judged = [row["outcome"] for row in rounds if row["outcome"] != "failed"]
    assert judged[:2] == ["promoted", "nothing to do"]
    assert night.champion() is not None

    night.change_rule(12.5)
    night.running()
    cluster.kill("dask-worker:dask-worker-1")
    rounds = night.wait(is_at(12.5), "cleaned again although a Dask worker died")
    assert all(row["num_units"] <= 3 for row in rounds if "-> 12.5" in row["reason"])
    assert night.champion() is not None

    cluster.control("stop", "s3")
    night.change_rule(14.5)
    deadline = time.monotonic() + LONGEST_ROUND_S
    while "Failed" not in (end := night.last_end()):
        assert time.monotonic() < deadline, f"{end}\n{cluster.logs()}"
        time.sleep(2.0)
    assert f"S3 server AWS_ENDPOINT_URL={cluster.env['AWS_ENDPOINT_URL']} does not answer: start it" in end
    assert "supervisorctl -c cluster/supervisord.conf start s3" in end
    cluster.control("start", "s3")
    rounds = night.wait(is_at(14.5), "cleaned again when S3 is back")
    cluster.pause("retrain_and_evaluate", "three-rounds")
    check_whole(night)


def test_nights_when_each_service_is_killed_once_at_a_random_moment_then_nothing_is_lost(cluster, capfd):
    rng = random.Random(SEED)
    night = Night(cluster, "random-kills")
    night.deploy("--interval", 60)
    night.running()
    begin = time.monotonic()
    night.wait(lambda rounds: "promoted" in [row["outcome"] for row in rounds], "the first round")
    length_s = time.monotonic() - begin
    kept: dict[str, str] = {}
    services = list(SERVICES)
    rng.shuffle(services)
    for number, service in enumerate(services):
        near_m = 10.5 + number
        night.change_rule(near_m)
        night.running()
        moment_s = rng.uniform(0.0, length_s)  # of a round's length on this machine, so that any part of it may be hit
        with capfd.disabled():
            print(f"\nseed {SEED}: {service} is killed {moment_s:.1f} s after a round of {length_s:.1f} s began", flush=True)
        time.sleep(moment_s)
        cluster.kill(service)
        night.wait(is_at(near_m), f"the round after {service} was killed")
        found = digests_of(night)
        assert {path: found.get(path) for path in kept} == kept, f"lost or changed when {service} was killed"
        kept = found
    cluster.pause("retrain_and_evaluate", "random-kills")
    check_whole(night)
    for run in night.rounds_of_prefect():
        if run["state_type"] == "FAILED":
            assert any(text in run["state"]["message"] for text in NAMED), run["state"]["message"]


def test_cluster_when_ended_and_started_again_then_has_everything_and_a_killed_supervisor_takes_all_with_it(cluster):
    night = Night(cluster, "again")
    done = cluster.depthmill("retrain", night.recipe, "--no-prefect")
    assert done.returncode == 0, done.stdout + done.stderr
    champion, units = night.champion(), digests_of(night)
    wait_until_gone(cluster.stop())
    done = cluster.depthmill("plan", night.recipe, DEPTHMILL_STORE_ATTEMPTS="1")
    assert done.returncode == 1
    assert "does not answer: start it (where `make cluster` runs" in done.stderr
    cluster.start()
    assert (night.champion(), digests_of(night)) == (champion, units)
    had = descendants(cluster.pid)
    os.kill(cluster.pid, signal.SIGKILL)
    wait_until_gone(had)


NAMED = (
    "start it (where `make cluster` runs: supervisorctl -c cluster/supervisord.conf start s3)",
    "Start it (dask scheduler --port",
    "Start some (dask worker tcp://",
    "Start it (prefect server start)",
    "Start it on the server's machine (PostgreSQL: systemctl start postgresql)",
    "Start the server of PREFECT_API_URL",
    "units failed. Fix what the ERROR lines of the log name",
)
"""How a round that failed says which service to start; the last one where the lines before it have said so."""


def digests_of(night: Night) -> dict[str, str]:
    """Return the digest of every file of every unit, asked as a user who has sourced cluster.env does."""
    code = (
        "import json, sys; from pipeline.verify import all_units; from storage_schemas.store import Store; s = Store(sys.argv[1]); "
        "print(json.dumps({f'{p.key}/{n}': f.sha256 for p in all_units(s) for n, f in s.lineage(p).files.items()}))"
    )
    command = [sys.executable, "-c", code, night.store]
    done = subprocess.run(command, env=night.cluster.env, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
