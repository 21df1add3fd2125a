"""From a recipe to a trained and measured network: make what is missing of the manifest, train, evaluate."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.run.listener import Listener
from flows.run.making import SILENT, make_units
from flows.run.opening import Opened
from flows.run.orchestrator import Orchestrator
from flows.run.training import Training, machine_of, open_training
from flows.run.training_folder import clear_training, holds_training
from flows.text import duration
from storage_schemas.errors import OutTakenError
from storage_schemas.folder_lock import LOCK_FILE


@dataclass(frozen=True)
class Trained:
    """What became of a training.

    Attributes:
        num_failed: units that could not be made; if there are any, nothing was trained.
        training: the complete training; None if units failed.
    """

    num_failed: int
    training: Training | None

    def __repr__(self) -> str:
        """Return what a person reads."""
        return self.text if self.training is not None else f"nothing trained: {self.num_failed} units failed"

    def as_json(self) -> dict[str, Any]:
        """Return the record of the training, its folder and what was found after the evaluation."""
        from model.train.loop import read_training

        assert self.training is not None
        folder = self.training.folder
        return {"folder": self.training.address, **read_training(folder), **self.training.extra_results()}

    @property
    def text(self) -> str:
        """Return its tables, how long it took, and where it is."""
        from model.train.loop import read_training

        assert self.training is not None
        folder = self.training.folder
        record = read_training(folder)
        tables = sorted((folder / "evaluation").glob("**/table.md"))  # a second table if monocular depth was withheld
        tables += [*(folder / "checkpoints").glob("table.md"), *(folder / "probe").glob("table.md")]
        texts = [table.read_text(encoding="utf-8") for table in tables]
        address = self.training.address
        where = f"{address}/report.html" if (folder / "report.html").is_file() else address
        steps = f"{record['num_steps']} step{'' if record['num_steps'] == 1 else 's'}"
        choice = [f"best.pt: {record['choice']}"] if "choice" in record else []  # former versions did not say
        return "\n".join([*texts, *choice, f"trained {steps} in {duration(record['seconds'])}: {where}"])


def train_recipe(
    opened: Opened,
    orchestrator: Orchestrator,
    listener: Listener = SILENT,
    *,
    where: str,
    manifest: str | None = None,
    out: Path | None = None,
    restart: bool = False,
) -> Trained:
    """Train what a recipe describes and measure it; goes on where a former run stopped.

    Args:
        opened: the recipe.
        orchestrator: carries it out.
        listener: is told of every unit and, now and then, of the training.
        where: name of the recipe file.
        manifest: train on this manifest; without it on the recipe's own, made first if it is not there.
        out: another folder of the training than ``<runs>/trainings/<name>``.
        restart: throw away what a former run left in the folder; files that depthmill did not write stay.

    Raises:
        RecipeError: the ``train:`` group has a mistake; nothing was made or trained.
        ManifestError: there is no such manifest.
        DepthmillError: the folder holds something else, or the training or the evaluation failed.
    """
    machine_of(opened)  # a setting that does not fit must be reported before an hour of work, too
    from model.families import parse_train_config
    from model.train.kept_checkpoints import lacks_checkpoints
    from model.train.loggers import refuse_missing_loggers, where_text

    if former := opened.runs.former_text():
        listener.warn(former)
    config = parse_train_config(opened.train, where=where)  # parsed first: a typo must be reported before an hour of work
    refuse_missing_loggers(config.loggers)
    if manifest is None and opened.plan().to_do:
        made = make_units(opened, orchestrator, listener)
        if made.num_failed:
            return Trained(made.num_failed, None)
    training = open_training(opened, where=where, manifest=manifest, out=out)
    _refuse_foreign_folder(training.folder)
    if not restart and training.is_complete:
        training.keep(f"depthmill train {where}")
        listener.say(f"nothing to do: training {training.folder.name} is complete (--restart trains it again)")
        if lacks_checkpoints(config, training.folder):
            listener.warn("WARNING: it ran without train.checkpoint_every_epochs and has kept no checkpoints")
        return Trained(0, training)
    with training.held(f"depthmill train {where}"):
        if restart:
            for kept in clear_training(training.folder):
                listener.say(f"kept, for depthmill did not write it: {training.folder / kept}")
            training.discard_kept()
        is_begun = (training.folder / "last.pt").is_file()
        listener.say(f"{'going on with' if is_begun else 'training'} {training.address}")
        for line in where_text(training.config.loggers, training.folder):
            listener.say(line)
        for notice in training.family.notices(training.config, training.manifest):
            listener.warn(f"WARNING: {notice}")
        listener.work_begins()
        orchestrator.train(training, listener.steps())
    return Trained(0, training)


def _refuse_foreign_folder(folder: Path) -> None:
    """Check that a folder is empty or holds a training; DepthmillError if it holds something else."""
    if folder.exists() and not folder.is_dir():
        raise OutTakenError(f"'{folder}' is a file, expected a folder to write. Choose another with --out")
    if folder.is_dir() and not holds_training(folder) and any(not path.name.startswith(LOCK_FILE) for path in folder.iterdir()):
        raise OutTakenError(f"folder '{folder}' holds something that is not a training. Choose another with --out")
