"""Where float32 must be float32: what is measured and predicted, and the last layer of a network under autocast.

Why   bfloat16 has 8 bits. Near 75 m two neighbouring depths of the log-normalised space are 0.8 m apart, and rounding alone costs
      0.2 m in the mean, so a figure measured in it is the number format's as much as the network's.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

PRECISION = "float32"
"""What every evaluation and prediction is computed in, on any device; stands in tables and JSON."""


@contextmanager
def full_precision(device_type: str) -> Iterator[None]:
    """Compute in the parameters' precision: autocast is off, and convolutions and matrix products round nothing.

    By torch's default a GPU computes convolutions in TF32, whose 10 bits would cost some centimetres at 75 m. Users let a CPU
    round, too: ``torch.set_float32_matmul_precision``.

    Args:
        device_type: cpu or cuda; autocast does not know every other one, e.g. meta.
    """
    before = _Rounding.now()
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    for unit in _units():
        unit.fp32_precision = "ieee"
    try:
        with torch.autocast(device_type if torch.amp.is_autocast_available(device_type) else "cpu", enabled=False):
            yield
    finally:
        before.put_back()


class _Rounding(NamedTuple):
    """What torch may round float32 to; None for a flag of its older interface that cannot be read beside the newer one."""

    matmul: str | None
    cudnn: bool | None
    units: list[str]

    @classmethod
    def now(cls) -> _Rounding:
        matmul, cudnn = None, None
        with suppress(RuntimeError):
            matmul = torch.get_float32_matmul_precision()
        with suppress(RuntimeError):
            cudnn = torch.backends.cudnn.allow_tf32
        return cls(matmul, cudnn, [unit.fp32_precision for unit in _units()])

    def put_back(self) -> None:
        if self.matmul is not None:
            torch.set_float32_matmul_precision(self.matmul)
        if self.cudnn is not None:
            torch.backends.cudnn.allow_tf32 = self.cudnn
        for unit, precision in zip(_units(), self.units, strict=True):
            unit.fp32_precision = precision


def _units() -> list[Any]:
    """Return what has a precision of its own, in a torch that has the newer interface."""
    backends: Any = torch.backends
    if not hasattr(backends, "fp32_precision"):
        return []
    of_cpu, of_gpu = backends.mkldnn, backends.cudnn
    return [backends.cuda.matmul, of_gpu.conv, of_gpu.rnn, of_cpu.matmul, of_cpu.conv, of_cpu.rnn]


def last_in_float32(layers: nn.Sequential, features: Tensor) -> Tensor:
    """Pass features through layers, the last of them in its parameters' precision also under autocast."""
    *first, last = layers
    for layer in first:
        features = layer(features)
    assert isinstance(last, nn.Conv2d)
    with full_precision(features.device.type):
        output: Tensor = last(features.to(last.weight.dtype))
    return output
