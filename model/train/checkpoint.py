"""Checkpoints: everything a training needs to go on as if it had never stopped, in one file that runs no code when read."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from model.blocks.weights_file import load_state_file
from model.errors import CheckpointError
from model.train.config import CommonConfig
from model.train.known_families import Families, UnknownOptionsError
from storage_schemas.files import explain_write_error, written_whole

FORMAT = 1


@dataclass
class Checkpoint:
    """One moment of a training.

    Attributes:
        config: the training's configuration.
        manifest: fingerprint of the manifest it reads.
        step: optimiser steps done.
        model: the network's state.
        optimizer: the optimiser's state.
        loader: the loader's state.
        best: what was measured at the checkpoint kept as best, and its step; None before the first evaluation.
        random: state of torch's generator.
        provenance: commit, versions, host.
    """

    config: CommonConfig
    manifest: str
    step: int
    model: dict[str, Tensor]
    optimizer: dict[str, Any]
    loader: dict[str, Any]
    best: dict[str, float] | None
    random: Tensor
    provenance: dict[str, str]


def save_checkpoint(checkpoint: Checkpoint, path: Path) -> None:
    """Write a checkpoint atomically: a reader finds the former file or this one, whole.

    Raises:
        StoreError: disk full or no permission; the former file is untouched.
    """
    content = {
        "format": FORMAT,
        "config": checkpoint.config.model_dump_json(),
        "manifest": checkpoint.manifest,
        "step": checkpoint.step,
        "model_state_dict": checkpoint.model,
        "optimizer": checkpoint.optimizer,
        "loader": json.dumps(checkpoint.loader),
        "best": checkpoint.best,
        "random": checkpoint.random,
        "provenance": json.dumps(checkpoint.provenance),
    }
    try:
        with written_whole(path) as stream:
            torch.save(content, stream)
    except (OSError, RuntimeError) as error:  # torch wraps a full disk in a RuntimeError
        cause = error if isinstance(error, OSError) else OSError(28, str(error))
        raise explain_write_error(
            cause,
            f"checkpoint '{path}'",
            if_full="Free some space, then run the same command; it goes on from the former checkpoint",
            if_denied="Choose another folder with --out",
            otherwise="Check the disk, then run the same command",
        ) from error


def load_checkpoint(path: str | Path, families: Families) -> Checkpoint:
    """Read a checkpoint of depthmill.

    Args:
        path: the file.
        families: those whose checkpoints can be read.

    Raises:
        WeightsFileError: the file is missing or unreadable.
        CheckpointError: it is a checkpoint of something else, or of a newer depthmill.
    """
    content: dict[str, Any] = dict(load_state_file(path))
    if "format" not in content or "config" not in content:
        raise CheckpointError(
            f"'{path}' is not a checkpoint of depthmill (keys: {', '.join(list(map(str, content))[:4])}, ...). For a "
            "checkpoint of the public code give --reference, and of SemoDepth --max-depth too"
        )
    if content["format"] != FORMAT:
        raise CheckpointError(
            f"checkpoint '{path}' has format {content['format']}, this depthmill reads {FORMAT}. Update depthmill"
        )
    try:
        config = families.read(content["config"])
    except UnknownOptionsError as error:
        raise CheckpointError(
            f"checkpoint '{path}' was made with options that this depthmill does not know: {error}. "
            "Use the depthmill that made it"
        ) from error
    return Checkpoint(
        config,
        content["manifest"],
        content["step"],
        content["model_state_dict"],
        content["optimizer"],
        json.loads(content["loader"]),
        content["best"],
        content["random"],
        json.loads(content["provenance"]),
    )


def refuse_other_training(checkpoint: Checkpoint, config: CommonConfig, manifest: str, *, path: Path) -> None:
    """Check that a checkpoint can be resumed with a configuration and a manifest.

    Raises:
        CheckpointError: it belongs to another training; names the first key that differs.
    """
    if checkpoint.manifest != manifest:
        raise CheckpointError(
            f"checkpoint '{path}' was trained on manifest {checkpoint.manifest}, this training reads {manifest}. "
            f"Choose the former "
            f"with --manifest {checkpoint.manifest}, another folder with --out, or begin anew with --restart"
        )
    before, now = (flat_keys(options.model_dump(mode="json")) for options in (checkpoint.config, config))
    for key in {**now, **before}:
        if before.get(key) != now.get(key):
            raise CheckpointError(
                f"checkpoint '{path}' was trained with {key} = {before.get(key)!r}, the recipe says {now.get(key)!r}. "
                f"Change it back, choose "
                "another folder with --out, or begin anew with --restart"
            )


def flat_keys(tree: dict[str, Any], prefix: str = "train.") -> dict[str, Any]:
    """Return the values of a configuration by their dotted keys, e.g. ``train.data.split``."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= flat_keys(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return flat
