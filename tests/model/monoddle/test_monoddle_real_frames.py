from __future__ import annotations

import csv
from collections.abc import Iterator

import pytest
import torch

from flows.run.bare_loop import BareLoop
from flows.run.making import make_units
from flows.run.opening import open_recipe
from flows.settings import Settings
from model.families import evaluate_training, train
from model.monoddle.batch import normalized_images
from model.monoddle.config import MonoDdleTrainConfig
from model.monoddle.data import DetectionLoader
from model.monoddle.loss import detection_losses
from model.monoddle.net import MonoDdle
from model.monoddle.network_config import OWN_BACKBONES
from model.train.config import Machine
from pipeline.recipe import parse_recipe
from storage_schemas.manifest import Manifest, open_manifest

STILL = {"flip_probability": 0, "crop_probability": 0}


@pytest.fixture(scope="module")
def manifest(shared, tmp_path_factory) -> Manifest:
    """Five annotated frames of KITTI."""
    folder = tmp_path_factory.mktemp("real")
    recipe = {
        "source": {"kind": "kitti_object", "root": str(shared / "data" / "kitti-object"), "splits": ["train"]},
        "store": str(folder / "store"),
    }
    opened = open_recipe(parse_recipe(recipe, where="test"), Settings(workers=1, cache_dir=folder / "cache"))
    made = make_units(opened, BareLoop(), report=False)
    assert made.num_failed == 0
    return open_manifest(opened.store)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.slow
@pytest.mark.real_data
def test_detector_when_overfitted_to_real_frames_then_every_car_is_found_in_space(manifest, tmp_path):
    """Fewer than 41 cars: perfect detections score 2.5 (N - 1), not 100; each row must reach that."""
    config = MonoDdleTrainConfig.model_validate(
        {
            "network": {"dla_widths": [8, 8, 16, 32, 48, 64], "head_width": 32, "input_px": [192, 640]},
            "data": {"batch_size": 5, "augment": STILL},
            "evaluation": {"split": "train", "num_pictures": 0},
            "learning_rate": 4e-3,
            "max_steps": 400,
            "warm_up_epochs": 0,
            "decay_epochs": [250, 350],
            "epochs": 100000,
            "evaluate_every_epochs": 100000,
        }
    )
    train(config, manifest, tmp_path / "training", machine=Machine("cpu"))
    evaluate_training(config, manifest, tmp_path / "training", machine=Machine("cpu"))
    with open(tmp_path / "training" / "evaluation" / "average_precision.csv", newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["metric"] in ("3d", "bev", "2d") and row["overlap"] == "loose"]
    assert {int(row["num_truth"]) for row in rows} == {4, 8}
    for row in rows:
        assert float(row["r40"]) == pytest.approx(2.5 * (int(row["num_truth"]) - 1)), row


@pytest.mark.slow
@pytest.mark.real_data
@pytest.mark.parametrize("backbone", OWN_BACKBONES)
def test_detector_of_any_backbone_when_it_sees_real_frames_for_30_steps_then_a_third_of_the_loss_is_left(manifest, backbone):
    """Whole networks from scratch, with images of 64x224 so that a step takes seconds; benchmarks/RESULTS.md has more steps."""
    settings = {
        "network": {"backbone": backbone, "head_width": 32, "input_px": [64, 224]},
        "data": {"batch_size": 5, "augment": STILL},
    }
    config = MonoDdleTrainConfig.model_validate(settings)
    with DetectionLoader(manifest, config.data, config.network, rules=config.targets) as loader:
        batch = next(iter(loader))
    torch.manual_seed(0)
    network = MonoDdle(config.network).to(memory_format=torch.channels_last)
    optimizer, totals = torch.optim.Adam(network.parameters(), lr=1e-3), []
    for _ in range(30):
        total = detection_losses(network(normalized_images(batch.image_u8)), batch.targets)["total"]
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        totals.append(float(total.detach()))
    print(f"{backbone}: {totals[0]:.2f}, {totals[9]:.2f}, {totals[19]:.2f}, {totals[29]:.2f} at steps 1, 10, 20, 30")
    assert totals[0] > 20 and max(totals[-5:]) < totals[0] / 3, totals
