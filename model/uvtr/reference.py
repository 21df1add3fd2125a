"""Checkpoints of the public detector of MIM4D and UniPAD; those of a pre-training: ``model.mim4d.reference``.

Source  docs/method/uvtr.md#released-weights; the public repositories are github.com/hustvl/MIM4D and
        github.com/Nightmare-n/UniPAD
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from model.blocks.weights_file import misfit_text, refuse_no_numbers, state_of
from model.errors import CheckpointError
from model.mim4d.reference import encoder_key, plain_state
from model.uvtr.net import Uvtr
from model.uvtr.network_config import UvtrConfig

_HEAD = "pts_bbox_head."
_LAYER = _HEAD + "transformer.decoder.layers."
CODE_WEIGHTS = _HEAD + "code_weights"
"""Ten frozen numbers that weigh the loss; nothing reads them at test time."""

_RULES = (
    (r"voxel_convs\.(\d+)\.([01])\.(.+)", r"view_trans.conv_layer.\1.\2.\3"),
    (r"head\.table\.weight", _HEAD + "query_embedding.weight"),
    (r"head\.place\.(.+)", _HEAD + r"transformer.reference_points.\1"),
    (r"head\.layers\.(\d+)\.attention\.(.+)", _LAYER + r"\1.attentions.0.attn.\2"),
    (r"head\.layers\.(\d+)\.look\.gate\.(.+)", _LAYER + r"\1.attentions.1.attention_weights.\2"),
    (r"head\.layers\.(\d+)\.look\.output\.(.+)", _LAYER + r"\1.attentions.1.output_proj.\2"),
    (r"head\.layers\.(\d+)\.look\.position\.(.+)", _LAYER + r"\1.attentions.1.position_encoder.\2"),
    (r"head\.layers\.(\d+)\.expand\.(.+)", _LAYER + r"\1.ffns.0.layers.0.0.\2"),
    (r"head\.layers\.(\d+)\.contract\.(.+)", _LAYER + r"\1.ffns.0.layers.1.\2"),
    (r"head\.layers\.(\d+)\.norms\.(.+)", _LAYER + r"\1.norms.\2"),
    (r"head\.classes\.(.+)", _HEAD + r"cls_branches.\1"),
    (r"head\.boxes\.(.+)", _HEAD + r"reg_branches.\1"),
)


def reference_key(key: str) -> str:
    """Return the public code's name of one of our weights."""
    for pattern, public in _RULES:
        if match := re.fullmatch(pattern, key):
            return match.expand(public)
    return encoder_key(key)


def is_reference(weights: Mapping[str, Any]) -> bool:
    """Say whether the content of a weights file is a detector of the public code."""
    state = plain_state(weights, origin="")
    return any(key.startswith(_LAYER) for key in state) and any(key.startswith("img_backbone.") for key in state)


def load_reference(path_or_state_dict: str | Path | Mapping[str, Any], *, config: UvtrConfig | None = None) -> Uvtr:
    """Build a network that holds the weights of a checkpoint of the public 0.1 m detector, in evaluation mode, on the CPU.

    Raises:
        WeightsFileError: the file is missing or unreadable.
        CheckpointError: keys are missing, unexpected or of another shape; the message names them.
    """
    loaded, origin = state_of(path_or_state_dict)
    state = plain_state(loaded, origin=origin)
    state.pop(CODE_WEIGHTS, None)
    network = Uvtr(config or UvtrConfig.released())
    own: dict[str, Tensor] = network.state_dict()
    ours = _as_ours(state, own)
    problems = misfit_text(ours, {reference_key(key): tensor for key, tensor in own.items()})
    if problems:
        raise CheckpointError(f"{origin} does not fit the public 0.1 m detector: {problems}")
    refuse_no_numbers(state, where=origin)
    network.load_state_dict({key: ours[reference_key(key)] for key in own})
    return network.eval()


def _as_ours(state: Mapping[str, Any], own: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return a public state with every scale of a block in the shape that ours has."""
    shapes = {reference_key(key): tensor.shape for key, tensor in own.items() if key.endswith(".layer_scale")}
    return {
        key: value.view(shapes[key])
        if key in shapes and isinstance(value, Tensor) and value.numel() == shapes[key].numel()
        else value
        for key, value in state.items()
    }
