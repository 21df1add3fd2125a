"""Look for objects at every key frame of a split.

Reads   a pinned manifest
Writes  nothing: yields what was found beside what is there
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from model.blocks.full_precision import full_precision
from model.data.ordered_loader import Placement
from model.mim4d.batch import views_of
from model.train.config import Machine
from model.uvtr.batch import KeyFrameBatch
from model.uvtr.config import UvtrTrainConfig
from model.uvtr.data import measured_key_frames
from model.uvtr.detections import Detections
from model.uvtr.net import Found, Uvtr
from storage_schemas.manifest import Manifest


class LookedAt(NamedTuple):
    """One key frame.

    Attributes:
        batch: of this key frame alone, not moved: its keys, its pose, what is annotated, and its images.
        cameras: of its images, in their order.
        found: objects in its rig frame.
        segmentation: (rows, columns) bool on the cells of ``UvtrConfig.ground``, those that a vehicle is said to cover; None of a
            network that does not say it.
    """

    batch: KeyFrameBatch
    cameras: tuple[str, ...]
    found: Detections
    segmentation: NDArray[np.bool_] | None


class Looked(NamedTuple):
    """What a network says of b key frames.

    Attributes:
        found: objects of each in its rig frame.
        covered: (b, rows, columns) bool cells that a vehicle is said to cover; None of a network that does not say it.
    """

    found: list[Detections]
    covered: NDArray[np.bool_] | None


def look_at_split(
    network: nn.Module, manifest: Manifest, config: UvtrTrainConfig, machine: Machine, device: torch.device
) -> Iterator[LookedAt]:
    """Yield every key frame of the evaluation's split in the manifest's order; the network ends in the mode it was in.

    Args:
        network: of this family, on the device.
        manifest: an opened manifest.
        config: of its training; ``evaluation`` says the split.
        machine: where images are, and how many processes read them.
        device: of the network.

    Raises:
        ManifestError: the split has no key frame, or frames lack a store.
    """
    assert isinstance(network, Uvtr)
    was_training = network.training
    network.eval()
    placement = Placement(num_workers=machine.num_workers, image_root=machine.image_root)
    try:
        with measured_key_frames(manifest, config, placement=placement) as loader:
            for batch in loader:
                looked = look(network, batch, device)
                covered = None if looked.covered is None else looked.covered[0]
                yield LookedAt(batch, loader.cameras, looked.found[0], covered)
    finally:
        network.train(was_training)


@torch.no_grad()
def look(network: Uvtr, batch: KeyFrameBatch, device: torch.device) -> Looked:
    """Return what a network finds at each key frame of a batch, computed in float32."""
    with full_precision(device.type):
        answers: Found = network(views_of(batch.to(device)))
        covered = None if answers.covered is None else (answers.covered > 0).cpu().numpy()
        return Looked(network.decode(answers), covered)
