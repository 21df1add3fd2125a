"""The page for people who come from the public scripts: what it names exists, and it leaves out no flag of theirs."""

from __future__ import annotations

import re
from typing import Any

import pytest
import typer.main
from pydantic import BaseModel

from flows.cli import app
from flows.settings import Settings
from model.semodepth.config import SemoDepthTrainConfig
from pipeline.recipe import Recipe
from pipeline.sources.nuscenes.config import NuScenesConfig
from pipeline.sources.synthetic.config import SyntheticConfig
from pipeline.sources.zju_4dradarcam.config import ZjuConfig
from pipeline.stage_list import STAGES
from tests.conftest import REPOSITORY

PAGE = (REPOSITORY / "docs/coming-from-semodepth.md").read_text(encoding="utf-8")
CODE = re.findall(r"`([^`\n]+)`", PAGE)

FLAGS = {
    "scripts/accumulate_lidar_gt.py": "dataroot derived_dir output_subdir version n_sweeps n_thread limit filter_moving velocity_threshold",
    "scripts/clean_160sweep_horizon.py": "manifest_dir gt_manifest_name mono_manifest radar_manifest_name src_root output_root "
    "output_manifest_name indices y_frac near_thresh mono_disagree abs_floor mad_k window min_neighbors",
    "scripts/precompute_mono_ga.py": "image_manifest radar_manifest output_root split_tag dataset_tag dpt_variant dpt_net_size min_depth "
    "max_depth native_h native_w limit",
    "scripts/train_nuscenes.py": "manifest_dir train_gt_acc_file log_root lr epochs batch_size lambda_grad lambda_linear lambda_log "
    "lambda_sparse max_depth min_depth pretrained_mae resume mono_manifest_train mono_manifest_val seed mono_dropout data_root",
    "scripts/eval_nuscenes.py": "checkpoint manifest_dir max_depth min_depth no_default_to_max frame_subset dataroot scene_cache",
    "scripts/visualize_qualitative_zju.py": "data_root checkpoint frames auto_select search_pool min_frame_gap random seed output max_depth "
    "min_depth vmax scene_labels no_gt",
    "setup/setup_dataset_nuscenes.py": "nuscenes_data_root_dirpath nuscenes_data_derived_dirpath n_scenes_to_process "
    "n_forward_frames_to_reproject n_backward_frames_to_reproject paths_only n_thread debug panoptic_seg_dir",
}
"""Flags of the public scripts, read from their argument parsers; train_zju.py has some of train_nuscenes.py and data_root."""


def has_key(model: Any, parts: list[str]) -> bool:
    for part in parts:
        if not (isinstance(model, type) and issubclass(model, BaseModel)) or part not in model.model_fields:
            return False
        model = model.model_fields[part].annotation
    return True


def exists(key: str) -> bool:
    first, *rest = key.split(".")
    if first == "train":
        return has_key(SemoDepthTrainConfig, rest)
    if first == "source":
        return any(has_key(kind, rest) for kind in (NuScenesConfig, SyntheticConfig, ZjuConfig))
    return has_key(Recipe, key.split("."))


def test_page_when_it_names_recipe_keys_then_they_exist():
    keys = [one for one in CODE if re.fullmatch(r"(stages|train|source)(\.\w+)+", one)]
    assert len(keys) > 45
    assert [key for key in keys if not exists(key)] == []
    assert not exists("stages.clean_horizon.near") and not exists("train.data.batch") and not exists("source.rot")
    for key in ("scenes", "cameras", "store"):
        assert key in CODE and exists(key)


def test_page_when_it_names_commands_and_options_then_they_exist():
    commands = typer.main.get_command(app)
    named = [one.split() for one in CODE if one.startswith("depthmill ")]
    assert len(named) > 10
    for _, name, *words in named:
        command = commands.commands[name]  # KeyError: there is no such command
        options = {name for param in command.params for name in (*param.opts, *param.secondary_opts)}
        assert [word for word in words if word.startswith("--") and word not in options] == [], (name, words)


def test_page_when_it_names_stages_and_settings_then_they_exist():
    stages = re.findall(r"stage `(\w+)`", PAGE)
    assert len(stages) >= 3
    assert set(stages) <= {stage.name for stage in STAGES}
    settings = re.findall(r"`DEPTHMILL_(\w+)`", PAGE)
    assert settings and all(name.lower() in Settings.model_fields for name in settings)


@pytest.mark.parametrize("script", FLAGS)
def test_page_when_a_public_script_has_a_flag_then_it_is_named_under_that_script(script):
    section = next(part for part in re.split(r"^## ", PAGE, flags=re.M) if part.startswith(script))
    named = {
        word.removeprefix("--") for one in re.findall(r"`([^`\n]+)`", section) for word in one.split() if word.startswith("--")
    }
    assert [flag for flag in FLAGS[script].split() if flag not in named] == []
