"""Checkpoints of the public code.

Source  docs/method/monoddle.md#public-code, #dla-34; the public repository is github.com/Puiching-Memory/MonoDDLE, and that of
        MonoDLE, whose network it extends, github.com/xinzhuma/monodle
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from model.blocks.weights_file import misfit_text, refuse_no_numbers, state_of
from model.errors import CheckpointError
from model.monoddle.dla import CLASSIFIER, UNREAD_PROJECTIONS
from model.monoddle.heads import UNCERTAINTY_HEAD
from model.monoddle.net import MonoDdle
from model.monoddle.network_config import MonoDdleConfig

_WRAPPERS = ("model_state", "model_state_dict", "state_dict")
"""Keys under which a checkpoint may hold the weights; the first is the public code's."""

_PARALLEL_PREFIX = "module."
_HEADS_PREFIX = "heads."
"""Our prefix of the heads' keys; the public code has the heads at its top."""

_BACKBONE_PREFIX = "backbone."
_UNREAD = tuple(_BACKBONE_PREFIX + key for key in UNREAD_PROJECTIONS)


def reference_key(key: str) -> str:
    """Return the public code's name of one of our parameters."""
    return key.removeprefix(_HEADS_PREFIX)


def load_reference(path_or_state_dict: str | Path | Mapping[str, Any], *, config: MonoDdleConfig | None = None) -> MonoDdle:
    """Build a network that computes what the public code computes with this checkpoint.

    The classifier that nothing calls is left out. Whether there is an uncertainty head, and the two projections of DLA-34 that
    nothing reads, is taken from the checkpoint, so that the network's parameters are the checkpoint's.

    Args:
        path_or_state_dict: a released file, or its content: a dict of tensors, or a dict that holds one as ``model_state``; the
            keys may start with ``module.``, as DataParallel saves them.
        config: other options than the public code's: another backbone, other classes or widths.

    Returns:
        The network, in evaluation mode, on the CPU. ``forward(image)`` gives the raw head maps.

    Raises:
        WeightsFileError: the file is missing or unreadable.
        CheckpointError: keys are missing, unexpected or of another shape; the message names them.
    """
    loaded, origin = state_of(path_or_state_dict)
    state = _plain_state(loaded, origin=origin)
    config = _with_parts_of(state, config or MonoDdleConfig.reference())
    network = MonoDdle(config)
    own_state = network.state_dict()
    wanted = {reference_key(key): tensor for key, tensor in own_state.items()}
    problems = misfit_text(state, wanted)
    if problems:
        raise CheckpointError(f"{origin} does not fit the MonoDDLE network ({config.backbone}): {problems}")
    refuse_no_numbers(state, where=origin)
    network.load_state_dict({key: state[reference_key(key)] for key in own_state})
    return network.eval()


def _plain_state(loaded: Mapping[str, Any], *, origin: str) -> dict[str, Any]:
    """Return the weights by the public code's keys, without wrapping, without the classifier."""
    for wrapper in _WRAPPERS:
        if wrapper in loaded:
            inner = loaded[wrapper]
            if not isinstance(inner, Mapping):
                raise CheckpointError(f"{origin} holds a {type(inner).__name__} as '{wrapper}', expected a dict of tensors")
            loaded = inner
            break
    state = {str(key).removeprefix(_PARALLEL_PREFIX): value for key, value in loaded.items()}
    return {key: value for key, value in state.items() if not key.startswith(_BACKBONE_PREFIX + CLASSIFIER)}


def _with_parts_of(state: Mapping[str, Any], config: MonoDdleConfig) -> MonoDdleConfig:
    """Return the options with the parts that a checkpoint may or may not have as it has them."""
    parts: dict[str, Any] = {"uncertainty": any(key.startswith(f"{UNCERTAINTY_HEAD}.") for key in state)}
    if config.backbone == "dla34":
        parts["compat"] = any(key.startswith(_UNREAD) for key in state)
    return config.model_copy(update=parts)
