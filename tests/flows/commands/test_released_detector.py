"""The public detector of all cameras at its full size, from a file under the public names, on the real nuScenes key frame."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from model.uvtr.net import Uvtr
from model.uvtr.network_config import UvtrConfig
from model.uvtr.reference import CODE_WEIGHTS, reference_key
from tests.pipeline.test_interpolate_real import CAMERAS

pytestmark = [pytest.mark.slow, pytest.mark.real_data, pytest.mark.usefixtures("one_process")]

STAGES = {
    "index_windows": {"enabled": True, "num_frames": 1},
    "index_objects": {"enabled": True},
    "build_manifest": {"drop_last_keyframe": False},
    "accumulate_lidar": {"num_sweeps": 1},
}


@pytest.fixture(scope="module")
def public_file(tmp_path_factory):
    """Weights of no training under the names and in the shapes of the public code."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("public") / "uvtr_released.pth"
    state = {
        reference_key(key): value.flatten() if key.endswith("layer_scale") else value
        for key, value in Uvtr(UvtrConfig.released()).state_dict().items()
    }
    assert sum(value.numel() for value in state.values()) > 53_000_000
    torch.save({"meta": {}, "state_dict": {**state, CODE_WEIGHTS: torch.ones(10)}}, path)
    return path


def test_reference_when_a_released_detector_is_named_then_it_is_measured_and_predicts_on_the_real_key_frame(
    shared, write_recipe, depthmill, public_file, tmp_path
):
    train = {"family": "uvtr", "evaluation": {"split": "train", "official": False, "num_pictures": 0}}
    recipe = write_recipe(shared / "data/nuscenes-keyframe", cameras=CAMERAS, stages=STAGES, train=train)
    assert depthmill("run", recipe, "--no-prefect", "--no-report", "--workers", 1)[0] == 0
    code, text = depthmill("evaluate", public_file, recipe, "--reference", "--split", "train", "--out", tmp_path / "measured")
    assert code == 0, text
    assert "car" in text and "present" in text
    found = json.loads((tmp_path / "measured/results_nuscenes.json").read_text())["results"]
    (boxes,) = found.values()
    assert len(boxes) == 300 and all(np.isfinite([*box["translation"], *box["size"]]).all() for box in boxes)
    code, text = depthmill("predict", public_file, recipe, "--reference", "--split", "train", "--out", tmp_path / "predicted")
    assert code == 0, text
    assert list((tmp_path / "predicted").rglob("*.png")) or list((tmp_path / "predicted").rglob("*.jpg"))
