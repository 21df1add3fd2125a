"""A few clips of a split in pictures: which ones, and read without those between them.

Reads   a manifest with windows
Writes  what ``rendered_views`` writes
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import nn

from model.blocks.full_precision import full_precision
from model.data.ordered_loader import Placement
from model.mim4d.batch import ClipBatch
from model.mim4d.config import Mim4dTrainConfig
from model.mim4d.data import ClipLoader, measured_clips
from model.mim4d.evaluation import EVALUATION_SEED
from model.mim4d.net import Mim4d
from model.mim4d.rendered_views import rendered_views, write_rendered_views
from model.train.config import Machine
from storage_schemas.manifest import Manifest


def write_pictures_of_split(
    network: nn.Module, manifest: Manifest, config: Mim4dTrainConfig, machine: Machine, device: torch.device, *, folder: Path
) -> None:
    """Write pictures of a few clips of the evaluation's split into the folder of the evaluation.

    Args:
        network: of MIM4D, on the device; left in the mode it was in.
        manifest: an opened manifest.
        config: of its training; ``evaluation`` says the split, how many clips and how large.
        machine: where images are.
        device: of the network.
        folder: of the evaluation.

    Raises:
        ManifestError: the split has no windows, or frames lack a store.
        StoreError: the folder cannot be written.
    """
    assert isinstance(network, Mim4d)
    wanted = config.evaluation
    if not wanted.num_pictures:
        write_rendered_views(folder, {})
        return
    was_training = network.training
    network.eval()
    try:
        placed = Placement(image_root=machine.image_root)
        with full_precision(device.type), measured_clips(manifest, config, placement=placed) as loader:
            arrays = rendered_views(
                network,
                _clips_at(loader, spread_evenly(loader.num_samples, wanted.num_pictures)),
                wanted,
                cameras=loader.cameras,
                seed=EVALUATION_SEED,
                device=device,
            )
    finally:
        network.train(was_training)
    write_rendered_views(folder, arrays)


def spread_evenly(num_clips: int, num_wanted: int) -> list[int]:
    """Return the places of clips in the middle of equal parts of a split; all of them if there are no more."""
    num_wanted = min(num_clips, num_wanted)
    return [(2 * part + 1) * num_clips // (2 * num_wanted) for part in range(num_wanted)]


def _clips_at(loader: ClipLoader, places: list[int]) -> Iterator[ClipBatch]:
    """Yield the clips at places of the manifest's order; the loader goes on there as after a stop, so others are not read."""
    start = loader.state_dict()
    for place in places:
        loader.load_state_dict({**start, "samples_seen": place})
        yield next(iter(loader))
