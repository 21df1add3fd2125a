from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from model.errors import CheckpointError
from model.families import FAMILIES, evaluate_training, load_checkpoint, parse_train_config, train
from model.mim4d.batch import views_of
from model.mim4d.config import Mim4dTrainConfig
from model.mim4d.encoder import make_backbone as make_masked
from model.mim4d.network_config import BackboneConfig
from model.monoddle.backbones import make_backbone as make_detector_backbone
from model.monoddle.network_config import MonoDdleConfig
from model.semodepth.config import SemoDepthTrainConfig
from model.semodepth.net import SemoDepth
from model.train.checkpoint import Checkpoint, save_checkpoint
from model.train.loop import read_training
from model.train.start import ORIGIN_KEYS, begin, load_backbone, load_start
from storage_schemas.errors import RecipeError
from storage_schemas.manifest import open_manifest
from storage_schemas.store import Store
from tests.model.mim4d.made_up_clips import small_clip, small_network
from tests.model.monoddle.made_up_detection_training import small_detection_config
from tests.model.train.made_up_training import CPU, small_config, train_until


def pre_trained(path: Path, **backbone: Any) -> tuple[Path, Any]:
    """Write a checkpoint with a random backbone, whose norms have run over something; return it and the backbone."""
    config = small_network(backbone=backbone)
    torch.manual_seed(3)
    masked = make_masked(BackboneConfig(**backbone))
    for _ in range(2):
        masked(torch.randn(2, 3, 64, 64))
    state = {f"backbone.{key}": value for key, value in masked.state_dict().items()}
    train_config = Mim4dTrainConfig(network=config)
    save_checkpoint(Checkpoint(train_config, "f00d", 7, state, {}, {}, None, torch.get_rng_state(), {}), path)
    return path, masked.eval()


def test_encoder_of_semodepth_when_given_a_pre_trained_one_then_it_computes_the_same(tmp_path):
    path, masked = pre_trained(tmp_path / "best.pt", name="resnet34", base_channels=8)
    network = SemoDepth(small_config().network).train()
    load_backbone(network.encoder, path, FAMILIES)
    batch = small_clip(0)
    image = batch.image_u8[0, 0]
    averages = {key: value.clone() for key, value in network.encoder.state_dict().items() if "running" in key}
    assert all(torch.equal(value, masked.state_dict()[key]) for key, value in averages.items())
    found = network.encoder(image)  # in training: the masked one norms images by their own statistics in any mode
    wanted = masked(views_of(batch).image[0, 0])
    assert len(found) == 5 and len(wanted) == 4
    for ours, theirs in zip(found[1:], wanted, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-5) and theirs.abs().max() > 0.1


@pytest.mark.parametrize(("own", "theirs"), [("resnet50", "resnet50"), ("convnext_t", "convnext_tiny")])
def test_backbone_of_a_detector_when_given_a_pre_trained_one_then_its_weights_are_those(tmp_path, own, theirs):
    path, masked = pre_trained(tmp_path / "best.pt", name=own)
    backbone = make_detector_backbone(MonoDdleConfig(backbone=theirs)).train()
    load_backbone(backbone, path, FAMILIES)
    source = masked.state_dict()
    assert all(torch.equal(value, source[key]) for key, value in backbone.state_dict().items())
    if own == "resnet50":  # in training: the masked one norms images by their own statistics in any mode
        image = torch.randn(1, 3, 64, 64)
        assert all(torch.equal(a, b) for a, b in zip(backbone(image), masked(image), strict=True))


@pytest.mark.parametrize(
    ("backbone", "words"),
    [
        (
            {"name": "resnet34", "base_channels": 16},
            "a backbone resnet34 (base_channels 16), this network's is resnet34 (base_channels 8)",
        ),
        ({"name": "convnext_mini"}, "a backbone convnext_mini, this network's is resnet34 (base_channels 8)"),
    ],
)
def test_backbone_of_another_network_when_loaded_then_refused_and_nothing_changed(tmp_path, backbone, words):
    path, _ = pre_trained(tmp_path / "best.pt", **backbone)
    network = SemoDepth(small_config().network)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    with pytest.raises(CheckpointError) as error:
        load_backbone(network.encoder, path, FAMILIES)
    assert words in str(error.value) and "Choose the same in both" in str(error.value) and str(path) in str(error.value)
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


