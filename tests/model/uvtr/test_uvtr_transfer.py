"""What a detector begins with: parts of a pre-training, each whole or refused, and released weights."""

from __future__ import annotations

import re

import pytest
import torch

from model.errors import CheckpointError
from model.families import FAMILIES
from model.mim4d.config import Mim4dTrainConfig
from model.mim4d.net import Mim4d
from model.mim4d.network_config import BackboneConfig, Mim4dConfig
from model.train.checkpoint import Checkpoint, save_checkpoint
from model.train.start import begin
from model.uvtr.config import UvtrTrainConfig
from model.uvtr.net import Uvtr
from model.uvtr.network_config import UvtrConfig, VoxelConvConfig
from model.uvtr.reference import CODE_WEIGHTS, is_reference, load_reference, reference_key
from tests.model.golden_weights import fill_with_golden_weights

PARTS = ("backbone.", "fpn.", "depth_head.")


def tiny_lift(**changes):
    return {**Mim4dConfig.tiny().lift.model_dump(mode="json"), **changes}


def detector(path, **changes) -> UvtrTrainConfig:
    network = UvtrConfig.tiny(classes=("car",)).model_dump(mode="json")
    network = {**network, **changes.pop("network", {})}
    return UvtrTrainConfig.model_validate({"network": network, "backbone_from": str(path), **changes})


def pre_trained(path, **lift):
    """Write a checkpoint of the tiny pre-training with weights of its own; return its path and weights."""
    tiny = Mim4dConfig.tiny()
    config = Mim4dConfig.model_validate({**tiny.model_dump(mode="json"), "lift": tiny_lift(**lift)})
    torch.manual_seed(5)
    model = Mim4d(config).state_dict()
    save_checkpoint(Checkpoint(Mim4dTrainConfig(network=config), "f00d", 7, model, {}, {}, None, torch.get_rng_state(), {}), path)
    return path, model


def changed_parts(network: Uvtr, before: dict[str, torch.Tensor]) -> set[str]:
    return {key.split(".")[0] for key, value in network.state_dict().items() if not torch.equal(value, before[key])}


@pytest.mark.parametrize("take", [("backbone", "fpn", "depth_head"), ("backbone",), ("fpn", "depth_head")])
def test_parts_when_taken_then_those_and_no_others_are_the_pre_trainings(tmp_path, take):
    path, weights = pre_trained(tmp_path / "pre.pt")
    config = detector(path, take=take)
    torch.manual_seed(1)
    network = Uvtr(config.network)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    origin = begin(network, config, FAMILIES)
    assert changed_parts(network, before) == set(take) and origin["start_family"] == "mim4d"
    state = network.state_dict()
    taken = [key for key in state if key.startswith(tuple(f"{part}." for part in take))]
    assert taken and all(torch.equal(state[key], weights[key]) for key in taken)


def test_part_when_of_another_size_then_refused_with_all_others_untouched(tmp_path):
    path, _ = pre_trained(tmp_path / "pre.pt", num_depth_bins=8)
    config = detector(path)
    network = Uvtr(config.network)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    with pytest.raises(CheckpointError) as error:
        begin(network, config, FAMILIES)
    assert "has a depth_head of 32 channels and 8 depth bins, this network's is a DepthHead" in str(error.value)
    assert "depth.weight is (8, 32, 1, 1), expected (16, 32, 1, 1)" in str(error.value)
    assert "or leave the part out of train.take" in str(error.value)
    assert not changed_parts(network, before)
    without = config.model_copy(update={"take": ("backbone", "fpn")})
    begin(network, without, FAMILIES)
    assert changed_parts(network, before) == {"backbone", "fpn"}


def test_part_when_named_twice_or_unknown_then_said():
    for take, words in (
        (["fpn", "fpn"], "take names a part twice (fpn, fpn)"),
        (["render_conv"], "'backbone', 'fpn' or 'depth_head'"),
    ):
        with pytest.raises(ValueError, match=re.escape(words)):
            UvtrTrainConfig.model_validate({"take": take})


def released(config: UvtrConfig) -> tuple[Uvtr, dict[str, torch.Tensor]]:
    """Return a network with weights of its own, and the same as the public code would write them."""
    network = fill_with_golden_weights(Uvtr(config))
    state = {
        reference_key(key): value.flatten() if key.endswith("layer_scale") else value
        for key, value in network.state_dict().items()
    }
    return network, {**state, CODE_WEIGHTS: torch.ones(10)}


def small_released() -> UvtrConfig:
    tiny = UvtrConfig.tiny(head="queries")
    backbone = BackboneConfig(name="convnext_mini", layer_scale=0.1, drop_path=0.0)
    changes = {"backbone": backbone, "voxels": VoxelConvConfig(norm3d="bn"), "code": "theta", "frame": "lidar"}
    return tiny.model_copy(update=changes)


