"""Rounds on a schedule through a real work pool, on PostgreSQL, Dask and S3, while services are killed: nothing is lost.

The services are those of ``make cluster``, without containers. A round is tiny; most of the time goes to starting Prefect.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator

import pytest
import yaml

from storage_schemas.store import Store
from tests.cluster.running_cluster import RunningCluster, running_cluster
from tests.flows.retrain.test_retrain import SMALL
from tests.tiny_nuscenes import write_tiny_nuscenes

pytestmark = pytest.mark.slow

pytest.importorskip("supervisor", reason="pip install 'depthmill[cluster]'")

LONGEST_ROUND_S = 900.0
"""Of a busy machine, and after a kill Prefect holds a deployment's place for five minutes; nothing is measured by it."""
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
        self.write({"source": source, "store": self.store, "train": SMALL})

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
        return json.loads(done.stdout) if done.returncode == 0 else {"rounds": [], "champion": None}

    def outcomes(self) -> list[str]:
        return [row["outcome"] for row in self.told()["rounds"]]

    def wait(self, condition: Callable[[list[dict[str, object]]], object], what: str) -> list[dict[str, object]]:
        """Wait until the rounds in the store fulfil a condition, and return them."""
        deadline = time.monotonic() + LONGEST_ROUND_S
        while not condition(rounds := self.told()["rounds"]):
            assert time.monotonic() < deadline, f"{what}: {[row['outcome'] for row in rounds]}\n{self.cluster.logs()}"
            time.sleep(1.0)
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


def check_store(night: Night) -> None:
    """Check that the champion is whole and every unit of the store is what its checksums say, from another folder."""
    done = night.cluster.depthmill("verify", night.recipe, "--all")
    assert done.returncode == 0, done.stdout + done.stderr
    champion = night.told()["champion"]
    assert Store(night.store)
    done = night.cluster.depthmill("retrain", night.recipe, "--no-prefect", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["outcome"] == "nothing to do", done.stdout
    assert night.told()["champion"] == champion
