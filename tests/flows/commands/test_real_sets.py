"""The four real sets with radar, from ``init`` to ``report`` as a user would; nothing is edited by hand."""

from __future__ import annotations

import re

import pytest

from storage_schemas.manifest import open_manifest
from storage_schemas.store import Store

pytestmark = pytest.mark.real_data

NO_PREFECT = ("--no-prefect", "--workers", 1)


def recipe_of(depthmill, root, tmp_path):
    recipe = tmp_path / "recipe.yaml"
    code, text = depthmill("init", root, "--out", recipe)
    assert code == 0, text
    return recipe


def run_and_report(depthmill, recipe) -> tuple[str, str]:
    """Return what ``run`` printed and the words of the page that ``report`` wrote."""
    code, text = depthmill("run", recipe, *NO_PREFECT, "--no-report")
    assert code == 0, text
    page = recipe.with_name("report.html")
    assert depthmill("plan", recipe, "--check")[0] == 0
    assert depthmill("verify", recipe)[0] == 0
    code, said = depthmill("report", recipe, "--out", page)
    assert code == 0, said
    return text, re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page.read_text()))


@pytest.mark.parametrize(
    ("name", "num_scenes", "num_returns"),
    [("nuscenes-keyframe-radar", 1, (61,)), ("nuscenes-five-frames", 5, (61, 41, 50, 61, 29))],
)
def test_single_key_frames_when_run_and_reported_then_each_is_a_sample_with_its_radar(
    name, num_scenes, num_returns, shared, depthmill, tmp_path
):
    recipe = recipe_of(depthmill, shared / "data" / name, tmp_path)
    text, page = run_and_report(depthmill, recipe)
    assert tuple(map(int, re.findall(r"(\d+) returns a frame", text))) == num_returns
    assert len(open_manifest(Store(tmp_path / "store")).rows()) == num_scenes
    assert f"Camera and radar : {num_returns[0]} radar returns" in page
    assert "Single sweep : 0.2 % of pixels measured" in page


def test_aimotive_when_run_and_reported_then_fifty_sweeps_make_a_dense_map(shared, depthmill, tmp_path):
    recipe = recipe_of(depthmill, shared / "data/aimotive-as-nuscenes", tmp_path)
    assert "1 scene (1 train; 1 at night), 8 key frames" in recipe.read_text()
    text, page = run_and_report(depthmill, recipe)
    assert "8 frames, 0.4 % of pixels measured" in text
    assert "8 frames, 8.1 % of pixels measured, 0.12 % of returns dropped, 24.11 % behind a surface" in text
    assert "7 samples of 1 scene: 7 train" in text
    assert "0 day, 1 night" in page


def test_drives_without_lidar_when_run_and_reported_then_images_and_radar_make_the_manifest(shared, depthmill, tmp_path):
    recipe = recipe_of(depthmill, shared / "data/nuscenes-radar-scenes", tmp_path)
    text, page = run_and_report(depthmill, recipe)
    assert "40 frames, 57 returns a frame" in text
    assert "41 frames, 39 returns a frame" in text
    assert "79 samples of 2 scenes: 79 val" in text
    assert "ERROR" not in text and "project_lidar  " not in text
    assert "all 2 scenes: no LiDAR file, so project_lidar and accumulate_lidar make nothing" in text
    assert "not built yet" not in page
    assert "Radar : 47.7 returns a frame, from 19 to 71, 81 frames" in page


@pytest.mark.slow
def test_aimotive_when_trained_for_some_steps_then_the_error_falls_and_a_table_and_a_page_are_written(
    shared, depthmill, tmp_path, monkeypatch
):
    monkeypatch.setenv("DEPTHMILL_LOADER_WORKERS", "0")
    monkeypatch.setenv("DEPTHMILL_DEVICE", "cpu")
    recipe = recipe_of(depthmill, shared / "data/aimotive-as-nuscenes", tmp_path)
    small = {
        "network.base_channels": 8, "data.batch_size": 1, "max_steps": 12, "learning_rate": 1e-3, "epochs": 100,
        "evaluation.num_strips": 1, "evaluate_every_epochs": 100,
    }  # fmt: skip
    options = [part for key, value in small.items() for part in ("--set", f"train.{key}={value}")]
    code, text = depthmill("train", recipe, *NO_PREFECT, "--out", tmp_path / "training", *options)
    assert code == 0, text
    first_m, *_, last_m = (float(error) for error in re.findall(r"error on targets ([\d.]+) m", text))
    assert last_m < first_m
    table = (tmp_path / "training/evaluation/table.md").read_text()
    assert all(f"| {radar} | {group} | 80 | 7 |" in table for radar in ("on", "off") for group in ("all", "night"))
    assert (tmp_path / "training/report.html").is_file()
