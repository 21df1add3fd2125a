"""Checkpoints: everything a training needs to go on as if it had never stopped, in one file that runs no code when read."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Any

import torch
from torch import Tensor
from torch.nn.modules.module import register_module_parameter_registration_hook

from model.blocks.sealed_file import save_sealed
from model.blocks.weights_file import load_state_file, misfit_text
from model.errors import CheckpointError
from model.train.config import START_KEYS, CommonConfig, sha256_of
from model.train.known_families import Families, UnknownOptionsError
from storage_schemas.files import explain_write_error, written_whole

FORMAT = 1

MOST_STEPS = 10**12
"""A training of a step a microsecond would take eleven days for as many."""


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


def save_checkpoint(checkpoint: Checkpoint, path: Path, *copies: Path) -> None:
    """Write a checkpoint atomically: a reader finds the former file or this one, whole.

    Args:
        checkpoint: what is written.
        path: the file.
        copies: files that get the same bytes after it, in this order.

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
    written = path
    try:
        with written_whole(path) as stream:
            save_sealed(content, stream)
        for written in copies:
            with open(path, "rb") as source, written_whole(written) as stream:
                shutil.copyfileobj(source, stream)
    except (OSError, RuntimeError) as error:  # torch wraps a full disk in a RuntimeError
        cause = error if isinstance(error, OSError) else OSError(28, str(error))
        raise explain_write_error(
            cause,
            f"checkpoint '{written}'",
            if_full="Free some space, then run the same command; it goes on from the former checkpoint",
            if_denied="Choose another folder with --out",
            otherwise="Check the disk, then run the same command",
        ) from error


def load_checkpoint(path: str | Path, families: Families, *, for_backbone: bool = False) -> Checkpoint:
    """Read a checkpoint of depthmill.

    Args:
        path: the file.
        families: those whose checkpoints can be read.
        for_backbone: only a part of the weights is wanted, so the others need not be there.

    Raises:
        WeightsFileError: the file is missing, damaged or unreadable.
        CheckpointError: it is a checkpoint of something else, or of a newer depthmill.
    """
    content: dict[str, Any] = dict(load_state_file(path))
    if "format" not in content or "config" not in content:
        raise CheckpointError(
            f"'{path}' is not a checkpoint of depthmill (keys: {', '.join(list(map(str, content))[:4])}, ...). For a "
            "checkpoint of the public code give --reference, and of SemoDepth --max-depth too"
        )
    if content["format"] != FORMAT and isinstance(content["format"], int):
        raise CheckpointError(
            f"checkpoint '{path}' has format {content['format']}, this depthmill reads {FORMAT}. Update depthmill"
        )
    _refuse_broken(content, path)
    try:
        config = families.read(content["config"])
    except UnknownOptionsError as error:
        raise CheckpointError(
            f"checkpoint '{path}' was made with options that this depthmill does not know: {error}. "
            "Use the depthmill that made it"
        ) from error
    if not for_backbone:
        _refuse_other_weights(content["model_state_dict"], config, families, path)
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


def _is_json_object(value: Any) -> bool:
    try:
        return isinstance(value, str) and isinstance(json.loads(value), dict)
    except (ValueError, RecursionError):
        return False


def _has_keys_of(kind: type | UnionType, value: Any) -> bool:
    return isinstance(value, Mapping) and all(isinstance(key, str) and isinstance(item, kind) for key, item in value.items())


_EXPECTED: Mapping[str, tuple[str, Callable[[Any], bool]]] = {
    "format": (f"the number {FORMAT}", lambda value: type(value) is int),
    "config": ("a JSON object", _is_json_object),
    "manifest": ("a text", lambda value: isinstance(value, str)),
    "step": ("a number of steps", lambda value: type(value) is int and 0 <= value <= MOST_STEPS),
    "model_state_dict": ("named tensors", lambda value: _has_keys_of(Tensor, value)),
    "optimizer": ("an optimiser's state", lambda value: isinstance(value, Mapping)),
    "loader": ("a JSON object", _is_json_object),
    "best": ("named numbers or nothing", lambda value: value is None or _has_keys_of(int | float, value)),
    "random": ("a tensor of bytes", lambda value: isinstance(value, Tensor) and value.dtype == torch.uint8),
    "provenance": ("a JSON object", _is_json_object),
}
"""What each key of a checkpoint must be, in words and as a test."""


def _refuse_broken(content: Mapping[str, Any], path: str | Path) -> None:
    """Check that a checkpoint has every key, each of its kind; CheckpointError names those that are wrong."""
    wrong = [
        f"'{key}' is missing" if key not in content else f"'{key}' is {_short(content[key])}, expected {wanted}"
        for key, (wanted, is_right) in _EXPECTED.items()
        if key not in content or not is_right(content[key])
    ]
    if wrong:
        raise CheckpointError(
            f"checkpoint '{path}' is not as depthmill writes it: {'; '.join(wrong)}. Bring back a copy of it, or train again "
            "(depthmill train --restart)"
        )


