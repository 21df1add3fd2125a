from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from model.families import FAMILIES, family_of, load_checkpoint, train
from model.monoddle.config import MonoDdleTrainConfig
from model.monoddle.optimizer import detector_optimizer
from storage_schemas.manifest import open_manifest
from storage_schemas.store import Store
from tests.model.monoddle.made_up_detection_training import small_detection_config
from tests.model.train.made_up_training import CPU, check_resumed, same, steps


@pytest.fixture
def manifest(tiny_kitti_store):
    return open_manifest(Store(str(tiny_kitti_store)))


def backbone_of(model: dict[str, torch.Tensor], *, statistics: bool) -> dict[str, torch.Tensor]:
    is_statistic = ("running_mean", "running_var", "num_batches_tracked")
    return {
        key: value for key, value in model.items() if key.startswith("backbone.") and key.endswith(is_statistic) == statistics
    }


@pytest.mark.parametrize("with_statistics", [True, False])
def test_frozen_backbone_when_trained_then_only_the_rest_learns(manifest, tmp_path, with_statistics):
    changes = {} if with_statistics else {"frozen_statistics": False}
    config = small_detection_config(max_steps=2, frozen_backbone=True, **changes)
    torch.manual_seed(config.seed)
    before = family_of(config).network(config).state_dict()
    train(config, manifest, tmp_path, machine=CPU)
    after = load_checkpoint(tmp_path / "last.pt").model
    assert same(backbone_of(after, statistics=False), backbone_of(before, statistics=False))
    assert same(backbone_of(after, statistics=True), backbone_of(before, statistics=True)) == with_statistics
    trained = [key for key in after if not key.startswith("backbone.") and key.endswith(("weight", "bias"))]
    assert all(not torch.equal(after[key], before[key]) for key in trained)


@pytest.mark.slow
def test_frozen_backbone_when_training_is_resumed_then_the_same_weights(manifest, tmp_path):
    config = small_detection_config(max_steps=3, frozen_backbone=True, optimizer="sgd", learning_rate=1e-4)
    assert check_resumed(config, manifest, tmp_path, stop_at=2) == [3]


def test_frozen_backbone_when_it_begins_with_random_weights_then_a_notice(manifest):
    frozen = small_detection_config(frozen_backbone=True)
    notices = family_of(frozen).notices(frozen, manifest)
    assert notices == [
        "train.frozen_backbone is true and the backbone begins with random weights, which it keeps. Name its weights in "
        "train.imagenet_weights, train.backbone_from or train.start_from."
    ]
    named = frozen.model_copy(update={"imagenet_weights": "/data/dla34.pth"})
    assert family_of(named).notices(named, manifest) == []


class OneWeight(nn.Module):
    """A weight, a bias, and a weight that is frozen."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.bias, self.frozen = (nn.Parameter(torch.tensor(value)) for value in (2.0, 3.0, 4.0))
        self.frozen.requires_grad_(False)


@pytest.mark.parametrize(
    ("changes", "weight", "bias"),
    [  # after two steps at rate 0.1 with gradient 1 and decay 0.5, which the bias does not have
        ({"optimizer": "sgd", "momentum": 0.5}, 2 - 0.1 * 2 - 0.1 * (0.5 * 2 + 1.9), 3 - 0.1 - 0.1 * 1.5),
        ({"optimizer": "sgd", "momentum": 0}, 2 - 0.1 * 2 - 0.1 * 1.9, 3 - 0.2),
        ({"optimizer": "adamw"}, (2 * 0.95 - 0.1) * 0.95 - 0.1, 3 - 0.2),
        ({}, 2 - 0.2, 3 - 0.2),  # Adam divides by the gradient's size, to which the decay is added
    ],
)
def test_optimizer_when_it_takes_two_steps_then_as_its_formula_says(changes, weight, bias):
    network, config = OneWeight(), MonoDdleTrainConfig(learning_rate=0.1, weight_decay=0.5, **changes)
    optimizer = detector_optimizer(network, config)
    for _ in range(2):
        network.weight.grad, network.bias.grad = torch.tensor(1.0), torch.tensor(1.0)
        optimizer.step()
    assert float(network.weight.detach()) == pytest.approx(weight, abs=2e-3)
    assert float(network.bias.detach()) == pytest.approx(bias, abs=1e-5)
    assert float(network.frozen) == 4.0


def test_learning_rate_when_meant_for_another_batch_then_scaled_by_the_samples_of_a_step(manifest, tmp_path):
    plain = {"learning_rate": 1e-3, "warm_up_epochs": 0, "max_steps": 1, "data": {"batch_size": 2}, "evaluate_every_epochs": 99}
    for name, changes in {"alone": {}, "of_8": {"learning_rate_of_batch": 8}}.items():
        train(small_detection_config(**plain, **changes), manifest, tmp_path / name, machine=CPU)
    assert float(steps(tmp_path / "alone")[0]["lr"]) == pytest.approx(1e-3)
    assert float(steps(tmp_path / "of_8")[0]["lr"]) == pytest.approx(1e-3 * 2 / 8)
    state = load_checkpoint(tmp_path / "of_8" / "last.pt").optimizer
    assert [group["lr"] for group in state["param_groups"]] == pytest.approx([1e-3 * 2 / 8] * 2)
    accumulated = small_detection_config(learning_rate_of_batch=8, accumulate=3)
    assert accumulated.learning_rate_share(2) == pytest.approx(2 * 3 * 2 / 8)
    assert small_detection_config().learning_rate_share(4) == 1.0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"optimizer": "lion"}, "Input should be 'adam', 'adamw' or 'sgd'"),
        ({"momentum": 0.8}, "momentum is 0.8, which belongs to optimizer sgd, and optimizer is adam; leave momentum out, or set"),
        ({"momentum": 1.0, "optimizer": "sgd"}, "less than 1"),
        ({"frozen_statistics": False}, "frozen_statistics is false, which belongs to a frozen backbone, and frozen_backbone is"),
        ({"learning_rate_of_batch": 0}, "greater than or equal to 1"),
        ({"evaluate_checkpoints": True}, "evaluate_checkpoints is true and checkpoint_every_epochs is null, so no checkpoint is"),
        ({"keep_checkpoints": 0}, "greater than or equal to 1"),
        ({"checkpoint_every_epochs": 0}, "greater than 0"),
    ],
)
def test_option_when_it_does_not_fit_then_said(changes, message):
    with pytest.raises(ValidationError, match=message):
        MonoDdleTrainConfig(**changes)


def test_name_of_a_training_when_a_new_option_has_its_default_then_as_before_and_else_another():
    plain = MonoDdleTrainConfig()
    as_before = {"optimizer": "adam", "momentum": 0.9, "frozen_backbone": False, "learning_rate_of_batch": None}
    assert (
        FAMILIES.training_name(MonoDdleTrainConfig(**as_before), "m") == FAMILIES.training_name(plain, "m") == "bd1a300206c7d0aa"
    )
    kept = MonoDdleTrainConfig(checkpoint_every_epochs=10, keep_checkpoints=3, evaluate_checkpoints=True)
    assert FAMILIES.training_name(kept, "m") == FAMILIES.training_name(plain, "m")
    changed = [{"optimizer": "adamw"}, {"frozen_backbone": True}, {"learning_rate_of_batch": 16}]
    names = {FAMILIES.training_name(MonoDdleTrainConfig(**changes), "m") for changes in changed}
    assert len(names - {FAMILIES.training_name(plain, "m")}) == 3
