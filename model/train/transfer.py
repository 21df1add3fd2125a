"""Hand the backbone of a pre-training to a network of another family, having checked that it is the same network.

Why     A backbone that only almost fits would be half loaded and half random, which nobody notices: the public loader skips what
        it cannot place (specs/mim4d.md, pitfall 4)
Reads   a checkpoint of family mim4d
Source  specs/mim4d.md sections 0 (9) and 8 (3)
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from model.blocks.convnext import ConvNeXt
from model.blocks.resnet import ResNet34, ResNet50
from model.blocks.weights_file import misfit, misfit_text
from model.errors import CheckpointError
from model.mim4d.config import Mim4dTrainConfig
from model.mim4d.masked_convnext import OUTPUT_NORMS
from model.train.checkpoint import Checkpoint, load_checkpoint

_BACKBONE = "backbone."


def load_backbone(backbone: nn.Module, path: str | Path) -> Checkpoint:
    """Fill a backbone with the one that a checkpoint of a pre-training has; nothing else of the checkpoint is taken.

    In training, a network computes what the pre-trained one computes on whole images, bit for bit; in evaluation a masked ResNet
    goes by the statistics of the images, another by the running averages, which are handed over too. Norms that a
    masked ConvNeXt has on the levels it returns are left out where the other has none.

    Args:
        backbone: a ResNet-34, ResNet-50 or ConvNeXt, masked or not.
        path: of the checkpoint.

    Returns:
        The checkpoint.

    Raises:
        WeightsFileError: the file is missing or unreadable.
        CheckpointError: it is of another family, or its backbone is another network; says how to make them equal.
    """
    checkpoint = load_checkpoint(path)
    config = checkpoint.config
    if not isinstance(config, Mim4dTrainConfig):
        raise CheckpointError(
            f"checkpoint '{path}' is of a training of {config.family}, train.backbone_from takes one of mim4d. To go on from a "
            "whole network of the same family, name it in train.start_from"
        )
    found = {key.removeprefix(_BACKBONE): value for key, value in checkpoint.model.items() if key.startswith(_BACKBONE)}
    wanted = backbone.state_dict()
    if not any(key.startswith(OUTPUT_NORMS) for key in wanted):
        found = {key: value for key, value in found.items() if not key.startswith(OUTPUT_NORMS)}
    if misfit(found, wanted):
        raise CheckpointError(
            f"checkpoint '{path}' has a backbone {_name_in(config)}, this network's is {_name_of(backbone)}: "
            f"{misfit_text(found, wanted)}. {_ADVICE}"
        )
    backbone.load_state_dict(found)
    return checkpoint


_ADVICE = (
    "Choose the same in both: train.network.backbone of the pre-training is resnet34 for SemoDepth, with equal base_channels, "
    "and resnet50 or convnext_t for a detector with backbone resnet50 or convnext_tiny"
)


def _name_in(config: Mim4dTrainConfig) -> str:
    backbone = config.network.backbone
    is_resnet = backbone.name.startswith("resnet")
    return f"{backbone.name} (base_channels {backbone.base_channels})" if is_resnet else backbone.name


def _name_of(backbone: Any) -> str:
    for kind, name in ((ResNet34, "resnet34"), (ResNet50, "resnet50")):
        if isinstance(backbone, kind):
            return f"{name} (base_channels {backbone.conv1.out_channels})"
    if isinstance(backbone, ConvNeXt):
        return f"a ConvNeXt of {', '.join(map(str, backbone.channels))} channels"
    return f"a {type(backbone).__name__}"
