"""One optimiser step, on one process or on several that do it together."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from model.train.config import CommonConfig
from model.train.family import Family
from model.train.family_types import BatchLoader, StepLosses
from storage_schemas.errors import DepthmillError

if TYPE_CHECKING:
    from lightning_fabric import Fabric


class TrainingError(DepthmillError):
    """A training cannot go on."""


def endless(loader: BatchLoader) -> Iterator[Any]:
    """Yield batches, epoch after epoch."""
    while True:
        yield from loader


def do_step(
    fabric: Fabric,
    family: Family[Any],
    network: nn.Module,
    optimizer: Any,
    batches: Iterator[Any],
    config: CommonConfig,
    *,
    epoch: float,
) -> tuple[StepLosses | None, int]:
    """Do one optimiser step; None for the losses if no batch of it had a target on every process."""
    raw: Any = network
    num_samples, total = 0, None
    # of several batches nobody knows beforehand which is the last with a target, so their gradients are reduced afterwards
    is_reduced_after = fabric.world_size > 1 and config.accumulate > 1
    for _ in range(config.accumulate):
        batch = next(batches)
        num_samples += len(batch)
        with fabric.no_backward_sync(raw) if is_reduced_after else nullcontext():
            losses = family.losses(network, batch, config, fabric, epoch=epoch)
            if not _all_have(fabric, losses is not None):
                continue
            assert losses is not None
            if not torch.isfinite(losses.loss):
                raise TrainingError(
                    f"the loss is {losses.loss.item()} on frames {', '.join(batch.frame_keys)}. Nothing was saved "
                    f"from this step: "
                    "look at these frames (depthmill inspect), or lower train.learning_rate or set "
                    "train.max_gradient_norm, and run again"
                )
            fabric.backward(losses.loss / config.accumulate)
        total = losses
    if total is not None:
        if is_reduced_after:
            reduce_gradients(fabric, network)
        if config.max_gradient_norm is not None:
            fabric.clip_gradients(network, optimizer, max_norm=config.max_gradient_norm)
        optimizer.step()
        optimizer.zero_grad()
    return total, num_samples


def reduce_gradients(fabric: Fabric, network: nn.Module) -> None:
    """Put the mean over the processes in place of each gradient; a parameter without one on any process stays without."""
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    has_gradient = torch.tensor([float(parameter.grad is not None) for parameter in parameters], device=fabric.device)
    counts: Any = fabric.all_reduce(has_gradient, reduce_op="sum")
    used = [parameter for parameter, count in zip(parameters, counts.tolist(), strict=True) if count]
    gradients = [torch.zeros_like(parameter) if parameter.grad is None else parameter.grad for parameter in used]
    means: Any = fabric.all_reduce(torch.cat([gradient.flatten() for gradient in gradients]), reduce_op="mean")
    for parameter, gradient, mean in zip(used, gradients, means.split([values.numel() for values in gradients]), strict=True):
        parameter.grad = gradient.copy_(mean.view_as(gradient))


def _all_have(fabric: Fabric, has: bool) -> bool:
    """Say whether something holds on every process."""
    if fabric.world_size == 1:
        return has
    count = fabric.all_reduce(torch.tensor(float(has), device=fabric.device), reduce_op="sum")
    return float(count) == fabric.world_size  # type: ignore[arg-type]
