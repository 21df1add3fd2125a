from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from model.families import evaluate_training, family_of, load_checkpoint, load_network, parse_train_config, train
from model.monoddle.config import MonoDdleTrainConfig
from model.monoddle.data import DetectionLoader
from model.monoddle.family import MonoDdleFamily
from model.monoddle.kitti_files import read_results
from model.monoddle.reader import TargetError
from model.monoddle.targets import NOT_JUDGED
from model.train.config import Machine
from model.train.loop import read_training
from storage_schemas.errors import ManifestError, RecipeError, StoreError
from storage_schemas.manifest import open_manifest
from storage_schemas.store import Store
from tests.model.monoddle.made_up_detection_training import small_detection_config
from tests.model.train.made_up_training import CPU, check_equal_on_any_machine, check_resumed, same, steps, weights

DISTILL = {"distill": {"form": "laplace"}, "network": {"uncertainty": True}, "data": {"mono": True}}


@pytest.fixture
def manifest(tiny_kitti_store):
    return open_manifest(Store(str(tiny_kitti_store)))


def test_training_when_stopped_and_resumed_with_a_worker_then_the_same_weights(manifest, tmp_path):
    assert check_resumed(small_detection_config(**DISTILL), manifest, tmp_path, stop_at=3) == [3, 4]


@pytest.mark.slow
def test_training_when_the_machine_has_other_cores_or_it_was_stopped_then_the_same_bits(manifest, tmp_path):
    check_equal_on_any_machine(small_detection_config(**DISTILL), manifest, tmp_path)


