"""The training loop: one for every model family, visible from top to bottom.

Reads   a pinned manifest
Writes  into a folder: last.pt and best.pt (checkpoints), those of ``kept_checkpoints``, steps.csv, evaluations.csv, what its
        loggers write, evaluation/, and training.json, which is written last and says that the training is complete
"""

from __future__ import annotations

import filecmp
import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from model.blocks.weights_file import fill_network
from model.devices import network_device
from model.errors import CheckpointError, WeightsFileError
from model.train.checkpoint import Checkpoint, explained_resume, load_checkpoint, refuse_other_training, save_checkpoint
from model.train.config import CommonConfig, Machine
from model.train.family_types import BatchLoader, Measured, StepLosses
from model.train.kept_checkpoints import keep_checkpoint, refuse_foreign_checkpoints
from model.train.known_families import Families, UnknownOptionsError
from model.train.launch import launch_here
from model.train.pace import Pace
from model.train.processes import Told, fabric_of, signals_passed_on
from model.train.ranks import RanksError, leader_here
from model.train.records import Records, training_seconds
from model.train.repeatable import repeatable
from model.train.shared_scenes import refuse_shared_scenes
from model.train.start import EVERY_ORIGIN, begin
from model.train.step import TrainingError, do_step, endless
from model.train.stopping import StopSignals, TrainingStopped
from storage_schemas.errors import StoreError
from storage_schemas.files import StoreFiles
from storage_schemas.lineage import provenance
from storage_schemas.manifest import Manifest, open_manifest
from storage_schemas.regular_files import read_regular
from storage_schemas.seals import read_sealed_json, sealed_json
from storage_schemas.store import Store

if TYPE_CHECKING:
    from lightning_fabric import Fabric

COMPLETE_FILE = "training.json"
SECONDS_PER_CHECKPOINT = 300.0
"""A killed training repeats at most this much, besides what lies between two evaluations."""


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
        return read_sealed_json(read_regular(path))
    except FileNotFoundError as error:
        raise StoreError(
            f"'{folder}' holds no complete training ({COMPLETE_FILE} is missing). Run depthmill train first"
        ) from error
    except (OSError, ValueError) as error:
        raise StoreError(f"'{path}' cannot be read: {error}. Run depthmill train --restart") from error


