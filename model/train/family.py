"""What the trainer needs to know of a model family: one small object, so that there is one loop, one checkpoint and one record.

A family never sees another; it may do whatever it likes inside these methods, but it keeps no state between them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from model.data.ordered_loader import Placement
from model.train.config import CommonConfig, Machine
from storage_schemas.manifest import Manifest

C = TypeVar("C", bound=CommonConfig, contravariant=True)


class StepLosses(NamedTuple):
    """What one batch gave.

    Attributes:
        loss: scalar that is differentiated.
        values: scalars that are written down, by the names of ``Family.loss_columns``.
    """

    loss: Tensor
    values: Mapping[str, Tensor]


@dataclass(frozen=True)
class Measured:
    """What an evaluation during training found.

    Attributes:
        rows: for evaluations.csv, with the columns of ``Family.evaluation_columns``.
        score: smaller is better; what the best checkpoint is chosen by.
        best: what is noted of it beside the step, by name.
        words: the same for the console, e.g. "validation MAE@80 m 1400 mm".
    """

    rows: list[dict[str, Any]]
    score: float
    best: dict[str, float] = field(default_factory=dict)
    words: str = ""


class BatchLoader(Protocol):
    """What the loop needs of a loader; ``model.data.ordered_loader.OrderedLoader`` is one."""

    def __len__(self) -> int:
        """Return how many batches of this epoch are left for this rank."""

    def __iter__(self) -> Iterator[Any]:
        """Yield the rest of the epoch."""

    @property
    def epoch(self) -> int:
        """The epoch of the next batch."""

    def state_dict(self) -> dict[str, Any]:
        """Return where the run is."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on there."""

    def __enter__(self) -> Any:
        """Return the loader."""

    def __exit__(self, *_: object) -> None:
        """End the workers."""


def placement(fabric: Fabric, machine: Machine) -> Placement:
    """Return where the loader of this process runs."""
    return Placement(
        rank=fabric.global_rank,
        num_ranks=fabric.world_size,
        num_workers=machine.num_workers,
        pin_memory=fabric.device.type == "cuda",
        image_root=machine.image_root,
    )


class Family(Protocol, Generic[C]):
    """How a model family is built, trained and measured.

    Attributes:
        name: value of ``train.family``.
        loss_columns: names of the scalars of a step, as in steps.csv.
        evaluation_columns: columns of evaluations.csv after the step.
        board_columns: those of them that are drawn by TensorBoard.
    """

    name: str
    loss_columns: tuple[str, ...]
    evaluation_columns: tuple[str, ...]
    board_columns: tuple[str, ...]

    def network(self, config: C) -> nn.Module:
        """Return the network with random weights; it has an attribute ``config``."""
        ...

    def load_imagenet_weights(self, network: nn.Module, config: C) -> None:
        """Fill the encoder from a file of classification weights, if the configuration names one."""
        ...

    def backbone(self, network: nn.Module) -> nn.Module:
        """Return the part of the network that a pre-training hands over, or that takes what one hands over."""
        ...

    def optimizer(self, network: nn.Module, config: C) -> torch.optim.Optimizer:
        """Return the optimiser over the network's parameters."""
        ...

    def loader(self, manifest: Manifest, config: C, fabric: Fabric, machine: Machine) -> BatchLoader:
        """Return the loader of this process."""
        ...

    def losses(self, network: nn.Module, batch: Any, config: C, fabric: Fabric, *, epoch: float) -> StepLosses | None:
        """Compare the network with a batch's targets; None if it has none, so that it can be skipped.

        Args:
            network: as ``fabric.setup`` returned it.
            batch: of the loader, on the CPU.
            config: the training.
            fabric: device and other processes.
            epoch: epochs done, with the fraction, for weights that grow.
        """
        ...

    def step_words(self, values: Mapping[str, float]) -> str:
        """Return what the console says of a step beside the loss."""
        ...

    def measure(self, network: nn.Module, manifest: Manifest, config: C, machine: Machine, device: torch.device) -> Measured:
        """Measure during training, as quickly as it can be done."""
        ...

    def is_better(self, now: Measured, best: dict[str, float], config: C) -> bool:
        """Say whether a checkpoint replaces the one that was kept as best."""
        ...

    def board_label(self, row: Mapping[str, Any]) -> str:
        """Return the name under which TensorBoard draws a row of an evaluation."""
        ...

    def evaluate(
        self, network: nn.Module, manifest: Manifest, config: C, machine: Machine, device: torch.device, *, folder: Path
    ) -> int:
        """Measure at the end; write tables and pictures into ``folder / "evaluation"``; return the number of frames."""
        ...

    def facts(self, device: torch.device) -> dict[str, Any]:
        """Return what else the record of a training says, e.g. which kernels computed."""
        ...
