"""A detector is measured, compared, judged and used: files, answers, pictures and the page of a training."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from flows.reports import frame_drawer, write_training_page
from model.families import family_of, parse_train_config, train
from model.train.family_types import ChoosingDraw, CompareOptions, OpenedNetwork, PictureChoice, ResultsOptions
from model.train.judging import Rules
from model.uvtr.classes import CLASSES
from model.uvtr.detection_metric import OFFICIAL, PRESENT
from model.uvtr.evaluation import read_metric
from model.uvtr.key_frame_pictures import frames_of, stacked_frames
from model.uvtr.measures import DECIDES
from model.uvtr.net import Uvtr
from storage_schemas.errors import DepthmillError, RecipeError
from tests.model.train.made_up_training import CPU
from tests.model.uvtr.small_training import small_training

WITH_GROUND = {"network": {"segmentation": {"enabled": True, "width": 16}}}
OPTIONS = CompareOptions("mae_mm", 80.0, "on", ("a", "b"))


def opened(seed: int, **changes) -> OpenedNetwork:
    torch.manual_seed(seed)
    config = small_training(**changes)
    return OpenedNetwork(Uvtr(config.network).eval(), f"net-{seed}", config)


def measured(detector: OpenedNetwork, manifest, folder: Path, *, draw=None):
    family = family_of(detector.config)
    return family.evaluate_checkpoint(detector, manifest, CPU, split="val", target="", folder=folder, draw=draw)


@pytest.fixture(scope="module")
def evaluated(objects_manifest, tmp_path_factory):
    """Two untrained detectors, measured: the folder of both, the first one's answer, and the first one."""
    root = tmp_path_factory.mktemp("evaluated")
    first = opened(0, **WITH_GROUND)
    answer = measured(first, objects_manifest, root / "a", draw=frame_drawer("uvtr"))
    measured(opened(1), objects_manifest, root / "b", draw=ChoosingDraw(lambda _: b"", PictureChoice(spread=0)))
    return root, answer, first


def test_checkpoint_when_evaluated_then_tables_result_file_pictures_and_an_answer(evaluated):
    root, answer, _ = evaluated
    files = {path.relative_to(root / "a").as_posix() for path in (root / "a").rglob("*") if path.is_file()}
    assert {"table.md", "nuscenes_metric.csv", "metric_groups.csv", "matches.npz", "results_nuscenes.json", "segmentation.csv",
            "pictures.npz", "digests.json"} <= files  # fmt: skip
    assert len(list((root / "a" / "pictures").glob("scene-0103_*.jpg"))) == 1
    assert not (root / "b" / "pictures.npz").exists()  # none were asked for
    assert answer.data["num_key_frames"] == 3 and answer.data["rows"][0]["name"] == OFFICIAL
    assert answer.data["segmentation"]["num_covered"] > 0
    assert "by depthmill's own computation of the devkit's rules" in answer.text and "absent classes: truck" in answer.text
    assert json.dumps(answer.data, allow_nan=False)
    results = json.loads((root / "a" / "results_nuscenes.json").read_text())["results"]
    assert len(results) == 3 and all(0 < len(boxes) <= 300 for boxes in results.values())


