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
        found: objects in its rig frame.
        cameras: channels of its images, in their order.
        segmentation: ground cells (rows along y, columns along x of ``RELEASED_GRID``) on which a vehicle is said to stand;
            None of a network that does not say.
    """

    batch: KeyFrameBatch
    found: Detections
    cameras: tuple[str, ...]
    segmentation: NDArray[np.bool_] | None = None


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
                yield LookedAt(batch, look(network, batch, device)[0], loader.cameras)
    finally:
        network.train(was_training)


@torch.no_grad()
def look(network: Uvtr, batch: KeyFrameBatch, device: torch.device) -> list[Detections]:
    """Return what a network finds at each key frame of a batch, computed in float32."""
    with full_precision(device.type):
        found: Found = network(views_of(batch.to(device)))
        return network.decode(found)
