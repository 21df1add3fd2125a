"""Training and evaluation as the last stages of the DAG: what every way of running them shares, with or without Prefect."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.run.keeping import kept_in_store
from flows.run.lines import CountedSteps
from flows.run.opening import Opened
from flows.run.progress import noted_steps
from flows.run.runs import Runs
from flows.run.training_folder import noted_files
from flows.settings import Settings
from storage_schemas.awaited import awaited
from storage_schemas.errors import RecipeError
from storage_schemas.folder_lock import HeldFolder, locked_folder
from storage_schemas.install_command import install_command
from storage_schemas.manifest import Manifest, open_manifest
from storage_schemas.remote_lock import HeldKey

if TYPE_CHECKING:
    from model.train.config import CommonConfig, Machine
    from model.train.family import Family
    from model.train.loop import Progress


@dataclass(frozen=True)
class Training:
    """One training, ready to run.

    Attributes:
        config: what is trained.
        manifest: the pinned data.
        folder: where it writes; named by configuration and manifest unless the user chose another.
        machine: where and how fast.
        runs: where it is kept, if its folder is one of theirs; None = it stays in its folder.
    """

    config: CommonConfig
    manifest: Manifest
    folder: Path
    machine: Machine
    runs: Runs | None = None

    @property
    def address(self) -> str:
        """Return how its folder is named for people and records: its path, or its URL in a remote store."""
        return str(self.folder) if self.runs is None else self.runs.address(self.folder)

    @property
    def family(self) -> Family[Any]:
        """The family that is trained."""
        from model.families import family_of

        return family_of(self.config)

    @property
    def flow_name(self) -> str:
        """Name of the Prefect flow that runs it."""
        return self.family.flow_name

    @property
    def is_complete(self) -> bool:
        """Say whether nothing is left to do; CheckpointError if the folder holds another complete training."""
        from model.families import FAMILIES
        from model.train.loop import is_complete, refuse_complete_of_another

        if not is_complete(self.folder):
            return False
        refuse_complete_of_another(self.config, self.manifest, self.folder, families=FAMILIES)
        return not due_parts(self.config, self.folder)

    def held(self, command: str) -> AbstractContextManager[HeldFolder | HeldKey]:
        """Hold the folder, so that no other process trains into it; FolderBusyError if one does.

        ``command`` is what another process is told of this one.
        """
        if self.runs is not None and (key := self.runs.key(self.folder)) is not None:
            return self.runs.held(key, doing=command)
        return locked_folder(self.folder, doing=command, if_denied="Choose another folder with --out")

    def parts(self, on_progress: Callable[[Progress], None] | None) -> dict[str, Callable[[], None]]:
        """Return what is to be done, in this order, by name; each does nothing if it is done, and goes on where it stopped."""
        from model.families import extra_parts

        parts: dict[str, Callable[[], None]] = {"train": lambda: self.run(on_progress), "evaluate": self.evaluate}
        for name in extra_parts(self.config):
            parts[name] = partial(self.do_extra_part, name)
        return parts

    def run(self, on_progress: Callable[[Progress], None] | None) -> None:
        """Train to the last step, going on from the last checkpoint."""
        from model.families import train
        from model.train.loop import is_complete

        if is_complete(self.folder):
            return
        with awaited(f"training {self.folder.name}") as work, self._kept():
            told = self._watched(CountedSteps(work, on_progress))
            noted = nullcontext(told) if self.runs is None else noted_steps(self.runs, self.folder.name, told)
            with noted as to_tell:
                train(self.config, self.manifest, self.folder, machine=self.machine, on_progress=to_tell)

    def evaluate(self) -> None:
        """Measure the best checkpoint, mark the training complete, write its report."""
        from model.families import evaluate_training
        from model.train.loop import is_complete

        with self._kept():
            if is_complete(self.folder):
                return
            with awaited(f"training {self.folder.name} is measured"), noted_files(self.folder):
                evaluate_training(self.config, self.manifest, self.folder, machine=self.machine)
            self.write_report()

    def do_extra_part(self, name: str) -> None:
        """Do what the family does after the evaluation, and write the report again, which then shows it."""
        from model.devices import network_device
        from model.families import extra_parts
        from model.train.repeatable import repeatable

        part = extra_parts(self.config)[name]
        if not part.is_due(self.config, self.folder):
            return
        with self._kept():
            with repeatable(self.config, network_device(self.machine.accelerator).type), noted_files(self.folder):
                part.run(self.config, self.manifest, self.folder, self.machine)
            self.write_report()

    def _kept(self) -> AbstractContextManager[None]:
        """Put the checkpoints of a training into a remote store while they are written, and everything at the end."""
        return nullcontext() if self.runs is None else kept_in_store(self.runs, self.folder)

    def _watched(self, on_progress: Callable[[Progress], None] | None) -> Callable[[Progress], None] | None:
        """Return what is told after each step; it ends a training that another machine has taken over."""
        runs, key = self.runs, None if self.runs is None else self.runs.key(self.folder)
        if runs is None or key is None or runs.is_local:
            return on_progress

        def told(progress: Progress) -> None:
            runs.refuse_lost()
            if on_progress is not None:
                on_progress(progress)

        return told

    def keep(self, command: str) -> None:
        """Put into a remote store what a former process could not put there; nothing is asked of a store that has it all."""
        if self.runs is not None and self.runs.has_news(self.folder):
            with self.held(command):  # does it
                pass

    def discard_kept(self) -> None:
        """Delete in a remote store what the folder holds no longer."""
        if self.runs is not None:
            self.runs.discard(self.folder)

    def link(self, name: str) -> str:
        """Return the URL of a file of it, for a page."""
        address = f"{self.address}/{name}"
        return address if "://" in address else (self.folder / name).absolute().as_uri()

    def extra_results(self) -> dict[str, Any]:
        """Return what was found after the evaluation, as JSON values; empty if there is nothing."""
        from model.families import extra_parts

        results: dict[str, Any] = {}
        for part in extra_parts(self.config).values():
            results |= part.results(self.folder)
        return results

    def write_report(self) -> None:
        """Write report.html of the family, from what is in the folder."""
        from flows.reports import write_training_page

        with awaited("the report is written"):
            write_training_page(self.config.family, self.folder)


def due_parts(config: CommonConfig, folder: Path) -> list[str]:
    """Return what is done after the evaluation and has not been done yet, by name."""
    from model.families import extra_parts

    return [name for name, part in extra_parts(config).items() if part.is_due(config, folder)]


def machine_of(opened: Opened) -> Machine:
    """Return where and how fast networks run, from the settings, with the root that image references start from."""
    root = getattr(opened.source, "root", None)  # the recipe may leave it to the source, or name a folder above it
    return machine_of_settings(opened.settings, image_root=None if root is None else str(root))


def machine_of_settings(settings: Settings, *, image_root: str | None) -> Machine:
    """Return where and how fast networks run: on one process for each that srun or torchrun started, else as it is set.

    Raises:
        RecipeError: torch is not installed, or the settings do not fit what srun or torchrun started.
    """
    refuse_without_torch()
    from model.train.config import Machine
    from model.train.launch import launch_here

    launch = launch_here()
    if launch is not None:
        for name in {"num_devices", "num_nodes"} & settings.model_fields_set:
            if getattr(settings, name) != getattr(launch, name):
                raise RecipeError(
                    f"setting DEPTHMILL_{name.upper()} is {getattr(settings, name)}, and {launch.by} started "
                    f"{launch.num_devices} processes on each of {launch.num_nodes} nodes. Unset it, or start as many as it says"
                )
    elif settings.num_nodes > 1:
        raise RecipeError(
            f"setting DEPTHMILL_NUM_NODES is {settings.num_nodes}, and nothing has started a process for each device there. "
            "Start the command by srun or torchrun (docs/operations/slurm.md), or unset it"
        )
    return Machine(
        accelerator=settings.device,
        num_devices=settings.num_devices if launch is None else launch.num_devices,
        num_workers=settings.loader_workers,
        image_root=image_root,
        num_nodes=1 if launch is None else launch.num_nodes,
    )


def open_training(opened: Opened, *, where: str, manifest: str | None, out: Path | None) -> Training:
    """Read the training that a recipe describes; the manifest must be there.

    Args:
        opened: the recipe.
        where: name of the recipe file, for errors.
        manifest: fingerprint of another manifest than the recipe's own.
        out: another folder than ``<runs>/trainings/<fingerprint>``.

    Raises:
        RecipeError: the ``train:`` group has a mistake.
        ManifestError: there is no such manifest.
    """
    refuse_without_torch()
    from model.families import parse_train_config

    config = parse_train_config(opened.train, where=where)
    chosen = open_manifest(opened.store, manifest or opened.plan().manifest.path.fingerprint)
    folder = out or training_folder(opened, config, chosen.path.fingerprint)
    return Training(config, chosen, folder, machine_of(opened), opened.runs)


def training_folder(opened: Opened, config: CommonConfig, manifest: str) -> Path:
    """Return the folder of a training, named by all that decides its result; OSError if its start cannot be read.

    Former versions named a training by the path of its classification weights. Such a folder is taken as long as that file is
    older than what the training wrote last: then its bytes are those that the training began with.
    """
    from model.families import FAMILIES

    folder = opened.runs.training(FAMILIES.training_name(config, manifest))
    weights = getattr(config, "imagenet_weights", None)
    if weights is None or folder.exists() or not opened.runs.is_local:  # former versions kept no training in a remote store
        return folder
    former = folder.with_name(FAMILIES.former_training_name(config, manifest))
    written = [path.stat().st_mtime for name in ("training.json", "last.pt") if (path := former / name).is_file()]
    return former if written and Path(weights).stat().st_mtime <= min(written) else folder


def missing_for_training() -> list[str]:
    """Return the packages of the extra ``train`` that are not installed."""
    return [name for name in ("torch", "lightning_fabric", "tensorboard", "simplejpeg") if importlib.util.find_spec(name) is None]


def refuse_without_torch() -> None:
    """Check that the extra ``train`` is installed and load it; RecipeError says how to install it."""
    if missing := missing_for_training():
        raise RecipeError(f"training needs {', '.join(missing)}, which is not installed here. Run: {install_command('train')}")
    with awaited("torch and the families of models are loaded"):
        importlib.import_module("model.families")
