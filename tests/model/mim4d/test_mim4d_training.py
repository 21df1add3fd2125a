from __future__ import annotations

import csv
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric

from model.errors import CheckpointError
from model.families import (
    FAMILIES,
    evaluate_training,
    family_of,
    load_checkpoint,
    load_network,
    parse_train_config,
    train,
)
from model.mim4d.clip_draws import draw_clips
from model.mim4d.config import Mim4dTrainConfig
from model.mim4d.evaluation import RENDERING_FILE, read_rendering, single_clips
from model.mim4d.family import Mim4dFamily
from model.mim4d.loss import LOSS_VALUES
from model.mim4d.net import Mim4d
from model.mim4d.rendered_views import VIEWS_FILE
from model.train.loop import TrainingError, read_training
from model.train.start import load_start
from storage_schemas.errors import RecipeError
from storage_schemas.manifest import Manifest, open_manifest
from storage_schemas.store import Store
from tests.model.mim4d.made_up_clips import joined, small_clip, small_network
from tests.model.train.made_up_training import CPU, check_equal_on_any_machine, check_resumed, steps, table, weights


@pytest.fixture(scope="module")
def manifest(tiny_root, tmp_path_factory) -> Manifest:
    """The tiny database with clips of two frames and two cameras: two to train on, two to validate on."""
    from flows.run.bare_loop import BareLoop
    from flows.run.making import make_units
    from flows.run.opening import open_recipe
    from flows.settings import Settings
    from pipeline.recipe import parse_recipe

    folder = tmp_path_factory.mktemp("tiny-windows")
    recipe = {
        "source": {"kind": "nuscenes", "root": str(tiny_root), "version": "v1.0-mini"},
        "store": str(folder / "store"),
        "stages": {"index_windows": {"enabled": True, "num_frames": 2}, "build_manifest": {"drop_last_keyframe": False}},
    }
    opened = open_recipe(parse_recipe(recipe, where="test"), Settings(workers=1, cache_dir=folder / "cache"))
    made = make_units(opened, BareLoop(), report=False)
    assert made.num_failed == 0
    return open_manifest(Store(str(folder / "store")))


def small_training(**changes: Any) -> Mim4dTrainConfig:
    """Return a training over the tiny clips whose step takes a tenth of a second."""
    network = small_network(**{"num_frames": 2, **changes.pop("network", {})})
    settings: dict[str, Any] = {
        "network": network.model_dump(),
        "data": {"held_out_share": 0.3, **changes.pop("data", {})},
        "evaluation": {"rays_per_camera": 8, "picture_width_px": 8, "flight_frames": 2},
        "learning_rate": 1e-3,
        "max_steps": 4,
        "evaluate_every_epochs": 1.0,
        **changes,
    }
    return Mim4dTrainConfig.model_validate(settings)


@pytest.mark.slow
def test_training_when_the_machine_has_other_cores_or_it_was_stopped_then_the_same_bits(manifest, tmp_path):
    check_equal_on_any_machine(small_training(), manifest, tmp_path)


def test_training_when_stopped_and_resumed_with_a_worker_then_the_same_weights(manifest, tmp_path):
    assert check_resumed(small_training(), manifest, tmp_path, stop_at=3) == [3, 4]
    rows = steps(tmp_path / "whole")
    assert all(float(row["loss"]) > 0 and float(row["reconstruct_rgb_masked"]) > 0 for row in rows)
    groups = load_checkpoint(tmp_path / "whole" / "last.pt").optimizer["param_groups"]
    assert groups[0]["lr"] == pytest.approx(0.1 * groups[1]["lr"]) and float(rows[-1]["lr"]) == pytest.approx(groups[1]["lr"])


