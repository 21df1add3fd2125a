"""Deployments whose results would be lost are refused, and the setting is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.run import lasting
from flows.run.lasting import refuse_deleted_folder, refuse_lost_results
from flows.run.opening import Opened, open_recipe
from flows.settings import Settings
from pipeline.recipe import parse_recipe
from storage_schemas.errors import RecipeError


@pytest.fixture
def opened(tiny_root, tmp_path):
    def open_with(store: str, runs_dir: str | None = None) -> Opened:
        recipe = {"source": {"kind": "nuscenes", "root": str(tiny_root), "version": "v1.0-mini"}, "store": store}
        return open_recipe(parse_recipe(recipe, where="r.yaml"), Settings(workers=1, cache_dir=tmp_path, runs_dir=runs_dir))

    return open_with


@pytest.mark.parametrize(
    ("store", "runs_dir", "text"),
    [
        ("store", None, r"recipe 'r.yaml': store is 'store', which starts at the folder of the flow. A worker .* deletes it, so"),
        (
            "file://store",
            None,
            r"recipe 'r.yaml': store is 'file://store', which starts at the folder of the flow.* Write a place that",
        ),
        ("s3://bucket/store", "runs", r"setting DEPTHMILL_RUNS_DIR is 'runs', which starts at .* Unset it, so that champion and"),
        ("s3://bucket/store", "memory://x", r"setting DEPTHMILL_RUNS_DIR is 'memory://x', which ends with its process. Unset it"),
        (
            "/scratch/tmp/store",
            None,
            r"store is '/scratch/tmp/store', below the folder for temporary files '/scratch/tmp', which is",
        ),
        (
            "s3://bucket/store",
            "/scratch/tmp/runs",
            r"setting DEPTHMILL_RUNS_DIR is '/scratch/tmp/runs', below the folder for temporary",
        ),
    ],
)
def test_deployment_when_a_worker_would_lose_its_results_then_refused_with_the_setting(
    opened, store, runs_dir, text, monkeypatch
):
    monkeypatch.setattr(lasting, "temporary_folder", lambda: Path("/scratch/tmp"))
    with pytest.raises(RecipeError, match=text):
        refuse_lost_results(opened(store, runs_dir), where="r.yaml", has_pool=True)


@pytest.mark.parametrize(
    ("store", "runs_dir", "has_pool"),
    [
        ("s3://bucket/store", None, True),
        ("/data/store", "s3://bucket/runs", True),
        ("~/store", "/data/runs", True),
        ("store", "runs", False),
    ],
)
def test_deployment_when_its_results_stay_then_taken(opened, store, runs_dir, has_pool, monkeypatch):
    monkeypatch.setattr(lasting, "temporary_folder", lambda: Path("/scratch/tmp"))
    refuse_lost_results(opened(store, runs_dir), where="r.yaml", has_pool=has_pool)


def test_flow_when_it_runs_in_a_folder_that_is_deleted_then_a_relative_place_is_refused(opened, tmp_path, monkeypatch):
    monkeypatch.setattr(lasting, "temporary_folder", lambda: tmp_path)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RecipeError, match="setting DEPTHMILL_RUNS_DIR is 'runs', which starts at the folder of the flow"):
        refuse_deleted_folder(opened("s3://bucket/store", "runs"), where="r.yaml")
    refuse_deleted_folder(opened("/data/store"), where="r.yaml")
    monkeypatch.chdir("/")
    refuse_deleted_folder(opened("store", "runs"), where="r.yaml")
