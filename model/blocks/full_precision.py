"""Where float32 must be float32: what is measured and predicted, and the last layer of a network under autocast.

Why   bfloat16 has 8 bits. Near 75 m two neighbouring depths of the log-normalised space are 0.8 m apart, and rounding alone costs
      0.2 m in the mean, so a figure measured in it is the number format's as much as the network's.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

PRECISION = "float32"
"""What every evaluation and prediction is computed in, on any device; stands in tables and JSON."""


@contextmanager
def full_precision(device_type: str) -> Iterator[None]:
    """Compute in the parameters' precision: autocast is off, and a GPU's convolutions and matrix products round nothing.

    By torch's default a GPU computes convolutions in TF32, whose 10 bits would cost some centimetres at 75 m.

    Args:
        device_type: cpu or cuda; autocast does not know every other one, e.g. meta.
    """
    flags: tuple[Any, ...] = (torch.backends.cudnn, torch.backends.cuda.matmul)
    before = [flag.allow_tf32 for flag in flags]
    for flag in flags:
        flag.allow_tf32 = False
    try:
        with torch.autocast(device_type if torch.amp.is_autocast_available(device_type) else "cpu", enabled=False):
            yield
    finally:
        for changed, was_allowed in zip(flags, before, strict=True):
            changed.allow_tf32 = was_allowed


def last_in_float32(layers: nn.Sequential, features: Tensor) -> Tensor:
    """Pass features through layers, the last of them in its parameters' precision also under autocast."""
    *first, last = layers
    for layer in first:
        features = layer(features)
    assert isinstance(last, nn.Conv2d)
    with full_precision(features.device.type):
        output: Tensor = last(features.to(last.weight.dtype))
    return output
