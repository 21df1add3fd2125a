from __future__ import annotations

import pytest

from model.monoddle.config import MonoDdleTrainConfig
from model.monoddle.public_configuration.account import PublicTraining, Told
from model.monoddle.public_configuration.translation import translate_public_config
from storage_schemas.errors import RecipeError
from tests.model.monoddle.public_configurations import KITTI_DA3_UNCERTAINTY, KITTI_NO_DA3, MONODLE, changed


def translate(data) -> PublicTraining:
    return translate_public_config(data, where="kitti.yaml")


def values(data) -> dict:
    return {key: one.value for key, one in translate(data).train.items()}


def told(data, key: str) -> Told:
    return next(one for one in translate(data).told if one.key == key)


def leaves(data, above="") -> list[str]:
    return [
        key
        for name, value in data.items()
        for key in (leaves(value, f"{above}{name}.") if isinstance(value, dict) else [f"{above}{name}"])
    ]


def config_of(data) -> MonoDdleTrainConfig:
    train: dict = {}
    for key, value in values(data).items():
        *groups, last = key.split(".")
        group = train
        for one in groups:
            group = group.setdefault(one, {})
        group[last] = value
    return MonoDdleTrainConfig.model_validate(train)


def test_uncertainty_file_when_translated_then_trains_what_the_code_trains():
    config = config_of(KITTI_DA3_UNCERTAINTY)
    assert (config.distill.form, config.distill.weight, config.distill.foreground) == ("gauss", 0.5, 5.0)
    assert config.network.uncertainty and config.data.mono
    assert config.network.prior_depth_m is None and config.precision == "float32"
    assert (config.seed, config.data.seed, config.data.batch_size, config.epochs, config.keep) == (444, 444, 16, 140, "last")
    rates = [1.25e-3 * config.learning_rate_factor(epoch) for epoch in range(140)]
    assert rates[:6] == pytest.approx([1e-5, 1.284e-4, 4.384e-4, 8.216e-4, 1.1316e-3, 1.25e-3], rel=1e-3)
    assert [epoch for epoch in range(1, 140) if rates[epoch] < 0.5 * rates[epoch - 1]] == [95, 125]
    assert translate(KITTI_DA3_UNCERTAINTY).uses_maps and not translate(KITTI_DA3_UNCERTAINTY).of("lost")


@pytest.mark.parametrize("data", [KITTI_NO_DA3, MONODLE])
def test_baseline_when_translated_then_learns_from_no_teacher(data):
    config = config_of(data)
    assert (config.distill.form, config.data.mono, config.network.uncertainty) == ("none", False, False)
    assert not translate(data).uses_maps and not translate(data).of("lost")


@pytest.mark.parametrize("data", [KITTI_DA3_UNCERTAINTY, KITTI_NO_DA3, MONODLE])
def test_file_when_translated_then_every_key_is_told_once_in_its_order(data):
    assert [one.key for one in translate(data).told] == leaves(data)
    assert all(one.here or one.why for one in translate(data).told)


@pytest.mark.parametrize(
    ("changes", "form", "uncertainty", "key", "why"),
    [
        ({"distill": None}, "none", False, "dataset.use_da3_depth", "nothing is distilled: lambda is 0, or not in the file"),
        ({"dataset__use_da3_depth": False}, "none", False, "distill.lambda", "nothing is distilled: no maps are asked for"),
        (
            {"model__use_distill_uncertainty": False},
            "l1",
            False,
            "distill.use_uncertainty",
            "there is no head, so the code takes",
        ),
        (
            {"distill__use_uncertainty": False},
            "l1",
            False,
            "model.use_distill_uncertainty",
            "no loss of this file reads the head",
        ),
        ({"distill__loss_type": "silog"}, "gauss", True, "distill.loss_type", "distill.use_uncertainty decides the form"),
        (
            {"distill__loss_type": "silog", "distill__use_uncertainty": False},
            "silog",
            False,
            "distill.foreground_weight",
            "alike",
        ),
    ],
)
def test_distillation_when_keys_contradict_each_other_then_as_the_code_decides(changes, form, uncertainty, key, why):
    data = changed(**changes)
    train = values(data)
    assert (train["distill.form"], train.get("network.uncertainty", False)) == (form, uncertainty)
    assert why in told(data, key).why


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"lr_scheduler__warmup": False}, {"warm_up_epochs": 0, "schedule": "compat", "decay_epochs": [90, 120]}),
        ({"optimizer__type": "sgd"}, {"optimizer": "sgd", "momentum": 0.9}),
        ({"optimizer__lr": "1e-3", "distributed": None}, {"learning_rate": 0.001}),
        ({"dataset__use_3d_center": False}, {"targets.peak_at": "centre_2d"}),
        ({"dataset__bbox2d_type": "proj"}, {"targets.box_2d": "projected"}),
        ({"dataset__class_merging": True}, {"targets.heat_of": {"Van": "Car", "Truck": "Car"}, "network.train_classes": ["Car"]}),
        ({"dataset__writelist": ["Van", "Car"]}, {"targets.heat_of": {"Van": "Car"}, "network.train_classes": ["Car"]}),
        ({"dataset__writelist": ["Cyclist", "Car"]}, {"network.train_classes": ["Car", "Cyclist"], "evaluation.category": "Car"}),
        ({"dataset__writelist": ["Pedestrian", "Car"]}, {"evaluation.category": "Car"}),
        ({"dataset__meanshape": True, "dataset__scale": 0.2}, {"network.mean_shape": True, "data.augment.scale_spread": 0.2}),
        ({"model__backbone": "timm_resnet50"}, {"network.backbone": "resnet50"}),
        ({"model__backbone": "timm_dla34"}, {"network.backbone": "dla34"}),
        ({"model__backbone": "timm_poolformer_s12"}, {"network.backbone": "timm:poolformer_s12"}),
        ({"model__backbone": "timm_convnext_tiny.dinov3_lvd1689m"}, {"network.backbone": "convnext_tiny"}),
        ({"model__freeze_backbone": True}, {"frozen_backbone": True, "frozen_statistics": False}),
        ({"tester__mode": "all", "tester__threshold": 0.1}, {"evaluate_checkpoints": True, "evaluation.score_threshold": 0.1}),
        ({"trainer__max_checkpoints": 0}, {"keep_checkpoints": 14, "checkpoint_every_epochs": 10}),
        ({"distributed__dp_reference__total_batch_size": 32}, {"learning_rate_of_batch": 32, "data.batch_size": 32}),
        ({"distributed__dp_reference__lr": 0.01}, {"learning_rate_of_batch": 16, "learning_rate": 0.01}),
    ],
)
def test_key_when_it_has_another_value_then_so_has_the_recipe(changes, expected):
    train = values(changed(**changes))
    assert {key: train[key] for key in expected} == expected


