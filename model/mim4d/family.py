"""How MIM4D is trained and measured by the common loop.

Source  specs/mim4d.md sections 5.6, 6 and 8
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import nn

from model.mim4d.batch import ClipBatch
from model.mim4d.clip_draws import draw_clips
from model.mim4d.clip_views import views_of
from model.mim4d.config import Mim4dTrainConfig
from model.mim4d.data import ClipLoader
from model.mim4d.evaluation import evaluate_split, write_render_folder
from model.mim4d.loss import DIRECT, LOSS_VALUES, RECONSTRUCT, mim4d_losses
from model.mim4d.net import Mim4d
from model.mim4d.pictured_clips import write_pictures_of_split
from model.mim4d.ray_errors import CONSTANT, REBUILT_SWAPPED, SWAPPED, RenderRow
from model.train.config import Machine
from model.train.family import Measured, StepLosses, placement
from storage_schemas.manifest import Manifest


class Mim4dFamily:
    """Masked multi-view video pre-training with volume rendering."""

    name = "mim4d"
    loss_columns: tuple[str, ...] = LOSS_VALUES
    evaluation_columns: tuple[str, ...] = RenderRow._fields
    board_columns: tuple[str, ...] = ("abs_rel", "rgb_l1")

    def network(self, config: Mim4dTrainConfig) -> Mim4d:
        """Return the network with random weights."""
        return Mim4d(config.network)

    def load_imagenet_weights(self, network: nn.Module, config: Mim4dTrainConfig) -> None:
        """Fill the backbone, if the configuration names a file."""
        assert isinstance(network, Mim4d)
        if config.imagenet_weights is not None:
            network.backbone.load_imagenet_weights(config.imagenet_weights)

    def backbone(self, network: nn.Module) -> nn.Module:
        """Return the backbone."""
        assert isinstance(network, Mim4d)
        return network.backbone

    def optimizer(self, network: nn.Module, config: Mim4dTrainConfig) -> torch.optim.Optimizer:
        """Return AdamW, slower for the backbone: it may begin with weights that are worth keeping."""
        assert isinstance(network, Mim4d)
        backbone = [one for one in network.backbone.parameters() if one.requires_grad]
        own = {id(one) for one in network.backbone.parameters()}
        others = [one for one in network.parameters() if one.requires_grad and id(one) not in own]
        groups = [
            {"params": backbone, "rate": config.backbone_rate, "lr": config.learning_rate * config.backbone_rate},
            {"params": others, "rate": 1.0, "lr": config.learning_rate},
        ]
        return torch.optim.AdamW(groups, weight_decay=config.weight_decay)

    def loader(self, manifest: Manifest, config: Mim4dTrainConfig, fabric: Fabric, machine: Machine) -> ClipLoader:
        """Return the loader of this process."""
        return ClipLoader(
            manifest,
            config.data,
            num_frames=config.network.num_frames,
            image_px=config.network.input_px,
            **placement(fabric, machine),
        )

    def losses(
        self, network: nn.Module, batch: ClipBatch, config: Mim4dTrainConfig, fabric: Fabric, *, epoch: float
    ) -> StepLosses:
        """Return the mean over the rendered frames of what direct and rebuilt volumes show otherwise than it was seen."""
        batch = batch.to(fabric.device)
        draws = draw_clips(batch, config.network, seed=config.seed, epoch=int(epoch))
        rendered = network(
            views_of(batch),
            is_seen=draws.is_seen,
            targets=draws.targets,
            origin_m=[rays.origin_m for rays in draws.rays],
            direction=[rays.direction for rays in draws.rays],
            generators=draws.generators,
        )
        values = mim4d_losses(rendered, draws.rays, sigma=config.network.lift.grid.sigma, config=config.network.loss)
        return StepLosses(values["loss"], values)

    def step_words(self, values: Mapping[str, float]) -> str:
        """Return how far off rendered depth is where the network saw the image, and the colour where it did not."""
        words = f"depth {values['direct_depth_visible_m']:.2f} m, hidden colour {values['direct_rgb_masked']:.3f}"
        rebuilt_m = values["reconstruct_depth_visible_m"]
        return words + (f"; rebuilt {rebuilt_m:.2f} m" if rebuilt_m == rebuilt_m else "")

    def measure(
        self, network: nn.Module, manifest: Manifest, config: Mim4dTrainConfig, machine: Machine, device: torch.device
    ) -> Measured:
        """Measure rendered depth and the controls; the score is the relative error of the rebuilt volumes, if there are any."""
        found = evaluate_split(network, manifest, config, machine, device)
        mode = DIRECT if config.network.num_frames == 1 else RECONSTRUCT
        told = [(name, found.row(name)) for name in (mode, SWAPPED if mode == DIRECT else REBUILT_SWAPPED, CONSTANT)]
        words = ", ".join(f"{name} {row.abs_rel:.3f}" for name, row in told if row is not None)
        row = found.row(mode)
        assert row is not None  # or there was nothing held out, which is an error
        return Measured(
            [one._asdict() for one in found.rows], row.abs_rel, {"abs_rel": row.abs_rel}, f"validation AbsRel {words}"
        )

    def is_better(self, now: Measured, best: dict[str, float], config: Mim4dTrainConfig) -> bool:
        """Say whether the error is the lowest so far; the last checkpoint always replaces the former where it is kept."""
        return config.keep == "last" or now.best["abs_rel"] < best["abs_rel"]

    def board_label(self, row: Mapping[str, Any]) -> str:
        """Return the name under which TensorBoard draws a row."""
        return f"{row['volume']}/{row['frames']}_{row['pixels']}_{row['range_m']}"

    def evaluate(
        self,
        network: nn.Module,
        manifest: Manifest,
        config: Mim4dTrainConfig,
        machine: Machine,
        device: torch.device,
        *,
        folder: Path,
    ) -> int:
        """Measure, and write the tables and what pictures are made of; return the number of clips."""
        found = evaluate_split(network, manifest, config, machine, device)
        title = f"{folder.name} on {config.evaluation.split} of manifest {manifest.path.fingerprint}"
        write_render_folder(folder / "evaluation", found, title=title)
        write_pictures_of_split(network, manifest, config, machine, device, folder=folder / "evaluation")
        return found.num_clips

    def facts(self, device: torch.device) -> dict[str, Any]:
        """Return nothing: there is one way to compute it."""
        return {}
