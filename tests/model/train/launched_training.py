"""What the processes of test_launched_processes do: rank 0 trains what it is told, one after the other, the others with it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from flows.run.interrupt import stop_soon_when_interrupted
from flows.run.ranks import first_of_the_launched
from model.families import parse_train_config, train
from model.train.config import Machine
from model.train.step import TrainingError
from model.train.stopping import TrainingStopped
from storage_schemas.errors import DepthmillError
from storage_schemas.manifest import open_manifest
from storage_schemas.store import Store


class SmoothAdam(torch.optim.Adam):
    """Adam whose step follows the gradient where that is small; by its own eps a gradient of rounding alone decides a whole step."""

    def __init__(self, parameters: Any, **options: Any) -> None:
        super().__init__(parameters, **{**options, "eps": 1e-4})


class SmoothAdamW(torch.optim.AdamW):
    """The same with weight decay."""

    def __init__(self, parameters: Any, **options: Any) -> None:
        super().__init__(parameters, **{**options, "eps": 1e-4})


def frozen(self: nn.BatchNorm2d, values: Tensor) -> Tensor:
    """Normalise by the running statistics; those of a batch are those of one device's, and over 2 x 2 pixels magnify rounding."""
    return functional.batch_norm(values, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps)


def compute_smoothly(patch: pytest.MonkeyPatch) -> None:
    """Let trainings differ by no more than the rounding of their sums, where they compute the same."""
    patch.setattr(torch.optim, "Adam", SmoothAdam)
    patch.setattr(torch.optim, "AdamW", SmoothAdamW)
    patch.setattr(nn.modules.batchnorm._BatchNorm, "forward", frozen)


def train_all(trainings: list[dict[str, Any]]) -> None:
    """Train each of ``group``, ``store`` and ``folder`` on two processes, and print every step."""
    for one in trainings:
        config = parse_train_config(one["group"], where="test")
        train(
            config,
            open_manifest(Store(one["store"])),
            Path(one["folder"]),
            machine=Machine("cpu", num_devices=2),
            on_progress=lambda progress: print("step", progress.step, flush=True),
        )


def fail_in_rank_1() -> None:
    """Let the step of rank 1 fail as a loss that is not a number does."""
    import os

    from model.train import loop

    if os.environ.get("RANK", os.environ.get("SLURM_PROCID")) != "1":
        return

    def fails(*args: Any, **kwargs: Any) -> None:
        raise TrainingError("the loss is nan on frames of rank 1")

    loop.do_step = fails


if __name__ == "__main__":
    compute_smoothly(pytest.MonkeyPatch())  # in every process
    if "fail" in sys.argv[2:]:
        fail_in_rank_1()
    stop_soon_when_interrupted()  # as the command does
    try:
        with first_of_the_launched():
            train_all(json.loads(Path(sys.argv[1]).read_text()))
    except DepthmillError as error:
        print("error:", error, flush=True)
        sys.exit(1)
    except TrainingStopped as stopped:
        print(stopped, flush=True)
        sys.exit(143)