def test_training_when_evaluated_then_tables_and_a_record(manifest, tmp_path):
    config = small_training(max_steps=2)
    words: list[str] = []
    train(config, manifest, tmp_path, machine=CPU, on_progress=lambda p: words.extend([p.losses_text, p.measured_text or ""]))
    assert words[-1].startswith("validation AbsRel reconstruct ") and ", constant " in words[-1]
    assert "rebuilt" in words[-2] and "hidden colour" in words[-2]
    with open(tmp_path / "evaluations.csv", newline="") as stream:
        told = list(csv.DictReader(stream))
    assert {row["volume"] for row in told} == {
        "direct",
        "reconstruct",
        "copied",
        "copied_warped",
        "swapped",
        "reconstruct_swapped",
        "constant",
    }
    evaluate_training(config, manifest, tmp_path, machine=CPU)
    measured = table(tmp_path / "evaluation" / RENDERING_FILE)
    with torch.autocast("cpu", torch.bfloat16):  # a user's; measuring computes in float32 from its first operation to its last
        evaluate_training(config, manifest, tmp_path, machine=CPU)
    assert table(tmp_path / "evaluation" / RENDERING_FILE) == measured
    rows = read_rendering(tmp_path / "evaluation")
    assert {row.volume for row in rows} == {row["volume"] for row in told}
    reconstruct = next(row for row in rows if row[:4] == ("reconstruct", "all", "all", "all"))
    assert reconstruct.num_rays > 10
    with np.load(tmp_path / "evaluation" / VIEWS_FILE) as views:
        assert views["window_keys"].tolist() == [clip.window_keys[0] for clip in single_clips(manifest, config, CPU)]
        assert views["image_u8"].shape == (2, 1, 32, 64, 3) and views["flight_steps"].shape == (2, 4, 8)
    record = read_training(tmp_path)
    assert record["config"]["family"] == "mim4d" and record["val_frames"] == 2 and record["train_frames"] == 2
    assert record["best"] == {"step": 2, "abs_rel": pytest.approx(reconstruct.abs_rel, rel=1e-5)}
    network = load_network(tmp_path / "best.pt")
    assert isinstance(network, Mim4d) and network.config == config.network and not network.training


def test_start_when_the_network_is_alike_then_its_weights_or_the_option_that_differs(manifest, tmp_path):
    config = small_training(max_steps=1)
    train(config, manifest, tmp_path, machine=CPU)
    network = Mim4d(config.network)
    load_start(network, tmp_path / "last.pt", FAMILIES)
    assert all(torch.equal(one, network.state_dict()[key]) for key, one in weights(tmp_path).items())
    other = Mim4d(small_network(num_frames=2, mask={"hidden_ratio": 0.0}))
    with pytest.raises(CheckpointError, match="it has train.network.mask.hidden_ratio = 0.3, the recipe says 0.0"):
        load_start(other, tmp_path / "last.pt", FAMILIES)


def test_training_when_clips_are_of_single_frames_then_direct_alone_and_its_loss_twice(manifest, tmp_path):
    config = small_training(network={"num_frames": 1}, max_steps=2)
    words: list[str] = []
    train(config, manifest, tmp_path, machine=CPU, on_progress=lambda p: words.extend([p.losses_text, p.measured_text or ""]))
    for row in steps(tmp_path):
        expected = 2 * (10 * float(row["direct_rgb"]) + 10 * float(row["direct_depth"]))
        assert float(row["loss"]) == pytest.approx(expected, rel=1e-4) and row["reconstruct_rgb"] == "nan"
    assert words[-1].startswith("validation AbsRel direct ") and "rebuilt" not in words[-2]


def test_loss_when_not_a_number_then_the_window_is_named(manifest, tmp_path, monkeypatch):
    from model.mim4d import loss as mim4d_loss

    monkeypatch.setattr(mim4d_loss, "_weighted", lambda terms, config: terms["rgb"] * float("nan"))
    with pytest.raises(TrainingError, match=r"the loss is nan on frames scene-\d+/\d+\. Nothing was saved"):
        train(small_training(), manifest, tmp_path, machine=CPU)


def test_losses_when_made_for_a_batch_then_the_mean_of_the_clips_and_every_column():
    family, config = Mim4dFamily(), small_training(network={"num_frames": 3}, seed=4)
    fabric = Fabric(accelerator="cpu", devices=1)
    torch.manual_seed(0)
    network = fabric.setup(family.network(config))
    clips = [small_clip(0), small_clip(1)]
    alone = [family.losses(network, clip, config, fabric, epoch=2.7).loss.detach() for clip in clips]
    together = family.losses(network, joined(clips), config, fabric, epoch=2.2)
    torch.testing.assert_close(together.loss.detach(), torch.stack(alone).mean(), atol=2e-5, rtol=1e-6)
    assert tuple(together.values) == family.loss_columns == LOSS_VALUES
    other_epoch = family.losses(network, joined(clips), config, fabric, epoch=3.0)
    assert not torch.equal(other_epoch.loss, together.loss)