def test_training_when_evaluated_then_results_tables_pictures_and_a_record(manifest, tmp_path):
    config = small_detection_config(**DISTILL, max_steps=2, evaluation={"frames": ["000005"], "num_worst": 1})
    words: list[str | None] = []
    train(config, manifest, tmp_path, machine=CPU, on_progress=lambda p: words.append(p.measured_text))
    assert words[-1] is not None and words[-1].startswith("validation Car AP_R40 3d strict moderate ")
    evaluate_training(config, manifest, tmp_path, machine=CPU)
    results = read_results(tmp_path / "evaluation" / "results")
    assert sorted(results) == ["000004", "000005"]
    with open(tmp_path / "evaluation" / "average_precision.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert {(row["metric"], row["overlap"]) for row in rows} >= {("3d", "strict"), ("bev", "loose"), ("aos", "strict")}
    assert {row["category"] for row in rows} == {"Car"} and int(rows[0]["num_truth"]) > 0
    with np.load(tmp_path / "evaluation" / "pictures.npz") as pictures:
        assert pictures["image_u8"].shape == (2, 96, 320, 3)
        assert pictures["teacher_m"].max() > 5 and np.isfinite(pictures["log_scale"]).all()
        assert pictures["reasons"][0].startswith("named") and pictures["reasons"][1].endswith("spread")
        assert sum("worst" in reasons for reasons in pictures["reasons"]) == 1 and pictures["num_missed"].max() > 0
        assert np.count_nonzero(pictures["truth_frame"] == 1) == 3 and pictures["truth"].shape[1] == 12
    assert "3D" in (tmp_path / "evaluation" / "table.md").read_text()
    record = read_training(tmp_path)
    assert record["config"]["family"] == "monoddle" and record["val_frames"] == 2 and record["best"]["step"] == 2
    network = load_network(tmp_path / "best.pt")
    assert network.config == config.network and not network.training


def test_notices_when_a_frame_that_is_named_for_pictures_is_not_there_then_said_before_the_training(manifest):
    config = small_detection_config(evaluation={"frames": ["5"]})
    with pytest.raises(RecipeError, match=r"train\.evaluation\.frames names '5', which is no frame of split val of manifest"):
        MonoDdleFamily().notices(config, manifest)


def test_config_when_no_picture_is_chosen_then_its_training_has_the_name_that_it_had():
    dumped = MonoDdleTrainConfig().model_dump(mode="json")["evaluation"]
    assert "num_pictures" in dumped and not {"num_worst", "frames"} & dumped.keys()


def test_distillation_when_its_weight_is_zero_or_it_is_removed_then_bit_identical(manifest, tmp_path):
    without = small_detection_config(data={"mono": True}, network={"uncertainty": True})
    weightless = small_detection_config(**{**DISTILL, "distill": {"form": "laplace", "weight": 0.0}})
    distilled = small_detection_config(**DISTILL)
    for name, config in (("without", without), ("weightless", weightless), ("distilled", distilled)):
        train(config, manifest, tmp_path / name, machine=CPU)
    assert same(weights(tmp_path / "without"), weights(tmp_path / "weightless"))
    assert not same(weights(tmp_path / "without"), weights(tmp_path / "distilled"))


@pytest.mark.parametrize("form", ["l1", "silog", "laplace", "gauss"])
def test_distillation_when_of_any_form_then_its_values_are_written_down(manifest, tmp_path, form):
    config = small_detection_config(**{**DISTILL, "distill": {"form": form}}, max_steps=2)
    train(config, manifest, tmp_path, machine=CPU)
    rows = steps(tmp_path)
    assert all(np.isfinite(float(row["distill"])) and float(row["teacher_mae_m"]) > 0 for row in rows)
    assert all(np.isfinite(float(row["teacher_log_scale"])) == (form in ("laplace", "gauss")) for row in rows)


def test_loader_when_shuffled_then_views_targets_and_teacher_belong_together(manifest):
    config = small_detection_config(data={"mono": True, "batch_size": 4, "augment": {"flip_probability": 1.0}})
    with DetectionLoader(manifest, config.data, config.network, rules=config.targets) as loader:
        batch = next(iter(loader))
        assert batch.targets is not None and batch.teacher_m is not None
        assert all(view.is_flipped for view in batch.views)
        heat = batch.targets.heatmap.clone()
        for i, view in enumerate(batch.views):
            count = int(batch.targets.is_object[i].sum())
            assert (heat[i] == 1).sum() == count
            for cell, depth_m in zip(batch.targets.cell_index[i][:count], batch.targets.depth_m[i][:count], strict=True):
                row, column = divmod(int(cell), 80)
                assert heat[i, 1, row, column] == 1
                # the teacher shows the near face of the box, or another one in front of it
                seen_m = float(batch.teacher_m[i, row, column])
                assert 0 < seen_m < float(depth_m) + 0.5
            assert batch.teacher_m[i].max() <= 80.0 * view.scale + 1.0
    again = DetectionLoader(manifest, config.data, config.network, rules=config.targets)
    assert next(iter(again)).views == batch.views


def test_loader_when_regions_are_ignored_then_the_targets_of_the_batch_say_so(manifest):
    config = small_detection_config(targets={"ignored": "regions"}, data={"batch_size": 4, "order": "manifest"})
    with DetectionLoader(manifest, config.data, config.network, rules=config.targets) as loader:
        batch = next(iter(loader))
    assert batch.targets is not None
    assert all((heat == NOT_JUDGED).any() for heat in batch.targets.heatmap)  # each frame of the tiny set has a DontCare box
    assert (batch.targets.heatmap == 1).any()


def test_loader_when_images_have_several_sizes_then_one_batch_holds_them(manifest):
    config = small_detection_config(data={"batch_size": 4, "order": "manifest"})
    with DetectionLoader(manifest, config.data, config.network, rules=None) as loader:
        batch = next(iter(loader))
        assert {view.image_width for view in batch.views} == {122, 124}
        assert batch.image_u8.shape == (4, 96, 320, 3) and batch.targets is None
        assert sorted(batch.sample_tokens) == ["000000", "000001", "000002", "000003"]


def test_objects_when_more_than_the_network_takes_then_the_frame_and_the_key_are_named(manifest, tmp_path):
    config = small_detection_config(network={"max_objects": 1, "train_classes": ["Car", "Pedestrian", "Cyclist"]})
    with pytest.raises(
        TargetError, match=r"frame 'train-.*' has \d objects to learn .* set train.network.max_objects to \d or more"
    ):
        train(config, manifest, tmp_path, machine=CPU)


def test_teacher_when_the_manifest_has_none_then_said_before_the_first_step(tiny_store, tiny_kitti_store, tmp_path):
    manifest = open_manifest(Store(str(tiny_store)))
    with pytest.raises(ManifestError, match=r"frame 'scene-0061/CAM_FRONT/\d+' has no boxes in manifest"):
        train(small_detection_config(), manifest, tmp_path, machine=CPU)


def test_teacher_when_a_map_is_empty_then_the_frame_is_named(manifest, tmp_path, monkeypatch):
    from storage_schemas.frame_chunks import FrameChunks

    def empty(self, content, out):
        out[...] = 0

    monkeypatch.setattr(FrameChunks, "decode", empty)
    config = small_detection_config(**DISTILL)
    with (
        DetectionLoader(manifest, config.data, config.network, rules=None) as loader,
        pytest.raises(StoreError, match=r"frame 'train-.*': the teacher's map \(depth_mono\) has no value at all"),
    ):
        next(iter(loader))


def test_schedule_when_published_then_its_learning_rates():
    config = MonoDdleTrainConfig()
    rates = [config.learning_rate * config.learning_rate_factor(epoch) for epoch in (0, 1, 2, 3, 4, 5, 89, 90, 119.9, 120)]
    expected = [1e-5, 1.284e-4, 4.384e-4, 8.216e-4, 1.1316e-3, 1.25e-3, 1.25e-3, 1.25e-4, 1.25e-4, 1.25e-5]
    assert rates == pytest.approx(expected, rel=1e-3)
    compat = MonoDdleTrainConfig(schedule="compat")
    assert [compat.learning_rate_factor(epoch) for epoch in (94.9, 95, 124, 125)] == pytest.approx([1, 0.1, 0.1, 0.01])


def test_optimizer_when_made_then_biases_are_not_decayed():
    config = small_detection_config()
    family = MonoDdleFamily()
    network = family.network(config)
    decayed, free = family.optimizer(network, config).param_groups
    assert decayed["weight_decay"] == 1e-5 and free["weight_decay"] == 0.0
    assert len(decayed["params"]) + len(free["params"]) == len(list(network.parameters()))
    biases = {id(one) for name, one in network.named_parameters() if name.endswith("bias")}
    assert {id(one) for one in free["params"]} == biases


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (
            {"distill": {"form": "laplace"}, "data": {"mono": True}},
            "distill.form laplace reads the uncertainty head; set network",
        ),
        ({"distill": {"form": "l1"}}, "distill.form is l1 and data.mono is false, so there is no teacher's map to learn from"),
        (
            {"network": {"train_classes": ["Cra"]}},
            "train_classes has 'Cra', which is not one of classes (Pedestrian, Car, Cyclist)",
        ),
        ({"evaluation": {"category": "Cyclist"}}, "evaluation.category is 'Cyclist', which is not trained on"),
        ({"distil": {}}, "unknown key 'train.distil'; did you mean 'distill'?"),
        (
            {"data": {"augment": {"flip_probabilty": 1}}},
            "unknown key 'train.data.augment.flip_probabilty'; did you mean 'flip_probability'?",
        ),
    ],
)
def test_recipe_when_it_has_a_mistake_then_the_key_and_the_remedy(data, text):
    with pytest.raises(RecipeError) as caught:
        parse_train_config({"family": "monoddle", **data}, where="r.yaml")
    assert "recipe 'r.yaml'" in str(caught.value) and text in str(caught.value)


