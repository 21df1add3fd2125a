"""With which weights a training begins, and what it remembers of where they come from.

Why     A backbone that almost fits would be loaded in part and stay random in part, without an error: the public loader skips
        what it cannot place (docs/method/mim4d.md#pitfalls, 4). So a network is filled whole, or refused.
Reads   a checkpoint of the same family, or one of a pre-training that hands over its backbone
Source  docs/method/mim4d.md#transfer
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from model.blocks.convnext import ConvNeXt
from model.blocks.resnet import ResNet34, ResNet50
from model.blocks.weights_file import fill_network, load_state_file, misfit, misfit_text, refuse_no_numbers
from model.errors import CheckpointError
from model.train.checkpoint import Checkpoint, flat_keys, load_checkpoint
from model.train.config import CommonConfig, sha256_of
from model.train.family import BACKBONE, Family
from model.train.known_families import Families
from storage_schemas.frozen_config import every_key

ORIGIN_KEYS = ("start_file", "start_sha256", "start_family", "start_manifest", "start_step")
"""What checkpoints and training.json say of the checkpoint that a training began with: a run can tell all data it ever saw."""

PUBLIC_MANIFEST = "unknown, public weights"
"""What stands in place of a manifest's fingerprint where weights of public code are the start."""

_IMAGENET_ORIGIN = ("imagenet_file", "imagenet_sha256")
EVERY_ORIGIN = (*ORIGIN_KEYS, *_IMAGENET_ORIGIN)
"""The same, and what they say of classification weights."""


def begin(network: nn.Module, config: CommonConfig, families: Families) -> dict[str, str]:
    """Fill a fresh network with the weights that a training begins with.

    Args:
        network: of the configuration's family.
        config: the training.
        families: those whose checkpoints can be read.

    Returns:
        Where they come from, by ``EVERY_ORIGIN``; empty if from nowhere.

    Raises:
        WeightsFileError: a file is missing, unreadable, or holds the weights of another network.
        CheckpointError: the checkpoint does not fit.
    """
    family = families.of(config)
    family.load_imagenet_weights(network, config)
    path = config.start_from or config.backbone_from
    if path is None:
        weights = getattr(config, "imagenet_weights", None)
        values = () if weights is None else (str(Path(weights).absolute()), sha256_of(weights))
        return dict(zip(_IMAGENET_ORIGIN, values, strict=False))
    if config.start_from is None:
        start = load_parts(family.parts_from_pre_training(network, config), path, families)
    else:
        may_differ, may_lack = family.start_tolerance(config)
        start = load_start(network, path, families, may_differ=may_differ, may_lack=may_lack)
    found = (str(Path(path).absolute()), sha256_of(path), start.config.family, start.manifest, str(start.step))
    return dict(zip(ORIGIN_KEYS, found, strict=True))


def load_start(
    network: nn.Module,
    path: str | Path,
    families: Families,
    *,
    may_differ: tuple[str, ...] = (),
    may_lack: tuple[str, ...] = (),
) -> Checkpoint:
    """Fill a network with the weights of a checkpoint of depthmill, and return it; nothing else of it is taken.

    Args:
        network: takes the weights.
        path: of the checkpoint.
        families: those whose checkpoints can be read.
        may_differ: options of the network that the checkpoint may have otherwise.
        may_lack: beginnings of weights that it need not have; they stay as they are.

    Raises:
        WeightsFileError: the file is missing or unreadable.
        CheckpointError: it is no checkpoint of depthmill, or of a network with other options; names the first that differs.
    """
    start = load_checkpoint(path, families)
    config: Any = network.config
    if type(start.config.network) is not type(config):
        own = (family.name for family in families if family.config.model_fields["network"].annotation is type(config))
        mine, hands_over = next(own, "another"), families.of(start.config).hands_over_backbone
        advice = "; its backbone alone is taken by train.backbone_from" if hands_over else ""
        raise CheckpointError(
            f"checkpoint '{path}' is of a training of family {start.config.family}, this training is of family {mine}, and "
            f"train.start_from takes a whole network of the same family. Name a checkpoint of family {mine}, or train from "
            f"scratch{advice}"
        )
    before, now = (flat_keys(every_key(options), "train.network.") for options in (start.config.network, config))
    for key in now:
        if before.get(key) != now[key] and key.removeprefix("train.network.") not in may_differ:
            raise CheckpointError(
                f"checkpoint '{path}' cannot be the start of this training: it has {key} = {before.get(key)!r}, the recipe says "
                f"{now[key]!r}. Make them equal, or train from scratch"
            )
    kept = {key: value for key, value in network.state_dict().items() if key.startswith(may_lack)} if may_lack else {}
    fill_network(network, {**kept, **start.model}, path=path)
    return start


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
    return load_parts({BACKBONE: backbone}, path, families)


