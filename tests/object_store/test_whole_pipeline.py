"""From raw drives to a trained network on a store that fails: complete, and identical to what a local disk gives."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from flows.run.runs import local_path
from pipeline.verify import all_units
from storage_schemas.files import StoreFiles
from storage_schemas.manifest import open_manifest
from storage_schemas.store import Store
from tests.conftest import REPOSITORY
from tests.faulty_proxy import FAULTS
from tests.flows.test_cli import BARE

SMALL = (
    "--set", "train.network.base_channels=8", "--set", "train.max_steps=2", "--set", "train.data.batch_size=1",
    "--set", "train.evaluation.num_strips=1",
)  # fmt: skip


def unit_files(store: Store) -> dict[str, dict[str, str]]:
    """Check every committed unit and return the digest of each of its files."""
    for path in all_units(store):
        assert store.damage(path) == []
    return {path.key: {name: file.sha256 for name, file in store.lineage(path).files.items()} for path in all_units(store)}


@pytest.mark.slow
def test_run_and_training_when_requests_fail_then_complete_and_identical(
    tiny_root, tiny_store, write_recipe, depthmill, bucket, proxy, tmp_path
):
    url = f"s3://{bucket}/some/prefix"
    recipe = write_recipe(tiny_root, store=url)
    proxy.fail_share(0.1, seed=3, kinds=(*FAULTS[:5] * 2, *FAULTS))  # time-outs are drawn less often: each takes half a second
    code, text = depthmill("run", recipe, "--no-prefect", "--workers", 1)
    assert code == 0, text
    assert "done: 13 ok" in text
    code, text = depthmill("train", recipe, "--no-prefect", "--json", *SMALL)
    assert code == 0, text
    remote = json.loads(text)
    assert len(proxy.faults) >= 5, proxy.faults
    assert sum(proxy.faults.values()) > 20
    proxy.rule = lambda method, path: None
    assert unit_files(Store(url)) == unit_files(Store(tiny_store))
    assert depthmill("plan", recipe, "--check")[0] == 0
    files = StoreFiles(f"{url}/runs")
    (log,) = [name for name in files.names("") if name.startswith("20")]
    assert {"events.jsonl", "summary.json", "report.html"} <= set(files.names(log))
    assert remote["folder"] == f"{url}/runs/trainings/{remote['name']}"

    code, text = depthmill(
        "train", write_recipe(tiny_root, store=str(tiny_store)), "--no-prefect", "--json", "--out", tmp_path / "local", *SMALL
    )
    assert code == 0, text
    local = json.loads(text)
    assert remote["manifest"] == local["manifest"] == open_manifest(Store(url)).path.fingerprint
    folders = (local_path(remote["folder"], tmp_path / "another machine"), tmp_path / "local")
    tables = [(folder / "evaluation/table.md").read_text().splitlines()[2:] for folder in folders]
    assert tables[0] == tables[1]


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_run_in_two_processes_when_a_fifth_of_requests_fails_then_complete_and_identical(
    seed, tiny_root, tiny_store, write_recipe, depthmill, bucket, proxy
):
    recipe = write_recipe(tiny_root, store=f"s3://{bucket}/store")
    proxy.fail_share(0.2, seed=seed)
    code, text = depthmill("run", recipe, "--no-prefect", "--workers", 2)
    assert code == 0, text
    proxy.rule = lambda method, path: None
    assert unit_files(Store(f"s3://{bucket}/store")) == unit_files(Store(tiny_store))


@pytest.mark.slow
def test_run_with_prefect_when_requests_fail_then_complete_and_identical(
    tiny_root, tiny_store, write_recipe, depthmill_process, bucket, proxy, tmp_path
):
    recipe = write_recipe(tiny_root, store=f"s3://{bucket}/store")
    proxy.fail_share(0.1, seed=0)
    done = depthmill_process("run", recipe, "--workers", 2, env={**os.environ, "DEPTHMILL_RUNS_DIR": str(tmp_path / "logs")})
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert len(list((tmp_path / "logs").glob("*/report.html"))) == 1
    proxy.rule = lambda method, path: None
    assert unit_files(Store(f"s3://{bucket}/store")) == unit_files(Store(tiny_store))


@pytest.mark.slow
def test_training_in_reading_processes_when_requests_fail_then_same_network(
    tiny_root, tiny_store, write_recipe, depthmill, bucket, proxy, tmp_path, monkeypatch
):
    """The loader's worker processes open the store for themselves."""
    monkeypatch.setenv("DEPTHMILL_LOADER_WORKERS", "2")
    recipe = write_recipe(tiny_root, store=f"s3://{bucket}/store")
    assert depthmill("run", recipe, *BARE)[0] == 0
    proxy.fail_share(0.1, seed=0)
    code, text = depthmill("train", recipe, "--no-prefect", "--out", tmp_path / "remote", *SMALL)
    assert code == 0, text
    proxy.rule = lambda method, path: None
    local = write_recipe(tiny_root, store=str(tiny_store))
    assert depthmill("train", local, "--no-prefect", "--out", tmp_path / "local", *SMALL)[0] == 0
    tables = [(tmp_path / name / "evaluation/table.md").read_text().splitlines()[2:] for name in ("remote", "local")]
    assert tables[0] == tables[1]


@pytest.mark.slow
def test_two_runs_when_at_once_on_one_store_then_readers_see_only_whole_units(
    tiny_root, tiny_store, write_recipe, bucket, proxy, depthmill
):
    recipe = write_recipe(tiny_root, store=f"s3://{bucket}/store")
    command = [sys.executable, "-c", "from flows.cli import main; main()", "run", str(recipe), *map(str, BARE)]
    runs = [
        subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(REPOSITORY)}, stdout=subprocess.DEVNULL) for _ in range(2)
    ]
    store, seen = Store(f"s3://{bucket}/store"), set()
    while any(one.poll() is None for one in runs):
        for path in set(all_units(store)) - seen:
            assert store.damage(path) == []  # what is visible at all is complete
            seen.add(path)
    assert [one.wait() for one in runs] == [0, 0]
    assert seen
    assert unit_files(store) == unit_files(Store(tiny_store))
    assert depthmill("plan", recipe, "--check")[0] == 0
