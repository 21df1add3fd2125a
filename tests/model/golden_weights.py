"""The parameter recipe of docs/method/semodepth.md#golden-weights, for every family: weights follow from their names."""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence

import torch
from torch import Tensor, nn


def golden_tensor(key: str, shape: Sequence[int]) -> Tensor:
    generator = torch.Generator().manual_seed(zlib.crc32(key.encode()))
    v = torch.randn(tuple(shape), generator=generator)
    last = key.rsplit(".", 1)[-1]
    if last == "num_batches_tracked":
        return torch.zeros((), dtype=torch.int64)
    if last == "A_log":
        return torch.arange(1.0, 17.0).log() + 0.05 * v
    if last == "D":
        return 1.0 + 0.1 * v
    if last == "running_mean":
        return 0.1 * v
    if last == "running_var":
        return 1.0 + 0.1 * v.abs()
    if len(shape) >= 2:
        return v / math.sqrt(math.prod(shape[1:]))
    return 1.0 + 0.1 * v if last == "weight" else 0.1 * v


def fill_with_golden_weights(module: nn.Module) -> nn.Module:
    module.load_state_dict({key: golden_tensor(key, value.shape) for key, value in module.state_dict().items()})
    return module.eval()
