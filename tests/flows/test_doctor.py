from __future__ import annotations

import importlib.util
import json

import pytest

from flows import doctor


@pytest.fixture(autouse=True)
def _as_fast_as_it_is(monkeypatch):
    """A busy machine writes slowly; that is no finding of these tests."""
    monkeypatch.setattr(doctor, "_SLOW_WRITE_MB_PER_S", 0.0)


def test_doctor_when_all_is_well_then_names_the_scan_engine_and_why(depthmill, monkeypatch):
    monkeypatch.delenv("DEPTHMILL_SCAN_ENGINE", raising=False)
    code, text = depthmill("doctor")
    assert code == 0
    assert "scan numba           used: compiled CPU kernels" in text
    assert "scan twin            usable: readable torch, any device and dtype, slow" in text
    assert "scan mamba_ssm       no: runs on a GPU, not on cpu" in text


def test_doctor_when_an_engine_is_forced_then_says_so(depthmill, monkeypatch):
    monkeypatch.setenv("DEPTHMILL_SCAN_ENGINE", "twin")
    assert "scan twin            used: forced; readable torch" in depthmill("doctor")[1]
    monkeypatch.setenv("DEPTHMILL_SCAN_ENGINE", "cuda")
    code, text = depthmill("doctor")
    assert code != 0
    assert "scan engine 'cuda' does not exist; expected auto or one of twin, numba, triton, mamba_ssm" in text


def test_doctor_when_torch_is_missing_then_says_what_it_is_for(depthmill, monkeypatch):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "torch" else find_spec(name, *rest))
    code, text = depthmill("doctor", "--json")
    assert code == 0
    assert {row["about"]: row["says"] for row in json.loads(text)}["extra train"].startswith("without torch. If you need it")
    assert json.loads(text)[-1]["says"] == "not installed; only needed to train. Run: pip install 'depthmill[train]'"
    assert {row["about"]: row["state"] for row in json.loads(text)}["torch"] == "missing"


def test_doctor_when_a_store_is_given_then_tries_it(depthmill, tmp_path):
    code, text = depthmill("doctor", tmp_path / "store")
    assert code == 0
    assert f"ok       store                  '{tmp_path / 'store'}' written, read and deleted in" in text
    assert not list((tmp_path / "store").iterdir())
    (tmp_path / "file").write_text("")
    code, text = depthmill("doctor", tmp_path / "file")
    assert code == 1
    assert "FAIL     store" in text


def test_doctor_when_servers_do_not_answer_then_says_what_to_do(depthmill, monkeypatch):
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    code, text = depthmill("doctor", "--dask", "tcp://127.0.0.1:9")
    assert code == 1
    assert "FAIL     prefect server         http://127.0.0.1:9/api does not answer:" in text
    assert "Run: prefect server start, or unset PREFECT_API_URL" in text
    assert "FAIL     dask" in text


def test_doctor_when_the_disk_is_slow_or_closed_then_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr(doctor, "_SLOW_WRITE_MB_PER_S", 1e9)
    slow = doctor._disk(tmp_path)
    assert (
        slow.is_ok and "slow. If it is a network disk, set DEPTHMILL_CACHE_DIR and the recipe's store to a local one" in slow.says
    )
    (tmp_path / "file").write_text("")
    closed = doctor._disk(tmp_path / "file" / "below")
    assert not closed.is_ok
    assert "Set DEPTHMILL_CACHE_DIR to a folder you may write" in closed.says


def test_doctor_when_memory_is_short_or_shared_memory_is_that_of_docker_then_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr(doctor, "free_memory_bytes", lambda: 300_000_000)
    monkeypatch.setattr(doctor, "_SHARED_MEMORY", tmp_path)
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 64_000_000})())
    memory, shared = doctor._memory()
    assert (memory.is_ok, memory.says) == (False, "0.3 GB free: too little. Give this machine or container more")
    assert shared.is_ok
    assert shared.says.endswith(
        "has 64 MB free; loaders do not need it, training on several GPUs does: too little for that. Start the container with --shm-size=8g"
    )
