"""With which weights a training begins, and what it remembers of where they come from."""

from __future__ import annotations

import hashlib
from pathlib import Path

from torch import nn

from model.families import TrainConfig, family_of
from model.semodepth.config import SemoDepthTrainConfig
from model.train.checkpoint import load_start
from model.train.transfer import load_backbone

ORIGIN_KEYS = ("start_file", "start_sha256", "start_family", "start_manifest", "start_step")
"""What checkpoints and training.json say of the checkpoint that a training began with: a run can tell all data it ever saw."""


def begin(network: nn.Module, config: TrainConfig) -> dict[str, str]:
    """Fill a fresh network with the weights that a training begins with.

    Returns:
        Where they come from, by ``ORIGIN_KEYS``; empty if not from a checkpoint of depthmill.

    Raises:
        WeightsFileError: a file is missing, unreadable, or holds the weights of another network.
        CheckpointError: the checkpoint does not fit.
    """
    family = family_of(config)
    family.load_imagenet_weights(network, config)
    path = config.start_from or config.backbone_from
    if path is None:
        return {}
    if config.start_from is None:
        found = load_backbone(family.backbone(network), path)
    elif isinstance(config, SemoDepthTrainConfig) and config.only_plug_in:
        found = load_start(network, path, may_differ=("plug_in", "absent_mono"), may_lack=("mono_embed.",))
    else:
        found = load_start(network, path)
    with open(path, "rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    values = (str(Path(path).absolute()), digest, found.config.family, found.manifest, str(found.step))
    return dict(zip(ORIGIN_KEYS, values, strict=True))
