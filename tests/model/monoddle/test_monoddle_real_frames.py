from __future__ import annotations

import csv

import pytest
import torch

from flows.run.bare_loop import BareLoop
from flows.run.making import make_units
from flows.run.opening import open_recipe
from flows.settings import Settings
from model.families import evaluate_training, train
from model.monoddle.config import MonoDdleTrainConfig
from model.train.config import Machine
from pipeline.recipe import parse_recipe
from storage_schemas.manifest import open_manifest


@pytest.mark.slow
@pytest.mark.real_data
def test_detector_when_overfitted_to_real_frames_then_every_car_is_found_in_space(shared, tmp_path):
    """Fewer than 41 cars: perfect detections score 2.5 (N - 1), not 100; each row must reach that."""
    recipe = {
        "source": {"kind": "kitti_object", "root": str(shared / "data" / "kitti-object"), "splits": ["train"]},
        "store": str(tmp_path / "store"),
    }
    opened = open_recipe(parse_recipe(recipe, where="test"), Settings(workers=1, cache_dir=tmp_path / "cache"))
    made = make_units(opened, BareLoop(), report=False)
    assert made.num_failed == 0
    manifest = open_manifest(opened.store)
    config = MonoDdleTrainConfig.model_validate(
        {
            "network": {"dla_widths": [8, 8, 16, 32, 48, 64], "head_width": 32, "input_px": [192, 640]},
            "data": {"batch_size": 5, "augment": {"flip_probability": 0, "crop_probability": 0}},
            "evaluation": {"split": "train", "num_pictures": 0},
            "learning_rate": 4e-3,
            "max_steps": 400,
            "warm_up_epochs": 0,
            "decay_epochs": [250, 350],
            "epochs": 100000,
            "evaluate_every_epochs": 100000,
        }
    )
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        train(config, manifest, tmp_path / "training", machine=Machine("cpu"))
        evaluate_training(config, manifest, tmp_path / "training", machine=Machine("cpu"))
    finally:
        torch.set_num_threads(threads)
    with open(tmp_path / "training" / "evaluation" / "average_precision.csv", newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["metric"] in ("3d", "bev", "2d") and row["overlap"] == "loose"]
    assert {int(row["num_truth"]) for row in rows} == {4, 8}
    for row in rows:
        assert float(row["r40"]) == pytest.approx(2.5 * (int(row["num_truth"]) - 1)), row
