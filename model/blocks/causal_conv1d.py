"""The short causal convolution in front of a Mamba scan: each channel by itself, over the last few tokens.

Why     torch's grouped ``conv1d`` wants length last and is slow on CPUs; a sum of shifted copies reads tokens as they lie. On
        a GPU the package causal-conv1d is used if it is installed (extra ``cuda``).
Source  arXiv 2312.00752 figure 3
"""

from __future__ import annotations

import importlib.util
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor


def causal_conv1d_silu(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Convolve along length, seeing only the token itself and those before it, then apply SiLU.

    Args:
        x: (batch, length, channels).
        weight: (channels, 1, taps); the last tap is the token itself.
        bias: (channels,).
    """
    if x.is_cuda and importlib.util.find_spec("causal_conv1d_cuda") is not None:
        from causal_conv1d import causal_conv1d_fn

        taps = weight.squeeze(1).to(x.dtype)
        y = causal_conv1d_fn(x.transpose(1, 2).contiguous(), taps, bias.to(x.dtype), activation="silu")
        return cast(Tensor, y.transpose(1, 2))
    taps_last = weight.shape[-1] - 1
    padded = F.pad(x, (0, 0, taps_last, 0))
    length = x.shape[1]
    y = torch.addcmul(bias.to(x.dtype), padded[:, taps_last:], weight[:, 0, taps_last].to(x.dtype))
    for tap in range(taps_last):
        y = torch.addcmul(y, padded[:, tap : tap + length], weight[:, 0, tap].to(x.dtype))
    return F.silu(y)
