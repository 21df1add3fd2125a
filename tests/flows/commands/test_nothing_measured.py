"""Drives whose LiDAR meets no image: nothing can be measured, and every command says so instead of a figure or a traceback."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.flows.commands.test_train import SMALL
from tests.tiny_nuscenes import write_tiny_nuscenes

BARE = ("--no-prefect", "--workers", 1)
NOTHING = "Nothing was measured: no frame has a pixel with a target up to the largest cap."


pytestmark = pytest.mark.usefixtures("one_process")


def turn_lidar_away(root: Path, scene: str) -> None:
    """Put all returns of a scene behind the camera."""
    for file in root.rglob(f"tiny-{scene}*.pcd.bin"):
        points = np.frombuffer(file.read_bytes(), "<f4").reshape(-1, 5).copy()
        points[:, 0] = -np.abs(points[:, 0]) - 5
        file.write_bytes(points.tobytes())


def test_training_when_no_pixel_of_val_is_measured_then_report_evaluate_compare_and_retrain_say_so(
    depthmill, write_recipe, tmp_path
):
    root = write_tiny_nuscenes(tmp_path / "data")
    turn_lidar_away(root, "scene-0103")
    recipe = write_recipe(root)
    code, text = depthmill("train", recipe, *BARE, *SMALL)
    assert code == 0, text
    assert "nothing is measured: no frame of val has a pixel of depth_single up to 80 m" in text
    assert NOTHING in text
    assert "inf" not in text.lower().split()
    folder = next((tmp_path / "store/runs/trainings").iterdir())
    page = (folder / "report.html").read_text()
    assert NOTHING in page
    assert "inf mm" not in page.replace("&nbsp;", " ").replace("\u00a0", " ")
    best = json.loads((folder / "training.json").read_text(), parse_constant=pytest.fail)["best"]
    assert best == {"step": 3, "mae_mm": None}  # where nothing tells which network is best, it is the last
    code, text = depthmill("evaluate", folder, recipe, "--out", tmp_path / "again")
    assert (code, NOTHING in text) == (0, True)
    code, text = depthmill("compare", folder, tmp_path / "again")
    assert code == 1
    assert "run a measured nothing: none of its 2 frames has a pixel with a target. Evaluate it on a split" in text
    code, text = depthmill("retrain", recipe, "--no-prefect", *SMALL)
    assert code == 1
    assert "no frame of the split has a measured pixel up to 80 m with radar on, so nothing can be compared" in text
    assert not (tmp_path / "store/runs/champions/recipe.semodepth.json").exists()


def test_training_when_no_pixel_of_train_has_a_target_then_is_an_error_and_not_complete(depthmill, write_recipe, tmp_path):
    root = write_tiny_nuscenes(tmp_path / "data")
    turn_lidar_away(root, "scene-0061")
    code, text = depthmill("train", write_recipe(root), *BARE, *SMALL)
    assert code == 1
    assert (
        "none of 3 steps had a frame with a target, so there was nothing to learn from. Look at the frames of split 'train'"
        in text
    )
    assert not list((tmp_path / "store/runs/trainings").glob("*/training.json"))