def refuse_complete_of_another(config: CommonConfig, manifest: Manifest, folder: Path, *, families: Families) -> None:
    """Check that the complete training in a folder is that of a configuration and a manifest.

    Raises:
        CheckpointError: it is another training; names the first key that differs.
        StoreError: its record is damaged.
    """
    record, what = read_training(folder), f"training '{folder}'"
    try:
        before = families.read(record["config"])
        trained_on = str(record["manifest"])
    except (KeyError, TypeError, UnknownOptionsError) as error:
        raise CheckpointError(
            f"{what} is complete, and its {COMPLETE_FILE} cannot be read by this depthmill: {error}. Use the depthmill that made "
            "it, choose another folder with --out, or begin anew with --restart"
        ) from error
    refuse_other_training(before, trained_on, record, config=config, manifest=manifest.path.fingerprint, what=what)


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
        TrainingError: the loss is not a number, or no frame has a target.
        DeviceError: a device is not there.
        RanksError: one of several processes failed or is gone.
        TrainingStopped: SIGTERM or SIGUSR1 came; the step was finished, and last.pt has it.
        ManifestError: the split is empty or too small, or the split that is measured on shares scenes with it.
    """
    family = families.of(config)
    for measured in (config, family.choosing(config)):
        refuse_shared_scenes(manifest, trained=config.data.split, measured=family.split(measured))
    machine = machine or Machine()
    leader = leader_here()
    if leader is None and machine.num_processes > 1 and launch_here() is not None:
        raise RanksError(
            "srun or torchrun started this process, and it is no command of depthmill, so nobody tells the others what to "
            "train. Let it start depthmill train"
        )
    fabric = fabric_of(config, machine)
    if machine.num_processes == 1:
        with repeatable(config, fabric.device.type):
            _train_on_rank(fabric, families, config, manifest, folder, machine, on_progress)
        return
    work = {
        "config": config.model_dump_json(),
        "unnamed": config.unnamed(),  # these keys are no part of what is dumped
        "store": manifest.store.root,
        "manifest": manifest.path.fingerprint,
        "folder": str(folder),
        "machine": asdict(machine),  # a frozen dataclass cannot pass through Fabric's launcher
    }
    if leader is None:
        told = Told()
        with signals_passed_on(), told.heard():
            stopped = fabric.launch(_train_spawned, families, work, told)  # type: ignore[arg-type]  # it passes on what follows
        if stopped is not None:
            raise TrainingStopped(*stopped)
        return
    leader.hand_out(work)
    with leader.together(), repeatable(config, fabric.device.type):
        fabric.launch(_train_on_rank, families, config, manifest, folder, machine, on_progress)  # type: ignore[arg-type]


def train_as_told(work: Mapping[str, Any], families: Families, fabric: Fabric | None = None) -> None:
    """Do the part of one process in a training that rank 0 has begun, or that the process which started this one has.

    Args:
        work: what ``train`` hands out.
        families: those whose checkpoints can be read.
        fabric: of a process that Fabric started; None = srun or torchrun started it.
    """
    machine, config = Machine(**work["machine"]), families.read(json.loads(work["config"]))
    config = config.model_copy(update=dict(work["unnamed"]))
    manifest = open_manifest(Store(work["store"]), work["manifest"])
    arguments = (families, config, manifest, Path(work["folder"]), machine, None)
    own = fabric or fabric_of(config, machine)
    with repeatable(config, own.device.type):
        if fabric is None:
            own.launch(_train_on_rank, *arguments)  # type: ignore[arg-type]
        else:
            _train_on_rank(fabric, *arguments)


def _train_spawned(fabric: Fabric, families: Families, work: dict[str, Any], told: Told) -> tuple[int, int, str] | None:
    return told.attempt(fabric.global_rank, lambda: train_as_told(work, families, fabric))


def evaluate_training(
    config: CommonConfig, manifest: Manifest, folder: Path, *, families: Families, machine: Machine | None = None
) -> None:
    """Measure a training's best checkpoint as its family does, write tables and pictures, and mark the training complete.

    Raises:
        WeightsFileError: the training has no best.pt yet.
    """
    machine = machine or Machine()
    device = network_device(machine.accelerator)
    with repeatable(config, device.type):
        _evaluate_training(config, manifest, folder, families, machine, device)


def _evaluate_training(
    config: CommonConfig, manifest: Manifest, folder: Path, families: Families, machine: Machine, device: torch.device
) -> None:
    family = families.of(config)
    best_file, last_file = folder / "best.pt", folder / "last.pt"
    best = load_checkpoint(best_file, families)
    # where the last step is the best one, both files are the same to the byte
    is_last_best = last_file.is_file() and filecmp.cmp(best_file, last_file, shallow=False)
    last = best if is_last_best else load_checkpoint(last_file, families)
    network = family.network(config)
    fill_network(network, best.model, path=best_file)
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
        "trained_in": "bfloat16" if config.uses_bfloat16(device.type) else "float32",
        **family.facts(device),
        "finished_utc": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(training_seconds(folder), 1),
        "num_steps": last.step,
        "num_parameters": sum(parameter.numel() for parameter in network.parameters()),
        "train_frames": last.loader.get("num_samples"),
        "val_frames": num_frames,
        "choice": family.choice_text(config),
        "best": {name: _known(value) for name, value in (best.best or {}).items()},
        **{key: value for key, value in last.provenance.items() if key in EVERY_ORIGIN},
        **({"notices": notices} if notices else {}),
    }
    StoreFiles(folder).put(COMPLETE_FILE, sealed_json(record))


def _known(value: Any) -> Any:
    """Return a value as JSON has it: None for infinity and not a number, which stand for what was not measured."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _train_on_rank(
    fabric: Fabric,
    families: Families,
    config: CommonConfig,
    manifest: Manifest,
    folder: Path,
    machine: Machine,
    on_progress: OnProgress | None,
) -> None:
    family, is_first = families.of(config), fabric.is_global_zero
    # only the first process looks into the folder and reads other files: it may be on a disk that the others do not see
    checkpoint = fabric.broadcast(_checkpoint_of(folder, families, config, manifest) if is_first else None)
    torch.manual_seed(config.seed)
    raw_network = family.network(config)
    origin: dict[str, str] = {}
    if checkpoint is not None:
        origin = {key: value for key, value in checkpoint.provenance.items() if key in EVERY_ORIGIN}
    elif is_first:  # the others take its weights when DistributedDataParallel is set up
        origin = begin(raw_network, config, families)
    raw_optimizer = family.optimizer(raw_network, config)
    network, optimizer = fabric.setup(raw_network, raw_optimizer)
    loader = family.loader(manifest, config, fabric, machine)
    pace = Pace.of(config, len(loader))
    step, best, has_learned, last = 0, None, checkpoint is not None, folder / "last.pt"
    if checkpoint is not None:
        with explained_resume(last):
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

    def measure() -> Measured:
        """Measure the split after the step just done; last.pt has that step already, so a signal may cut it off."""
        nonlocal best
        assert records is not None
        with signals.obeyed(step, str(last)):
            measured = family.measure(raw_network, manifest, family.choosing(config), machine, fabric.device)
        for row in measured.rows:
            records.add_evaluation({"step": step, **row})
        # a network whose answers are not numbers is never the best one, the first time neither
        if not math.isnan(measured.score) and (best is None or family.is_better(measured, best, config)):
            best = {"step": step, **measured.best}
            save_checkpoint(snapshot(), folder / "best.pt", last)
        else:
            save_checkpoint(snapshot(), last)
        return measured

    records: Records | None = None
    if is_first:
        folder.mkdir(parents=True, exist_ok=True)
        records = Records(folder, family, config, manifest.path.fingerprint, step=step)
    saved_at = time.monotonic()
    with StopSignals() as signals, loader:
        if records is not None and step and pace.is_measured(step) and records.last_measured != step:
            measure()  # it was cut off
        batches = endless(loader)
        while step < pace.num_steps:
            factor = config.learning_rate_factor(pace.epoch(step)) * config.learning_rate_share(fabric.world_size)
            for group in raw_optimizer.param_groups:
                group["lr"] = config.learning_rate * factor * group.get("rate", 1.0)
            step_start = time.perf_counter()
            losses, num_samples = do_step(fabric, family, network, optimizer, batches, config, epoch=pace.epoch(step))
            step += 1
            has_learned |= losses is not None
            if not has_learned and step == pace.num_steps:
                raise TrainingError(
                    f"none of {step} steps had a frame with a target, so there was nothing to learn from. Look at the frames of "
                    f"split '{config.data.split}' (depthmill inspect): their targets are empty"
                )
            if losses is not None and records is not None:
                records.add_step(_step_row(losses, step, loader, num_samples * fabric.world_size, config, factor, step_start))
            stop = signals.agreed(fabric)
            is_measured = pace.is_measured(step)
            if records is not None and pace.is_kept(step):  # before last.pt has this step, or it would be missing after a kill
                keep_checkpoint(snapshot(), folder, most=config.keep_checkpoints, families=families)
            if records is not None and (stop or is_measured or time.monotonic() - saved_at > SECONDS_PER_CHECKPOINT):
                save_checkpoint(snapshot(), last)
                saved_at = time.monotonic()
            if stop:
                fabric.barrier()  # none ends before the first has saved
                raise TrainingStopped(stop, step, str(last))
            measured = measure() if records is not None and is_measured else None
            if is_measured:
                fabric.barrier()
            if on_progress is not None and losses is not None and records is not None:
                losses_text = family.step_words({name: float(value.detach()) for name, value in losses.values.items()})
                measured_text = None if measured is None else measured.text
                on_progress(Progress(step, pace.num_steps, float(losses.loss.detach()), losses_text, measured_text))
    if records is None:
        fabric.barrier()
        return
    records.close()
    fabric.barrier()
    if best is None and step >= pace.num_steps:
        raise TrainingError(
            f"no evaluation on split '{family.split(family.choosing(config))}' gave a number: the network answers NaN there, so "
            "no checkpoint is the best one. Lower train.learning_rate or set train.max_gradient_norm, and begin anew with "
            "--restart"
        )


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
    if config.checkpoint_every_epochs is not None:
        refuse_foreign_checkpoints(config, manifest.path.fingerprint, folder, families)
    if not path.is_file():
        return None
    try:
        checkpoint = load_checkpoint(path, families)
    except (CheckpointError, WeightsFileError) as error:
        if not (best := folder / "best.pt").is_file():
            raise
        raise type(error)(f"{error}. To go on from the best checkpoint instead, copy '{best}' over it") from error
    refuse_other_training(
        checkpoint.config,
        checkpoint.manifest,
        checkpoint.provenance,
        config=config,
        manifest=manifest.path.fingerprint,
        what=f"checkpoint '{path}'",
    )
    return checkpoint
