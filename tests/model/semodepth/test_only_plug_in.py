"""The branch for monocular depth, put on a network that is there already."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from model.errors import CheckpointError
from model.families import evaluate_training, load_checkpoint, load_network, parse_train_config, train
from model.semodepth.config import SemoDepthTrainConfig
from storage_schemas.errors import RecipeError
from storage_schemas.evaluation import read_evaluation
from tests.model.data.made_up_store import write_store
from tests.model.train.made_up_training import CPU, check_resumed, small_config

BRANCH = {"base_channels": 8, "plug_in": True, "absent_mono": "skip"}
MEASURED = {"split": "train", "target": "depth_single", "num_strips": 0}


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    """Three frames with everything."""
    return write_store(tmp_path_factory.mktemp("store"), frames=(3,), height=36, width=64).manifest


@pytest.fixture(scope="module")
def base(manifest, tmp_path_factory) -> Path:
    """A training of a network without the branch."""
    folder = tmp_path_factory.mktemp("base")
    config = small_config(max_steps=2, evaluation=MEASURED)
    train(config, manifest, folder, machine=CPU)
    evaluate_training(config, manifest, folder, machine=CPU)
    return folder


def branch_config(base: Path, **changes) -> SemoDepthTrainConfig:
    data = {"mono": True, "augment": {"mono_dropout": 0.0}}
    settings = {"network": BRANCH, "data": data, "only_plug_in": True, "start_from": str(base / "best.pt"), "max_steps": 4}
    return small_config(**{**settings, "evaluation": MEASURED, **changes})


@pytest.mark.slow
def test_branch_when_trained_alone_then_nothing_else_changes_and_withheld_depth_gives_the_former_network(
    base, manifest, tmp_path
):
    config = branch_config(base, evaluate_every_epochs=10)
    train(config, manifest, tmp_path, machine=CPU)
    evaluate_training(config, manifest, tmp_path, machine=CPU)
    before, after = load_checkpoint(base / "best.pt").model, load_checkpoint(tmp_path / "last.pt").model
    assert all(torch.equal(after[key], value) for key, value in before.items())  # the averages of the norms too
    assert set(after) - set(before) == {f"mono_embed.{name}" for name in ("0.weight", "0.bias", "2.weight", "2.bias")}
    assert after["mono_embed.2.weight"].abs().max() > 0
    network, former = load_network(tmp_path / "best.pt"), load_network(base / "best.pt")
    generator = torch.Generator().manual_seed(0)
    image = torch.randint(0, 256, (2, 36, 64, 3), dtype=torch.uint8, generator=generator)
    radar = torch.zeros(2, 36, 64).index_put(
        (torch.tensor([0, 1]), torch.tensor([9, 20]), torch.tensor([30, 5])), torch.tensor(12.0)
    )
    mono = torch.rand(2, 36, 64, generator=generator) * 40 + 2
    own = former.predict(image, radar)
    assert torch.equal(network.predict(image, radar), own)
    assert torch.equal(network.predict(image, radar, torch.zeros_like(mono)), own)
    given = network.predict(image, radar, mono)
    assert (given - own).abs().max() > 1e-4
    half = network.predict(image, radar, torch.stack([mono[0], torch.zeros_like(mono[1])]))
    assert torch.allclose(half[0], given[0], rtol=1e-4) and torch.allclose(half[1], own[1], rtol=1e-4)
    withheld, without = (
        read_evaluation(str(place))[0] for place in (tmp_path / "evaluation" / "without-mono", base / "evaluation")
    )
    assert withheld["mae_mm"] == without["mae_mm"]


@pytest.mark.slow
def test_training_of_the_branch_when_resumed_then_the_same_weights(base, manifest, tmp_path):
    check_resumed(branch_config(base, evaluate_every_epochs=0.67), manifest, tmp_path, stop_at=3)


def test_branch_when_nothing_of_a_batch_has_depth_then_a_step_changes_nothing(base):
    network = load_network(base / "best.pt")
    config = branch_config(base)
    with_branch = type(network)(config.network)
    with_branch.train_only_plug_in()
    with_branch.train()
    assert not with_branch.encoder.training and with_branch.mono_embed.training
    image = torch.zeros(1, 36, 64, 3, dtype=torch.uint8)
    with_branch(image, torch.zeros(1, 36, 64), torch.zeros(1, 36, 64)).sum().backward()
    assert all(one.grad is not None and one.grad.abs().max() == 0 for one in with_branch.mono_embed.parameters())


def test_branch_alone_when_the_recipe_does_not_fit_then_all_that_has_to_be_set_is_named(base):
    with pytest.raises(RecipeError) as error:
        parse_train_config({"only_plug_in": True, "network": {"plug_in": True}, "data": {"mono": True}}, where="r")
    assert (
        'set network.absent_mono to "skip", data.augment.mono_dropout to 0.0, start_from to the checkpoint of a network without '
        "the branch"
    ) in str(error.value)
    other = branch_config(base, network={**BRANCH, "window_size": 4})
    with pytest.raises(CheckpointError, match=re.escape("it has train.network.window_size = 8, the recipe says 4")):
        train(other, None, base / "nowhere", machine=CPU)  # type: ignore[arg-type]  # refused before it is read


def test_names_of_trainings_when_the_keys_are_left_alone_then_those_from_before():
    written = SemoDepthTrainConfig().model_dump(mode="json")
    assert "only_plug_in" not in written and "absent_mono" not in written["network"]
    assert SemoDepthTrainConfig.model_validate(written) == SemoDepthTrainConfig()
