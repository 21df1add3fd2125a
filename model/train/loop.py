"""The training loop: one for every model family, visible from top to bottom.

Reads   a pinned manifest
Writes  into a folder: last.pt and best.pt (checkpoints), steps.csv, evaluations.csv, tensorboard/, evaluation/, and
        training.json, which is written last and says that the training is complete
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy
from torch import nn

from model.devices import network_device
from model.train.checkpoint import Checkpoint, load_checkpoint, refuse_other_training, save_checkpoint
from model.train.config import CommonConfig, Machine
from model.train.family import Family
from model.train.family_types import BatchLoader, Measured, StepLosses
from model.train.known_families import Families
from model.train.records import Records, training_seconds
from model.train.shared_scenes import refuse_shared_scenes
from model.train.start import ORIGIN_KEYS, begin
from storage_schemas.errors import DepthmillError, StoreError
from storage_schemas.files import StoreFiles
from storage_schemas.lineage import provenance
from storage_schemas.manifest import Manifest, open_manifest
from storage_schemas.store import Store

COMPLETE_FILE = "training.json"
SECONDS_PER_CHECKPOINT = 300.0
"""A killed training repeats at most this much, besides what lies between two evaluations."""


class TrainingError(DepthmillError):
    """A training cannot go on."""


@dataclass(frozen=True)
class Progress:
    """What the loop tells while it runs.

    Attributes:
        step: optimiser steps done.
        num_steps: of all.
        loss: of this step.
        losses_text: what else the family says of this step.
        measured_text: what it says of the evaluation just done, None between evaluations.
    """

    step: int
    num_steps: int
    loss: float
    losses_text: str
    measured_text: str | None = None


OnProgress = Callable[[Progress], None]


def is_complete(folder: Path) -> bool:
    """Say whether a folder holds a complete training."""
    return (folder / COMPLETE_FILE).is_file()


def read_training(folder: Path) -> dict[str, Any]:
    """Return what a complete training says of itself.

    Raises:
        StoreError: the training is not complete, or its record is damaged.
    """
    path = folder / COMPLETE_FILE
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise StoreError(
            f"'{folder}' holds no complete training ({COMPLETE_FILE} is missing). Run depthmill train first"
        ) from error
    except (OSError, ValueError) as error:
        raise StoreError(f"'{path}' cannot be read: {error}. Run depthmill train --restart") from error
    if not isinstance(record, dict):
        raise StoreError(f"'{path}' is not a training's record. Run depthmill train --restart")
    return record


def train(
    config: CommonConfig,
    manifest: Manifest,
    folder: Path,
    *,
    families: Families,
    machine: Machine | None = None,
    on_progress: OnProgress | None = None,
) -> None:
    """Train from the beginning, or from ``last.pt`` if the folder has one, to the last step; then ``best.pt`` is the result.

    Args:
        config: what to train.
        manifest: the pinned data.
        folder: the training's folder; made if it is not there.
        families: those whose checkpoints can be read.
        machine: where and how fast.
        on_progress: told after every step, on the first process only.

    Raises:
        CheckpointError: the folder holds another training, or ``start_from`` or ``backbone_from`` does not fit.
        TrainingError: the loss is not a number, no frame has a target, or the device is not there.
        ManifestError: the split is empty or too small, or the split that is measured on shares scenes with it.
    """
    refuse_shared_scenes(manifest, trained=config.data.split, measured=families.of(config).split(config))
    machine = machine or Machine()
    fabric = _fabric(config, machine)
    if machine.num_devices == 1:
        _train_on_rank(fabric, families, config, manifest, folder, machine, on_progress)
    else:
        where = (manifest.store.root, manifest.path.fingerprint)
        arguments = (
            families,
            config.model_dump_json(),
            where,
            str(folder),
            asdict(machine),
        )  # a frozen dataclass cannot pass through Fabric's launcher
        fabric.launch(_train_spawned, *arguments)  # type: ignore[arg-type]  # it passes on whatever follows


def evaluate_training(
    config: CommonConfig, manifest: Manifest, folder: Path, *, families: Families, machine: Machine | None = None
) -> None:
    """Measure a training's best checkpoint as its family does, write tables and pictures, and mark the training complete.

    Raises:
        WeightsFileError: the training has no best.pt yet.
    """
    machine = machine or Machine()
    device = network_device(machine.accelerator)
    family = families.of(config)
    best, last = (load_checkpoint(folder / name, families) for name in ("best.pt", "last.pt"))
    network = family.network(config)
    network.load_state_dict(best.model)
    network = network.to(device).eval()
    num_frames = family.evaluate(network, manifest, config, machine, device, folder=folder)
    versions = provenance()
    notices = family.notices(config, manifest)
    record = {
        "name": folder.name,
        "config": config.model_dump(mode="json"),
        "manifest": manifest.path.fingerprint,
        "store": manifest.store.shown_root,
        "commit": versions["commit"],
        "is_dirty": versions["is_dirty"],
        "versions": {
            **{name: value for name, value in versions.items() if name not in ("commit", "is_dirty")},
            "torch": torch.__version__,
            **families.package_version(config),
        },
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        **family.facts(device),
        "finished_utc": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(training_seconds(folder), 1),
        "num_steps": last.step,
        "num_parameters": sum(parameter.numel() for parameter in network.parameters()),
        "train_frames": last.loader["num_samples"],
        "val_frames": num_frames,
        "best": {name: _known(value) for name, value in (best.best or {}).items()},
        **{key: value for key, value in last.provenance.items() if key in ORIGIN_KEYS},
        **({"notices": notices} if notices else {}),
    }
    StoreFiles(folder).put(COMPLETE_FILE, json.dumps(record, indent=1).encode())


def _known(value: Any) -> Any:
    """Return a value as JSON has it: None for infinity and not a number, which stand for what was not measured."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _fabric(config: CommonConfig, machine: Machine) -> Fabric:
    accelerator = network_device(machine.accelerator).type
    # without it DDP fails on parameters without gradients: those of the radar graph in a batch without radar, those of a
    # detector's heads in a batch without objects
    strategy: Any = "auto" if machine.num_devices == 1 else DDPStrategy(start_method="spawn", find_unused_parameters=True)
    precision: Any = "bf16-mixed" if config.uses_bfloat16(accelerator) else "32-true"
    return Fabric(accelerator=accelerator, devices=machine.num_devices, strategy=strategy, precision=precision)


