"""How SemoDepth is trained and measured by the common loop.

Source  specs/semodepth.md sections 3 and 4
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import nn

from model.blocks.selective_scan import choose_engine
from model.semodepth.batch import Batch
from model.semodepth.config import SemoDepthTrainConfig
from model.semodepth.data import FrameLoader
from model.semodepth.dense import dense_batch
from model.semodepth.distill import distill_loss
from model.semodepth.evaluation import WITHOUT_MONO, Evaluation, evaluate, network_predict, write_evaluation_folder
from model.semodepth.loss import Losses, composite_loss
from model.semodepth.net import SemoDepth
from model.semodepth.summary import summarise
from model.train.config import Machine
from model.train.family import Measured, StepLosses, placement
from storage_schemas.manifest import Manifest

DISTILL_COLUMNS = ("distill", "calibration", "teacher_mae_m", "teacher_log_scale")
"""What is written down of the distillation, in the order of ``distill.Distilled``; NaN without."""


class SemoDepthFamily:
    """Radar-camera depth."""

    name = "semodepth"
    loss_columns: tuple[str, ...] = (*Losses._fields, *DISTILL_COLUMNS)
    evaluation_columns: tuple[str, ...] = (
        "radar", "group", "cap_m", "num_frames", "mae_mm", "rmse_mm", "imae_per_km", "irmse_per_km", "abs_rel", "sq_rel_m",
        "delta1", "delta2", "delta3",
    )  # fmt: skip
    board_columns: tuple[str, ...] = ("mae_mm", "rmse_mm", "delta1")

    def network(self, config: SemoDepthTrainConfig) -> SemoDepth:
        """Return the network with random weights."""
        network: SemoDepth = SemoDepth(config.network).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if config.only_plug_in:
            network.train_only_plug_in()
        return network

    def load_imagenet_weights(self, network: nn.Module, config: SemoDepthTrainConfig) -> None:
        """Fill the encoder, if the configuration names a file."""
        assert isinstance(network, SemoDepth)
        if config.imagenet_weights is not None:
            network.load_imagenet_weights(config.imagenet_weights)

    def backbone(self, network: nn.Module) -> nn.Module:
        """Return the encoder."""
        assert isinstance(network, SemoDepth)
        return network.encoder

    def optimizer(self, network: nn.Module, config: SemoDepthTrainConfig) -> torch.optim.Optimizer:
        """Return plain Adam."""
        return torch.optim.Adam([one for one in network.parameters() if one.requires_grad], lr=config.learning_rate)

    def loader(self, manifest: Manifest, config: SemoDepthTrainConfig, fabric: Fabric, machine: Machine) -> FrameLoader:
        """Return the loader of this process."""
        return FrameLoader(
            manifest,
            config.data,
            **placement(fabric, machine),
            with_teacher=config.loss.distill.is_on,
        )

    def losses(
        self, network: nn.Module, batch: Batch, config: SemoDepthTrainConfig, fabric: Fabric, *, epoch: float
    ) -> StepLosses | None:
        """Return the composite loss and, if asked for, the distillation; None if no pixel of the batch has a dense target."""
        raw: Any = network
        distill = config.loss.distill
        dense = dense_batch(
            batch.to(fabric.device),
            max_depth_m=config.network.max_depth_m,
            teacher_far_m=distill.far_m if distill.is_on else None,
        )
        assert dense.target_m is not None
        # data.radar: false trains a network of the camera alone
        radar_m = torch.zeros_like(dense.target_m) if dense.radar_m is None else dense.radar_m
        mono_m = dense.mono_m if config.gives_mono else None
        has_scale = distill.is_on and distill.reads_uncertainty
        answer = network(dense.image_u8, radar_m, mono_m, with_uncertainty=has_scale)
        normalized, log_scale = answer if has_scale else (answer, None)
        space = raw.module.depth_space
        found = composite_loss(normalized, dense.target_m, dense.sparse_m, space=space, weights=config.loss)
        if found is None:
            return None
        if not distill.is_on:
            unknown = found.loss.detach().new_tensor(math.nan)
            return StepLosses(found.loss, {**found._asdict(), **dict.fromkeys(DISTILL_COLUMNS, unknown)})
        assert dense.teacher_m is not None  # the configuration asks for it
        taught = distill_loss(normalized, dense.target_m, dense.teacher_m, space=space, config=distill, log_scale=log_scale)
        total = found.loss + distill.weight * taught.loss
        return StepLosses(total, {**found._asdict(), "loss": total, **dict(zip(DISTILL_COLUMNS, taught, strict=True))})

    def step_words(self, values: Mapping[str, float]) -> str:
        """Return the dense training error, and how far the network is from its teacher."""
        words = f"error on targets {values['mae_mm'] / 1000:.2f} m"
        teacher_mae_m = values["teacher_mae_m"]
        return words if math.isnan(teacher_mae_m) else f"{words}, {teacher_mae_m:.2f} m from the teacher"

    def measure(
        self, network: nn.Module, manifest: Manifest, config: SemoDepthTrainConfig, machine: Machine, device: torch.device
    ) -> Measured:
        """Measure with radar only; the score is MAE@80 m over all frames (of a network of the camera alone: without)."""
        quick = config.evaluation.model_copy(update={"without_radar": False, "num_strips": 0})
        config = config.model_copy(update={"evaluation": quick})
        found = _evaluation(network, manifest, config, replace(machine, num_workers=0), device)
        rows = [row._asdict() for row in summarise(found.frames)]
        # rows with radar come first
        score = next((row["mae_mm"] for row in rows if row["group"] == "all" and row["cap_m"] == 80.0), math.inf)
        return Measured(rows, score, {"mae_mm": score}, f"validation MAE@80 m {score:.0f} mm")

    def is_better(self, now: Measured, best: dict[str, float], config: SemoDepthTrainConfig) -> bool:
        """Say whether the error is the lowest so far."""
        return now.score < best["mae_mm"]

    def board_label(self, row: Mapping[str, Any]) -> str:
        """Return the name under which TensorBoard draws a row."""
        return f"radar_{row['radar']}/{row['group']}_{row['cap_m']:.0f}m"

    def evaluate(
        self,
        network: nn.Module,
        manifest: Manifest,
        config: SemoDepthTrainConfig,
        machine: Machine,
        device: torch.device,
        *,
        folder: Path,
    ) -> int:
        """Measure with and without radar, and with monocular depth given and withheld if the network takes it."""
        chosen, band = config.evaluation, config.data.rows
        title = f"{folder.name} on {chosen.split} of manifest {manifest.path.fingerprint}, truth {chosen.target}"
        title += f", rows {band[0]} to {band[1]}" if band else ""
        if config.gives_mono:  # one checkpoint serves with and without; the table tells both
            withheld = _evaluation(network, manifest, config, machine, device, withhold_mono=True)
            own_title = f"{title}, monocular depth withheld"
            write_evaluation_folder(folder / "evaluation" / WITHOUT_MONO, withheld, title=own_title)
            title += ", monocular depth given"
        evaluation = _evaluation(network, manifest, config, machine, device)
        write_evaluation_folder(folder / "evaluation", evaluation, title=title)
        return len(set(evaluation.frames["frame_key"]))

    def facts(self, device: torch.device) -> dict[str, Any]:
        """Return which engine scanned."""
        return {"scan_engine": choose_engine(device).engine}


def _evaluation(
    network: nn.Module,
    manifest: Manifest,
    config: SemoDepthTrainConfig,
    machine: Machine,
    device: torch.device,
    *,
    withhold_mono: bool = False,
) -> Evaluation:
    assert isinstance(network, SemoDepth)
    return evaluate(
        network_predict(network, precision="bfloat16" if config.uses_bfloat16(device.type) else "float32"),
        manifest,
        config.evaluation,
        cameras=config.data.cameras,
        row_band=config.data.rows,
        min_depth_m=config.network.min_depth_m,
        max_depth_m=config.network.max_depth_m,
        with_radar=config.data.radar,
        with_mono=config.gives_mono,
        withhold_mono=withhold_mono,
        machine=machine,
        device=device,
    )
