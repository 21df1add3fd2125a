"""Sums over a batch that several processes share, so that their loss is the one of a single process on the joined batch.

Why   A mean of the processes' means is another number: a process with few measured pixels would weigh as much as one with many.
How   Each process puts the sum over all processes in place of its own, and keeps its own gradient, as many times as there are
      processes. A loss that is a function of such sums then has the value of the joined batch everywhere, and the mean of the
      processes' gradients, which training takes, is its gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

MeanOverProcesses = Callable[[Tensor], Tensor]
"""All-reduce that returns the mean of a small tensor over the processes of a training; all of them must call it alike."""


class Processes(NamedTuple):
    """The processes that train one network together, each with batches of its own.

    Attributes:
        size: how many there are.
        mean: mean over them.
    """

    size: int
    mean: MeanOverProcesses


def shared_sums(sums: Sequence[Tensor], processes: Processes | None) -> list[Tensor]:
    """Return sums over the batches of all processes as float32 scalars, each with this process's gradient.

    Args:
        sums: scalars of this process: sums of float, or counts.
        processes: None for one process, whose sums stay as they are.
    """
    if processes is None:
        return [value.float() for value in sums]
    own = torch.stack([value.detach().double() for value in sums])  # a count of millions of pixels must stay exact
    totals = (processes.size * processes.mean(own)).float()
    return [
        total + processes.size * (value - value.detach()) if value.requires_grad else total
        for value, total in zip(sums, totals, strict=True)
    ]