def test_losses_when_points_are_held_out_then_they_change_nothing():
    family, config = Mim4dFamily(), small_training(network={"num_frames": 3})
    fabric = Fabric(accelerator="cpu", devices=1)
    network = fabric.setup(family.network(config))
    clip = small_clip(0)
    moved = replace(clip, points=torch.where(clip.is_held_out[:, None], clip.points + 1.0, clip.points))
    first, second = (family.losses(network, one, config, fabric, epoch=0.0).loss for one in (clip, moved))
    assert torch.equal(first, second)
    draws = draw_clips(clip, config.network, seed=config.seed, epoch=0)
    assert any(rays.is_measured.any() for rays in draws.rays)


def test_optimizer_when_made_then_the_backbone_is_slower_and_frozen_stages_are_left_out():
    config = small_training(network={"backbone": {"frozen_stages": 1}})
    family = Mim4dFamily()
    network = family.network(config)
    slow, fast = family.optimizer(network, config).param_groups
    assert slow["lr"] == pytest.approx(1e-4) and fast["lr"] == 1e-3 and slow["weight_decay"] == fast["weight_decay"] == 0.01
    given = {id(one) for group in (slow, fast) for one in group["params"]}
    assert given == {id(one) for one in network.parameters() if one.requires_grad}
    assert len(slow["params"]) == sum(one.requires_grad for one in network.backbone.parameters())
    assert not all(one.requires_grad for one in network.backbone.parameters())


def test_schedule_when_published_then_its_warm_up_and_cosine():
    config = Mim4dTrainConfig()
    assert (config.learning_rate, config.epochs, config.max_gradient_norm) == (4e-4, 12, 35.0)
    factors = [config.learning_rate_factor(step / 3517) for step in (0, 250, 500, 6 * 3517, 12 * 3517)]
    assert factors == pytest.approx([1 / 3, 2 / 3, 1.0, 0.5, 1e-3], abs=1e-3)
    assert small_training(warm_up_epochs=0.0).learning_rate_factor(0.0) == 1.0


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ({"data": {"held_out_share": 0.0}}, "data.held_out_share is 0, so there are no LiDAR points to measure rendered depth"),
        ({"network": {"input_px": [450, 800]}}, "input_px is 450 x 800 (height x width), expected multiples of 32; pad"),
        (
            {"network": {"mask": {"hiden_ratio": 0.3}}},
            "unknown key 'train.network.mask.hiden_ratio'; did you mean 'hidden_ratio'?",
        ),
        ({"backbone_rates": 1}, "unknown key 'train.backbone_rates'; did you mean 'backbone_rate'?"),
    ],
)
def test_recipe_when_it_has_a_mistake_then_the_key_and_the_remedy(data, text):
    with pytest.raises(RecipeError) as caught:
        parse_train_config({"family": "mim4d", **data}, where="r.yaml")
    assert "recipe 'r.yaml'" in str(caught.value) and text in str(caught.value)


def test_config_when_written_and_read_then_the_same_family():
    config = small_training()
    assert family_of(config).name == "mim4d"
    assert FAMILIES.read(config.model_dump_json()) == config


def test_losses_when_under_bfloat16_then_near_those_of_float32():
    family, config = Mim4dFamily(), small_training(network={"num_frames": 3})
    clip, found = small_clip(0), {}
    for precision in ("32-true", "bf16-mixed"):
        fabric = Fabric(accelerator="cpu", devices=1, precision=precision)
        torch.manual_seed(0)
        network = fabric.setup(family.network(config))
        losses = family.losses(network, clip, config, fabric, epoch=0.0)
        fabric.backward(losses.loss)
        assert all(torch.isfinite(one.grad).all() for one in network.parameters() if one.grad is not None)
        found[precision] = float(losses.loss.detach())
    assert found["bf16-mixed"] == pytest.approx(found["32-true"], rel=0.05)
    assert found["bf16-mixed"] != found["32-true"]
