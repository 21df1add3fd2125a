"""A training so small that a step takes a tenth of a second, and what every family's tests ask of a training's folder."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from model.families import evaluate_training, load_checkpoint, train
from model.semodepth.config import SemoDepthTrainConfig
from model.train.config import CommonConfig, Machine
from storage_schemas.manifest import Manifest

CPU = Machine(accelerator="cpu")


def small_config(**changes: Any) -> SemoDepthTrainConfig:
    data = {"batch_size": 1, "dense_target": "depth_clean", **changes.pop("data", {})}
    settings = {
        "network": {"base_channels": 8},
        "learning_rate": 1e-3,
        "max_steps": 7,
        "evaluate_every_epochs": 1.5,  # every third step: a stop in between repeats steps
        "evaluation": {"num_strips": 2},
        **changes,
    }
    return SemoDepthTrainConfig.model_validate({"data": data, **settings})


class StopHereError(Exception):
    """Ends a training as a crash would."""


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_checkpoint(folder / "last.pt").model


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def table(path: Path) -> list[dict[str, str]]:
    """Rows of a CSV file; without the seconds, which are never the same."""
    with open(path, newline="") as stream:
        return [{key: value for key, value in row.items() if key != "seconds"} for row in csv.DictReader(stream)]


def steps(folder: Path) -> list[dict[str, str]]:
    return table(folder / "steps.csv")


def train_until(config: CommonConfig, manifest: Manifest, folder: Path, *, step: int) -> None:
    """Train, and stop within a step as a crash would."""

    def stop(progress):
        if progress.step == step:
            raise StopHereError

    with pytest.raises(StopHereError):
        train(config, manifest, folder, machine=CPU, on_progress=stop)


def check_resumed(config: CommonConfig, manifest: Manifest, folder: Path, *, stop_at: int) -> list[int]:
    """Train as a whole, and in two parts with another number of workers; both must end alike. Return the steps of the second part."""
    train(config, manifest, folder / "whole", machine=CPU)
    train_until(config, manifest, folder / "parts", step=stop_at)
    torch.manual_seed(99)  # another process would have other random numbers
    resumed: list[int] = []
    machine = Machine("cpu", num_workers=1)
    train(config, manifest, folder / "parts", machine=machine, on_progress=lambda progress: resumed.append(progress.step))
    assert same(weights(folder / "parts"), weights(folder / "whole"))
    for name in ("steps.csv", "evaluations.csv"):
        assert table(folder / "parts" / name) == table(folder / "whole" / name)
    return resumed


@contextmanager
def machine_threads(count: int) -> Iterator[None]:
    """Let torch have another number of threads, as on a machine of so many cores; check that a training gives them back."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
        assert torch.get_num_threads() == count
    finally:
        torch.set_num_threads(before)


def check_equal_on_any_machine(config: CommonConfig, manifest: Manifest, folder: Path) -> None:
    """Train and measure with other numbers of threads, once stopped in between; all must end with the same bits."""
    for count in (1, 2, 3):
        with machine_threads(count):
            train(config, manifest, folder / f"{count}", machine=CPU)
            evaluate_training(config, manifest, folder / f"{count}", machine=CPU)
    with machine_threads(2):
        train_until(config, manifest, folder / "stopped", step=2)
    with machine_threads(1):
        train(config, manifest, folder / "stopped", machine=CPU)
        evaluate_training(config, manifest, folder / "stopped", machine=CPU)
    tables = {
        (folder / name / "evaluation" / "table.md").read_text().replace(f"{name} on", "") for name in ("1", "2", "3", "stopped")
    }
    assert len(tables) == 1
    assert all(same(weights(folder / name), weights(folder / "1")) for name in ("2", "3", "stopped"))
    chosen = config.model_copy(update={"cpu_threads": 2})
    for name, count in (("first", 1), ("second", 4)):
        with machine_threads(count):
            train(chosen, manifest, folder / name, machine=CPU)
    assert same(weights(folder / "first"), weights(folder / "second"))