def _train_spawned(
    fabric: Fabric, families: Families, config: str, where: tuple[str, str], folder: str, machine: dict[str, Any]
) -> None:
    store, fingerprint = where
    manifest = open_manifest(Store(store), fingerprint)
    _train_on_rank(fabric, families, families.read(config), manifest, Path(folder), Machine(**machine), None)


def _train_on_rank(
    fabric: Fabric,
    families: Families,
    config: CommonConfig,
    manifest: Manifest,
    folder: Path,
    machine: Machine,
    on_progress: OnProgress | None,
) -> None:
    family = families.of(config)
    checkpoint = _checkpoint_of(folder, families, config, manifest)
    torch.manual_seed(config.seed)
    raw_network = family.network(config)
    if checkpoint is None:
        origin = begin(raw_network, config, families)
    else:
        origin = {key: value for key, value in checkpoint.provenance.items() if key in ORIGIN_KEYS}
    raw_optimizer = family.optimizer(raw_network, config)
    network, optimizer = fabric.setup(raw_network, raw_optimizer)
    loader = family.loader(manifest, config, fabric, machine)
    steps_per_epoch = max(len(loader) // config.accumulate, 1)
    num_steps = min(config.epochs * steps_per_epoch, config.max_steps or math.inf)
    evaluate_every = max(round(config.evaluate_every_epochs * steps_per_epoch), 1)
    step, best, has_learned = 0, None, checkpoint is not None
    if checkpoint is not None:
        raw_network.load_state_dict(checkpoint.model)
        raw_optimizer.load_state_dict(checkpoint.optimizer)
        loader.load_state_dict(checkpoint.loader)
        torch.set_rng_state(checkpoint.random)
        step, best = checkpoint.step, checkpoint.best

    def snapshot() -> Checkpoint:
        return Checkpoint(
            config=config,
            manifest=manifest.path.fingerprint,
            step=step,
            model=raw_network.state_dict(),
            optimizer=raw_optimizer.state_dict(),
            loader=loader.state_dict(),
            best=best,
            random=torch.get_rng_state(),
            provenance=provenance() | origin,
        )

    folder.mkdir(parents=True, exist_ok=True)
    records = Records(folder, family, step=step) if fabric.is_global_zero else None
    saved_at = time.monotonic()
    with loader:
        batches = _endless(loader)
        while step < num_steps:
            factor = config.learning_rate_factor(step / steps_per_epoch)
            for group in raw_optimizer.param_groups:
                group["lr"] = config.learning_rate * factor * group.get("rate", 1.0)
            step_start = time.perf_counter()
            losses, num_samples = _step(fabric, family, network, optimizer, batches, config, epoch=step / steps_per_epoch)
            step += 1
            has_learned |= losses is not None
            if not has_learned and step == num_steps:
                raise TrainingError(
                    f"none of {step} steps had a frame with a target, so there was nothing to learn from. Look at the frames of "
                    f"split '{config.data.split}' (depthmill inspect): their targets are empty"
                )
            if losses is not None and records is not None:
                records.add_step(_step_row(losses, step, loader, num_samples * fabric.world_size, config, factor, step_start))
            measured: Measured | None = None
            if step % evaluate_every == 0 or step == num_steps:
                if records is not None:
                    measured = family.measure(raw_network, manifest, config, machine, fabric.device)
                    for row in measured.rows:
                        records.add_evaluation({"step": step, **row})
                    if best is None or family.is_better(measured, best, config):
                        best = {"step": step, **measured.best}
                        save_checkpoint(snapshot(), folder / "best.pt")
                fabric.barrier()
            is_due = measured is not None or time.monotonic() - saved_at > SECONDS_PER_CHECKPOINT
            if records is not None and is_due:
                save_checkpoint(snapshot(), folder / "last.pt")
                saved_at = time.monotonic()
            if on_progress is not None and losses is not None and records is not None:
                losses_text = family.step_words({name: float(value.detach()) for name, value in losses.values.items()})
                measured_text = None if measured is None else measured.text
                on_progress(Progress(step, int(num_steps), float(losses.loss.detach()), losses_text, measured_text))
    if records is None:
        fabric.barrier()
        return
    records.close()
    fabric.barrier()


def _endless(loader: BatchLoader) -> Iterator[Any]:
    while True:
        yield from loader


def _step(
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
    for number in range(config.accumulate):
        batch = next(batches)
        num_samples += len(batch)
        is_last = number == config.accumulate - 1
        with nullcontext() if is_last or fabric.world_size == 1 else fabric.no_backward_sync(raw):
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
        if config.max_gradient_norm is not None:
            fabric.clip_gradients(network, optimizer, max_norm=config.max_gradient_norm)
        optimizer.step()
        optimizer.zero_grad()
    return total, num_samples


def _all_have(fabric: Fabric, has: bool) -> bool:
    """Say whether something holds on every process."""
    if fabric.world_size == 1:
        return has
    count = fabric.all_reduce(torch.tensor(float(has), device=fabric.device), reduce_op="sum")
    return float(count) == fabric.world_size  # type: ignore[arg-type]


def _step_row(
    losses: StepLosses, step: int, loader: BatchLoader, num_samples: int, config: CommonConfig, factor: float, start: float
) -> dict[str, Any]:
    return {
        "step": step,
        "epoch": loader.epoch,
        "samples": num_samples,
        **{name: float(value.detach()) for name, value in losses.values.items()},
        "lr": config.learning_rate * factor,
        "seconds": time.perf_counter() - start,
    }


def _checkpoint_of(folder: Path, families: Families, config: CommonConfig, manifest: Manifest) -> Checkpoint | None:
    path = folder / "last.pt"
    if not path.is_file():
        return None
    checkpoint = load_checkpoint(path, families)
    refuse_other_training(checkpoint, config, manifest.path.fingerprint, path=path)
    return checkpoint