def test_family_when_unknown_then_the_nearest_is_offered():
    with pytest.raises(RecipeError, match="train.family is 'monodle'; did you mean 'monoddle'?"):
        parse_train_config({"family": "monodle"}, where="r.yaml")


def test_config_when_written_and_read_then_the_same_family():
    config = small_detection_config()
    assert family_of(config).name == "monoddle"
    assert json.loads(config.model_dump_json())["family"] == "monoddle"
    with pytest.raises(ValidationError):
        MonoDdleTrainConfig.model_validate({"family": "semodepth"})


@pytest.mark.slow
def test_two_processes_when_training_together_then_one_checkpoint_after_as_many_steps(manifest, tmp_path):
    options = {"warm_up_epochs": 0, "learning_rate_of_batch": 8, "frozen_backbone": True, "checkpoint_every_epochs": 0.5}
    config = small_detection_config(**{**DISTILL, "data": {"mono": True, "batch_size": 1}}, max_steps=2, **options)
    train(config, manifest, tmp_path, machine=Machine("cpu", num_devices=2))
    assert load_checkpoint(tmp_path / "last.pt").step == 2
    assert [row["samples"] for row in steps(tmp_path)] == ["2", "2"]
    assert [float(row["lr"]) for row in steps(tmp_path)] == [1e-3 * 2 / 8] * 2
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["step_0000001.pt", "step_0000002.pt"]
    torch.manual_seed(config.seed)
    before, after = (
        family_of(config).network(config).backbone.state_dict(),
        load_network(tmp_path / "last.pt").backbone.state_dict(),
    )
    assert same(before, after)
