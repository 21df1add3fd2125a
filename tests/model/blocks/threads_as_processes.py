"""Threads in place of the processes of a training: each computes a loss of its own batch, and they share sums as processes do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import TypeVar

import torch
from torch import Tensor

from model.blocks.over_processes import Processes

T = TypeVar("T")
B = TypeVar("B")


def each_of(batches: Sequence[B], loss_of: Callable[[B, Processes], T]) -> list[T]:
    """Return what each batch gives when all are computed together."""
    barrier = Barrier(len(batches), timeout=60)
    seen: dict[int, Tensor] = {}

    def run(rank: int) -> T:
        def mean(values: Tensor) -> Tensor:
            seen[rank] = values
            barrier.wait()
            result = torch.stack([seen[number] for number in range(len(batches))]).mean(dim=0)
            barrier.wait()
            return result

        return loss_of(batches[rank], Processes(len(batches), mean))

    with ThreadPoolExecutor(len(batches)) as pool:
        return list(pool.map(run, range(len(batches))))
