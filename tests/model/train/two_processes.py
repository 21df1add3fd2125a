"""What the two processes of test_accumulated_gradients do: every combination of micro-batches with and without a target."""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy
from torch import Tensor, nn

from model.train.family_types import StepLosses
from model.train.step import do_step


class Fork(nn.Module):
    """Two weights that every sample has a gradient for, and two that only samples with a branch have."""

    def __init__(self) -> None:
        super().__init__()
        self.always = nn.Linear(2, 1)
        self.branch = nn.Linear(2, 1)

    def forward(self, values: Tensor, has_branch: bool) -> Tensor:
        answer: Tensor = self.always(values)
        return answer + self.branch(values) if has_branch else answer


class Batch(SimpleNamespace):
    def __len__(self) -> int:
        return 1


class Family:
    """Tells a loss where a batch has a target."""

    def losses(self, network: nn.Module, batch: Batch, config: Any, fabric: Fabric, *, epoch: float) -> StepLosses | None:
        answer = network(batch.values, batch.has_branch)  # a family computes its prediction before it looks at the target
        return StepLosses(answer.square().mean(), {}) if batch.has_target else None


def batches_of(flags: tuple[bool, ...], branches: tuple[bool, ...], *, seed: int) -> list[Batch]:
    generator = torch.Generator().manual_seed(seed)
    return [
        Batch(values=torch.randn(3, 2, generator=generator), has_target=target, has_branch=branch, frame_keys=["k"])
        for target, branch in zip(flags, branches, strict=True)
    ]


def expected(own: list[list[Batch]], accumulate: int) -> list[Tensor]:
    """One process that skips a micro-batch where one of the two lacks a target, and takes the mean of both."""
    torch.manual_seed(0)
    network = Fork()
    optimizer = torch.optim.Adam(network.parameters(), lr=0.1)
    for start in range(0, len(own[0]), accumulate):
        for pair in list(zip(*own, strict=True))[start : start + accumulate]:
            if all(batch.has_target for batch in pair):
                sum(network(batch.values, batch.has_branch).square().mean() for batch in pair).div(2 * accumulate).backward()
        optimizer.step()
        optimizer.zero_grad()
    return [parameter.detach() for parameter in network.parameters()]


def run(fabric: Fabric, accumulate: int, num_steps: int) -> dict[str, float]:
    """Return the largest difference of weights between the two processes, and to one process, over all combinations."""
    worst = {"between processes": 0.0, "to one process": 0.0, "combinations": 0.0}
    num_batches = accumulate * num_steps
    config = SimpleNamespace(accumulate=accumulate, max_gradient_norm=None)
    for number, flags in enumerate(itertools.product((True, False), repeat=2 * num_batches)):
        branches = tuple(bool(number >> shift & 1) for shift in range(2 * num_batches))
        own = [
            batches_of(flags[rank * num_batches :][:num_batches], branches[rank::2], seed=2 * number + rank) for rank in (0, 1)
        ]
        torch.manual_seed(0)
        raw = Fork()
        network, optimizer = fabric.setup(raw, torch.optim.Adam(raw.parameters(), lr=0.1))
        batches = iter(own[fabric.global_rank])
        for _ in range(num_steps):
            do_step(fabric, Family(), network, optimizer, batches, config, epoch=0.0)
        weights = torch.cat([parameter.detach().flatten() for parameter in raw.parameters()])
        both: Any = fabric.all_gather(weights)
        alone = torch.cat([values.flatten() for values in expected(own, accumulate)])
        worst["between processes"] = max(worst["between processes"], float((both[0] - both[1]).abs().max()))
        worst["to one process"] = max(worst["to one process"], float((weights - alone).abs().max()))
        worst["combinations"] += 1
    return worst


def launch(accumulate: int, num_steps: int) -> dict[str, float]:
    """Run two processes on the CPU; return what the first found."""
    strategy = DDPStrategy(start_method="spawn", find_unused_parameters=True)
    found: Any = Fabric(accelerator="cpu", devices=2, strategy=strategy).launch(run, accumulate, num_steps)
    return dict(found)
