"""How the detector is trained and measured by the common loop.

Source  docs/method/uvtr.md#loss, #optimisation, #transfer, #metric
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from model.blocks.full_precision import PRECISION
from model.mim4d.batch import views_of
from model.mim4d.clip_draws import clip_generator
from model.train.config import Machine
from model.train.family_types import OpenedNetwork, ReferenceOptions, StepLosses, placement, processes_of
from model.train.known_families import parse_config
from model.train.slower_backbone import adamw_with_slower_backbone
from model.uvtr.batch import KeyFrameBatch
from model.uvtr.config import UvtrTrainConfig
from model.uvtr.data import KeyFrameLoader
from model.uvtr.depth_truth import depth_loss
from model.uvtr.loss import OBJECT_TERMS, objects_losses
from model.uvtr.measuring import BoxMeasuring
from model.uvtr.net import Found, Uvtr
from model.uvtr.reference import is_reference, load_reference
from model.uvtr.segmentation_head import segmentation_loss
from storage_schemas.manifest import Manifest

if TYPE_CHECKING:
    from lightning_fabric import Fabric


class UvtrFamily(BoxMeasuring):
    """Multi-camera 3D detection on lifted volumes."""

    name = "uvtr"
    config = UvtrTrainConfig
    loss_columns: tuple[str, ...] = ("loss", *OBJECT_TERMS, "segmentation", "depth")
    noun = "a detector of all cameras"
    plural = "detectors of all cameras"

    def network(self, config: UvtrTrainConfig) -> Uvtr:
        """Return the network with random weights; parts that ``freeze`` names are not trained."""
        network = Uvtr(config.network)
        for part in config.freeze:
            getattr(network, part).requires_grad_(False)
        return network

    def load_imagenet_weights(self, network: nn.Module, config: UvtrTrainConfig) -> None:
        """Fill the backbone, if the configuration names a file."""
        assert isinstance(network, Uvtr)
        if config.imagenet_weights is not None:
            network.backbone.load_imagenet_weights(config.imagenet_weights)

    def backbone(self, network: nn.Module) -> nn.Module:
        """Return the backbone."""
        assert isinstance(network, Uvtr)
        return network.backbone

    def is_reference(self, weights: Mapping[str, Any]) -> bool:
        """Say whether the content of a weights file is a detector of the public code."""
        return is_reference(weights)

    def open_reference(self, path: Path, name: str, options: ReferenceOptions) -> OpenedNetwork[UvtrTrainConfig]:
        """Build the network of a public checkpoint; a recipe of this family says how it is measured and on which cameras."""
        config = UvtrTrainConfig()
        if options.train is not None and options.train.get("family") == self.name:
            config = parse_config(UvtrTrainConfig, options.train, where=options.where)
        network = load_reference(path)
        return OpenedNetwork(network, name, config.model_copy(update={"network": network.config}))

    def parts_from_pre_training(self, network: nn.Module, config: UvtrTrainConfig) -> dict[str, nn.Module]:
        """Return the parts that ``take`` names."""
        return {part: getattr(network, part) for part in config.take}

    def optimizer(self, network: nn.Module, config: UvtrTrainConfig) -> torch.optim.Optimizer:
        """Return AdamW, slower for the backbone: it may begin with weights that are worth keeping."""
        assert isinstance(network, Uvtr)
        return adamw_with_slower_backbone(network, network.backbone, config)

    def loader(self, manifest: Manifest, config: UvtrTrainConfig, fabric: Fabric, machine: Machine) -> KeyFrameLoader:
        """Return the loader of this process."""
        where, with_depth = placement(machine, fabric), config.loss.depth_weight > 0
        return KeyFrameLoader(manifest, config.data, config.network, placement=where, with_depth=with_depth)

    def losses(
        self, network: nn.Module, batch: KeyFrameBatch, config: UvtrTrainConfig, fabric: Fabric, *, epoch: float
    ) -> StepLosses:
        """Return what was found otherwise than it is annotated; a key frame without an object teaches that there is none."""
        batch = batch.to(fabric.device)
        processes = processes_of(fabric)
        mean = None if processes is None else processes.mean
        generators = [clip_generator(key, seed=config.seed, epoch=int(epoch)) for key in batch.frame_keys]
        found: Found = network(views_of(batch), generators=generators)
        with torch.autocast(fabric.device.type, enabled=False):
            terms = objects_losses(found.objects, batch.targets, config.loss, network=config.network, mean_over_processes=mean)
            total = torch.stack([terms[name] for name in OBJECT_TERMS]).sum()
            terms["segmentation"] = terms["depth"] = total.detach().new_tensor(float("nan"))
            if found.covered is not None:
                assert batch.is_covered is not None
                terms["segmentation"] = config.loss.segmentation_weight * segmentation_loss(found.covered, batch.is_covered)
                total = total + terms["segmentation"]
            if batch.nearest_m is not None:
                bins = config.network.lift.bins
                off = depth_loss(found.depths, batch.nearest_m, bins=bins, mean_over_processes=mean)
                terms["depth"] = config.loss.depth_weight * off
                total = total + terms["depth"]
        return StepLosses(total, {"loss": total, **terms})

    def step_words(self, values: Mapping[str, float]) -> str:
        """Return the losses of classes and boxes."""
        text = f"class {values['class']:.3f}, box {values['box']:.3f}"
        others = (("segmentation", "vehicles on the ground"), ("depth", "depth"))
        return text + "".join(f", {words} {values[name]:.3f}" for name, words in others if values[name] == values[name])

    def facts(self, device: torch.device) -> dict[str, Any]:
        """Return the precision of what was measured."""
        return {"measured_in": PRECISION}
