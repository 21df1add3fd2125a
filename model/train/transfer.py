"""Hand the backbone of a pre-training to a network of another family, having checked that it is the same network.

Why     A backbone that only almost fits would be half loaded and half random, which nobody notices: the public loader skips what
        it cannot place (docs/method/mim4d.md#pitfalls, 4)
Reads   a checkpoint of a family that hands over its backbone
Source  docs/method/mim4d.md#transfer
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from model.blocks.convnext import ConvNeXt
from model.blocks.resnet import ResNet34, ResNet50
from model.blocks.weights_file import misfit, misfit_text
from model.errors import CheckpointError
from model.train.checkpoint import Checkpoint, load_checkpoint
from model.train.known_families import Families


def load_backbone(backbone: nn.Module, path: str | Path, families: Families) -> Checkpoint:
    """Fill a backbone with the one that a checkpoint of a pre-training has; nothing else of the checkpoint is taken.

    In training, a network computes what the pre-trained one computes on whole images, bit for bit; in evaluation a masked ResNet
    goes by the statistics of the images, another by the running averages, which are handed over too. Norms that a
    masked ConvNeXt has on the levels it returns are left out where the other has none.

    Args:
        backbone: a ResNet-34, ResNet-50 or ConvNeXt, masked or not.
        path: of the checkpoint.
        families: those whose checkpoints can be read.

    Returns:
        The checkpoint.

    Raises:
        WeightsFileError: the file is missing or unreadable.
        CheckpointError: its family hands over no backbone, or its backbone is another network; says how to make them equal.
    """
    checkpoint = load_checkpoint(path, families)
    family = families.of(checkpoint.config)
    if not family.hands_over_backbone:
        takes = " or ".join(one.name for one in families if one.hands_over_backbone)
        raise CheckpointError(
            f"checkpoint '{path}' is of a training of {family.name}, train.backbone_from takes one of {takes}. To go on from a "
            "whole network of the same family, name it in train.start_from"
        )
    handed = family.handed_backbone(checkpoint.config, checkpoint.model)
    found, wanted = handed.weights, backbone.state_dict()
    if handed.optional and not any(key.startswith(handed.optional) for key in wanted):
        found = {key: value for key, value in found.items() if not key.startswith(handed.optional)}
    if misfit(found, wanted):
        raise CheckpointError(
            f"checkpoint '{path}' has a backbone {handed.words}, this network's is {_name_of(backbone)}: "
            f"{misfit_text(found, wanted)}. {handed.advice}"
        )
    backbone.load_state_dict(found)
    return checkpoint


def _name_of(backbone: Any) -> str:
    for kind, name in ((ResNet34, "resnet34"), (ResNet50, "resnet50")):
        if isinstance(backbone, kind):
            return f"{name} (base_channels {backbone.conv1.out_channels})"
    if isinstance(backbone, ConvNeXt):
        return f"a ConvNeXt of {', '.join(map(str, backbone.channels))} channels"
    return f"a {type(backbone).__name__}"