def _short(value: Any) -> str:
    text = repr(value) if isinstance(value, str | int | float | bool) or value is None else f"a {type(value).__name__}"
    return text if len(text) <= 60 else f"{text[:57]}..."


def _refuse_other_weights(weights: Mapping[str, Any], config: CommonConfig, families: Families, path: str | Path) -> None:
    """Check that the weights are those of the network that the configuration describes, without memory for that network.

    A configuration of a damaged or foreign checkpoint may describe a network that fits in no memory.

    Raises:
        CheckpointError: no such network can be built, or its weights have other names or shapes.
    """
    advice = "Bring back a copy of it, or train again (depthmill train --restart)"
    try:
        with torch.device("meta"), _at_most_parameters(10 * len(weights) + 1000):  # shapes without memory
            network = families.of(config).network(config)
    except NotImplementedError:  # a family of another package may compute with its weights when it builds a network
        return
    except (ArithmeticError, MemoryError, RuntimeError, TypeError, ValueError) as error:
        first_line = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise CheckpointError(f"checkpoint '{path}' describes a network that cannot be built: {first_line}. {advice}") from error
    num_bytes, memory = (
        sum(buffer.nbytes for buffer in network.buffers()),
        os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
    )
    if num_bytes > memory:
        raise CheckpointError(
            f"checkpoint '{path}' describes a network whose tables alone take {num_bytes / 1e9:.0f} GB; this machine has "
            f"{memory / 1e9:.0f} GB. {advice}"
        )
    if problems := misfit_text(weights, network.state_dict()):
        raise CheckpointError(f"checkpoint '{path}' has other weights than the network that it describes: {problems}. {advice}")


@contextmanager
def _at_most_parameters(limit: int) -> Iterator[None]:
    """Let no network with more parameters be built within the block: RuntimeError instead of an endless loop over layers."""
    num_registered = 0

    def count(*_: Any) -> None:
        nonlocal num_registered
        num_registered += 1
        if num_registered > limit:
            raise RuntimeError(f"it has more than {limit} parameters, the checkpoint has a tenth of that at most")

    hook = register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        hook.remove()


def refuse_other_training(
    before: CommonConfig, trained_on: str, origin: Mapping[str, Any], *, config: CommonConfig, manifest: str, what: str
) -> None:
    """Check that what a former run left belongs to a configuration and a manifest.

    Args:
        before: the former run's configuration.
        trained_on: fingerprint of its manifest.
        origin: what it says of the file that it began with.
        config: the configuration now.
        manifest: the manifest's fingerprint now.
        what: the file that says so, e.g. "checkpoint 'last.pt'".

    Raises:
        CheckpointError: it belongs to another training; names the first key that differs.
    """
    if trained_on != manifest:
        raise CheckpointError(
            f"{what} was trained on manifest {trained_on}, this training reads {manifest}. Choose the former "
            f"with --manifest {trained_on}, another folder with --out, or begin anew with --restart"
        )
    old, new = (flat_keys(options.model_dump(mode="json")) for options in (before, config))
    for key in {**new, **old}:
        name = key.removeprefix("train.")
        recorded = origin.get("imagenet_sha256" if name == "imagenet_weights" else "start_sha256") if name in START_KEYS else None
        if recorded is not None and old.get(key) is not None and new.get(key) is not None:
            with suppress(OSError):  # a file that is gone by now is not needed to go on
                if (digest := sha256_of(new[key])) != recorded:
                    raise CheckpointError(
                        f"{what} was trained from {key} with digest {recorded[:16]}, '{new[key]}' has {digest[:16]}. Bring the "
                        "former file back, choose another folder with --out, or begin anew with --restart"
                    )
        elif old.get(key) != new.get(key):
            raise CheckpointError(
                f"{what} was trained with {key} = {old.get(key)!r}, the recipe says {new.get(key)!r}. "
                "Change it back, choose another folder with --out, or begin anew with --restart"
            )


@contextmanager
def explained_resume(path: Path) -> Iterator[None]:
    """Turn what torch and the loader raise while a state is put back into a CheckpointError that names the checkpoint."""
    try:
        yield
    except (KeyError, IndexError, RuntimeError, TypeError, ValueError) as error:  # torch checks no state before it takes it
        cause = f"key {error} is missing" if isinstance(error, KeyError) else str(error).strip().splitlines()[0]
        raise CheckpointError(
            f"checkpoint '{path}' cannot be gone on from: {cause}. Bring back a copy of it, or begin anew with --restart"
        ) from error


def flat_keys(tree: dict[str, Any], prefix: str = "train.") -> dict[str, Any]:
    """Return the values of a configuration by their dotted keys, e.g. ``train.data.split``."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= flat_keys(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return flat
