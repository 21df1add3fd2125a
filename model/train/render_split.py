"""The clips of a split one by one, and a pre-trained network measured on them: the same during, after and without a training.

Reads   a manifest with windows
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

from model.mim4d.clip_batch import ClipBatch
from model.mim4d.clip_loader import ClipLoader
from model.mim4d.net import Mim4d
from model.train.config import Machine
from model.train.mim4d_config import Mim4dTrainConfig
from model.train.render_evaluation import EVALUATION_SEED, RenderEvaluation, evaluate_renderings
from storage_schemas.manifest import Manifest


def single_clips(manifest: Manifest, config: Mim4dTrainConfig, machine: Machine) -> Iterator[ClipBatch]:
    """Yield every clip of the evaluation's split once, in the manifest's order, in batches of one.

    Raises:
        ManifestError: the split has no windows, or frames lack a store.
    """
    changed = {"split": config.evaluation.split, "batch_size": 1, "order": "manifest"}
    with ClipLoader(
        manifest,
        config.data.model_copy(update=changed),
        num_frames=config.network.num_frames,
        image_px=config.network.input_px,
        image_root=machine.image_root,
    ) as loader:
        yield from loader


def evaluate_split(
    network: nn.Module, manifest: Manifest, config: Mim4dTrainConfig, machine: Machine, device: torch.device
) -> RenderEvaluation:
    """Measure a network, and leave it in the mode it was in.

    Args:
        network: of MIM4D, on the device.
        manifest: an opened manifest.
        config: of its training; ``evaluation`` says the split and how many rays.
        machine: where images are.
        device: of the network.

    Raises:
        ManifestError: the split has no windows, frames lack a store, or no LiDAR point is held out.
    """
    assert isinstance(network, Mim4d)
    was_training = network.training
    network.eval()
    try:
        return evaluate_renderings(
            network,
            lambda: single_clips(manifest, config, machine),
            rays_per_camera=config.evaluation.rays_per_camera,
            seed=EVALUATION_SEED,
            device=device,
            bfloat16=config.uses_bfloat16(device.type),
        )
    finally:
        network.train(was_training)
