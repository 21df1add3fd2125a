"""The networks whose features are probed side by side: that of a training, and controls.

Reads  best.pt
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from model.blocks.weights_file import load_state_file
from model.mim4d.config import Mim4dTrainConfig
from model.mim4d.net import Mim4d
from model.mim4d.probes.frozen_frames import frozen
from model.mim4d.probes.probe_files import IMAGENET, RANDOM, TRAINED


def probed_networks(config: Mim4dTrainConfig, folder: Path, *, device: torch.device) -> dict[str, Mim4d]:
    """Return the networks by the name of their row, frozen, on the device; the global random state is left as it was.

    ``random`` has the weights that the training's seed draws; ``imagenet``, if the training was given classification
    weights, has these in its backbone, and the random ones elsewhere.

    Args:
        config: of the training.
        folder: of the training.
        device: where they shall be.

    Raises:
        WeightsFileError: the training has no best.pt yet, or the classification weights are gone.
    """
    trained = _fresh(config)
    stored: Any = load_state_file(folder / "best.pt")
    trained.load_state_dict(stored["model_state_dict"])
    networks = {TRAINED: trained}
    if config.imagenet_weights is not None:
        networks[IMAGENET] = _fresh(config)
        networks[IMAGENET].backbone.load_imagenet_weights(config.imagenet_weights)
    networks[RANDOM] = _fresh(config)
    return {name: frozen(network.to(device)) for name, network in networks.items()}


def _fresh(config: Mim4dTrainConfig) -> Mim4d:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return Mim4d(config.network)
