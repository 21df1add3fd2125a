"""What the trainer, the commands and the reports need of a model family, in one object, so that no caller tests which it is.

A family never sees another. It may do whatever it likes inside these methods, but it keeps no state between them. A method that a
family need not have says so here: its default does the plain thing, or refuses with a sentence that names the family.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Generic, NoReturn

import torch
from torch import Tensor, nn

from model.devices import network_device
from model.train.config import CommonConfig, Machine
from model.train.family_types import (
    AnalyseOptions,
    Answer,
    BatchLoader,
    C,
    CompareOptions,
    Draw,
    ExtraPart,
    Handed,
    ImageInputs,
    Measured,
    OpenedNetwork,
    ReferenceOptions,
    ResultsOptions,
    StepLosses,
    StepSize,
)
from model.train.judging import Judging, MeanDifference, Rules
from model.train.measures import Measure
from model.train.onnx_file import Traceable
from model.train.plain_evaluation import compare_rows, plain_table, read_first_row, write_rows
from storage_schemas.errors import RecipeError
from storage_schemas.manifest import Manifest

if TYPE_CHECKING:
    from lightning_fabric import Fabric

ROWS_FILE = "rows.csv"
"""Rows of an evaluation, for families that write nothing else."""


BACKBONE = "backbone"
"""Name of the part that every pre-training hands over."""


class Family(ABC, Generic[C]):
    """How a model family is built, trained, measured, compared and used.

    Attributes:
        name: value of ``train.family``.
        config: its configuration, whose ``family`` is that name.
        loss_columns: names of the scalars of a step, as in steps.csv.
        evaluation_columns: columns of evaluations.csv after the step.
        board_columns: those of them that are drawn by TensorBoard.
        rising_columns: those of them of which more is better.
        flow_name: name of the Prefect flow that runs a training.
        noun: what its networks are called, with the article; ``plural`` without.
        hub_task: what its networks do, as the Hugging Face hub calls it; "" = it has no name for that.
        evaluation_file: file by which an evaluation of this family is known.
        evaluation_of: what such an evaluation measures, for error texts.
        options: options of the command line that say something of this family's networks only.
        predicts: its networks write predictions; if not, ``refuse_to_predict`` says what to do instead.
        keys_that_decide: keys of the configuration that change what is measured, so that variants with other values differ.
        hands_over_backbone: its trainings can be named in ``train.backbone_from``.
        retrain_refusal: why ``retrain`` cannot judge its trainings; "" = it can.
    """

    name: ClassVar[str]
    config: ClassVar[type[CommonConfig]]
    loss_columns: tuple[str, ...] = ("loss",)
    evaluation_columns: tuple[str, ...] = ()
    board_columns: tuple[str, ...] = ()
    rising_columns: frozenset[str] = frozenset()
    flow_name: str = "train_and_evaluate"
    noun: str = "a network"
    plural: str = "networks"
    hub_task: str = ""
    evaluation_file: str = ROWS_FILE
    evaluation_of: str = "a network"
    options: frozenset[str] = frozenset()
    predicts: bool = False
    keys_that_decide: tuple[str, ...] = ("evaluation.split",)
    hands_over_backbone: bool = False
    retrain_refusal: str = (
        "retrain compares two trainings on the same frames, and that family keeps nothing of single frames. Put depthmill "
        "train or ablate on a schedule"
    )

    step_size: StepSize | None = None
    """Memory of a step of the default network; ``init`` proposes a batch by it."""
    small_training: Mapping[str, Any] = MappingProxyType({})
    """Keys of ``train:`` for a first try on a CPU, which ``init`` proposes where there is no GPU."""

    # building and training

    def check_recipe(self, config: C, *, where: str) -> None:
        """Check what the configuration alone cannot; RecipeError names the recipe ``where`` and the keys."""

    def notices(self, config: C, manifest: Manifest) -> list[str]:
        """Return what should be known before a training begins, a sentence each, e.g. that the data teaches nothing."""
        return []

    @abstractmethod
    def network(self, config: C) -> nn.Module:
        """Return the network with random weights; it has an attribute ``config``."""

    def load_imagenet_weights(self, network: nn.Module, config: C) -> None:
        """Fill the encoder from a file of classification weights, if the configuration names one."""

    def backbone(self, network: nn.Module) -> nn.Module:
        """Return the part of the network that takes what a pre-training hands over."""
        raise RecipeError(
            f"train.backbone_from is given, and family {self.name} has no backbone that a pre-training could fill. Leave it out"
        )

    def parts_from_pre_training(self, network: nn.Module, config: C) -> dict[str, nn.Module]:
        """Return what ``train.backbone_from`` fills, each part by the name that the pre-training has for it."""
        return {BACKBONE: self.backbone(network)}

    def reference_pre_training(self, weights: Mapping[str, Any], *, path: Path) -> tuple[C, dict[str, Tensor]] | None:
        """Return what a weights file of public code holds of a pre-training of this family; None if it is no such file.

        Args:
            weights: content of the file.
            path: of the file, for errors.

        Returns:
            A configuration with the network's options, and the weights of its parts by our names.
        """
        return None

    def handed_part(self, part: str, config: C, weights: Mapping[str, Tensor]) -> Handed | None:
        """Return a part of a checkpoint's network by its name, None if there is no such part to hand over."""
        return self.handed_backbone(config, weights) if part == BACKBONE else None

    def handed_backbone(self, config: C, weights: Mapping[str, Tensor]) -> Handed:
        """Return the backbone among the weights of a checkpoint; asked only where ``hands_over_backbone``."""
        raise RecipeError(f"family {self.name} says that it hands over its backbone, and lacks handed_backbone")

    def start_tolerance(self, config: C) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return how the checkpoint in ``train.start_from`` may differ: options of the network, and beginnings of weights."""
        return (), ()

    @abstractmethod
    def optimizer(self, network: nn.Module, config: C) -> torch.optim.Optimizer:
        """Return the optimiser over the network's parameters."""

    @abstractmethod
    def loader(self, manifest: Manifest, config: C, fabric: Fabric, machine: Machine) -> BatchLoader:
        """Return the loader of this process."""

    @abstractmethod
    def losses(self, network: nn.Module, batch: Any, config: C, fabric: Fabric, *, epoch: float) -> StepLosses | None:
        """Compare the network with a batch's targets; None if it has none, so that it can be skipped.

        Several processes share a batch and average their gradients. A loss of sums over all of them (``processes_of`` and
        ``blocks.over_processes``) is that of one process on the joined batch; a batch is skipped unless every process has a loss.

        Args:
            network: as ``fabric.setup`` returned it.
            batch: of the loader, on the CPU.
            config: the training.
            fabric: device and other processes.
            epoch: epochs done, with the fraction, for weights that grow.
        """

    def step_words(self, values: Mapping[str, float]) -> str:
        """Return what the console says of a step beside the loss."""
        return ", ".join(f"{name} {values[name]:.4g}" for name in self.loss_columns if name != "loss")

    @abstractmethod
    def measure(self, network: nn.Module, manifest: Manifest, config: C, machine: Machine, device: torch.device) -> Measured:
        """Measure during training, as quickly as it can be done."""

    def is_better(self, now: Measured, best: dict[str, float], config: C) -> bool:
        """Say whether a checkpoint replaces the one that was kept as best."""
        return now.score < best["score"]

    def board_label(self, row: Mapping[str, Any]) -> str:
        """Return the name under which TensorBoard draws a row of an evaluation."""
        return "/".join(str(value) for value in row.values() if isinstance(value, str)) or "all"

    def evaluate(
        self, network: nn.Module, manifest: Manifest, config: C, machine: Machine, device: torch.device, *, folder: Path
    ) -> int:
        """Measure at the end; write tables and pictures into ``folder / "evaluation"``; return the number of frames."""
        measured = self.measure(network, manifest, config, machine, device)
        title = f"{folder.name} on {self.split(config)} of manifest {manifest.path.fingerprint}"
        write_rows(folder / "evaluation", measured.rows, title=title, file=ROWS_FILE)
        return measured.num_samples

    def facts(self, device: torch.device) -> dict[str, Any]:
        """Return what else the record of a training says, e.g. which kernels computed."""
        return {}

    def extra_parts(self, config: C) -> Mapping[str, ExtraPart]:
        """Return what is done after the evaluation, by name and in order."""
        return {}

    def split(self, config: C) -> str:
        """Return the split that is measured on."""
        return str(getattr(getattr(config, "evaluation", None), "split", "val"))

    def choosing(self, config: C) -> C:
        """Return the configuration by which a training is measured while it goes on, to choose the best checkpoint."""
        evaluation = getattr(config, "evaluation", None)
        chosen_on = getattr(evaluation, "choose_split", None)
        if evaluation is None or chosen_on is None:
            return config
        return config.model_copy(update={"evaluation": evaluation.model_copy(update={"split": chosen_on})})

    def choice_text(self, config: C) -> str:
        """Say on which splits the best checkpoint is chosen and the result is measured."""
        chosen_on, measured_on = self.split(self.choosing(config)), self.split(config)
        if getattr(config, "keep", "best") == "last":
            return f"the last checkpoint is the result, whatever it measures; measured on {measured_on}"
        same = f"chosen and measured on the same split, {measured_on}"
        return same if chosen_on == measured_on else f"chosen on {chosen_on}, measured on {measured_on}"

    # a checkpoint on the command line

    def is_reference(self, weights: Mapping[str, Any]) -> bool:
        """Say whether the content of a weights file is a checkpoint of this family's public code."""
        return False

    def open_reference(self, path: Path, name: str, options: ReferenceOptions) -> OpenedNetwork[C]:
        """Build the network of a checkpoint of the public code.

        Raises:
            CheckpointError: the weights do not fit; names the keys.
            RecipeError: the recipe has a mistake.
        """
        raise RecipeError(f"family {self.name} knows no public checkpoints, so --reference means nothing for it. Leave it out")

    def evaluate_checkpoint(
        self,
        opened: OpenedNetwork[C],
        manifest: Manifest,
        machine: Machine,
        *,
        split: str,
        target: str,
        folder: Path,
        draw: Draw | None,
    ) -> Answer:
        """Measure a network on a split and write the evaluation.

        Args:
            opened: the network.
            manifest: the pinned data.
            machine: where and how fast.
            split: train, val or test.
            target: store of the truth, of a depth network.
            folder: where tables and pictures are written.
            draw: makes pictures; None = none are written.

        Raises:
            RecipeError: there is no such split or target.
            ManifestError: the split is empty, or frames lack a store.
            StoreError: the folder cannot be written.
        """
        check_split(split)
        evaluation = getattr(opened.config, "evaluation", None)
        config = opened.config
        if evaluation is not None:
            config = config.model_copy(update={"evaluation": evaluation.model_copy(update={"split": split})})
        device = network_device(machine.accelerator)
        measured = self.measure(opened.network.to(device), manifest, config, machine, device)
        title = f"{opened.name} on {split} of manifest {manifest.path.fingerprint}"
        write_rows(folder, measured.rows, title=title, file=ROWS_FILE)
        data = {"folder": str(folder), "manifest": manifest.path.fingerprint, "rows": measured.rows}
        return Answer(data, f"{plain_table(measured.rows, title=title)}\nwrote {folder}")

    def takes_results(self, path: Path) -> bool:
        """Say whether a path leads to predictions that any program wrote, in a form that this family measures."""
        return False

    def evaluate_results(self, path: Path, manifest: Manifest, options: ResultsOptions, *, split: str, folder: Path) -> Answer:
        """Measure predictions that any program wrote, and write the evaluation; asked only where ``takes_results`` says yes.

        Args:
            path: of the predictions.
            manifest: the pinned data, which has the truth.
            options: what the recipe says of how networks of this family are measured.
            split: train, val or test.
            folder: where tables are written.

        Raises:
            DepthmillError: the predictions are broken, or of other frames; there is no such split; the folder cannot be written.
        """
        raise RecipeError(f"family {self.name} says that it takes '{path}' for predictions, and lacks evaluate_results")

    def compare(self, a: Path, b: Path, options: CompareOptions) -> Answer:
        """Compare two evaluations.

        Raises:
            DepthmillError: they cannot be compared, or a file is missing or damaged.
        """
        data, text = compare_rows(a, b, file=ROWS_FILE, columns=self.board_columns)
        return Answer(data, text)

    def analyse(self, folder: Path, options: AnalyseOptions) -> Answer:
        """Say where the networks of an evaluation are wrong, and write it as tables and plots.

        Args:
            folder: of the evaluation.
            options: where to write.

        Raises:
            RecipeError: evaluations of this family have no analysis.
            DepthmillError: a file is missing or damaged, or the folder cannot be written.
        """
        raise RecipeError(
            f"'{folder}' is an evaluation of {self.evaluation_of} (family {self.name}), for which there is no analysis. Its "
            "tables are in that folder; compare it with another one by depthmill compare"
        )

    def predict_image(self, opened: OpenedNetwork[C], inputs: ImageInputs) -> Any:
        """Predict one image; the family decides what is returned, e.g. a depth map or objects.

        Raises:
            InputError: an input that the family needs is missing, or has another shape than it must have.
        """
        self.refuse_to_predict(opened.name)

    def takes_folder(self, folder: Path) -> bool:
        """Say whether ``predict`` reads this folder as images, and not as a store."""
        return False

    def predict_folder(self, opened: OpenedNetwork[C], images: Path, out: Path, *, draw: Draw | None, machine: Machine) -> int:
        """Predict on a folder of images; return the number of frames written.

        Raises:
            SourceError: an image or what belongs to it is missing or broken.
            StoreError: ``out`` is not empty or cannot be written.
        """
        self.refuse_to_predict(opened.name)

    def predict_split(
        self, opened: OpenedNetwork[C], manifest: Manifest, out: Path, *, split: str, draw: Draw | None, machine: Machine
    ) -> int:
        """Predict every frame of a split; return the number of frames written.

        Raises:
            ManifestError: the split does not exist or is empty, or frames lack a store.
            StoreError: ``out`` is not empty or cannot be written.
        """
        self.refuse_to_predict(opened.name)

    def refuse_to_predict(self, checkpoint: str) -> NoReturn:
        """Say that a network of this family has nothing to write files of; RecipeError always."""
        raise RecipeError(
            f"checkpoint '{checkpoint}' is of family {self.name}, which writes no predictions. Measure it with depthmill evaluate"
        )

    def traceable(self, opened: OpenedNetwork[C], size: tuple[int, int] | None) -> Traceable:
        """Return a network as torch can trace it, for ``depthmill onnx``.

        Args:
            opened: the network.
            size: rows and columns of its images; None = what its configuration says.

        Raises:
            RecipeError: the size is missing or does not fit, or networks of this family cannot be traced; says why.
        """
        raise RecipeError(f"family {self.name} does not say how its networks are written as ONNX. Use them from Python")

    def predicted_text(self, count: int, out: Path) -> str:
        """Say what a prediction has written."""
        return f"wrote {count} frames to {out}"

    # ablations

    def measures(self, config: C) -> dict[str, Measure]:
        """Return everything by which a training can be judged, by name."""
        return {name: Measure(name, name, 4, name in self.rising_columns) for name in self.board_columns}

    def table_columns(
        self, first: C, variants: Sequence[Mapping[str, Measure]]
    ) -> tuple[tuple[str, ...], dict[str, tuple[str, ...]]]:
        """Return which measures an ablation's table shows: those of its headline, and those of further tables by title.

        Args:
            first: configuration of the first variant.
            variants: ``measures`` of every variant.
        """
        return self.board_columns, {}

    def read_measures(self, folder: Path) -> dict[str, float]:
        """Return what was measured of a complete training, by name; a name is not there if nothing could be measured.

        Raises:
            StoreError: its evaluation is missing or damaged.
        """
        return read_first_row(folder / "evaluation" / ROWS_FILE, self.board_columns)

    # champions

    def judging(self, config: C) -> Judging:
        """Return by what a training can be judged, the default first; asked only where ``retrain_refusal`` is empty."""
        raise self._lacks_champions()

    def _lacks_champions(self) -> RecipeError:
        return RecipeError(
            f"family {self.name} says that retrain can judge its trainings, and does not say how. Its retrain_refusal must not "
            "be empty, or it must have judging, deciding_value, compare_with_champion, comparison_text, measured_otherwise and "
            "measure_as"
        )

    def deciding_value(self, evaluation: Path, rules: Rules) -> float | None:
        """Return the mean that decides; None if the split has nothing to measure, NaN if the network's answers are no numbers."""
        raise self._lacks_champions()

    def nothing_measured_text(self, rules: Rules) -> str:
        """Say what the split lacks where ``deciding_value`` is None."""
        return f"the split has nothing to measure {rules.metric} on"

    def is_comparable(self, evaluation: Path) -> bool:
        """Say whether an evaluation holds what trainings are compared by; one of a former version may not, and is made again."""
        return True

    def never_comparable(self, champion: C, challenger: C, rules: Rules) -> str:
        """Say why a champion cannot be compared with a challenger, however it is measured; "" if it can be.

        Asked before the challenger is trained.
        """
        return ""

    def compare_with_champion(self, champion: Path, challenger: Path, rules: Rules) -> Sequence[MeanDifference]:
        """Compare two evaluations, a = champion and b = challenger; all frames come first."""
        raise self._lacks_champions()

    def comparison_text(self, differences: Sequence[MeanDifference]) -> str:
        """Return comparisons as a table for the console."""
        raise self._lacks_champions()

    def measured_otherwise(self, champion: C, challenger: C) -> list[str]:
        """Say what of a champion's configuration makes its evaluation unfit to be compared with a challenger's."""
        raise self._lacks_champions()

    def measure_as(
        self,
        network: nn.Module,
        champion: C,
        challenger: C,
        manifest: Manifest,
        machine: Machine,
        *,
        folder: Path,
        name: str,
    ) -> None:
        """Measure a champion's network exactly as a challenger's was, and write the evaluation into a folder."""
        raise self._lacks_champions()


def check_split(split: str) -> None:
    """Check a split given on the command line; RecipeError names those that there are."""
    if split not in ("train", "val", "test"):
        raise RecipeError(f"--split is '{split}': Input should be 'train', 'val' or 'test'")
