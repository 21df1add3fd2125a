"""How MonoDDLE is trained and measured by the common loop.

Source  docs/method/monoddle.md#detector-loss, #distillation, #training, #average-precision
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from model.blocks.dense_teacher_loss import dense_teacher_loss
from model.blocks.full_precision import PRECISION
from model.data.frame_names import frames_of_split
from model.data.objects import Objects
from model.errors import InputError
from model.monoddle.analysis.analysis_files import analyse_evaluation
from model.monoddle.batch import DetectionBatch, normalized_images
from model.monoddle.comparison import compare_precisions, comparison_text
from model.monoddle.config import DetectionEvaluationConfig, MonoDdleTrainConfig
from model.monoddle.data import DetectionLoader
from model.monoddle.evaluate_checkpoint import evaluate_checkpoint
from model.monoddle.evaluation import AP_FILE, evaluation_title, measured_network, write_detection_folder
from model.monoddle.heads import UNCERTAINTY_HEAD, depth_m_of
from model.monoddle.image_folder import image_folder
from model.monoddle.judging import DetectorJudging
from model.monoddle.learned import detection_notices
from model.monoddle.loss import LOSS_TERMS, detection_losses, foreground_weight
from model.monoddle.measures import detection_measures, overlap_table, published_precisions, read_detection_measures
from model.monoddle.net import MonoDdle
from model.monoddle.network_config import MonoDdleConfig
from model.monoddle.optimizer import detector_optimizer
from model.monoddle.precision.average_precision import STRICT_OVERLAP, not_measured_text, split_measured
from model.monoddle.predict_files import predict_folder, predict_image, predict_split
from model.monoddle.reference import load_reference
from model.monoddle.result_folder import evaluate_result_files, find_result_folder
from model.monoddle.traced_net import traceable_detector
from model.train.config import Machine
from model.train.family import check_split
from model.train.family_types import (
    AnalyseOptions,
    Answer,
    CompareOptions,
    Draw,
    ImageInputs,
    Measured,
    OpenedNetwork,
    ReferenceOptions,
    ResultsOptions,
    StepLosses,
    StepSize,
    placement,
    processes_of,
)
from model.train.known_families import parse_config
from model.train.measures import Measure
from model.train.onnx_file import Traceable
from storage_schemas.catalog import OBJECT_TYPES
from storage_schemas.errors import RecipeError
from storage_schemas.manifest import Manifest

if TYPE_CHECKING:
    from lightning_fabric import Fabric

_HEADS = {"heatmap", "offset_3d", "size_3d", "heading"}
"""Heads that every checkpoint of the public detectors has, and no other network."""


class MonoDdleFamily(DetectorJudging):
    """Monocular 3D detection with dense depth distillation."""

    name = "monoddle"
    config = MonoDdleTrainConfig
    loss_columns: tuple[str, ...] = ("loss", *LOSS_TERMS, "distill", "teacher_mae_m", "teacher_log_scale")
    evaluation_columns: tuple[str, ...] = (
        "category", "metric", "overlap", "min_overlap", "difficulty", "r40", "r11", "num_truth", "num_found",
    )  # fmt: skip
    board_columns: tuple[str, ...] = ("r40",)
    noun = "a detector"
    plural = "detectors"
    hub_task = "object-detection"
    evaluation_file = AP_FILE
    evaluation_of = "a detector"
    options = frozenset({"frames", "worst", "pictures"})
    predicts = True
    step_size = StepSize(frame_gb=0.69, megapixel_gb=0.0, state_gb=0.32)
    small_training = MappingProxyType(
        {"network": {"dla_widths": [8, 8, 16, 16, 24, 32], "head_width": 32}, "data": {"batch_size": 4}, "max_steps": 250}
    )
    keys_that_decide = ("evaluation.split", "evaluation.score_threshold", "evaluation.height_scale")

    def check_recipe(self, config: MonoDdleTrainConfig, *, where: str) -> None:
        """Check that the classes are KITTI's types, and that the one whose precision is told can be measured."""
        for name in config.network.classes:
            if name not in OBJECT_TYPES:
                near = difflib.get_close_matches(name.lower(), [known.lower() for known in OBJECT_TYPES], n=1)
                known = next((known for known in OBJECT_TYPES if known.lower() in near), None)
                hint = f"did you mean '{known}'?" if known else f"expected of {', '.join(OBJECT_TYPES)}"
                raise RecipeError(f"recipe '{where}': train.network.classes has '{name}', which no object is of; {hint}")
        measured, unmeasured = split_measured(config.network.train_classes)
        if config.evaluation.category in unmeasured:
            instead = " or ".join(measured) or f"one of {', '.join(STRICT_OVERLAP)}, and train on it too"
            raise RecipeError(
                f"recipe '{where}': train.evaluation.category is '{config.evaluation.category}', which cannot be measured: KITTI "
                f"defines no least overlap of it. Choose {instead}"
            )

    def notices(self, config: MonoDdleTrainConfig, manifest: Manifest) -> list[str]:
        """Name classes that cannot be measured, and those of which nothing is learned, with why.

        Frames that are named for pictures are looked up here too: after hours of training it would be too late.
        """
        _pictured(config, manifest)
        return detection_notices(config, manifest)

    def network(self, config: MonoDdleTrainConfig) -> MonoDdle:
        """Return the network with random weights."""
        network: MonoDdle = MonoDdle(config.network).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if config.frozen_backbone:
            network.freeze_backbone(with_statistics=config.frozen_statistics)
        return network

    def load_imagenet_weights(self, network: nn.Module, config: MonoDdleTrainConfig) -> None:
        """Fill the backbone, if the configuration names a file."""
        assert isinstance(network, MonoDdle)
        if config.imagenet_weights is not None:
            network.load_imagenet_weights(config.imagenet_weights)

    def backbone(self, network: nn.Module) -> nn.Module:
        """Return the backbone."""
        assert isinstance(network, MonoDdle)
        return network.backbone

    def optimizer(self, network: nn.Module, config: MonoDdleTrainConfig) -> torch.optim.Optimizer:
        """Return the optimiser over what is trained; biases have no weight decay, as published (normalisations' gains have)."""
        return detector_optimizer(network, config)

    def loader(self, manifest: Manifest, config: MonoDdleTrainConfig, fabric: Fabric, machine: Machine) -> DetectionLoader:
        """Return the loader of this process."""
        return DetectionLoader(
            manifest,
            config.data,
            config.network,
            rules=config.targets,
            placement=placement(machine, fabric),
            teacher_far_m=config.distill.far_m,
        )

    def losses(
        self, network: nn.Module, batch: DetectionBatch, config: MonoDdleTrainConfig, fabric: Fabric, *, epoch: float
    ) -> StepLosses:
        """Return the sum of the detector's terms and, if asked for, of the distillation."""
        batch = batch.to(fabric.device)
        assert batch.targets is not None
        processes = processes_of(fabric)
        maps: dict[str, Tensor] = network(normalized_images(batch.image_u8))
        terms = detection_losses(maps, batch.targets, mean_over_processes=None if processes is None else processes.mean)
        total = terms.pop("total")
        unknown = total.detach().new_tensor(float("nan"))
        values = {**terms, "distill": unknown, "teacher_mae_m": unknown, "teacher_log_scale": unknown}
        weight = _distill_weight(config, epoch)
        if config.distill.form != "none" and weight > 0:
            teacher_m = batch.teacher_m
            assert teacher_m is not None
            is_valid = teacher_m > 0
            taught = dense_teacher_loss(
                depth_m_of(maps["depth"][:, 0]),
                teacher_m,
                is_valid=is_valid,
                form=config.distill.form,
                log_scale=maps[UNCERTAINTY_HEAD][:, 0] if config.distill.needs_uncertainty else None,
                weight=foreground_weight(batch.targets.heatmap, is_valid, foreground=config.distill.foreground),
                max_residual=config.distill.max_residual_m,
                processes=processes,
            )
            total = total + weight * taught.loss
            values |= {"distill": taught.loss, "teacher_mae_m": taught.mean_abs_error_m}
            values |= {} if taught.mean_log_scale is None else {"teacher_log_scale": taught.mean_log_scale}
        return StepLosses(total, {"loss": total, **values})

    def step_words(self, values: Mapping[str, float]) -> str:
        """Return the losses of heat map and depth, and the distance from the teacher."""
        text = f"heat {values['heatmap']:.3f}, depth {values['depth']:.2f}"
        teacher_m = values["teacher_mae_m"]
        return text + (f", {teacher_m:.2f} m from the teacher" if teacher_m == teacher_m else "")

    def measure(
        self, network: nn.Module, manifest: Manifest, config: MonoDdleTrainConfig, machine: Machine, device: torch.device
    ) -> Measured:
        """Measure every average precision; the score is the one that the configuration names, at moderate difficulty."""
        evaluation = measured_network(network, manifest, config, replace(machine, num_workers=0), device, num_pictures=0)
        chosen = config.evaluation
        row = next(
            row
            for row in evaluation.rows
            if (row.category, row.metric, row.overlap)
            == (chosen.category, chosen.metric, overlap_table(chosen.metric, chosen.overlap))
            and row.difficulty == "moderate"
        )
        text = f"validation {chosen.category} AP_R40 {chosen.metric} {chosen.overlap} moderate {row.r40:.2f}"
        if not row.num_truth:
            text = f"nothing is measured: no {chosen.category} of {chosen.split} counts at moderate difficulty"
        best = {"ap_r40": row.r40 if row.num_truth else math.nan}
        score = -row.r40 if row.num_truth else math.inf
        return Measured([row._asdict() for row in evaluation.rows], score, best, text)

    def is_better(self, now: Measured, best: dict[str, float], config: MonoDdleTrainConfig) -> bool:
        """Say whether the precision is the highest so far; the last checkpoint always replaces the former where it is kept."""
        return config.keep == "last" or math.isnan(best["ap_r40"]) or now.best["ap_r40"] > best["ap_r40"]

    def board_label(self, row: Mapping[str, Any]) -> str:
        """Return the name under which TensorBoard draws a row."""
        return f"{row['category']}/{row['metric']}_{row['overlap']}_{row['difficulty']}"

    def evaluate(
        self,
        network: nn.Module,
        manifest: Manifest,
        config: MonoDdleTrainConfig,
        machine: Machine,
        device: torch.device,
        *,
        folder: Path,
    ) -> int:
        """Measure, and write result files, tables and what pictures are made of."""
        chosen = config.evaluation
        evaluation = measured_network(
            network,
            manifest,
            config,
            machine,
            device,
            num_pictures=chosen.num_pictures,
            num_worst=chosen.num_worst,
            named=_pictured(config, manifest),
        )
        unmeasured = split_measured(config.network.train_classes)[1]
        title = evaluation_title(
            folder.name,
            manifest,
            split=config.evaluation.split,
            height_scale=config.evaluation.height_scale,
            notes=[f"Computed in {PRECISION}.", *([not_measured_text(unmeasured)] if unmeasured else [])],
        )
        write_detection_folder(folder / "evaluation", evaluation, title=title)
        return len(evaluation.detections)

    def facts(self, device: torch.device) -> dict[str, Any]:
        """Return the precision of what was measured."""
        return {"measured_in": PRECISION}

    def is_reference(self, weights: Mapping[str, Any]) -> bool:
        """Say whether the content of a weights file is a checkpoint of MonoDLE or MonoDDLE: it has the heads of one."""
        for part in (weights, *(value for value in weights.values() if isinstance(value, Mapping))):
            if {str(key).removeprefix("module.").partition(".")[0] for key in part} >= _HEADS:
                return True
        return False

    def open_reference(self, path: Path, name: str, options: ReferenceOptions) -> OpenedNetwork[MonoDdleTrainConfig]:
        """Build the network of a public checkpoint.

        A recipe of this family says backbone, classes, input size and how it is measured; without one they are the public code's.
        """
        config = MonoDdleTrainConfig(network=MonoDdleConfig.reference())
        if options.train is not None and options.train.get("family") == self.name:
            config = parse_config(MonoDdleTrainConfig, options.train, where=options.where)
        return OpenedNetwork(load_reference(path, config=config.network), name, config)

    def evaluate_checkpoint(
        self,
        opened: OpenedNetwork[MonoDdleTrainConfig],
        manifest: Manifest,
        machine: Machine,
        *,
        split: str,
        target: str,
        folder: Path,
        draw: Draw | None,
    ) -> Answer:
        """Measure a detector's average precision on a split."""
        return evaluate_checkpoint(opened, manifest, machine, split=split, folder=folder, draw=draw)

    def takes_results(self, path: Path) -> bool:
        """Say whether a path leads to KITTI result files; a folder with a checkpoint is that of a training."""
        if path.is_file():
            return path.suffix == ".txt"
        return not (path / "best.pt").is_file() and find_result_folder(path) is not None

    def evaluate_results(self, path: Path, manifest: Manifest, options: ResultsOptions, *, split: str, folder: Path) -> Answer:
        """Measure the average precision of KITTI result files; a recipe of this family says which classes, and least heights."""
        check_split(split)
        evaluation, classes = DetectionEvaluationConfig(), tuple[str, ...]()
        if options.train is not None and options.train.get("family") == self.name:
            config: MonoDdleTrainConfig = parse_config(MonoDdleTrainConfig, options.train, where=options.where)
            evaluation, classes = config.evaluation, config.network.train_classes
        return evaluate_result_files(path, manifest, evaluation, classes=classes, split=split, folder=folder)

    def compare(self, a: Path, b: Path, options: CompareOptions) -> Answer:
        """Compare the average precisions of two evaluations."""
        differences = compare_precisions(a, b)
        return Answer(differences, f"a = {a}\nb = {b}\n{comparison_text(differences)}")

    def analyse(self, folder: Path, options: AnalyseOptions) -> Answer:
        """Replace what is wrong by the truth, group errors, and move centres."""
        return analyse_evaluation(folder, options)

    def traceable(self, opened: OpenedNetwork[MonoDdleTrainConfig], size: tuple[int, int] | None) -> Traceable:
        """Return a detector up to its raw maps; reading objects off them is left to the program that uses it."""
        network = opened.network
        assert isinstance(network, MonoDdle)
        return traceable_detector(network, size or network.config.input_px)

    def predict_image(self, opened: OpenedNetwork[MonoDdleTrainConfig], inputs: ImageInputs) -> Objects:
        """Return the objects of an image, surest first; nothing can be placed in space without its projection."""
        if inputs.projection is None or inputs.projection.shape != (3, 4):
            passed = "none" if inputs.projection is None else f"shape {inputs.projection.shape}"
            raise InputError(f"a detector needs the projection (3, 4) of the image, and was given {passed}. Pass projection=...")
        return predict_image(opened, inputs.image_u8, inputs.projection)

    def takes_folder(self, folder: Path) -> bool:
        """Say whether a folder has images to look for objects in."""
        return image_folder(folder) is not None

    def predict_folder(
        self, opened: OpenedNetwork[MonoDdleTrainConfig], images: Path, out: Path, *, draw: Draw | None, machine: Machine
    ) -> int:
        """Find the objects of a folder's images."""
        return predict_folder(opened, images, out, draw=draw, machine=machine)

    def predict_split(
        self,
        opened: OpenedNetwork[MonoDdleTrainConfig],
        manifest: Manifest,
        out: Path,
        *,
        split: str,
        draw: Draw | None,
        machine: Machine,
    ) -> int:
        """Find the objects of every frame of a split."""
        return predict_split(opened, manifest, out, split=split, draw=draw, machine=machine)

    def predicted_text(self, count: int, out: Path) -> str:
        """Say what a prediction has written."""
        return f"wrote the objects of {count} frames to {out}"

    def measures(self, config: MonoDdleTrainConfig) -> dict[str, Measure]:
        """Return every average precision of the classes that are trained."""
        return detection_measures(config)

    def table_columns(
        self, first: MonoDdleTrainConfig, variants: Sequence[Mapping[str, Measure]]
    ) -> tuple[tuple[str, ...], dict[str, tuple[str, ...]]]:
        """Return the columns of published tables, those of moderate difficulty on top."""
        details = published_precisions(first.evaluation.category)
        return tuple(group[1] for group in details.values()), details

    def read_measures(self, folder: Path) -> dict[str, float]:
        """Return the average precisions of a complete training, by name."""
        return read_detection_measures(folder)


def _pictured(config: MonoDdleTrainConfig, manifest: Manifest) -> tuple[str, ...]:
    """Return the keys of the frames that the configuration names for pictures; RecipeError if one is not there."""
    chosen = config.evaluation
    return frames_of_split(
        chosen.frames, manifest, split=chosen.split, cameras=config.data.cameras, option="train.evaluation.frames"
    )


def _distill_weight(config: MonoDdleTrainConfig, epoch: float) -> float:
    """Return the weight of the distillation after so many epochs."""
    ramp = config.distill.warm_up_epochs
    return config.distill.weight * (min(epoch / ramp, 1.0) if ramp > 0 else 1.0)
