"""The page for people who come from MonoDDLE's and MonoDLE's scripts: what it names exists, and it leaves nothing of theirs out."""

from __future__ import annotations

import re
from typing import Any

import pytest
import typer.main
from pydantic import BaseModel

from flows.cli import app
from flows.settings import Settings
from model.monoddle.config import MonoDdleTrainConfig
from model.monoddle.public_configuration.keys import BLOCKS, MAPPED, NO_RECIPE_KEY, OTHER_VERSIONS
from model.monoddle.public_configuration.translation import translate_public_config
from pipeline.recipe import Recipe
from pipeline.sources.kitti_object.config import KittiObjectConfig
from tests.conftest import REPOSITORY
from tests.model.monoddle.public_configurations import KITTI_DA3_UNCERTAINTY, KITTI_NO_DA3, MONODLE, changed

PAGE = (REPOSITORY / "docs/coming-from-monoddle.md").read_text(encoding="utf-8")
CODE = re.findall(r"`([^`\n]+)`", PAGE)
SECTIONS = {part.partition("\n")[0]: part for part in re.split(r"^## ", PAGE, flags=re.M)[1:]}
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in PAGE.splitlines()
    if line.startswith("|") and "---" not in line
]

SCRIPTS = {
    "tools/train_val.py": "config e evaluate_only",
    "tools/train_val_ddp.py": "config evaluate_only",
    "tools/train_dp.py": "config e amp compile project name",
    "tools/train_yolo3d.py": "model data project name",
    "tools/dp_ddp_equivalence.py": "dp-batch dp-lr dp-gpus ddp-gpus ddp-per-gpu-batch verbose simulate",
    "tools/generate_da3_depth.py": "data_path save_path model_name split",
    "tools/oracle_analysis.py": "config modes depth_min depth_max depth_step category output compare-configs compare-labels",
    "tools/loc_error_by_shifting.py": "image_file calib_file",
    "tools/per_sample_eval.py": "",
    "tools/visualize.py": "config data_dir pred_dir split num_images output_dir seed score_thresh no_random thickness layout checkpoint",
    "tools/concat_combined_3d.py": "da3_dir da3_u_dir no_da3_dir output_dir config_baseline config_da3 config_da3u configs_root "
    "results_root gt_label_dir val_split_file top_k metric",
    "tools/get_data_distribution.py": "root_dir split write_list",
    "tools/format_results.py": "",
    "tools/eval_cuda.py": "exp data-root verify classes tolerance",
    "lib/datasets/kitti/kitti_eval/launch.py": "label_path result_path label_split_file current_class score_thresh",
    "experiments/scripts/train.sh": "",
    "experiments/scripts/train_ddp.sh": "",
    "experiments/scripts/slurm_train.sh": "",
    "experiments/scripts/clean.sh": "",
    "experiments/example/train_ddp.sh": "",
    "experiments/example/train.sh": "",
    "experiments/example/slurm_train.sh": "",
    "experiments/example/clean.sh": "",
}
"""Scripts of both repositories with the flags of their argument parsers, or the arguments that fire makes flags of."""

PICTURES = "2d_bbox 3d_bbox heatmap hm_perclass da3_depth uncertainty lidar_bev combined_3d oracle_ example.jpg resources/example.jpg bev.png"
FILES = "ImageSets object/ DA3_depth_results _vis.jpg .pth outputs/data train.log last_eval_result.json eval_results.csv summary.csv summary.md"

KEYS_BESIDE_TABLES = (
    "model.pretrained model.feature_strides model.model_cfg model.ultralytics_model model.neck_out_channels model.feature_indices "
    "model.input_size trainer.pretrain_model"
)
"""Keys that some files of theirs have and no published experiment of the seed does."""


def has_key(model: Any, parts: list[str]) -> bool:
    for part in parts:
        if not (isinstance(model, type) and issubclass(model, BaseModel)) or part not in model.model_fields:
            return False
        model = model.model_fields[part].annotation
    return True