def test_names_when_written_as_the_public_code_does_then_those_of_its_modules():
    with torch.device("meta"):
        names = {reference_key(key) for key in Uvtr(UvtrConfig.released()).state_dict()}
    assert {
        "img_backbone.downsample_layers.0.0.weight", "img_backbone.downsample_layers.3.1.bias", "img_backbone.stages.2.26.gamma",
        "img_backbone.stages.0.0.dwconv.weight", "img_backbone.stages.0.0.norm.bias", "img_backbone.stages.3.2.pwconv1.weight",
        "img_backbone.stages.3.2.pwconv2.bias", "img_backbone.norm0.weight", "img_neck.lateral_convs.2.conv.weight",
        "img_neck.fpn_convs.3.conv.bias", "input_proj.weight", "depth_net.bias", "view_trans.conv_layer.2.1.running_var",
        "pts_bbox_head.query_embedding.weight", "pts_bbox_head.transformer.reference_points.weight",
        "pts_bbox_head.transformer.decoder.layers.5.attentions.0.attn.in_proj_weight",
        "pts_bbox_head.transformer.decoder.layers.5.attentions.1.output_proj.bias",
        "pts_bbox_head.transformer.decoder.layers.0.ffns.0.layers.0.0.weight",
        "pts_bbox_head.transformer.decoder.layers.0.ffns.0.layers.1.weight",
        "pts_bbox_head.transformer.decoder.layers.0.norms.2.weight",
        "pts_bbox_head.cls_branches.5.6.bias", "pts_bbox_head.reg_branches.5.4.weight",
    } <= names  # fmt: skip
    prefixes = ("img_backbone.", "img_neck.", "input_proj.", "depth_net.", "view_trans.", "pts_bbox_head.")
    assert all(name.startswith(prefixes) for name in names)


def test_released_detector_when_loaded_then_every_weight_is_the_files(tmp_path):
    config = small_released()
    network, state = released(config)
    torch.save({"meta": {}, "state_dict": state}, tmp_path / "released.pth")
    assert is_reference({"state_dict": state}) and not is_reference({"backbone.weight": torch.zeros(1)})
    loaded = load_reference(tmp_path / "released.pth", config=config)
    assert not loaded.training
    assert all(torch.equal(value, network.state_dict()[key]) for key, value in loaded.state_dict().items())
    del state["depth_net.bias"]
    with pytest.raises(CheckpointError, match=r"does not fit the public 0.1 m detector: 1 keys are missing: depth_net.bias"):
        load_reference(state, config=config)


def test_released_pre_training_when_named_as_the_start_then_its_encoder_is_taken(tmp_path):
    _, state = released(small_released())
    encoder = {key: value for key, value in state.items() if key.startswith(("img_", "input_proj.", "depth_net."))}
    others = {
        "render_conv.0.weight": torch.zeros(3),
        "history_decoder.frame_embeds": torch.zeros(2, 4),
        "pts_bbox_head.render_x": torch.zeros(1),
    }
    path = tmp_path / "pretrain.pth"
    torch.save({"state_dict": {**encoder, **others}}, path)
    config = detector(path)
    network = Uvtr(config.network)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    assert begin(network, config, FAMILIES)["start_family"] == "mim4d"
    assert changed_parts(network, before) == {"backbone", "fpn", "depth_head"}
    own = network.state_dict()
    key = "backbone.features.1.0.layer_scale"
    assert torch.equal(own[key].flatten(), state[reference_key(key)])
    assert torch.equal(own["fpn.extras.0.weight"], state["img_neck.fpn_convs.3.conv.weight"])

    torch.save({"state_dict": {**{k: v for k, v in encoder.items() if k != "input_proj.bias"}, **others}}, path)
    with pytest.raises(CheckpointError, match=r"has a depth_head .* 1 keys are missing: input_proj.bias"):
        begin(network, config, FAMILIES)


@pytest.mark.parametrize("freeze", [("backbone", "fpn", "depth_head"), ("fpn",)])
def test_parts_when_frozen_then_a_step_changes_all_others(freeze):
    config = UvtrTrainConfig(network=UvtrConfig.tiny(classes=("car",)), freeze=freeze)
    family = FAMILIES.of(config)
    network = family.network(config)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    optimizer = family.optimizer(network, config)
    for weight in network.parameters():
        weight.grad = torch.ones_like(weight)
    optimizer.step()
    assert changed_parts(network, before) == {"backbone", "fpn", "depth_head", "voxel_convs", "head"} - set(freeze)
    with pytest.raises(ValueError, match=re.escape("freeze names a part twice (fpn, fpn)")):
        UvtrTrainConfig.model_validate({"freeze": ["fpn", "fpn"]})


def test_frozen_stages_when_a_step_is_done_then_unchanged():
    tiny = UvtrConfig.tiny(classes=("car",))
    frozen = tiny.model_copy(update={"backbone": tiny.backbone.model_copy(update={"frozen_stages": 1})})
    config = UvtrTrainConfig(network=frozen)
    torch.manual_seed(0)
    network = Uvtr(frozen)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    optimizer = FAMILIES.of(config).optimizer(network, config)
    for weight in network.parameters():
        weight.grad = torch.ones_like(weight)
    optimizer.step()
    still = ("backbone.features.0.", "backbone.features.1.", "backbone.norms.0.")
    for key, value in network.state_dict().items():
        assert torch.equal(value, before[key]) == key.startswith(still), key
    assert [group["lr"] for group in optimizer.param_groups] == [pytest.approx(4e-5), 4e-4]