@pytest.mark.parametrize(
    ("changes", "key", "fate", "why"),
    [
        ({"dataset__use_dontcare": True}, "dataset.use_dontcare", "not read", "without effect there: DontCare lies at -1000 m"),
        ({"model__model_cfg": {"pretrained": False}}, "model.model_cfg.pretrained", "not read", "not below model_cfg"),
        ({"model__neck": "DirectNeck"}, "model.neck", "not read", "the code knows no DirectNeck for this backbone and takes DLAUp"),
        ({"model__backbone": "yolo11"}, "model.backbone", "lost", "The recipe trains dla34, which is another network"),
        ({"model__backbone": "yolo11", "model__neck": "NativeNeck"}, "model.neck", "lost", "the neck here is DLAUp"),
        ({"model__backbone": "yolo8", "model__ultralytics_model": "yolov8n.pt"}, "model.ultralytics_model", "lost", "of a YOLO"),
        ({"trainer__amp": True}, "trainer.amp", "lost", "Only older versions of the public code read it"),
        ({"trainer__pretrain_model": "a.pth"}, "trainer.pretrain_model", "lost", "train.start_from takes checkpoints of depthmill"),
        ({"dataset__random_flipp": 0.1}, "dataset.random_flipp", "lost", "unknown key: the public code reads no such key. Did you "
         "mean dataset.random_flip?"),
        ({"extra__deep__key": 1}, "extra.deep.key", "lost", "unknown key"),
        ({"distributed__dp_reference__lr": 0.01}, "optimizer.lr", "not read", "takes distributed.dp_reference.lr in its place"),
    ],
)  # fmt: skip
def test_key_when_nothing_takes_it_over_then_it_is_named_with_the_reason(changes, key, fate, why):
    one = told(changed(**changes), key)
    assert one.fate == fate and why in one.why


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dataset__batch_size": "many"}, "dataset.batch_size is 'many': expected a whole number of at least 1"),
        ({"optimizer": None}, "key 'optimizer.type' is missing, and the public code stops without it. Add it"),
        ({"trainer__save_frequency": None}, "key 'trainer.save_frequency' is missing"),
        ({"dataset__random_flip": -0.5}, "dataset.random_flip is -0.5: expected a number of at least 0"),
        ({"dataset__random_flip": {"left": 1}}, "dataset.random_flip is a group of keys (left): expected a number"),
        ({"dataset__writelist": {"Car": 1}}, "dataset.writelist is a group of keys (Car): expected a list of Pedestrian, Car"),
        ({"dataset__meanshape": "maybe"}, "dataset.meanshape is 'maybe': expected true or false"),
        ({"dataset__type": "nuScenes"}, "dataset.type is 'nuScenes': expected KITTI"),
        ({"dataset__bbox2d_type": "3d"}, "dataset.bbox2d_type is '3d': expected anno or proj"),
        (
            {"dataset__writelist": ["Tram"]},
            "dataset.writelist is ['Tram']: expected a list of Pedestrian, Car, Cyclist, Van, Truck",
        ),
        ({"model__num_class": 1}, "model.num_class is 1: expected 3"),
        ({"optimizer__type": "lion"}, "optimizer.type is 'lion': expected adam or adamw or sgd"),
        ({"lr_scheduler__decay_list": 90}, "lr_scheduler.decay_list is 90: expected a list of epochs"),
        ({"distill__loss_type": "l2"}, "distill.loss_type is 'l2': expected l1 or silog"),
        ({"trainer": [140]}, "trainer is [140]: expected a group of keys"),
        ({"model": None}, "is no configuration of MonoDLE or MonoDDLE: expected the groups dataset, model, optimizer"),
    ],
)
def test_file_when_a_value_is_wrong_then_the_error_names_it(changes, message):
    with pytest.raises(RecipeError) as error:
        translate(changed(**changes))
    assert str(error.value).startswith("'kitti.yaml'") and message in str(error.value)
