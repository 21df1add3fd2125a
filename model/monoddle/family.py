"""How MonoDDLE is trained and measured by the common loop.

Source  specs/monoddle.md sections 3, 4 and 6
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from model.blocks.dense_teacher_loss import dense_teacher_loss
from model.monoddle.batch import DetectionBatch, normalized_images
from model.monoddle.config import MonoDdleTrainConfig
from model.monoddle.data import DetectionLoader
from model.monoddle.evaluation import DetectionEvaluation, detect, evaluate_detections, write_detection_folder
from model.monoddle.heads import UNCERTAINTY_HEAD, depth_m_of
from model.monoddle.loss import LOSS_TERMS, detection_losses, foreground_weight
from model.monoddle.net import MonoDdle
from model.train.config import Machine
from model.train.family import Measured, StepLosses, placement
from storage_schemas.manifest import Manifest


class MonoDdleFamily:
    """Monocular 3D detection with dense depth distillation."""

    name = "monoddle"
    loss_columns: tuple[str, ...] = ("loss", *LOSS_TERMS, "distill", "teacher_mae_m", "teacher_log_scale")
    evaluation_columns: tuple[str, ...] = (
        "category", "metric", "overlap", "min_overlap", "difficulty", "r40", "r11", "num_truth", "num_found",
    )  # fmt: skip
    board_columns: tuple[str, ...] = ("r40",)

    def network(self, config: MonoDdleTrainConfig) -> MonoDdle:
        """Return the network with random weights."""
        network: MonoDdle = MonoDdle(config.network).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
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
        """Return Adam with its coupled L2, of which biases have none, as published (normalisations' gains have)."""
        named = list(network.named_parameters())
        groups = [
            {"params": [one for name, one in named if "bias" not in name], "weight_decay": config.weight_decay},
            {"params": [one for name, one in named if "bias" in name], "weight_decay": 0.0},
        ]
        return torch.optim.Adam(groups, lr=config.learning_rate)

    def loader(self, manifest: Manifest, config: MonoDdleTrainConfig, fabric: Fabric, machine: Machine) -> DetectionLoader:
        """Return the loader of this process."""
        return DetectionLoader(
            manifest,
            config.data,
            config.network,
            rules=config.targets,
            **placement(fabric, machine),
        )

    def losses(
        self, network: nn.Module, batch: DetectionBatch, config: MonoDdleTrainConfig, fabric: Fabric, *, epoch: float
    ) -> StepLosses:
        """Return the sum of the detector's terms and, if asked for, of the distillation."""
        batch = batch.to(fabric.device)
        assert batch.targets is not None

        def mean_over_processes(values: Tensor) -> Tensor:
            found = fabric.all_reduce(values, reduce_op="mean")
            assert isinstance(found, Tensor)
            return found

        maps: dict[str, Tensor] = network(normalized_images(batch.image_u8))
        several = mean_over_processes if fabric.world_size > 1 else None
        terms = detection_losses(maps, batch.targets, mean_over_processes=several)
        total = terms.pop("total")
        unknown = total.detach().new_tensor(float("nan"))
        values = {**terms, "distill": unknown, "teacher_mae_m": unknown, "teacher_log_scale": unknown}
        weight = _distill_weight(config, epoch)
        if config.distill.form != "none" and weight > 0:
            teacher_m = batch.teacher_m
            assert teacher_m is not None
            is_valid = teacher_m > 0
            found = dense_teacher_loss(
                depth_m_of(maps["depth"][:, 0]),
                teacher_m,
                is_valid=is_valid,
                form=config.distill.form,
                log_scale=maps[UNCERTAINTY_HEAD][:, 0] if config.distill.needs_uncertainty else None,
                weight=foreground_weight(batch.targets.heatmap, is_valid, foreground=config.distill.foreground),
                max_residual=config.distill.max_residual_m,
            )
            total = total + weight * found.loss
            values |= {"distill": found.loss, "teacher_mae_m": found.mean_abs_error_m}
            values |= {} if found.mean_log_scale is None else {"teacher_log_scale": found.mean_log_scale}
        return StepLosses(total, {"loss": total, **values})

    def step_words(self, values: Mapping[str, float]) -> str:
        """Return the terms that say most."""
        words = f"heat {values['heatmap']:.3f}, depth {values['depth']:.2f}"
        teacher_m = values["teacher_mae_m"]
        return words + (f", {teacher_m:.2f} m from the teacher" if teacher_m == teacher_m else "")

    def measure(
        self, network: nn.Module, manifest: Manifest, config: MonoDdleTrainConfig, machine: Machine, device: torch.device
    ) -> Measured:
        """Measure every average precision; the score is the one that the configuration names, at moderate difficulty."""
        found = _evaluation(network, manifest, config, replace(machine, num_workers=0), device, num_pictures=0)
        chosen = config.evaluation
        value = next(
            row.r40
            for row in found.rows
            if (row.category, row.metric, row.overlap)
            == (chosen.category, chosen.metric, _overlap(chosen.metric, chosen.overlap))
            and row.difficulty == "moderate"
        )
        words = f"validation {chosen.category} AP_R40 {chosen.metric} {chosen.overlap} moderate {value:.2f}"
        return Measured([row._asdict() for row in found.rows], -value, {"ap_r40": value}, words)

    def is_better(self, now: Measured, best: dict[str, float], config: MonoDdleTrainConfig) -> bool:
        """Say whether the precision is the highest so far; the last checkpoint always replaces the former where it is kept."""
        return config.keep == "last" or now.best["ap_r40"] > best["ap_r40"]

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
        found = _evaluation(network, manifest, config, machine, device, num_pictures=config.evaluation.num_pictures)
        title = f"{folder.name} on {config.evaluation.split} of manifest {manifest.path.fingerprint}"
        if config.evaluation.height_scale != 1.0:
            title += f", least box heights times {config.evaluation.height_scale:g}"
        write_detection_folder(folder / "evaluation", found, title=title)
        return len(found.found)

    def facts(self, device: torch.device) -> dict[str, Any]:
        """Return nothing: there is one way to compute it."""
        return {}


def _evaluation(
    network: nn.Module,
    manifest: Manifest,
    config: MonoDdleTrainConfig,
    machine: Machine,
    device: torch.device,
    *,
    num_pictures: int,
) -> DetectionEvaluation:
    assert isinstance(network, MonoDdle)
    was_training = network.training
    network.eval()
    try:
        frames = detect(
            network,
            manifest,
            split=config.evaluation.split,
            cameras=config.data.cameras,
            score_threshold=config.evaluation.score_threshold,
            with_teacher=num_pictures > 0 and config.data.mono,
            with_uncertainty=num_pictures > 0 and config.network.uncertainty,
            machine=machine,
            device=device,
            bfloat16=config.uses_bfloat16(device.type),
        )
        return evaluate_detections(
            frames,
            classes=config.network.train_classes,
            height_scale=config.evaluation.height_scale,
            num_pictures=num_pictures,
        )
    finally:
        network.train(was_training)


def _overlap(metric: str, overlap: str) -> str:
    """Return the overlap table of a metric: boxes in the image have one only."""
    return "strict" if metric == "2d" else overlap


def _distill_weight(config: MonoDdleTrainConfig, epoch: float) -> float:
    """Return the weight of the distillation after so many epochs."""
    ramp = config.distill.warm_up_epochs
    return config.distill.weight * (min(epoch / ramp, 1.0) if ramp > 0 else 1.0)