def test_result_file_when_measured_by_itself_then_its_figures_are_those_of_the_network(evaluated, objects_manifest, tmp_path):
    root, _, first = evaluated
    path, family = root / "a" / "results_nuscenes.json", family_of(first.config)
    assert family.takes_results(path) and not family.takes_results(root / "a" / "table.md")
    recipe = ResultsOptions({"family": "uvtr", "evaluation": {"official": False}}, "recipe.yaml")

    answer = family.evaluate_results(path, objects_manifest, recipe, split="val", folder=tmp_path / "again")
    for a, b in zip(read_metric(root / "a"), read_metric(tmp_path / "again"), strict=True):
        assert a[:3] == b[:3]
        np.testing.assert_allclose(a[3:], b[3:], atol=1e-6)
    assert "results_nuscenes.json on val of manifest" in answer.text
    with pytest.raises(DepthmillError, match=r"has no list for key frame '.*' \(3 of 3 key frames of the split are missing\)"):
        family.evaluate_results(path, objects_manifest, recipe, split="train", folder=tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_split_when_predicted_then_the_result_file_is_that_of_the_evaluation_and_each_key_frame_has_a_picture(
    evaluated, objects_manifest, tmp_path
):
    root, _, first = evaluated
    out = tmp_path / "out"
    family = family_of(first.config)
    count = family.predict_split(first, objects_manifest, out, split="val", draw=frame_drawer("uvtr"), machine=CPU)
    assert (count, family.predicted_text(3, out)) == (3, f"wrote the objects of 3 key frames to {out}")
    assert (out / "results_nuscenes.json").read_bytes() == (root / "a" / "results_nuscenes.json").read_bytes()
    assert len(list((out / "pictures").glob("*.jpg"))) == 3
    with pytest.raises(DepthmillError, match="is not empty"):
        family.predict_split(first, objects_manifest, out, split="val", draw=None, machine=CPU)


def test_evaluations_when_compared_and_judged_then_figures_of_both_without_an_interval(evaluated):
    root, _, first = evaluated
    family = family_of(first.config)
    answer = family.compare(root / "a", root / "b", OPTIONS)
    assert [row["measure"] for row in answer.data][:2] == [DECIDES, "present/ap"]
    assert "no interval" in answer.text and "3 key frames; scenes with objects: 1" in answer.text
    rules = Rules(metric=DECIDES, cap_m=None, radar=None, is_higher_better=True)
    judged = family.compare_with_champion(root / "a", root / "b", rules)
    assert judged[0].mean_b == pytest.approx(family.deciding_value(root / "b", rules))
    assert next(iter(family.judging(first.config).metrics)) == DECIDES
    assert family.is_comparable(root / "a") and not family.is_comparable(root)
    assert family.deciding_value(root / "a", Rules(metric="truck/ap")) is None
    assert "not trained on truck" in family.never_comparable(first.config, first.config, Rules(metric="truck/ap"))


def test_training_when_evaluated_and_reported_then_the_page_has_its_sections(objects_manifest, tmp_path):
    config = small_training(max_steps=2, evaluate_every_epochs=2 / 3, **WITH_GROUND)
    family = family_of(config)
    train(config, objects_manifest, tmp_path, machine=CPU)
    torch.manual_seed(0)
    network = Uvtr(config.network).eval()
    assert family.evaluate(network, objects_manifest, config, CPU, torch.device("cpu"), folder=tmp_path) == 3
    write_training_page("uvtr", tmp_path)

    page = (tmp_path / "report.html").read_text()
    for anchor in ("metric", "groups", "frames", "steps", "validation"):
        assert f'<section id="{anchor}"' in page
    assert "absent classes: truck" in page and "Vehicles on the ground, IoU" in page and "data:image/jpeg" in page
    values = family.read_measures(tmp_path)
    assert {DECIDES, "official/nds", "car/ap", "segmentation/iou"} <= set(values) <= set(family.measures(config))
    columns, details = family.table_columns(config, [family.measures(config)])
    assert columns[0] == DECIDES and "segmentation/iou" in columns and details["AP of classes"] == ("car/ap", "pedestrian/ap")


def test_recipe_when_the_devkit_is_wanted_and_missing_then_refused_before_anything_is_made(monkeypatch):
    monkeypatch.setattr("model.uvtr.nuscenes_metric.DEVKIT", "a-devkit-that-is-missing")
    with pytest.raises(RecipeError, match=r"pip install .*\[devkit\].*set train.evaluation.official to false"):
        parse_train_config({"family": "uvtr"}, where="recipe.yaml")
    assert parse_train_config({"family": "uvtr", "evaluation": {"official": False}}, where="recipe.yaml").family == "uvtr"


def test_pictures_when_stacked_and_read_then_the_same_and_a_damaged_file_is_named(evaluated):
    root, _, _ = evaluated
    with np.load(root / "a" / "pictures.npz") as archive:
        arrays = dict(archive)
    (frame,) = frames_of(arrays)
    assert frame.cameras == ("CAM_FRONT", "CAM_BACK") and frame.image_u8.shape == (2, 32, 64, 3)
    assert [CLASSES[label] for label in frame.truth.labels] == ["car", "car"] and len(frame.lidar_m) > 20
    # LiDAR points lie on the walls of the street and on its ground, at the places that the boxes are given in
    assert (np.abs(frame.lidar_m[:, 1]).max() < 20) and frame.lidar_m[:, 2].min() > -0.5
    assert frame.covered.any() and frame.covered.shape == frame.said_covered.shape
    again = stacked_frames([frame])
    assert all(np.array_equal(again[name], arrays[name]) for name in arrays)
    del arrays["truth_labels"]
    with pytest.raises(ValueError, match="array 'truth_labels' is missing"):
        frames_of(arrays)
    assert PRESENT in (root / "a" / "table.md").read_text()