def test_training_with_a_pre_trained_backbone_when_done_then_its_record_tells_what_it_began_with(tiny_store, tmp_path):
    path, masked = pre_trained(tmp_path / "pre" / "best.pt", name="resnet34", base_channels=8)
    manifest = open_manifest(Store(str(tiny_store)))
    config = small_config(max_steps=2, evaluate_every_epochs=0.5, backbone_from=str(path))
    network = SemoDepth(config.network)
    origin = begin(network, config, FAMILIES)
    key = "layer1.0.conv1.weight"
    assert torch.equal(network.encoder.state_dict()[key], masked.state_dict()[key])
    assert tuple(origin) == ORIGIN_KEYS and origin["start_family"] == "mim4d"

    train_until(config, manifest, tmp_path / "run", step=2)
    path.rename(tmp_path / "elsewhere.pt")  # a training that goes on does not need it any more
    train(config, manifest, tmp_path / "run", machine=CPU)
    evaluate_training(config, manifest, tmp_path / "run", machine=CPU)
    record = read_training(tmp_path / "run")
    assert {name: record[name] for name in ORIGIN_KEYS} == origin
    assert (record["start_manifest"], record["start_step"]) == ("f00d", "7")


def test_checkpoint_of_a_depth_network_when_taken_for_a_backbone_then_refused(tiny_store, tmp_path):
    manifest = open_manifest(Store(str(tiny_store)))
    train(small_config(max_steps=1), manifest, tmp_path, machine=CPU)
    assert load_checkpoint(tmp_path / "best.pt").config.backbone_from is None
    with pytest.raises(CheckpointError, match=r"is of a training of semodepth, train.backbone_from takes one of mim4d"):
        load_backbone(SemoDepth(small_config().network).encoder, tmp_path / "best.pt", FAMILIES)


def test_key_of_the_backbone_when_given_then_counts_by_bytes_and_mistakes_are_told(tmp_path):
    files = [tmp_path / name for name in ("a.pt", "b.pt", "c.pt")]
    for file, content in zip(files, (b"one", b"one", b"two"), strict=True):
        file.write_bytes(content)
    names = [SemoDepthTrainConfig(backbone_from=str(file)).fingerprint("m") for file in files]
    started = SemoDepthTrainConfig(start_from=str(files[0])).fingerprint("m")
    assert names[0] == names[1] and len({*names, started, SemoDepthTrainConfig().fingerprint("m")}) == 4
    with pytest.raises(RecipeError, match=r"recipe 'r': train.backbone_from is '/nowhere/best.pt', and there is no such file"):
        parse_train_config({"backbone_from": "/nowhere/best.pt"}, where="r")
    both = {"backbone_from": str(files[0]), "imagenet_weights": str(files[1])}
    with pytest.raises(RecipeError, match=re.escape("train.backbone_from and train.imagenet_weights both say where")):
        parse_train_config(both, where="r")
    detector = small_detection_config(backbone_from=str(files[0]))
    assert detector.fingerprint("m") != small_detection_config().fingerprint("m")


def test_start_when_its_network_has_an_option_that_is_left_out_of_names_here_then_refused(tmp_path):
    config = small_config(
        network={"base_channels": 8, "uncertainty": True}, loss={"distill": {"form": "laplace"}}, data={"mono": True}
    )
    checkpoint = Checkpoint(config, "f00d", 1, SemoDepth(config.network).state_dict(), {}, {}, None, torch.get_rng_state(), {})
    save_checkpoint(checkpoint, tmp_path / "best.pt")
    with pytest.raises(CheckpointError, match=r"it has train.network.uncertainty = True, the recipe says False"):
        load_start(SemoDepth(small_config().network), tmp_path / "best.pt", FAMILIES)
