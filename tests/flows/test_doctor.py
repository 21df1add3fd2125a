from __future__ import annotations

import importlib.util
import json


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
    assert json.loads(text)[-1]["says"] == "not installed; only needed to train. Run: pip install 'depthmill[train]'"