def load_parts(parts: Mapping[str, nn.Module], path: str | Path, families: Families) -> Checkpoint:
    """Fill parts of a network with those that a checkpoint of a pre-training has: all of them, or none and an error.

    Args:
        parts: by the name that the pre-training has for each.
        path: of the checkpoint.
        families: those whose checkpoints can be read.

    Returns:
        The checkpoint.

    Raises:
        WeightsFileError: the file is missing or unreadable.
        CheckpointError: its family hands over no such part, or a part is another network; says how to make them equal.
    """
    checkpoint = _pre_training(path, families)
    family = families.of(checkpoint.config)
    if not family.hands_over_backbone:
        takes = " or ".join(other.name for other in families if other.hands_over_backbone)
        raise CheckpointError(
            f"checkpoint '{path}' is of a training of {family.name}, train.backbone_from takes one of {takes}. To go on from a "
            "whole network of the same family, name it in train.start_from"
        )
    fitting = {name: _fitting(name, part, checkpoint, family, path) for name, part in parts.items()}
    for name, part in parts.items():
        part.load_state_dict(fitting[name])
    return checkpoint


def _pre_training(path: str | Path, families: Families) -> Checkpoint:
    """Return a checkpoint of depthmill, or what a file of public code holds of a pre-training."""
    try:
        return load_checkpoint(path, families, for_backbone=True)
    except CheckpointError:
        weights = load_state_file(path)
        for family in families:
            if (found := family.reference_pre_training(weights, path=Path(path))) is not None:
                return Checkpoint(found[0], PUBLIC_MANIFEST, 0, found[1], {}, {}, None, torch.get_rng_state(), {})
        raise


def _fitting(name: str, part: nn.Module, checkpoint: Checkpoint, family: Family[Any], path: str | Path) -> dict[str, Tensor]:
    """Return the weights of one part that fill a module whole; CheckpointError if they do not."""
    handed = family.handed_part(name, checkpoint.config, checkpoint.model)
    if handed is None:
        raise CheckpointError(
            f"checkpoint '{path}' is of a training of {family.name}, which hands over no {name}. Leave it out of train.take"
        )
    weights, wanted = handed.weights, part.state_dict()
    if handed.optional and not any(key.startswith(handed.optional) for key in wanted):
        weights = {key: value for key, value in weights.items() if not key.startswith(handed.optional)}
    if misfit(weights, wanted):
        raise CheckpointError(
            f"checkpoint '{path}' has a {name} {handed.network_text}, this network's is {_name_of(part)}: "
            f"{misfit_text(weights, wanted)}. {handed.advice}"
        )
    refuse_no_numbers(weights, where=f"checkpoint '{path}'")
    return weights


def _name_of(backbone: Any) -> str:
    for kind, name in ((ResNet34, "resnet34"), (ResNet50, "resnet50")):
        if isinstance(backbone, kind):
            return f"{name} (base_channels {backbone.conv1.out_channels})"
    if isinstance(backbone, ConvNeXt):
        return f"a ConvNeXt of {', '.join(map(str, backbone.channels))} channels"
    return f"a {type(backbone).__name__}"
