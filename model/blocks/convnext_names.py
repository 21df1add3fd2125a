"""Names of a ConvNeXt's parameters in files of the package timm and of the authors, brought to those of torchvision.

Why     torchvision has no ConvNeXt V2. Its ImageNet weights come as files of timm or of the authors, with names of their own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

FOREIGN_CLASSIFIERS = ("head.", "norm.")
"""Beginnings of what classifies, in files of timm and of the authors."""

_COARSEN = re.compile(r"(?:stem|downsample_layers\.(?P<authors>\d+)|stages\.(?P<timm>\d+)\.downsample)\.(?P<rest>[01]\..+)")
_BLOCK = re.compile(r"stages\.(?P<stage>\d+)\.(?:blocks\.)?(?P<place>\d+)\.(?P<part>.+)")
_PARTS = {
    "conv_dw.": "block.0.",
    "dwconv.": "block.0.",
    "norm.": "block.2.",
    "mlp.fc1.": "block.3.",
    "pwconv1.": "block.3.",
    "mlp.grn.": "block.grn.",
    "grn.gamma": "block.grn.weight",
    "grn.beta": "block.grn.bias",
    "mlp.fc2.": "block.5.",
    "pwconv2.": "block.5.",
    "gamma": "layer_scale",
}


def in_torchvision_names(weights: Mapping[str, Any]) -> dict[str, Any]:
    """Return a file's weights by torchvision's names and in its shapes; what is not known keeps its name.

    Args:
        weights: content of a file of torchvision, of timm or of the authors, who put the weights below the key ``model``.
    """
    inside = weights.get("model")
    named = {key: _own_name(str(key)) for key in (inside if isinstance(inside, Mapping) else weights)}
    values = inside if isinstance(inside, Mapping) else weights
    return {name: _own_shape(name, values[key]) for key, name in named.items()}


def _own_name(key: str) -> str:
    if found := _COARSEN.fullmatch(key):
        step = int(found["authors"] or found["timm"] or 0)
        return f"features.{2 * step}.{found['rest']}"
    if found := _BLOCK.fullmatch(key):
        start = next((start for start in _PARTS if found["part"].startswith(start)), None)
        if start is not None:
            part = _PARTS[start] + found["part"].removeprefix(start)
            return f"features.{2 * int(found['stage']) + 1}.{found['place']}.{part}"
    return key


def _own_shape(name: str, value: Any) -> Any:
    if isinstance(value, Tensor) and name.endswith(".layer_scale") and value.ndim == 1:
        return value[:, None, None]
    if isinstance(value, Tensor) and ".grn." in name:
        return value.flatten()
    return value
