"""Surroundings that nobody planned for: a clock that goes backwards, paths that are not UTF-8."""

from __future__ import annotations

import json
import os
import shutil

from storage_schemas.catalog import MANIFEST
from storage_schemas.lineage import LineageRecord
from storage_schemas.store import Store
from tests.flows.test_cli import BARE


def test_clock_when_it_has_gone_backwards_then_the_recipe_finds_its_own_manifest(
    tiny_root, tiny_store, write_recipe, depthmill, tmp_path
):
    shutil.copytree(tiny_store, tmp_path / "store")
    recipe, store = write_recipe(tiny_root), Store(tmp_path / "store")
    before = next(iter(store.units(MANIFEST.name)))
    for path in (tmp_path / "store").rglob("lineage.json"):  # all of it was written, as the clock now has it, in the future
        record = json.loads(path.read_text())
        path.write_bytes(LineageRecord(**{**record, "written_utc": "2099-01-01T00:00:00+00:00"}).to_json())
    changed = ("--set", "stages.clean_horizon.near_m=25")
    code, text = depthmill("run", recipe, *BARE, *changed)
    assert code == 0, text
    assert len(store.units(MANIFEST.name)) == 2
    assert "nothing to do" in depthmill("plan", recipe, *changed)[1]
    assert "nothing to do" in depthmill("plan", recipe)[1]
    status = depthmill("status", recipe, *changed)[1]
    own = next(path.fingerprint for path in store.units(MANIFEST.name) if path != before)
    assert f"manifest  {own} (up to date)" in status
    assert depthmill("verify", recipe, *changed)[0] == 0
    code, text = depthmill("prune", tmp_path / "store", "--delete", "--older-than", "0")
    assert code == 0, text
    assert "nothing to do" in depthmill("plan", recipe)[1]


def test_paths_when_they_are_not_utf8_then_run_report_and_export_work(tiny_root, write_recipe, depthmill, tmp_path):
    folder = tmp_path / os.fsdecode(b"drives-\xff")
    shutil.copytree(tiny_root, folder / "root")
    recipe = tmp_path / "recipe.json.yaml"
    content = {
        "source": {"kind": "nuscenes", "root": str(folder / "root"), "version": "v1.0-mini"},
        "store": str(folder / "store"),
    }
    recipe.write_text(json.dumps(content))  # escaped: the file itself is ASCII
    code, text = depthmill("run", recipe, "--no-prefect", "--workers", 1)
    assert code == 0, text
    assert depthmill("report", recipe, "--out", tmp_path / "report.html")[0] == 0
    code, text = depthmill("export", recipe, "--out", folder / "export")
    assert code == 0, text
