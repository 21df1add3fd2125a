"""The page and the ready recipe of detection with all cameras say recipes that are valid."""

from __future__ import annotations

import re

import pytest
import yaml

from model.families import parse_train_config
from pipeline.recipe import load_recipe, parse_recipe
from tests.conftest import NEEDS_DEVKIT, REPOSITORY

PAGE = (REPOSITORY / "docs" / "detection.md").read_text(encoding="utf-8")


def test_recipe_of_the_page_when_read_then_it_is_a_tiny_detector_over_objects():
    content = next(text for text in re.findall(r"^```yaml\n(.*?)^```", PAGE, re.S | re.M) if "train:" in text)
    recipe = parse_recipe(yaml.safe_load(content), where="page")
    config = parse_train_config(recipe.train, where="page")
    assert recipe.stages.index_objects.enabled and recipe.stages.index_windows.enabled
    assert not recipe.stages.build_manifest.drop_last_keyframe
    assert (config.family, config.network.head, config.network.input_px) == ("uvtr", "centres", (96, 160))


def test_ready_recipe_when_read_then_is_the_published_training_with_errors_corrected(tmp_path):
    pytest.importorskip("nuscenes", reason=NEEDS_DEVKIT)  # the recipe asks for its figures
    weights = tmp_path / "convnext.pth"
    weights.touch()
    path = REPOSITORY / "flows" / "recipes" / "nuscenes_detect.yaml"
    recipe = load_recipe(path, overrides=[f"train.imagenet_weights={weights}"])
    config = parse_train_config(recipe.train, where="r")
    assert recipe.stages.index_objects.enabled and recipe.stages.index_windows.num_frames == 1
    assert (config.network.head, config.network.backbone.name, config.network.num_frames) == ("queries", "convnext_s", 2)
    assert (config.epochs, config.data.batch_size * config.accumulate, config.learning_rate) == (12, 8, 4e-4)
    assert (config.backbone_rate, config.evaluation.official, config.take) == (0.1, True, ("backbone", "fpn", "depth_head"))
