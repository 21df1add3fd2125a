"""With which weights a training begins, and what it remembers of where they come from."""

from __future__ import annotations

import hashlib
from pathlib import Path

from torch import nn

from model.train.checkpoint import load_start
from model.train.config import CommonConfig
from model.train.known_families import Families
from model.train.transfer import load_backbone

ORIGIN_KEYS = ("start_file", "start_sha256", "start_family", "start_manifest", "start_step")
"""What checkpoints and training.json say of the checkpoint that a training began with: a run can tell all data it ever saw."""


def begin(network: nn.Module, config: CommonConfig, families: Families) -> dict[str, str]:
    """Fill a fresh network with the weights that a training begins with.

    Args:
        network: of the configuration's family.
        config: the training.
        families: those whose checkpoints can be read.

    Returns:
        Where they come from, by ``ORIGIN_KEYS``; empty if not from a checkpoint of depthmill.

    Raises:
        WeightsFileError: a file is missing, unreadable, or holds the weights of another network.
        CheckpointError: the checkpoint does not fit.
    """
    family = families.of(config)
    family.load_imagenet_weights(network, config)
    path = config.start_from or config.backbone_from
    if path is None:
        return {}
    if config.start_from is None:
        found = load_backbone(family.backbone(network), path, families)
    else:
        may_differ, may_lack = family.start_tolerance(config)
        found = load_start(network, path, families, may_differ=may_differ, may_lack=may_lack)
    with open(path, "rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    values = (str(Path(path).absolute()), digest, found.config.family, found.manifest, str(found.step))
    return dict(zip(ORIGIN_KEYS, values, strict=True))
