"""Training and evaluation as the last stages of the DAG: what every way of running them shares, with or without Prefect."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from flows.materialize import Opened
from flows.settings import Settings
from storage_schemas.errors import RecipeError
from storage_schemas.manifest import Manifest, open_manifest

if TYPE_CHECKING:
    from model.train.config import Machine
    from model.train.families import TrainConfig
    from model.train.loop import Progress


@dataclass(frozen=True)
class Training:
    """One training, ready to run.

    Attributes:
        config: what is trained.
        manifest: the pinned data.
        folder: where it writes; named by configuration and manifest unless the user chose another.
        machine: where and how fast.
    """

    config: TrainConfig
    manifest: Manifest
    folder: Path
    machine: Machine

    def run(self, on_progress: Callable[[Progress], None] | None) -> None:
        """Train to the last step, going on from the last checkpoint."""
        from model.train.loop import train

        train(self.config, self.manifest, self.folder, machine=self.machine, on_progress=on_progress)

    def evaluate(self) -> None:
        """Measure the best checkpoint, mark the training complete, write its report."""
        from model.train.loop import evaluate_training

        evaluate_training(self.config, self.manifest, self.folder, machine=self.machine)
        self.write_report()

    def write_report(self) -> None:
        """Write report.html of the family, from what is in the folder; there is none of mim4d, whose table says it all."""
        from flows.detection_report import write_detection_report
        from flows.training_report import write_training_report

        if self.config.family == "semodepth":
            write_training_report(self.folder)
        elif self.config.family == "monoddle":
            write_detection_report(self.folder)


def machine_of(opened: Opened) -> Machine:
    """Return where and how fast networks run, from the settings, with the root that image references start from."""
    root = getattr(opened.recipe.source, "root", None)
    return machine_of_settings(opened.settings, image_root=None if root is None else str(root))


def machine_of_settings(settings: Settings, *, image_root: str | None) -> Machine:
    """Return where and how fast networks run."""
    refuse_without_torch()
    from model.train.config import Machine

    return Machine(
        accelerator=settings.device,
        num_devices=settings.num_devices,
        num_workers=settings.loader_workers,
        image_root=image_root,
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
    from model.train.families import parse_train_config

    config = parse_train_config(opened.recipe.train, where=where)
    chosen = open_manifest(opened.store, manifest or opened.plan().manifest.path.fingerprint)
    folder = out or opened.runs_folder / "trainings" / config.fingerprint(chosen.path.fingerprint)
    return Training(config, chosen, folder, machine_of(opened))


def missing_for_training() -> list[str]:
    """Return the packages of the extra ``train`` that are not installed."""
    import importlib.util

    return [name for name in ("torch", "lightning_fabric", "tensorboard", "simplejpeg") if importlib.util.find_spec(name) is None]


def refuse_without_torch() -> None:
    """Check that the extra ``train`` is installed; RecipeError says how to install it."""
    if missing := missing_for_training():
        raise RecipeError(
            f"training needs {', '.join(missing)}, which is not installed here. Run: pip install 'depthmill[train]'"
        )
