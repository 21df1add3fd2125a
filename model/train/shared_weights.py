"""The weights of a training as they are passed on: without optimiser and loader, and without names of this machine."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from model.blocks.safetensors_file import NoSafetensorsError, sealed_safetensors
from model.errors import WeightsFileError
from model.train.checkpoint import FORMAT, Checkpoint
from model.train.config import START_KEYS, CommonConfig

WEIGHTS_FILE = "model.safetensors"

_OF_THE_MACHINE = ("host", "store")
_PATHS = ("start_file", "imagenet_file")


def shared_content(checkpoint: Checkpoint) -> bytes:
    """Return the file of weights of a checkpoint; ``model.train.checkpoint.load_checkpoint`` reads it.

    Raises:
        WeightsFileError: the package safetensors is not installed.
    """
    record = {
        "format": FORMAT,
        "config": without_paths(checkpoint.config).model_dump_json(),
        "manifest": checkpoint.manifest,
        "step": checkpoint.step,
        "best": checkpoint.best,
        "provenance": json.dumps(without_machine(checkpoint.provenance)),
    }
    try:
        return sealed_safetensors(checkpoint.model, record)
    except NoSafetensorsError as error:
        raise WeightsFileError(f"weights cannot be shared: {error}") from error


def without_paths(config: CommonConfig) -> CommonConfig:
    """Return a configuration whose files are named without their folders."""
    return config.model_copy(
        update={key: Path(path).name for key in START_KEYS if (path := getattr(config, key, None)) is not None}
    )


def without_machine(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a training says of itself without host, store and folders, which are of no use to others."""
    kept = {key: value for key, value in record.items() if key not in _OF_THE_MACHINE}
    kept |= {key: Path(kept[key]).name for key in _PATHS if key in kept}
    if isinstance(config := kept.get("config"), Mapping):
        kept["config"] = {key: Path(value).name if key in START_KEYS and value else value for key, value in config.items()}
    if isinstance(versions := kept.get("versions"), Mapping):
        kept["versions"] = {key: value for key, value in versions.items() if key not in _OF_THE_MACHINE}
    return kept
