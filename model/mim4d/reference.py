"""Checkpoints of the public code's pre-training: the parts of them that another network begins with.

What    backbone, feature pyramid and depth head by the names that they have here. Renderer and temporal decoder are left out: no
        network that begins with a pre-training reads them.
Source  docs/method/mim4d.md#transfer; the public repositories are github.com/hustvl/MIM4D and github.com/Nightmare-n/UniPAD
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from model.errors import CheckpointError
from model.mim4d.encoder import VolumeEncoder
from model.mim4d.masked_convnext import CONVNEXT_SIZES
from model.mim4d.network_config import BackboneConfig, Mim4dConfig

_WRAPPER = "state_dict"
"""Key under which the public code's trainer keeps the weights."""

_BACKBONE = "img_backbone."
_BLOCK = {"block.0": "dwconv", "block.2": "norm", "block.3": "pwconv1", "block.5": "pwconv2"}
_PARTS = (_BACKBONE, "img_neck.", "input_proj.", "depth_net.")
_RULES = (
    (r"backbone\.norms\.(\d+)\.(.+)", _BACKBONE + r"norm\1.\2"),
    (r"fpn\.laterals\.(\d+)\.(.+)", r"img_neck.lateral_convs.\1.conv.\2"),
    (r"fpn\.outputs\.(\d+)\.(.+)", r"img_neck.fpn_convs.\1.conv.\2"),
    (r"depth_head\.input_proj\.(.+)", r"input_proj.\1"),
    (r"depth_head\.depth\.(.+)", r"depth_net.\1"),
)


def encoder_key(key: str, *, num_fpn_outputs: int = 3) -> str:
    """Return the public code's name of one of our weights of backbone, pyramid or depth head.

    Args:
        key: ours, e.g. ``backbone.features.1.0.block.0.weight``.
        num_fpn_outputs: levels of the pyramid before those that it adds, which the public code counts on.
    """
    if match := re.fullmatch(r"backbone\.features\.(\d+)\.(\d+)\.(.+)", key):
        place, number, rest = int(match[1]), match[2], match[3]
        if place % 2 == 0:
            return f"{_BACKBONE}downsample_layers.{place // 2}.{number}.{rest}"
        if rest == "layer_scale":
            rest = "gamma"
        for ours, theirs in _BLOCK.items():
            rest = re.sub(rf"^{re.escape(ours)}\.", f"{theirs}.", rest)
        return f"{_BACKBONE}stages.{place // 2}.{number}.{rest}"
    if match := re.fullmatch(r"fpn\.extras\.(\d+)\.(.+)", key):
        return f"img_neck.fpn_convs.{num_fpn_outputs + int(match[1])}.conv.{match[2]}"
    for pattern, public in _RULES:
        if match := re.fullmatch(pattern, key):
            return match.expand(public)
    return key


def plain_state(loaded: Mapping[str, Any], *, origin: str) -> dict[str, Any]:
    """Return the weights of a file of the public code by their names, without what they are wrapped in.

    Raises:
        CheckpointError: what is wrapped is no dict.
    """
    inner = loaded.get(_WRAPPER, loaded)
    if not isinstance(inner, Mapping):
        raise CheckpointError(f"{origin} holds a {type(inner).__name__} as '{_WRAPPER}', expected a dict of tensors")
    return {str(key).removeprefix("module."): value for key, value in inner.items()}


def is_reference(weights: Mapping[str, Any]) -> bool:
    """Say whether the content of a weights file has the encoder of the public code."""
    inner = weights.get(_WRAPPER, weights)
    return isinstance(inner, Mapping) and {f"{name.split('.')[0]}." for name in map(str, inner)} >= set(_PARTS)


def encoder_of(loaded: Mapping[str, Any], *, path: str | Path) -> tuple[Mim4dConfig, dict[str, Tensor]]:
    """Return the weights of a public file's encoder by our names, and the options of the network that has them.

    Raises:
        CheckpointError: its backbone is none of the ConvNeXt sizes.
    """
    state = plain_state(loaded, origin=f"checkpoint '{path}'")
    name = _backbone_in(state, path)
    config = Mim4dConfig.released().model_copy(update={"backbone": BackboneConfig(name=name, frozen_stages=1)})
    theirs = {key: value for key, value in state.items() if key.startswith(_PARTS)}
    with torch.device("meta"):  # shapes and names without memory
        own = _own_shapes(config)
    ours = {encoder_key(key): key for key in own}
    renamed = {ours.get(key, key): value for key, value in theirs.items()}
    return config, {key: _shaped(value, own.get(key)) for key, value in renamed.items()}


def _own_shapes(config: Mim4dConfig) -> dict[str, Tensor]:
    weights: dict[str, Tensor] = VolumeEncoder(config.backbone, config.lift, input_px=config.input_px).state_dict()
    return weights


def _shaped(value: Any, wanted: Tensor | None) -> Any:
    """Return a scale of a block in the shape that ours has; everything else as it is."""
    if not isinstance(value, Tensor) or wanted is None or (value.ndim, wanted.ndim) != (1, 3):
        return value
    return value.view(wanted.shape) if value.numel() == wanted.numel() else value


def _backbone_in(state: Mapping[str, Any], path: str | Path) -> Any:
    """Return the name of the ConvNeXt whose blocks and channels a state has."""
    stages = [f"{_BACKBONE}stages.{stage}." for stage in range(4)]
    blocks = tuple(len({key.split(".")[3] for key in state if key.startswith(stage)}) for stage in stages)
    norm = state.get(f"{_BACKBONE}norm0.weight")
    width = len(norm) if isinstance(norm, Tensor) else 0
    for name, size in CONVNEXT_SIZES.items():
        if (size.depths, size.channels[0]) == (blocks, width):
            return name
    raise CheckpointError(
        f"checkpoint '{path}' has a backbone of {', '.join(map(str, blocks))} blocks and {width} channels, which is none of "
        f"{', '.join(CONVNEXT_SIZES)}. Choose a released checkpoint of MIM4D or UniPAD with a ConvNeXt"
    )