def exists(key: str) -> bool:
    first, *rest = key.split(".")
    if first == "train":
        return has_key(MonoDdleTrainConfig, rest)
    return has_key(KittiObjectConfig, rest) if first == "source" else has_key(Recipe, [first, *rest])


def keys_of(data: dict[str, Any], above: str = "") -> set[str]:
    parts = [keys_of(value, f"{above}{name}.") if isinstance(value, dict) else {f"{above}{name}"} for name, value in data.items()]
    return set().union(*parts)


def row_of(key: str) -> list[str]:
    return next(row for row in ROWS if f"`{key}`" in row[0])


def test_page_when_it_names_recipe_keys_then_they_exist():
    keys = [one for one in CODE if re.fullmatch(r"(stages|train|source)(\.\w+)+", one)]
    assert len(keys) > 45
    assert [key for key in keys if not exists(key)] == []
    assert not exists("train.distill.lambda") and not exists("source.rot") and not exists("stages.predict_mono_depth.map")


def test_page_when_it_names_commands_options_and_settings_then_they_exist():
    commands = typer.main.get_command(app)
    named = [one.split() for one in CODE if one.startswith("depthmill ")]
    assert len(named) > 15
    for _, name, *words in named:
        command = commands.commands[name]  # KeyError: there is no such command
        options = {name for param in command.params for name in (*param.opts, *param.secondary_opts)}
        assert [word for word in words if word.startswith("--") and word not in options] == [], (
            name,
            words,
        )
    settings = re.findall(r"`DEPTHMILL_(\w+)`", PAGE)
    assert settings and all(name.lower() in Settings.model_fields for name in settings)


def test_page_when_a_public_file_can_have_a_key_then_the_page_has_it():
    known = {*MAPPED, *NO_RECIPE_KEY, *OTHER_VERSIONS, *KEYS_BESIDE_TABLES.split()}
    for data in (KITTI_DA3_UNCERTAINTY, KITTI_NO_DA3, MONODLE):
        known |= keys_of(data)
    assert len(known) > 65
    named = {name for row in ROWS for name in re.findall(r"`([^`]+)`", row[0])}
    assert sorted(known - named) == []
    said = {name for name in named if name.partition(".")[0] in BLOCKS and re.fullmatch(r"[a-z_0-9.]+", name)}
    assert sorted(said - known) == []


EVERY_KEY = changed(
    model__backbone="timm_resnet50", model__pretrained=False, optimizer__type="sgd", dataset__class_merging=True,
    distributed__dp_reference__lr=0.01, model__freeze_backbone=True, model__model_cfg={"pretrained": True}, trainer__resume_model="a.pth",
)  # fmt: skip


@pytest.mark.parametrize("data", [KITTI_DA3_UNCERTAINTY, KITTI_NO_DA3, MONODLE, EVERY_KEY])
def test_page_when_a_key_is_translated_then_its_row_names_the_same_keys(data):
    for one in translate_public_config(data, where="test").told:
        key = "model.model_cfg" if one.key.startswith("model.model_cfg.") else one.key
        row = " ".join(row_of(key)[1:])
        ours = re.findall(r"(?:train|stages|source)(?:\.[a-z_0-9]+)+", one.here)
        assert [name for name in ours if name not in row and name != "train.distill.form"] == [], one.key


@pytest.mark.parametrize("script", SCRIPTS)
def test_page_when_a_public_script_has_a_flag_then_it_is_named_in_that_scripts_row(script):
    cells = " ".join(row[0] for row in ROWS if re.search(rf"`{re.escape(script)}[ `]", row[0]))
    assert cells
    named = {
        word.removeprefix("--") for code in re.findall(r"`([^`]+)`", cells) for word in code.split() if word.startswith("--")
    }
    assert [flag for flag in SCRIPTS[script].split() if flag not in named] == []


def test_page_when_they_write_a_file_or_a_picture_then_it_is_named():
    assert [name for name in FILES.split() if name not in SECTIONS["Files"]] == []
    assert [name for name in PICTURES.split() if name not in SECTIONS["Pictures"] + SECTIONS["Files"]] == []
